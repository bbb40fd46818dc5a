package fault

import (
	"regexp"
	"strconv"
	"time"
)

var backoffTime = regexp.MustCompile(`(?i)suggested backoff time: (\d{1,9}) milliseconds`)

// Suggested reads how long Exchange asks to wait in a line of text: "Suggested Backoff Time: 12345 milliseconds". At most
// an hour; 0 = it does not say.
func Suggested(text string) time.Duration {
	m := backoffTime.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	ms, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return min(time.Duration(ms)*time.Millisecond, time.Hour)
}
