package smtpd

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestThrottleSpreadsMessagesOverMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{config: Config{PerMinute: 2}, sent: map[string][]time.Time{}}
		want := []time.Duration{0, 0, time.Minute, time.Minute, 2 * time.Minute}
		for i, w := range want {
			if got := s.throttle("a"); got != w {
				t.Errorf("message %d waits %s, want %s", i, got, w)
			}
		}
		if got := s.throttle("b"); got != 0 {
			t.Errorf("another mailbox waits %s", got)
		}
		time.Sleep(3 * time.Minute)
		if got := s.throttle("a"); got != 0 {
			t.Errorf("after three quiet minutes: %s", got)
		}
	})
}
