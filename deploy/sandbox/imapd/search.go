package imapd

import (
	"bytes"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
)

// matches implements SEARCH (RFC 3501 section 6.4.4). Bodies are searched as they are on the wire, not decoded.
func (v *view) matches(n numbered, c *imap.SearchCriteria) (bool, error) {
	if !v.matchesEnvelope(n, c) {
		return false, nil
	}
	if ok, err := matchesContent(n, c); err != nil || !ok {
		return false, err
	}
	for i := range c.Not {
		if ok, err := v.matches(n, &c.Not[i]); err != nil || ok {
			return false, err
		}
	}
	for i := range c.Or {
		left, err := v.matches(n, &c.Or[i][0])
		if err != nil {
			return false, err
		}
		right, err := v.matches(n, &c.Or[i][1])
		if err != nil || (!left && !right) {
			return false, err
		}
	}
	return true, nil
}

// matchesEnvelope checks what the store knows without the message's bytes.
func (v *view) matchesEnvelope(n numbered, c *imap.SearchCriteria) bool {
	m := n.message
	for _, set := range c.SeqNum {
		if !in(v.static(set), n) {
			return false
		}
	}
	for _, set := range c.UID {
		if !in(v.static(set), n) {
			return false
		}
	}
	if slices.ContainsFunc(c.Flag, func(f imap.Flag) bool { return !m.Has(string(f)) }) ||
		slices.ContainsFunc(c.NotFlag, func(f imap.Flag) bool { return m.Has(string(f)) }) {
		return false
	}
	return within(m.Received, c.Since, c.Before) &&
		(c.Larger == 0 || m.Size > c.Larger) && (c.Smaller == 0 || m.Size < c.Smaller)
}

// within compares days, without regard to time and zone.
func within(t, since, before time.Time) bool {
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return (since.IsZero() || !day.Before(since)) && (before.IsZero() || day.Before(before))
}

func matchesContent(n numbered, c *imap.SearchCriteria) (bool, error) {
	if len(c.Header) == 0 && len(c.Body) == 0 && len(c.Text) == 0 && c.SentSince.IsZero() && c.SentBefore.IsZero() {
		return true, nil
	}
	raw, err := n.message.Raw()
	if err != nil {
		return false, err
	}
	head, text := split(raw)
	header := mail.Header{}
	if m, err := mail.ReadMessage(bytes.NewReader(head)); err == nil {
		header = m.Header
	}
	for _, h := range c.Header {
		if !hasField(header, h) {
			return false, nil
		}
	}
	for _, s := range c.Body {
		if !contains(text, s) {
			return false, nil
		}
	}
	for _, s := range c.Text {
		if !contains(raw, s) {
			return false, nil
		}
	}
	if c.SentSince.IsZero() && c.SentBefore.IsZero() {
		return true, nil
	}
	sent, err := header.Date()
	return err == nil && within(sent, c.SentSince, c.SentBefore), nil
}

func hasField(header mail.Header, h imap.SearchCriteriaHeaderField) bool {
	return slices.ContainsFunc(header[textproto.CanonicalMIMEHeaderKey(h.Key)], func(v string) bool {
		return strings.Contains(strings.ToLower(v), strings.ToLower(h.Value))
	})
}

func contains(b []byte, s string) bool {
	return bytes.Contains(bytes.ToLower(b), bytes.ToLower([]byte(s)))
}
