package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/textproto"
	"sync"
	"time"

	"mailporter/sandbox/internal/stage"
)

// A submission is one message that a worker took, or may have taken.
type submission struct {
	letter  letter
	key     string
	id      string // the worker's name for it; empty: nobody answered, and the letter was handed in again
	digest  [sha256.Size]byte
	partial bool // it was never whole: it must not arrive
}

// ledger is all that was handed in.
type ledger struct {
	mu  sync.Mutex
	all []submission
}

func (l *ledger) add(s submission) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
}

// list is what was handed in so far.
func (l *ledger) list() []submission {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[:len(l.all):len(l.all)]
}

// post hands letters in, several side by side and spread evenly over a time, each again until it is taken. at is called at
// each moment of the first attempt of a letter.
type post struct {
	ledger *ledger
	crew   *crew
	over   time.Duration
	at     func(d *door, m moment)
}

// beside is how many letters are handed in at a time.
const beside = 3

func (p post) all(ctx context.Context, letters []letter) error {
	began := time.Now()
	errs := make([]error, beside)
	var lines sync.WaitGroup
	for line := range beside {
		lines.Go(func() {
			for i := line; i < len(letters) && errs[line] == nil; i += beside {
				errs[line] = p.due(ctx, began.Add(p.over*time.Duration(i)/time.Duration(len(letters))), letters[i])
			}
		})
	}
	lines.Wait()
	return errors.Join(errs...)
}

// due hands a letter in when its time has come.
func (p post) due(ctx context.Context, at time.Time, l letter) error {
	if err := sleep(ctx, time.Until(at)); err != nil {
		return err
	}
	return p.deliver(ctx, l)
}

// between is the wait after an attempt that failed.
const between = 100 * time.Millisecond

// deliver hands a letter in until it is taken. A refusal for good is an error: none of the letters deserves it.
func (p post) deliver(ctx context.Context, l letter) error {
	for attempt := 0; ; attempt++ {
		taken, err := p.once(ctx, l, attempt)
		var reply *textproto.Error
		switch {
		case taken:
			return nil
		case errors.As(err, &reply) && reply.Code >= 500:
			return fmt.Errorf("the intake refused a letter from %s: %w", l.row.Address, err)
		}
		if err := sleep(ctx, between); err != nil {
			return err
		}
	}
}

// once makes one attempt, with the workers in turn.
func (p post) once(ctx context.Context, l letter, attempt int) (taken bool, err error) {
	d, err := knock(ctx, p.crew.workers[(l.number+attempt)%len(p.crew.workers)].intake)
	if err != nil {
		return false, err
	}
	defer d.text.Close()
	s := submission{letter: l, key: l.key(attempt)}
	raw := l.write(s.key)
	s.digest = stage.Digest(raw)
	begun, handed := false, false
	s.id, handed, err = d.handIn(l.row.Address, l.to, raw, func(m moment) {
		begun = true
		if attempt == 0 && p.at != nil {
			p.at(d, m)
		}
	})
	s.partial = !handed
	if begun {
		p.ledger.add(s)
	}
	return s.id != "", err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
