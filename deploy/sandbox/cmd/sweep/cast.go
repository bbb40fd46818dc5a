package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"
)

// A protocol is one by which workers send.
type protocol struct {
	Name   string // as server-type has it
	Target string // for the sandbox's faults
	Role   string // the application's permission
	Option string // what smtp-client needs besides
	steps  []step
	server func(*sandbox.Sandbox) string // host:port, or https://host:port/...
}

// Worker is the program that speaks it.
func (p protocol) Worker() string { return strings.ToLower(p.Name) + "-worker" }

// A how is what happens at a step.
type how string

const (
	cut    how = "cut"
	killed how = "killed"
)

// A step is one of those that a message takes on its way.
type step struct {
	name  string
	at    string      // the sandbox's name of it; empty: a step of the submitter's
	done  bool        // it takes effect, only its answer is missing
	bytes int         // at body: how many have come in; -1: some
	code  int         // the answer of a gateway in place of the step's; nothing to die of
	lead  *fault.Rule // what has to go wrong before, lest the step be never taken
	hold  bool        // the mailbox has on-unknown: hold
	asked bool        // its sent items are looked into: sent-items: auto
	large bool        // some messages are too large for one request
	door  moment      // of the submitter's
}

// hangUp ends a connection, so that another one is made; notNow makes the worker take back what it began.
var (
	hangUp = &fault.Rule{Target: fault.SMTP, Step: "mail", Action: fault.Reply, Text: "421 4.3.2 Service not available, closing transmission channel"}
	notNow = &fault.Rule{Target: fault.SMTP, Step: "mail", Action: fault.Reply, Text: "451 4.3.2 Please try again later"}
)

// inDoubt makes the next answer to send get lost.
func inDoubt(target string) *fault.Rule {
	return &fault.Rule{Target: target, Step: "send", Action: fault.LoseAnswer}
}

// doorSteps are those of the submitter, the same for all workers.
var doorSteps = []step{
	{name: "intake: inside the message", door: inside},
	{name: "intake: after the final dot", door: afterDot},
}

var protocols = []protocol{
	{
		Name: "SMTP", Target: fault.SMTP, Role: "SMTP.SendAsApp, IMAP.AccessAsApp", Option: "smtp-connection-security: start-tls", server: (*sandbox.Sandbox).SMTPAddr,
		steps: append([]step{
			{name: "connect, greeting", at: "greeting", lead: hangUp},
			{name: "EHLO", at: "connect", lead: hangUp},
			{name: "STARTTLS", at: "starttls", lead: hangUp},
			{name: "AUTH", at: "auth", lead: hangUp},
			{name: "MAIL", at: "mail"},
			{name: "RCPT", at: "rcpt"},
			{name: "DATA", at: "body"},
			{name: "inside the message", at: "body", bytes: -1},
			{name: "final dot, not taken", at: "data"},
			{name: "final dot, taken", at: "accepted", done: true},
			{name: "final dot, not taken; on-unknown: hold", at: "data", hold: true},
			{name: "final dot, taken; on-unknown: hold", at: "accepted", done: true, hold: true},
			{name: "final dot, taken; sent-items: auto", at: "accepted", done: true, asked: true},
			{name: "RSET", at: "reset", lead: notNow},
		}, doorSteps...),
	},
	{
		Name: "GRAPH", Target: fault.Graph, Role: "Mail.ReadWrite, Mail.Send", Option: "smtp-connection-security: ssl-tls", server: (*sandbox.Sandbox).GraphURL,
		steps: append([]step{
			{name: "draft, not made", at: "draft"},
			{name: "draft, made", at: "draft", done: true},
			{name: "recipients, not changed", at: "update"},
			{name: "recipients, changed", at: "update", done: true},
			{name: "upload session, not opened", at: "attach", large: true},
			{name: "upload session, opened", at: "attach", done: true, large: true},
			{name: "upload of a part, not taken", at: "upload", large: true},
			{name: "upload of a part, taken", at: "upload", done: true, large: true},
			{name: "send, not sent", at: "send"},
			{name: "send, sent", at: "send", done: true},
			{name: "send, 504 though sent", at: "send", done: true, code: 504},
			{name: "look-up", at: "get", lead: inDoubt(fault.Graph)},
		}, doorSteps...),
	},
	{
		Name: "EWS", Target: fault.EWS, Role: "full_access_as_app", Option: "mail.ews.auth.mechanisms: XOAUTH2", server: (*sandbox.Sandbox).EWSURL,
		steps: append([]step{
			{name: "CreateItem, not made", at: "create"},
			{name: "CreateItem, made", at: "create", done: true},
			{name: "SendItem, not sent", at: "send"},
			{name: "SendItem, sent", at: "send", done: true},
			{name: "SendItem, 504 though sent", at: "send", done: true, code: 504},
			{name: "look-up", at: "find", lead: inDoubt(fault.EWS)},
		}, doorSteps...),
	},
}

// A row is a step under one kind of attack, with a mailbox of its own: whatever that mailbox sends belongs to it.
type row struct {
	Protocol protocol
	Address  string
	step     step
	how      how
}

// Unknown is the mailbox's on-unknown.
func (r row) Unknown() string {
	if r.step.hold {
		return "hold"
	}
	return "retry"
}

// Asks says whether the mailbox's sent mail is looked into, over IMAP.
func (r row) Asks() bool { return r.step.asked }

// rows are all attacks on a protocol.
func (p protocol) rows() (all []row) {
	for i, s := range p.steps {
		for _, h := range []how{cut, killed} {
			if s.code == 0 || h == cut {
				address := fmt.Sprintf("%s-%02d-%s@%s", strings.ToLower(p.Name), i+1, h, domain)
				all = append(all, row{p, address, s, h})
			}
		}
	}
	return all
}

// rule is what the provider does at the step.
func (r row) rule(lot *rand.Rand) fault.Rule {
	f := fault.Rule{Target: r.Protocol.Target, Step: r.step.at, Count: 1, Action: r.action(), Status: r.step.code, Bytes: r.step.bytes}
	if f.Bytes < 0 {
		f.Bytes = 1 + lot.IntN(shortest)
	}
	if !anonymous[r.step.at] || r.Protocol.Target != fault.SMTP {
		f.Mailbox = r.Address
	}
	return f
}

func (r row) action() fault.Action {
	switch {
	case r.how == cut && r.step.done:
		return fault.LoseAnswer
	case r.how == cut:
		return fault.Reset
	case r.step.done && r.Protocol.Target != fault.SMTP:
		return fault.HoldAnswer
	}
	return fault.Stall
}

// anonymous are the steps of SMTP at which nobody has logged in: whoever connects next is hit.
var anonymous = map[string]bool{"greeting": true, "connect": true, "starttls": true}

const (
	domain      = "contoso.example"
	elsewhere   = "fabrikam.example"
	tenant      = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	application = "11111111-2222-4333-8444-555555555555"
	readers     = 24 // mailboxes that mail is sent to
)

// reader is the address of one who gets mail.
func reader(i int) string { return fmt.Sprintf("reader-%02d@%s", i, elsewhere) }

// provider is the configuration of the sandbox.
func provider(secret string) sandbox.Config {
	app := sandbox.App{ClientID: application, Name: "sweep", Secrets: []sandbox.Secret{{Value: secret}}, Mailboxes: []string{"*"}, SendAs: []string{"*"}}
	var users []sandbox.User
	for _, p := range protocols {
		app.Roles = append(app.Roles, strings.Split(p.Role, ", ")...)
		for _, r := range p.rows() {
			users = append(users, sandbox.User{Address: r.Address})
		}
	}
	for i := range readers {
		users = append(users, sandbox.User{Address: reader(i)})
	}
	return sandbox.Config{
		TokenLife: tokenLife,
		Tenants:   []sandbox.Tenant{{ID: tenant, Domains: []string{domain, elsewhere}, Apps: []sandbox.App{app}, Users: users}},
	}
}

// Port is that of the server that a protocol's mailboxes send through.
func (s *sweep) Port(p protocol) (string, error) {
	address := strings.TrimPrefix(p.server(s.provider), "https://")
	address, _, _ = strings.Cut(address, "/")
	return port(address)
}

// IMAPPort is that of the server by which sent mail is looked into.
func (s *sweep) IMAPPort() (string, error) { return port(s.provider.IMAPAddr()) }

func port(address string) (string, error) {
	_, port, err := net.SplitHostPort(address)
	return cmp.Or(port, "0"), err
}
