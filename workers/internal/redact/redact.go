// Package redact keeps correspondents out of the log. Servers name them in their replies ("550 5.1.1 <ann@elsewhere.example>
// unknown"), and an error carries the reply, so nobody who writes a log line can see to it alone: Handler stands before
// all of them. A mailbox is no correspondent; the operator must find it.
//
// What is taken out is what looks like an address. The whole reply stays where it is the operator's own: in the listing of
// the outbox, under the id that the line carries.
package redact

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
)

// address is anything with an @ between two marks that no address has. Replies write addresses in other forms too: as in
// URLs (RFC 3986 section 2.1), quoted-printable (RFC 2045 section 6.7) and xtext (RFC 3461 section 4), and local parts in
// quotes (RFC 5321 section 4.1.2).
var address = regexp.MustCompile(`(?i)("[^"\s]*")?[^\s<>"'()\[\],;:]*(?:[@＠]|%40|=40|\+40)[^\s<>"'()\[\],;:]*`)

// Mark stands where an address was.
const Mark = "[address]"

// Text is s without addresses but for those in keep.
func Text(s string, keep ...string) string {
	return address.ReplaceAllStringFunc(s, func(found string) string {
		if slices.ContainsFunc(keep, func(own string) bool { return strings.EqualFold(own, strings.TrimRight(found, ".?!")) }) {
			return found
		}
		return Mark
	})
}

// own is the key of the mailbox that a line is about.
const own = "mailbox"

// Handler takes addresses out of what goes to h: out of every value but the mailbox, which the other values may name too.
func Handler(h slog.Handler) slog.Handler { return &handler{next: h} }

type handler struct {
	next slog.Handler
	keep []string // the mailboxes of With
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.next.WithGroup(name), h.keep}
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(all []slog.Attr) slog.Handler {
	keep := append(slices.Clone(h.keep), mailboxes(all)...)
	return &handler{h.next.WithAttrs(cleaned(all, keep)), keep}
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	all := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		all = append(all, a)
		return true
	})
	keep := append(slices.Clone(h.keep), mailboxes(all)...)
	clean := slog.NewRecord(r.Time, r.Level, Text(r.Message, keep...), r.PC)
	clean.AddAttrs(cleaned(all, keep)...)
	return h.next.Handle(ctx, clean)
}

func mailboxes(all []slog.Attr) (found []string) {
	for _, a := range all {
		if a.Key == own {
			found = append(found, a.Value.Resolve().String())
		}
	}
	return found
}

func cleaned(all []slog.Attr, keep []string) []slog.Attr {
	out := make([]slog.Attr, len(all))
	for i, a := range all {
		out[i] = slog.Attr{Key: a.Key, Value: value(a.Key, a.Value.Resolve(), keep)}
	}
	return out
}

// value is v without addresses. What has none stays as it is: a number is no text.
func value(key string, v slog.Value, keep []string) slog.Value {
	switch v.Kind() {
	case slog.KindString:
		if key == own {
			return v
		}
		return slog.StringValue(Text(v.String(), keep...))
	case slog.KindGroup:
		return slog.GroupValue(cleaned(v.Group(), keep)...)
	case slog.KindAny:
		text := fmt.Sprint(v.Any())
		if clean := Text(text, keep...); clean != text {
			return slog.StringValue(clean)
		}
	}
	return v
}
