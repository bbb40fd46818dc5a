// Package allowance counts what mailboxes send, as providers do: what comes too fast is held up, what is too much is refused.
// One Sending stands for a mailbox whatever protocol it sends over.
package allowance

import (
	"sync"
	"time"
)

// Sending is what mailboxes may send. Nil allows everything; it is safe for use by many goroutines.
type Sending struct {
	perMinute int
	people    *Window

	mu    sync.Mutex
	turns map[string][]time.Time // when the messages of the last minute, and those that wait, had or have their turn
}

// New allows a mailbox so many messages a minute, more are delayed, and so many recipients in 24 hours, more are refused.
// 0 is any number.
func New(perMinute, recipientsPerDay int) *Sending {
	return &Sending{perMinute: perMinute, people: NewWindow(int64(recipientsPerDay), 24*time.Hour), turns: map[string][]time.Time{}}
}

// Turn counts a message and returns how long it has to wait.
func (s *Sending) Turn(mailbox string) time.Duration {
	if s == nil || s.perMinute == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	recent := s.turns[mailbox]
	for len(recent) > 0 && now.Sub(recent[0]) >= time.Minute {
		recent = recent[1:]
	}
	at := now
	if over := len(recent) - s.perMinute; over >= 0 {
		at = recent[over].Add(time.Minute)
	}
	s.turns[mailbox] = append(recent, at)
	return at.Sub(now)
}

// Recipients counts those of a message, or says that they are too many for today: then none is counted.
func (s *Sending) Recipients(mailbox string, n int) (enough bool) {
	return s == nil || s.people.Take(mailbox, int64(n)) == 0
}

// Window allows so much within any span of its length, to each of whoever asks.
type Window struct {
	most   int64
	length time.Duration

	mu    sync.Mutex
	taken map[string][]share
}

type share struct {
	at time.Time
	n  int64
}

// NewWindow allows most; 0 is any number.
func NewWindow(most int64, length time.Duration) *Window {
	return &Window{most: most, length: length, taken: map[string][]share{}}
}

// Take counts n, or returns how long to wait until there is room for it; then nothing is counted. What alone is more than
// the window allows has to wait until nothing else counts.
func (w *Window) Take(who string, n int64) (wait time.Duration) {
	if w == nil || w.most == 0 {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	recent := w.taken[who]
	for len(recent) > 0 && now.Sub(recent[0].at) >= w.length {
		recent = recent[1:]
	}
	w.taken[who] = recent
	var total int64
	for _, s := range recent {
		total += s.n
	}
	for _, s := range recent {
		if total+n <= w.most {
			break
		}
		total, wait = total-s.n, s.at.Add(w.length).Sub(now)
	}
	if wait == 0 {
		w.taken[who] = append(recent, share{now, n})
	}
	return wait
}
