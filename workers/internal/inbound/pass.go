package inbound

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"mailporter/workers/internal/fault"
)

// pass is the way of one page from Source to Sink. One goroutine reads the Source; several put.
type pass struct {
	mover *Mover
	hold  *hold

	mu        sync.Mutex
	delivered []Item // the sink has them
	again     []Item // it had them before, and they were not put again
	gone      []string
	refused   []refusal // never to be delivered
	failed    []failure // to be tried again
}

type refusal struct {
	item   Item
	reason string
}

type failure struct {
	item   Item
	inSink bool
	err    error
}

// maxFailed is how many messages may fail in one pass before the rest is not tried.
const maxFailed = 3

// carry puts what can be put and quarantines what never can. nil: every item is done with.
func (p *pass) carry(items []Item) error {
	items, err := p.pick(items)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, p.mover.Options.Puts)
	var puts sync.WaitGroup
	stopped := p.read(items, slots, &puts)
	puts.Wait()
	if err := p.setAsideRefused(); err != nil {
		return err
	}
	if err := p.verdict(); err != nil {
		return err
	}
	return stopped
}

// pick leaves out what is listed twice, too large, was passed over before, or is in the sink already. One of these is put
// again: that the sink takes it shows that it is there, and what fails beside it is to blame itself.
func (p *pass) pick(items []Item) ([]Item, error) {
	m := p.mover
	seen, probe := map[string]bool{}, false
	var todo []Item
	for _, it := range items {
		if seen[it.ID] {
			continue
		}
		seen[it.ID] = true
		if m.carried[it.handle()] && probe {
			p.again = append(p.again, it)
			continue
		}
		probe = probe || m.carried[it.handle()]
		noted, err := m.Quarantine.Has(p.hold.work, m.Folder, it.Key)
		switch {
		case err != nil:
			return nil, fmt.Errorf("look into the quarantine: %w", err)
		case noted: // a crash may have come between the note and the move
			p.refused = append(p.refused, refusal{item: it})
		case m.Rules.MaxSize > 0 && it.Size > m.Rules.MaxSize:
			p.refused = append(p.refused, refusal{it, tooLarge(it.Size, m.Rules.MaxSize)})
		default:
			todo = append(todo, it)
		}
	}
	return todo, nil
}

func tooLarge(size, limit int64) string {
	return fmt.Sprintf("%d bytes are more than maximum-msg-size, %d", size, limit)
}

// errStopped says that the process is to end, and the page is not done.
var errStopped = errors.New("stopped before the end of the page")

// read opens and spools one message after the other and hands them to putting goroutines.
func (p *pass) read(items []Item, slots chan struct{}, puts *sync.WaitGroup) error {
	for _, it := range items {
		select {
		case slots <- struct{}{}:
		case <-p.hold.work.Done():
			return context.Cause(p.hold.work)
		}
		if p.hold.next.Err() != nil {
			return errStopped
		}
		body, err := p.open(it)
		if err != nil {
			<-slots
			if p.unread(it, err) {
				return nil
			}
			continue
		}
		puts.Go(func() {
			p.put(it, body)
			<-slots
		})
		if p.tooManyFailed() {
			return nil
		}
	}
	return nil
}

// open reads one message into the spool.
func (p *pass) open(it Item) (*spooled, error) {
	r, err := p.mover.Source.Open(p.hold.work, it.ID)
	if err != nil {
		return nil, fmt.Errorf("open a message: %w", err)
	}
	body, err := spool(r, p.mover.Options.SpoolDir, p.mover.Rules.MaxSize)
	if err := errors.Join(err, r.Close()); err != nil {
		if body != nil {
			err = errors.Join(err, body.drop())
		}
		return nil, fmt.Errorf("read a message: %w", err)
	}
	return body, nil
}

// unread decides about a message that could not be read; true: nothing more can be read now.
func (p *pass) unread(it Item, err error) (stop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(err, errTooLarge) {
		p.refused = append(p.refused, refusal{it, fmt.Sprintf("more than maximum-msg-size, %d bytes", p.mover.Rules.MaxSize)})
		return false
	}
	switch fault.Of(err) {
	case fault.Gone:
		p.gone = append(p.gone, it.ID)
		return false
	case fault.Permanent:
		p.refused = append(p.refused, refusal{it, oneLine(err)})
		return false
	case fault.Auth, fault.Throttled:
		p.failed = append(p.failed, failure{it, false, err})
		return true
	}
	p.failed = append(p.failed, failure{it, false, err})
	return len(p.failed) >= maxFailed || errors.Is(err, ErrSessionOver)
}

func (p *pass) tooManyFailed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.failed) >= maxFailed
}

// put gives one message to the sink.
func (p *pass) put(it Item, body *spooled) {
	m, began := p.mover, time.Now()
	err := m.Sink.Put(p.hold.work, m.Folder, it, body)
	m.Metrics.put(m.Protocol, body.Size(), time.Since(began), err)
	if err := body.drop(); err != nil {
		m.Log.Warn("cannot free the spool", "error", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.delivered = append(p.delivered, it)
		m.Status.delivered()
	case fault.Of(err) == fault.Permanent:
		p.refused = append(p.refused, refusal{it, "the sink refused it: " + oneLine(err)})
	default:
		p.failed = append(p.failed, failure{it, true, fmt.Errorf("put a message: %w", err)})
	}
}

// settle settles what the sink has.
func (p *pass) settle() error {
	if len(p.delivered)+len(p.again)+len(p.gone) == 0 {
		return nil
	}
	if p.hold.work.Err() != nil {
		return context.Cause(p.hold.work) // somebody else may have the folder
	}
	ids := append([]string(nil), p.gone...)
	for _, it := range slices.Concat(p.delivered, p.again) {
		ids = append(ids, it.ID)
		delete(p.mover.stubborn, it.Key)
	}
	if err := p.mover.Source.Settle(p.hold.work, ids); err != nil {
		return fmt.Errorf("settle %d messages: %w", len(ids), err)
	}
	return nil
}

// maxPasses is how often one message may fail, while others get through, before it is passed over.
const maxPasses = 6

// verdict is the error of the pass; nil if every failure was of a message that is passed over from now on.
func (p *pass) verdict() error {
	var errs []error
	var given []refusal
	for _, f := range p.failed {
		if p.hopeless(f) {
			given = append(given, refusal{f.item, fmt.Sprintf("gave up after %d attempts: %s", maxPasses, oneLine(f.err))})
		} else {
			errs = append(errs, f.err)
		}
	}
	p.refused = given
	if err := p.setAsideRefused(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		clear(p.mover.stubborn)
		return nil
	}
	return errs[0] // the others will show again if they matter
}

// hopeless counts a failure of one message and says whether it is enough. The folder was listed in this pass, so the
// server is there; that the sink is, only another message can prove.
func (p *pass) hopeless(f failure) bool {
	kind := fault.Of(f.err)
	if p.mover.carried[f.item.handle()] {
		return false // the sink has it
	}
	if kind != fault.Temporary || needsHuman(f.err) || errors.Is(f.err, ErrSessionOver) || p.hold.next.Err() != nil {
		return false
	}
	if f.inSink && len(p.delivered) == 0 {
		return false
	}
	p.mover.stubborn[f.item.Key]++
	return p.mover.stubborn[f.item.Key] >= maxPasses
}

// setAsideRefused quarantines p.refused. It uses the Source: not while read runs.
func (p *pass) setAsideRefused() error {
	for _, r := range p.refused {
		if err := p.mover.quarantine(p.hold, r.item, r.reason); err != nil {
			return err
		}
	}
	p.refused = nil
	return nil
}

// quarantine notes a message and moves it aside if the source can. An empty reason: it is noted already.
func (m *Mover) quarantine(h *hold, it Item, reason string) error {
	q := Quarantined{Folder: m.Folder, Item: it, Reason: reason, Since: time.Now().UTC().Truncate(time.Millisecond)}
	if reason != "" {
		if err := m.Quarantine.Note(h.work, q); err != nil {
			return fmt.Errorf("note a message in the quarantine: %w", err)
		}
		delete(m.stubborn, it.Key)
		m.Metrics.message(m.Protocol, "quarantined")
		m.Status.quarantined()
		m.Log.Warn("quarantined a message", "reason", reason, "id", it.ID, "bytes", it.Size)
	}
	moved, err := m.setAside(h, it.ID)
	if err != nil || !moved {
		return err
	}
	q.Moved = true
	if err := m.Quarantine.Note(h.work, q); err != nil {
		return fmt.Errorf("note a message in the quarantine: %w", err)
	}
	return nil
}

// setAside moves a message to the failed-items folder. A folder that will not take it leaves the message where it is.
func (m *Mover) setAside(h *hold, id string) (moved bool, err error) {
	s, ok := m.Source.(SetterAside)
	if !ok {
		return false, nil
	}
	moved, err = s.SetAside(h.work, id)
	switch kind := fault.Of(err); {
	case err == nil:
		return moved, nil
	case kind == fault.Gone:
		return false, nil
	case kind == fault.Permanent:
		m.Log.Warn("cannot move a message to the failed-items folder", "error", err)
		return false, nil
	}
	return false, fmt.Errorf("set a message aside: %w", err)
}

// oneLine is an error's text for people, bounded.
func oneLine(err error) string {
	s := strings.Join(strings.Fields(err.Error()), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}
