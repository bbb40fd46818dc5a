package fault

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// A Plan holds the rules in force. It is safe for any number of goroutines; the zero value is an empty plan.
type Plan struct {
	mu    sync.Mutex
	rules []*active
}

type active struct {
	Rule
	passed int
}

// A Point is a moment at which something could go wrong.
type Point struct {
	Target, Step, Mailbox, Client string
}

// Add puts a rule at the end of the plan and returns its ID. It panics on a rule that Validate refuses: a test with a
// misspelt step would otherwise pass without a fault.
func (p *Plan) Add(r Rule) string {
	id, err := p.TryAdd(r)
	if err != nil {
		panic(fmt.Sprintf("fault: %v", err))
	}
	return id
}

// TryAdd is Add for rules that come from outside.
func (p *Plan) TryAdd(r Rule) (string, error) {
	if err := r.Validate(); err != nil {
		return "", err
	}
	if r.ID == "" {
		r.ID = strings.ToLower(rand.Text()[:8])
	}
	r.Fired = 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, &active{Rule: r})
	return r.ID, nil
}

// Remove takes a rule out and tells whether it was there.
func (p *Plan) Remove(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range p.rules {
		if r.ID == id {
			p.rules = append(p.rules[:i:i], p.rules[i+1:]...)
			return true
		}
	}
	return false
}

// Clear takes all rules out.
func (p *Plan) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

// Rules returns all rules with their counts, those that are used up included.
func (p *Plan) Rules() []Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Rule, 0, len(p.rules))
	for _, r := range p.rules {
		out = append(out, r.Rule)
	}
	return out
}

// Fired tells how often a rule happened.
func (p *Plan) Fired(id string) int {
	for _, r := range p.Rules() {
		if r.ID == id {
			return r.Fired
		}
	}
	return 0
}

// Take returns the rule that happens at this point, and counts it; nil: nothing goes wrong.
func (p *Plan) Take(at Point) *Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.rules {
		if !r.matches(at) || (r.Count > 0 && r.Fired >= r.Count) {
			continue
		}
		if r.passed < r.After {
			r.passed++
			continue
		}
		r.Fired++
		fired := r.Rule
		return &fired
	}
	return nil
}

func (r *Rule) matches(at Point) bool {
	return r.Target == at.Target &&
		(r.Step == "" || r.Step == at.Step) &&
		(r.Mailbox == "" || strings.EqualFold(r.Mailbox, at.Mailbox)) &&
		(r.Client == "" || strings.EqualFold(r.Client, at.Client))
}

// Wait waits for d, or until ctx ends.
func Wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// WaitGone swallows what comes over a connection until it ends: the peer goes away, or somebody closes it.
func WaitGone(c net.Conn) {
	_ = c.SetReadDeadline(time.Time{}) // an error means that it is gone
	_, _ = io.Copy(io.Discard, c)
}

// ResetConn closes a connection so that the peer sees a reset rather than an orderly end, through any TLS around it.
func ResetConn(c net.Conn) {
	for {
		inner, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = inner.NetConn()
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the close below is still an end, only a politer one
	}
	_ = c.Close() // it is thrown away: nobody could do anything about an error
}
