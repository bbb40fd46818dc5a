package wire

import (
	"net/http"
	"time"

	"mailporter/broker/internal/clock"
)

// readClock passes on when the provider says that it answered. RFC 9110 section 6.6.1: the Date field is when the message
// was originated, in whole seconds.
func (r recorder) readClock(sent time.Time, h http.Header) {
	if r.clock == nil || h.Get("Age") != "" { // a cache's answer is as old as it says
		return
	}
	if told, err := http.ParseTime(h.Get("Date")); err == nil {
		r.clock(clock.Reading{Sent: sent, Received: time.Now(), Told: told, Resolution: time.Second})
	}
}
