// Package policy says who may ask the broker for what. It is a list of rules and nothing else: what no rule allows is
// denied, and no rule takes away what another gives.
//
//	p, complaints := policy.Load("policy.yaml")
//	d := p.Decide(policy.Query{Identity: "spiffe://mail.example/imap-worker", Mailbox: "support@contoso.com",
//		Protocol: "IMAP", Verb: policy.Token, TenantWide: true})
//	d.Allowed, d.Rule // true, policy.yaml:3
package policy

import "golang.org/x/time/rate"

// Verb is what somebody may do.
type Verb string

// The verbs.
const (
	Token    Verb = "token"    // get an access token
	Password Verb = "password" // get the password of basic authentication
	Settings Verb = "settings" // read where a mailbox is and how it is served
	Report   Verb = "report"   // report a refused token
	Admin    Verb = "admin"    // read the status, reset, list services
	Enroll   Verb = "enroll"   // obtain a person's consent
)

var verbs = []string{string(Token), string(Password), string(Settings), string(Report), string(Admin), string(Enroll)}

var protocols = []string{"POP3", "IMAP", "SMTP", "EWS", "GRAPH"}

// Rule allows something to somebody.
type Rule struct {
	Identity   string     // pattern, see matchIdentity
	Mailboxes  []string   // patterns of addresses, lower case, see matchMailbox
	Protocols  []string   // empty = all
	Verbs      []Verb     // never empty
	TenantWide bool       // tokens that open a whole tenant as well
	Rate       rate.Limit // tokens and passwords a second for one identity; 0 = no limit
	Where      string     // policy.yaml:3
}

// Policy is a list of rules. The zero value denies everything. It is not changed after Load.
type Policy struct{ Rules []Rule }

// Query is one question.
type Query struct {
	Identity   string
	Mailbox    string // address, lower case
	Protocol   string // POP3, IMAP, SMTP, EWS or GRAPH; empty = asks about no protocol
	Verb       Verb
	TenantWide bool // the token opens a whole tenant
}

// Decision is the answer to a Query.
type Decision struct {
	Allowed bool
	Rule    string // the first rule that allows it, or the words that say why none does
	Rate    rate.Limit
}

// Why nothing allows it, for the audit.
const (
	NoRule         = "default deny"
	NeedTenantWide = "default deny: a rule matches but does not say tenant-wide"
)

// Decide finds the first rule that allows q.
func (p *Policy) Decide(q Query) Decision {
	why := NoRule
	for i := range p.Rules {
		r := &p.Rules[i]
		if !r.covers(q) {
			continue
		}
		if q.TenantWide && !r.TenantWide {
			why = NeedTenantWide
			continue
		}
		return Decision{Allowed: true, Rule: r.Where, Rate: r.Rate}
	}
	return Decision{Rule: why}
}

// Holds says whether the identity has the verb for any mailbox at all.
func (p *Policy) Holds(identity string, v Verb) bool {
	for _, r := range p.Rules {
		if r.has(v) && matchIdentity(r.Identity, identity) {
			return true
		}
	}
	return false
}

func (r *Rule) covers(q Query) bool {
	return r.has(q.Verb) && r.speaks(q.Protocol) && matchIdentity(r.Identity, q.Identity) && r.names(q.Mailbox)
}

func (r *Rule) has(v Verb) bool {
	for _, allowed := range r.Verbs {
		if allowed == v {
			return true
		}
	}
	return false
}

func (r *Rule) speaks(protocol string) bool {
	if len(r.Protocols) == 0 || protocol == "" {
		return true
	}
	for _, p := range r.Protocols {
		if p == protocol {
			return true
		}
	}
	return false
}

func (r *Rule) names(mailbox string) bool {
	for _, pattern := range r.Mailboxes {
		if matchMailbox(pattern, mailbox) {
			return true
		}
	}
	return false
}
