package inbound

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"mailporter/workers/internal/fault"
)

// cycle reads page after page until the folder has no more, or the limit per cycle is reached: full.
func (m *Mover) cycle(h *hold) (full bool, err error) {
	cursor, got, began := h.cursor(), 0, time.Now()
	defer func() {
		if got > 0 {
			m.Log.Info("moved mail", "messages", got, "seconds", time.Since(began).Seconds())
		}
	}()
	for {
		limit := m.Options.Page
		if m.Rules.MaxNumber > 0 {
			limit = min(limit, m.Rules.MaxNumber-got)
		}
		if limit <= 0 {
			return true, nil
		}
		page, err := m.list(h, cursor, limit)
		if err != nil {
			return false, err
		}
		n, err := m.page(h, page)
		if got += n; n > 0 {
			m.failures = 0 // the way is open: what failed may be tried soon
		}
		if err != nil || !page.More || h.next.Err() != nil {
			return false, err
		}
		cursor = page.Next
	}
}

// list lists from the cursor, or from the beginning if the server forgot it: keys keep what was moved from being doubled.
func (m *Mover) list(h *hold, cursor Cursor, limit int) (Page, error) {
	page, err := m.Source.List(h.next, cursor, limit)
	if err == nil || fault.Of(err) != fault.CursorLost || cursor == nil {
		return page, err
	}
	m.Metrics.cycle(m.Protocol, fault.CursorLost.String())
	m.Log.Warn("the cursor was lost; reading the folder from its beginning", "error", err)
	return m.Source.List(h.next, nil, limit)
}

// page moves one page, in the order Put, Settle, Save. It returns how many messages reached the sink for the first time.
// After an error what reached the sink is settled, but the cursor stays.
func (m *Mover) page(h *hold, page Page) (got int, err error) {
	p := &pass{mover: m, hold: h}
	err = p.carry(page.Items)
	got = m.remember(p)
	if failed := p.settle(); failed != nil {
		return got, errors.Join(err, failed)
	}
	if err != nil {
		return got, err
	}
	// Not before Settle: a cursor that runs ahead leaves mail unsettled for ever.
	if err := h.save(page.Next); err != nil {
		return got, fmt.Errorf("save the cursor: %w", err)
	}
	m.carried = nil
	return got, nil
}

// handle is one message as a page has it. Neither half alone will do: an ID may come to mean another message, and two
// messages may share a key by mistake.
type handle struct{ id, key string }

func (it Item) handle() handle { return handle{it.ID, it.Key} }

// remember notes what the sink has of this page, until the page is done with, so that one message that fails does not
// bring all others again, and counts what is new.
func (m *Mover) remember(p *pass) (fresh int) {
	if m.carried == nil {
		m.carried = map[handle]bool{}
	}
	for _, it := range slices.Concat(p.delivered, p.again) {
		if !m.carried[it.handle()] {
			fresh++
		}
		m.carried[it.handle()] = true
	}
	return fresh
}
