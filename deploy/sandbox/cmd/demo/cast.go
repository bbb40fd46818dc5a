package main

import "strings"

// Role is one mailbox of the demo.
type Role struct {
	Address  string
	Protocol string   // that its mail is fetched by
	Sends    string   // the protocol that it sends by
	Gmail    bool     // which of the sandbox's two kinds of server it is at
	Grant    string   // for the table
	In, Out  []string // options of pop-client and smtp-client besides the servers
}

// fetched are the protocols that mail is fetched by, sent those that it is sent by; each has a worker of its own, which
// does both where it can.
var (
	fetched = []string{"IMAP", "POP3", "EWS", "GRAPH"}
	sent    = []string{"SMTP", "EWS", "GRAPH"}
)

const (
	tenant       = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	serviceApp   = "11111111-2222-4333-8444-555555555555" // app-only, with a secret
	publicApp    = "22222222-3333-4444-8555-666666666666" // public client, for passwords (ROPC)
	enrolledApp  = "33333333-4444-4555-8666-777777777777" // delegated, with refresh tokens
	googleClient = "mailporter-demo.apps.example"
	robot        = "broker@mailporter-demo.example" // the service account that a domain's administrator delegated to
	robotNumber  = "100200300400500600700"
	robotKey     = "demo-1"
)

// cast is who takes part: every grant that the broker knows, on both sides, everything that may become of a fetched
// message, and every way out.
func cast() []Role {
	service := []string{"application: service", "grant-type: client_credentials"}
	public := []string{"application: public", "grant-type: password", "password: {file: secrets/frontdesk}"}
	enrolled := []string{"application: enrolled", "grant-type: refresh_token", "password: {file: secrets/returns}"}
	workspace := []string{"application: workspace"}
	events := []string{"application: enrolled", "grant-type: refresh_token", "password: {file: secrets/events}"}
	return []Role{
		{Address: "support@contoso.example", Protocol: "IMAP", Sends: "SMTP", Grant: "client_credentials", In: in("imap", "XOAUTH2", service, "keep"), Out: out("SMTP", service)},
		{Address: "sales@contoso.example", Protocol: "IMAP", Sends: "EWS", Grant: "client_credentials", In: in("imap", "XOAUTH2", service, "delete"), Out: out("EWS", service)},
		{Address: "frontdesk@contoso.example", Protocol: "IMAP", Sends: "GRAPH", Grant: "password", In: in("imap", "XOAUTH2", public, "mark-read"), Out: out("GRAPH", public)},
		{Address: "returns@contoso.example", Protocol: "IMAP", Sends: "SMTP", Grant: "refresh_token", In: in("imap", "XOAUTH2", enrolled, "move:Done"), Out: out("SMTP", enrolled)},
		{Address: "helpdesk@gmail.example", Protocol: "IMAP", Sends: "SMTP", Grant: "refresh_token (Google)", Gmail: true,
			In: in("imap", "XOAUTH2", google("helpdesk"), "keep"), Out: out("SMTP", google("helpdesk"))},
		{Address: "orders@gmail.example", Protocol: "IMAP", Sends: "SMTP", Grant: "service_account (Google)", Gmail: true,
			In: in("imap", "OAUTHBEARER", workspace, "delete"), Out: out("SMTP", workspace)},
		{Address: "archive@gmail.example", Protocol: "IMAP", Sends: "SMTP", Grant: "basic", Gmail: true,
			In: []string{"password: {file: secrets/archive}"}, Out: []string{"password: {file: secrets/archive}"}},
		{Address: "billing@contoso.example", Protocol: "POP3", Sends: "GRAPH", Grant: "client_credentials",
			In: append(in("pop3", "XOAUTH2", service, "delete"), "mail.pop3.auth.xoauth2.two.line.authentication.format: true"), Out: out("GRAPH", service)},
		{Address: "press@gmail.example", Protocol: "POP3", Sends: "SMTP", Grant: "service_account (Google)", Gmail: true,
			In: in("pop3", "OAUTHBEARER", workspace, "keep"), Out: out("SMTP", workspace)},
		{Address: "legal@contoso.example", Protocol: "EWS", Sends: "EWS", Grant: "client_credentials", In: in("ews", "XOAUTH2", service, "move:Done"), Out: out("EWS", service)},
		{Address: "board@contoso.example", Protocol: "EWS", Sends: "EWS", Grant: "client_credentials", In: in("ews", "XOAUTH2", service, "keep"), Out: out("EWS", service)},
		{Address: "jobs@contoso.example", Protocol: "GRAPH", Sends: "GRAPH", Grant: "client_credentials", In: in("graph", "XOAUTH2", service, "delete"), Out: out("GRAPH", service)},
		{Address: "events@contoso.example", Protocol: "GRAPH", Sends: "GRAPH", Grant: "refresh_token", In: in("graph", "XOAUTH2", events, "mark-read"), Out: out("GRAPH", events)},
	}
}

func google(name string) []string {
	return []string{"application: google", "password: {file: secrets/" + name + "}"}
}

func in(protocol, mechanism string, options []string, disposition string) []string {
	return append([]string{"mail." + protocol + ".auth.mechanisms: " + mechanism, "disposition: " + disposition}, options...)
}

func out(protocol string, options []string) []string {
	return append([]string{"mail." + strings.ToLower(protocol) + ".auth.mechanisms: XOAUTH2"}, options...)
}

func addresses(roles []Role) []string {
	all := make([]string, len(roles))
	for i, r := range roles {
		all[i] = r.Address
	}
	return all
}
