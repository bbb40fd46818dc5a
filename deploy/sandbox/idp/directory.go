package idp

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// lockoutAfter wrong passwords in a row an account is locked, as Entra's smart lockout does by default.
const lockoutAfter = 10

// A Directory knows tenants, applications, users and rights. It is safe for any number of goroutines; lookups return
// copies.
type Directory struct {
	mu      sync.RWMutex
	tenants []Tenant
	google  Google
	wrong   map[string]int // wrong passwords in a row, by address
}

// NewDirectory returns a directory or every complaint about what it was given.
func NewDirectory(tenants []Tenant, google Google) (*Directory, error) {
	d := &Directory{tenants: slices.Clone(tenants), google: google, wrong: map[string]int{}}
	return d, d.validate()
}

func (d *Directory) validate() error {
	var errs []error
	seen := map[string]bool{}
	once := func(kind, name string) {
		key := kind + " " + lower(name)
		switch {
		case name == "":
			errs = append(errs, fmt.Errorf("%s: empty", kind))
		case seen[key]:
			errs = append(errs, fmt.Errorf("%s %q: twice", kind, name))
		}
		seen[key] = true
	}
	for _, t := range d.tenants {
		once("tenant id", t.ID)
		for _, domain := range t.Domains {
			once("domain", domain)
		}
		for _, f := range t.Federated {
			if !slices.ContainsFunc(t.Domains, func(s string) bool { return lower(s) == lower(f.Domain) }) {
				errs = append(errs, fmt.Errorf("federated-domains %q: not a domain of tenant %s", f.Domain, t.ID))
			}
		}
		for _, a := range t.Apps {
			once("client-id in "+t.ID, a.ClientID)
			errs = append(errs, a.checkKeys())
		}
		for _, u := range t.Users {
			once("user", u.Address)
			if !slices.ContainsFunc(t.Domains, func(s string) bool { return lower(s) == domainOf(u.Address) }) {
				errs = append(errs, fmt.Errorf("user %q: not in a domain of tenant %s", u.Address, t.ID))
			}
		}
	}
	for _, c := range d.google.Clients {
		once("google client id", c.ID)
	}
	for _, a := range d.google.ServiceAccounts {
		once("service account", a.Email)
		errs = append(errs, a.checkKeys())
	}
	for _, u := range d.google.Users {
		once("user", u.Address)
		switch u.POPDelete {
		case "", POPRemove, POPTrash, POPKeep, POPMarkRead:
		default:
			errs = append(errs, fmt.Errorf("user %q: pop-delete %q: use delete, trash, keep or mark-read", u.Address, u.POPDelete))
		}
	}
	return errors.Join(errs...)
}

// tenant finds a tenant by id or domain.
func (d *Directory) tenant(name string) (Tenant, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	name = lower(name)
	for _, t := range d.tenants {
		if lower(t.ID) == name || slices.ContainsFunc(t.Domains, func(s string) bool { return lower(s) == name }) {
			return t, true
		}
	}
	return Tenant{}, false
}

// TenantOf returns the tenant that an address belongs to, or "" if it is none of Entra's.
func (d *Directory) TenantOf(addr string) string {
	t, ok := d.tenant(domainOf(addr))
	if !ok {
		return ""
	}
	return t.ID
}

func (t *Tenant) app(clientID string) (App, bool) {
	i := slices.IndexFunc(t.Apps, func(a App) bool { return lower(a.ClientID) == lower(clientID) })
	if i < 0 {
		return App{}, false
	}
	return t.Apps[i], true
}

func (t *Tenant) user(addr string) (User, bool) {
	i := slices.IndexFunc(t.Users, func(u User) bool { return lower(u.Address) == lower(addr) })
	if i < 0 {
		return User{}, false
	}
	return t.Users[i], true
}

// User finds a user of any tenant.
func (d *Directory) User(addr string) (User, bool) {
	t, ok := d.tenant(domainOf(addr))
	if !ok {
		return User{}, false
	}
	return t.user(addr)
}

// GoogleUser finds a Gmail account.
func (d *Directory) GoogleUser(addr string) (GoogleUser, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, u := range d.google.Users {
		if lower(u.Address) == lower(addr) {
			return u, true
		}
	}
	return GoogleUser{}, false
}

func (d *Directory) googleClient(id string) (GoogleClient, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, c := range d.google.Clients {
		if c.ID == id {
			return c, true
		}
	}
	return GoogleClient{}, false
}

// Local tells whether mail for the domain of this address arrives here: an unknown recipient in it is an error.
func (d *Directory) Local(addr string) bool {
	domain := domainOf(addr)
	if _, ok := d.tenant(domain); ok {
		return true
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.ContainsFunc(d.google.Domains, func(s string) bool { return lower(s) == domain }) ||
		slices.ContainsFunc(d.google.Users, func(u GoogleUser) bool { return domainOf(u.Address) == domain })
}

// Addresses returns the mailboxes of Entra's tenants and those of Google.
func (d *Directory) Addresses() (exchange, gmail []string) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, t := range d.tenants {
		for _, u := range t.Users {
			exchange = append(exchange, lower(u.Address))
		}
	}
	for _, u := range d.google.Users {
		gmail = append(gmail, lower(u.Address))
	}
	return exchange, gmail
}

// UpdateApp changes an application while the sandbox runs: a rotated secret, a withdrawn permission.
func (d *Directory) UpdateApp(tenant, clientID string, change func(*App)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.tenants {
		if lower(d.tenants[i].ID) != lower(tenant) {
			continue
		}
		apps := slices.Clone(d.tenants[i].Apps)
		for j := range apps {
			if lower(apps[j].ClientID) == lower(clientID) {
				apps[j] = apps[j].clone()
				change(&apps[j])
				d.tenants[i].Apps = apps
				return true
			}
		}
	}
	return false
}

// UpdateUser changes a user of a tenant while the sandbox runs. It also forgets his wrong passwords.
func (d *Directory) UpdateUser(addr string, change func(*User)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.wrong, lower(addr))
	for i := range d.tenants {
		users := slices.Clone(d.tenants[i].Users)
		for j := range users {
			if lower(users[j].Address) == lower(addr) {
				users[j] = users[j].clone()
				change(&users[j])
				d.tenants[i].Users = users
				return true
			}
		}
	}
	return false
}

// clone copies what a change might write to: readers may still hold the old one.
func (a App) clone() App {
	a.Secrets, a.Roles, a.Scopes = slices.Clone(a.Secrets), slices.Clone(a.Roles), slices.Clone(a.Scopes)
	a.Certificates, a.Federated = slices.Clone(a.Certificates), slices.Clone(a.Federated)
	a.Mailboxes, a.SendAs = slices.Clone(a.Mailboxes), slices.Clone(a.SendAs)
	return a
}

func (u User) clone() User {
	u.FullAccess, u.SendAs = slices.Clone(u.FullAccess), slices.Clone(u.SendAs)
	return u
}
