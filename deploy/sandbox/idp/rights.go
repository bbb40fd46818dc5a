package idp

import (
	"crypto/subtle"
	"slices"
	"strings"
)

// MayOpen tells whether the token's bearer has access to a mailbox of Exchange: his own, one with full access, or, without
// a user, one that was granted to the application.
func (d *Directory) MayOpen(c Claims, mailbox string) bool {
	t, ok := d.tenant(c.Tenant)
	if !ok {
		return false
	}
	if _, ok := t.user(mailbox); !ok {
		return false
	}
	if c.User == "" {
		app, _ := t.app(c.Client)
		return granted(app.Mailboxes, mailbox)
	}
	u, _ := t.user(c.User)
	return lower(c.User) == lower(mailbox) || granted(u.FullAccess, mailbox)
}

// MaySendAs tells whether somebody who opened a mailbox may send with another sender address.
func (d *Directory) MaySendAs(c Claims, mailbox, sender string) bool {
	if lower(mailbox) == lower(sender) || (c.User != "" && lower(c.User) == lower(sender)) {
		return true
	}
	t, ok := d.tenant(c.Tenant)
	if !ok {
		return false
	}
	if c.User == "" {
		app, _ := t.app(c.Client)
		return granted(app.SendAs, sender)
	}
	u, _ := t.user(c.User)
	return granted(u.SendAs, sender)
}

func granted(list []string, addr string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return s == "*" || lower(s) == lower(addr) })
}

// Password checks a password for basic authentication at the mail servers, of either provider.
func (d *Directory) Password(addr, password string) bool {
	if u, ok := d.User(addr); ok {
		return u.Password != "" && !u.BasicDisabled && !u.Disabled && !u.Locked && !u.MFA && same(u.Password, password)
	}
	// Google shows app passwords in groups of four and takes them with or without the blanks.
	u, ok := d.GoogleUser(addr)
	squeeze := func(s string) string { return strings.ReplaceAll(s, " ", "") }
	return ok && u.AppPassword != "" && same(squeeze(u.AppPassword), squeeze(password))
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// missed counts a wrong password (right: forgets them) and tells whether the account is locked by now.
func (d *Directory) missed(addr string, right bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	addr = lower(addr)
	if d.wrong[addr] >= lockoutAfter {
		return true
	}
	if right {
		delete(d.wrong, addr)
		return false
	}
	d.wrong[addr]++
	return false
}
