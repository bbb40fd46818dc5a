package ewsd

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestThrottleSpreadsMessagesOverMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{PerMinute: 2})
		for i, want := range []time.Duration{0, 0, time.Minute, time.Minute, 2 * time.Minute} {
			if got := s.throttle("a"); got != want {
				t.Errorf("message %d waits %s, want %s", i, got, want)
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

func TestWithoutBcc(t *testing.T) {
	for in, want := range map[string]string{
		"Bcc: a\r\n b\r\nTo: c\r\nBCC : d\r\n\r\nBcc: e\r\n": "To: c\r\n\r\nBcc: e\r\n",
		"To: c\r\n\r\n":     "To: c\r\n\r\n",
		"To: c\nBcc: d\n\n": "To: c\n\n",
		"To: c":             "To: c",
		"":                  "",
	} {
		if got := string(withoutBcc([]byte(in))); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
