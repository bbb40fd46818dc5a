package report

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"mailporter/workers/internal/outbound"
)

// status is the part for programs: RFC 3464 section 2.1, a group of fields about the message and one about each recipient.
// Addresses beyond ASCII make it a message/global-delivery-status, whose fields are in UTF-8: RFC 6533 section 4.
func (w Writer) status(n outbound.Notice) part {
	groups := [][]field{w.message(n)}
	p := part{kind: "message/delivery-status", encoding: sevenBit}
	for _, to := range n.Recipients {
		groups = append(groups, recipient(n, to))
		if !ascii(to.Recipient.Address) || !ascii(originalRecipient(to.Original)) {
			p = part{kind: "message/global-delivery-status", encoding: quoted}
		}
	}
	var b strings.Builder
	for i, g := range groups {
		if i > 0 {
			b.WriteString("\r\n")
		}
		for _, f := range g {
			if p.encoding == sevenBit {
				f.value = plain(f.value)
			}
			b.WriteString(fold(f))
		}
	}
	p.content = []byte(b.String())
	return p
}

func (w Writer) message(n outbound.Notice) []field {
	all := []field{{"Reporting-MTA", "dns; " + line(w.Hostname)}}
	if id, ok := xtext(n.Job.Envelope.ID); ok && id != "" {
		all = append(all, field{"Original-Envelope-Id", id})
	}
	return append(all, field{"Arrival-Date", date(n.Job.Accepted)})
}

func recipient(n outbound.Notice, to outbound.Outcome) []field {
	var all []field
	if o := originalRecipient(to.Original); o != "" {
		all = append(all, field{"Original-Recipient", o})
	}
	all = append(all,
		field{"Final-Recipient", addressType(to.Recipient.Address) + "; " + line(to.Recipient.Address)},
		field{"Action", string(n.Action)},
		field{"Status", code(n.Action, to.Status)})
	switch {
	case to.Reply != "":
		all = append(all, field{"Diagnostic-Code", "smtp; " + line(to.Reply)})
	case to.Reason != "":
		all = append(all, field{"Diagnostic-Code", "x-mailporter; " + line(to.Reason)})
	}
	all = append(all, field{"Last-Attempt-Date", date(n.Attempted)})
	if n.Action == outbound.Delayed && !n.Until.IsZero() {
		all = append(all, field{"Will-Retry-Until", date(n.Until)})
	}
	return all
}

func addressType(address string) string {
	if ascii(address) {
		return "rfc822"
	}
	return "utf-8"
}

// originalForm is ORCPT: RFC 3461 section 4.2.
var originalForm = regexp.MustCompile(`^[A-Za-z0-9-]+;`)

// originalRecipient is ORCPT as Original-Recipient has it; empty if there is none, or one that nobody could read.
func originalRecipient(orcpt string) string {
	kind, address, _ := strings.Cut(orcpt, ";")
	address, ok := xtext(address)
	if !ok || address == "" || !originalForm.MatchString(orcpt) {
		return ""
	}
	if strings.EqualFold(kind, "utf-8") {
		address = unicodes(address)
	}
	return kind + "; " + address
}

// code is the status of an action: RFC 3464 section 2.3.4 gives each its own first digits.
func code(a outbound.Action, status string) string {
	switch {
	case a == outbound.Relayed:
		return "2.0.0"
	case a == outbound.Delayed && status != "":
		return "4" + status[1:] // some servers say 5 of what passes: a daily limit
	case a == outbound.Delayed:
		return "4.0.0"
	}
	return cmp.Or(status, "5.0.0")
}

// plain is s in ASCII, as well as can be.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r > 0x7e {
			return '?'
		}
		return r
	}, s)
}

// Widths of lines, in bytes.
const (
	wished   = 76
	unbroken = 900 // of a word: longer ones are cut
)

// fold writes a field over as many lines as it takes: RFC 5322 section 2.2.3.
func fold(f field) string {
	if whole := f.name + ": " + f.value; len(whole) <= wished {
		return whole + "\r\n"
	}
	var b strings.Builder
	b.WriteString(f.name + ":")
	width := b.Len()
	for word := range strings.FieldsSeq(f.value) {
		for ; len(word) > unbroken; word = word[len(head(word)):] {
			fmt.Fprintf(&b, "\r\n %s", head(word))
			width = unbroken
		}
		if width+1+len(word) > wished && width > len(f.name)+1 {
			b.WriteString("\r\n")
			width = 0
		}
		b.WriteString(" " + word)
		width += 1 + len(word)
	}
	return b.String() + "\r\n"
}

// head is as much of a word as fits into a line, in whole runes.
func head(word string) string { return strings.ToValidUTF8(word[:unbroken], "") }
