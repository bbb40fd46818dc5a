package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"mailporter/sandbox/internal/stage"
)

// waiting is one message of an outbox, as brokerctl outbox list -o json tells it.
type waiting struct {
	ID         string `json:"id"`
	Mailbox    string `json:"mailbox"`
	Held       bool   `json:"held"`
	Recipients []struct {
		State string `json:"state"`
	} `json:"recipients"`
}

// open says that something will happen by itself.
func (w waiting) open() bool {
	for _, r := range w.Recipients {
		if r.State != "dead" && r.State != "sent" && !w.Held {
			return true
		}
	}
	return false
}

// held is what an operator did about the messages in doubt.
type held struct {
	listing         string // what he saw
	dropped, resent int
	strangers       int // messages that are held though their mailbox does not want it
}

// judge is nil if there were messages in doubt, where they were wanted and nowhere else, and both ways out were gone.
func (h held) judge() error {
	switch {
	case h.strangers > 0:
		return fmt.Errorf("%d messages were held though on-unknown is retry", h.strangers)
	case h.dropped == 0 || h.resent == 0:
		return fmt.Errorf("on-unknown: hold held %d messages that had arrived and %d that had not: both were to happen", h.dropped, h.resent)
	}
	return nil
}

// conclude waits until the outboxes hold nothing but messages in doubt, lets an operator decide about those, and waits for
// what he sends again.
func (s *sweep) conclude(ctx context.Context) (held, error) {
	if _, err := s.rest(ctx); err != nil {
		return held{}, err
	}
	listing, err := s.brokerctl(ctx, "SMTP", "list", "--state", "unknown", "--limit", "5")
	if err != nil {
		return held{}, err
	}
	h := held{listing: listing}
	for _, p := range protocols {
		all, err := s.outbox(ctx, p.Name)
		if err != nil {
			return h, err
		}
		if err := s.decide(ctx, p.Name, all, &h); err != nil {
			return h, err
		}
	}
	left, err := s.rest(ctx)
	if err == nil && left > 0 {
		err = fmt.Errorf("%d messages were given up or are held still", left)
	}
	return h, err
}

// decide looks whether each held message arrived, as an operator would ask its recipient: what did is dropped, what did
// not is sent again. What was handed in again in the meantime, because nobody had answered, is dropped, too.
func (s *sweep) decide(ctx context.Context, protocol string, all []waiting, h *held) error {
	found, err := s.arrivals()
	if err != nil {
		return err
	}
	keys := s.ledger.named(protocol)
	var drop, retry []string
	for _, m := range all {
		taken, known := keys[m.ID]
		switch {
		case !m.Held:
			continue
		case !taken.letter.row.step.hold && known:
			h.strangers++
		}
		if known && found.copies(taken).most == 0 {
			retry = append(retry, m.ID)
		} else {
			drop = append(drop, m.ID)
		}
	}
	h.dropped, h.resent = h.dropped+len(drop), h.resent+len(retry)
	for verb, ids := range map[string][]string{"drop": drop, "retry": retry} {
		for some := range slices.Chunk(ids, 100) {
			if _, err := s.brokerctl(ctx, protocol, append([]string{verb}, some...)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// named are a protocol's submissions by the name that their worker gave them.
func (l *ledger) named(protocol string) map[string]submission {
	all := map[string]submission{}
	for _, s := range l.list() {
		if s.id != "" && s.letter.row.Protocol.Name == protocol {
			all[s.id] = s
		}
	}
	return all
}

// rest waits until nothing happens by itself any more, and counts what is left.
func (s *sweep) rest(ctx context.Context) (left int, err error) {
	for deadline := time.Now().Add(patience); ; {
		open := 0
		left = 0
		for _, p := range protocols {
			all, err := s.outbox(ctx, p.Name)
			if err != nil {
				return 0, err
			}
			left += len(all)
			for _, m := range all {
				if m.open() {
					open++
				}
			}
		}
		if open == 0 {
			return left, nil
		}
		if time.Now().After(deadline) {
			return left, fmt.Errorf("%d messages are still not sent %s after the last attack", open, patience)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return left, err
		}
	}
}

// outbox lists what a protocol's workers have not sent.
func (s *sweep) outbox(ctx context.Context, protocol string) (all []waiting, err error) {
	out, err := s.brokerctl(ctx, protocol, "list", "-o", "json")
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal([]byte(out), &all)
}

// brokerctl asks a protocol's first worker about its outbox, as an operator does.
func (s *sweep) brokerctl(ctx context.Context, protocol string, args ...string) (string, error) {
	outbox := stage.Outbox{Brokerctl: filepath.Join(s.bin, "brokerctl"), Worker: s.crews[protocol].workers[0].admin}
	return outbox.Ask(ctx, args...)
}
