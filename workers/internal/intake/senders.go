package intake

import (
	"slices"
	"strings"
	"sync/atomic"

	"mailporter/kit/tokenclient"
)

// Senders knows which mailbox sends for an address. The zero value knows that it knows nothing yet.
type Senders struct {
	book atomic.Pointer[book]
}

// book holds the mailboxes that send for an address, the one that comes first in front. Keys are addresses and, as @domain,
// what a leading *@ matches, in lower case.
type book map[string][]string

// Set takes the full set of mailboxes. A mailbox's own address comes before any alias; of two mailboxes with the same
// alias the first has it.
func (s *Senders) Set(all []tokenclient.Settings) {
	b := book{}
	for _, m := range all {
		b.add(m.Mailbox, m.Mailbox)
	}
	for _, m := range all {
		for _, alias := range m.Outbound.SenderAliases {
			b.add(strings.TrimPrefix(alias, "*"), m.Mailbox)
		}
	}
	s.book.Store(&b)
}

func (b book) add(key, mailbox string) {
	key = strings.ToLower(key)
	b[key] = append(b[key], mailbox)
}

// of lists the mailboxes that send for an address: those that name it come before those that name its domain.
func (b book) of(address string) []string {
	address = strings.ToLower(address)
	all := slices.Clone(b[address])
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		all = append(all, b[address[at:]]...)
	}
	return all
}

// Find is the mailbox that sends for an address; empty if none does. known is false while no set was given.
func (s *Senders) Find(address string) (mailbox string, known bool) {
	b := s.book.Load()
	if b == nil {
		return "", false
	}
	if all := b.of(address); len(all) > 0 {
		return all[0], true
	}
	return "", true
}

// Sends says whether a mailbox is there and sends for an address, and how its address is written; an empty address belongs to
// every mailbox. known is false while no set was given.
func (s *Senders) Sends(mailbox, address string) (name string, known bool) {
	b := s.book.Load()
	if b == nil {
		return "", false
	}
	if address == "" {
		address = mailbox
	}
	all := b.of(address)
	if i := slices.IndexFunc(all, func(m string) bool { return strings.EqualFold(m, mailbox) }); i >= 0 {
		return all[i], true
	}
	return "", true
}

// A Submitter is somebody who proved who he is, and the addresses that he may send as.
type Submitter struct {
	Name    string   // of a login, or the identity of a certificate
	Senders []string // addresses, or *@domain; nil = as every mailbox that this worker serves
}

// MaySend says whether the submitter may send as an address.
func (s Submitter) MaySend(address string) bool {
	return s.Senders == nil || slices.ContainsFunc(s.Senders, func(p string) bool { return matches(p, address) })
}

func matches(pattern, address string) bool {
	if domain, ok := strings.CutPrefix(pattern, "*@"); ok {
		at := strings.LastIndexByte(address, '@')
		return at >= 0 && strings.EqualFold(address[at+1:], domain)
	}
	return strings.EqualFold(pattern, address)
}
