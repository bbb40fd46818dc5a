package inbound

import (
	"errors"
	"fmt"
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
		got += n
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

// page moves one page, in the order Put, Settle, Save. It returns how many messages reached the sink. After an error what
// reached the sink is settled, but the cursor stays.
func (m *Mover) page(h *hold, page Page) (got int, err error) {
	p := &pass{mover: m, hold: h}
	err = p.carry(page.Items)
	if failed := p.settle(); failed != nil {
		return len(p.delivered), errors.Join(err, failed)
	}
	if err != nil {
		return len(p.delivered), err
	}
	// Not before Settle: a cursor that runs ahead leaves mail unsettled for ever.
	if err := h.save(page.Next); err != nil {
		return len(p.delivered), fmt.Errorf("save the cursor: %w", err)
	}
	return len(p.delivered), nil
}
