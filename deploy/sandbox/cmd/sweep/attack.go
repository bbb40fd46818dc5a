package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"mailporter/sandbox/fault"
)

// A phase is the time during which one step is under attack.
type phase struct {
	*sweep
	row  row
	crew *crew
	lot  *rand.Rand
	over time.Duration

	mu      sync.Mutex // of what submitters change
	hits    int
	last    time.Time // of the last kill under a submitter's hands
	trouble error     // of a worker that did not come back
}

const (
	// reached is how long a step may be waited for. One that is never taken proves nothing.
	reached = 40 * time.Second
	// blink is how often the provider is asked whether the step was taken.
	blink = time.Millisecond
	// effect is how long a step takes that is done before its answer is held back. Were it longer the worker would die
	// before the step, which is another row.
	effect = 20 * time.Millisecond
	// breath is between two attacks, on average: what is cut again and again only waits longer and longer.
	breath = 150 * time.Millisecond
	// recovery is between two kills of the submitter's worker.
	recovery = time.Second
)

// run hands the row's letters in while its step is under attack. Letters that are not sent by the end are sent in later phases.
func (p *phase) run(ctx context.Context, letters []letter) error {
	mail := post{ledger: &p.ledger, crew: p.crew, over: p.over * 9 / 10}
	if p.row.step.door != 0 {
		mail.at = func(d *door, m moment) { p.interrupt(ctx, d, m) }
		return errors.Join(mail.all(ctx, letters), p.trouble)
	}
	enough, stop := context.WithTimeout(ctx, p.over)
	defer stop()
	first, err := p.arm()
	if err != nil {
		return err
	}
	posted := make(chan error, 1)
	go func() { posted <- mail.all(ctx, letters) }()
	err = p.attack(ctx, enough, first)
	if perr := <-posted; perr != nil {
		return perr
	}
	return err
}

// attack strikes again and again until there was enough of it.
func (p *phase) attack(ctx, enough context.Context, t trap) (err error) {
	for {
		hit, err := p.strike(ctx, enough, t)
		switch {
		case err != nil:
			return err
		case hit:
			p.hits++
		case p.hits == 0:
			return fmt.Errorf("%s, %s: the step was never taken", p.row.Protocol.Name, p.row.step.name)
		}
		if sleep(enough, breath/2+time.Duration(p.lot.Int64N(int64(breath)))) != nil {
			return ctx.Err()
		}
		if t, err = p.arm(); err != nil {
			return err
		}
	}
}

// A trap is the rule that strikes at the step, and the one that leads there.
type trap struct{ at, lead string }

// arm sets the rules of one attack.
func (p *phase) arm() (t trap, err error) {
	faults := p.provider.Faults()
	if p.row.step.lead != nil {
		lead := *p.row.step.lead
		lead.Mailbox, lead.Count = p.row.Address, 1
		if t.lead, err = faults.TryAdd(lead); err != nil {
			return t, err
		}
	}
	t.at, err = faults.TryAdd(p.row.rule(p.lot))
	return t, err
}

func (p *phase) disarm(t trap) {
	p.provider.Faults().Remove(t.lead)
	p.provider.Faults().Remove(t.at)
}

// strike waits for the step to be taken, and kills whoever took it. The first one is waited for longer than the phase lasts.
func (p *phase) strike(ctx, enough context.Context, t trap) (hit bool, err error) {
	defer p.disarm(t)
	patient, stop := context.WithTimeout(ctx, reached)
	defer stop()
	if p.hits > 0 {
		patient = enough
	}
	for p.provider.Faults().Fired(t.at) == 0 {
		if sleep(patient, blink) != nil {
			return false, ctx.Err()
		}
	}
	if p.row.how == cut {
		return true, nil
	}
	if p.row.action() == fault.HoldAnswer {
		time.Sleep(effect)
	}
	return true, p.crew.kill(ctx)
}

// interrupt is what happens to a submitter: his link is cut, or the worker dies under his hands.
func (p *phase) interrupt(ctx context.Context, d *door, m moment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m != p.row.step.door || p.row.how == cut && p.lot.IntN(4) != 0 && p.hits > 0 || p.row.how == killed && time.Since(p.last) < recovery {
		return
	}
	p.hits++
	if p.row.how == cut {
		d.reset()
		return
	}
	p.trouble = errors.Join(p.trouble, p.crew.kill(ctx))
	p.last = time.Now()
}
