package main

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"mailporter/sandbox/internal/stage"
	"mailporter/sandbox/mailstore"
)

// An outcome is what became of the messages of one row.
type outcome struct {
	hits     int // cuts or kills
	messages int // whose submitter had an answer
	arrived  int // at each of their recipients
	lost     int
	doubled  int // somebody has it more than once
	marked   int // of those, told of
	altered  int // arrived, and are not what was handed in
	repeated int // were taken without an answer, so that their submitter handed them in again
	drafts   int // lie among the drafts of the mailbox that sends, though nothing waits any more
}

func (o *outcome) add(p outcome) {
	o.hits += p.hits
	o.messages += p.messages
	o.arrived += p.arrived
	o.lost += p.lost
	o.doubled += p.doubled
	o.marked += p.marked
	o.altered += p.altered
	o.repeated += p.repeated
	o.drafts += p.drafts
}

// result is what became of everything.
type result struct {
	rows  []row
	of    map[string]outcome // by the address of the row
	alien int                // messages that arrived and are none that was handed in
}

func (r result) total(of func(row) bool) (t outcome) {
	for _, one := range r.rows {
		if of(one) {
			t.add(r.of[one.Address])
		}
	}
	return t
}

func everyRow(row) bool { return true }

// judge is nil if every message arrived, as it was, and nothing came twice but what cannot be helped and was told of.
func (r result) judge() error {
	var all []error
	complain := func(n int, what string, of row) {
		if n > 0 {
			all = append(all, fmt.Errorf("%s, %s, %s: %d messages %s", of.Protocol.Name, of.step.name, of.how, n, what))
		}
	}
	for _, one := range r.rows {
		o := r.of[one.Address]
		complain(o.lost, "were lost", one)
		complain(o.altered, "were altered", one)
		switch {
		case one.Protocol.Name != "SMTP":
			complain(o.doubled, "were doubled, and their server can be asked", one)
		case one.step.asked && one.how == cut: // after a kill nobody knows which of several recipients were taken
			complain(o.doubled, "were doubled, and their copies could be found", one)
		case one.step.hold:
			complain(o.doubled, "were doubled, and were to be held", one)
		default:
			complain(o.doubled-o.marked, "were doubled, and nobody was told", one)
		}
	}
	if r.alien > 0 {
		all = append(all, fmt.Errorf("%d messages arrived that nobody handed in", r.alien))
	}
	return errors.Join(all...)
}

// arrived is what the readers have, by key.
type arrived map[string]*copies

// copies are those of one submission.
type copies struct {
	digest  [sha256.Size]byte
	differs bool // two of them do
	of      map[string]int
	least   int // of a recipient's
	most    int
}

// arrivals reads the readers' mailboxes.
func (s *sweep) arrivals() (arrived, error) {
	found := arrived{}
	for i := range readers {
		inbox, err := s.provider.Store().Folder(reader(i), mailstore.Inbox)
		if err != nil {
			return nil, err
		}
		for _, m := range inbox.Messages {
			raw, err := m.Raw()
			if err != nil {
				return nil, err
			}
			found.add(reader(i), raw)
		}
	}
	return found, nil
}

func (a arrived) add(to string, raw []byte) {
	key, sum := keyOf(raw), stage.Digest(raw)
	c := a[key]
	if c == nil {
		c = &copies{digest: sum, of: map[string]int{}}
		a[key] = c
	}
	c.differs = c.differs || c.digest != sum
	c.of[to]++
}

// copies are those of a submission, counted over its recipients.
func (a arrived) copies(s submission) copies {
	c := a[s.key]
	if c == nil {
		return copies{}
	}
	out := copies{digest: c.digest, differs: c.differs || c.digest != s.digest || s.partial, least: c.of[s.letter.to[0]]}
	addressed := 0
	for _, to := range s.letter.to {
		n := c.of[to]
		out.least, out.most = min(out.least, n), max(out.most, n)
		if n > 0 {
			addressed++
		}
	}
	out.differs = out.differs || addressed < len(c.of) // somebody has it whom nobody named
	return out
}

// look compares what arrived with what was handed in.
func (s *sweep) look() (result, error) {
	found, err := s.arrivals()
	if err != nil {
		return result{}, err
	}
	r := result{rows: s.Rows(), of: map[string]outcome{}}
	for _, one := range r.rows {
		drafts, err := s.drafts(one.Address)
		if err != nil {
			return r, err
		}
		r.of[one.Address] = outcome{hits: s.hits[one.Address], drafts: drafts}
	}
	for _, p := range protocols {
		told, err := s.marks(p.Name)
		if err != nil {
			return r, err
		}
		r.count(p.Name, s.ledger.list(), found, told)
	}
	r.alien = found.alien(s.ledger.list())
	return r, nil
}

// drafts counts what lies among a mailbox's drafts.
func (s *sweep) drafts(mailbox string) (int, error) {
	store := s.provider.Store()
	f, err := store.Folder(mailbox, store.Used(mailbox, mailstore.UseDrafts))
	return len(f.Messages), err
}

// count adds what became of a protocol's submissions.
func (r result) count(protocol string, all []submission, found arrived, told marks) {
	named := map[string]submission{}
	for _, s := range all {
		if s.letter.row.Protocol.Name == protocol && s.id != "" {
			named[s.id] = s
		}
	}
	unnamed := told.strangers(named)
	for _, s := range all {
		if s.letter.row.Protocol.Name != protocol {
			continue
		}
		one := s.outcome(found.copies(s), told)
		if one.doubled > 0 && s.id == "" && unnamed > 0 {
			one.marked, unnamed = 1, unnamed-1
		}
		sum := r.of[s.letter.row.Address]
		sum.add(one)
		r.of[s.letter.row.Address] = sum
	}
}

// outcome is what became of one submission.
func (s submission) outcome(c copies, told marks) (o outcome) {
	one := func(n *int, when bool) {
		if when {
			*n = 1
		}
	}
	answered := s.id != ""
	one(&o.messages, answered)
	one(&o.arrived, answered && c.least > 0)
	one(&o.lost, answered && c.least == 0)
	one(&o.repeated, !answered && c.most > 0)
	one(&o.doubled, c.most > 1)
	one(&o.marked, c.most > 1 && answered && told[s.id])
	one(&o.altered, c.differs)
	return o
}

// alien counts messages that are none of those handed in.
func (a arrived) alien(all []submission) (n int) {
	known := map[string]bool{}
	for _, s := range all {
		known[s.key] = true
	}
	for key := range a {
		if !known[key] {
			n++
		}
	}
	return n
}
