package main

import (
	"strings"

	"mailporter/sandbox"
)

// A protocol is one by which workers fetch mail.
type protocol struct {
	Name         string // as type has it
	Role         string // the application's permission
	Option       string // what pop-client needs besides
	dispositions []string
	server       func(*sandbox.Sandbox) string // address, or https://HOST:PORT/...
}

// Worker is the program that speaks it.
func (p protocol) Worker() string { return strings.ToLower(p.Name) + "-worker" }

// everything is what may become of a fetched message where the protocol has folders and flags.
var everything = []string{"keep", "mark-read", "move:Done", "delete"}

var protocols = []protocol{
	{Name: "IMAP", Role: "IMAP.AccessAsApp", Option: "mail.imap.auth.mechanisms: XOAUTH2", dispositions: everything,
		server: (*sandbox.Sandbox).IMAPAddr},
	{Name: "POP3", Role: "POP.AccessAsApp", Option: "mail.pop3.auth.mechanisms: XOAUTH2\n      mail.pop3.auth.xoauth2.two.line.authentication.format: true",
		dispositions: []string{"keep", "delete"}, server: (*sandbox.Sandbox).POP3Addr},
	{Name: "EWS", Role: "full_access_as_app", Option: "mail.ews.auth.mechanisms: XOAUTH2", dispositions: everything,
		server: (*sandbox.Sandbox).EWSURL},
	{Name: "GRAPH", Role: "Mail.ReadWrite", dispositions: everything,
		server: (*sandbox.Sandbox).GraphURL},
}

// sinks are the places that mail goes to, by the name that deliver-to has.
var sinks = []string{"maildir", "webhook", "redis-stream"}

// A box is one mailbox of the run.
type box struct {
	Address     string
	Protocol    protocol
	Sink        string
	Disposition string
}

// cast is one mailbox for each protocol, sink and disposition.
func cast() (all []box) {
	for _, p := range protocols {
		for _, sink := range sinks {
			for _, d := range p.dispositions {
				verb, _, _ := strings.Cut(d, ":")
				address := strings.ToLower(p.Name) + "-" + sink + "-" + verb + "@" + domain
				all = append(all, box{Address: address, Protocol: p, Sink: sink, Disposition: d})
			}
		}
	}
	return all
}

const (
	domain      = "contoso.example"
	tenant      = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	application = "11111111-2222-4333-8444-555555555555"
)

// provider is the configuration of the sandbox.
func provider(secret string) sandbox.Config {
	app := sandbox.App{ClientID: application, Name: "fleet", Secrets: []sandbox.Secret{{Value: secret}}, Mailboxes: []string{"*"}}
	var users []sandbox.User
	for _, p := range protocols {
		app.Roles = append(app.Roles, p.Role)
	}
	for _, b := range cast() {
		users = append(users, sandbox.User{Address: b.Address})
	}
	return sandbox.Config{
		TokenLife: tokenLife,
		Tenants:   []sandbox.Tenant{{ID: tenant, Domains: []string{domain}, Apps: []sandbox.App{app}, Users: users}},
	}
}
