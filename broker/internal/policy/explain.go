package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Verbs and Protocols list what a Query may ask for.
func Verbs() []string     { return slices.Clone(verbs) }
func Protocols() []string { return slices.Clone(protocols) }

// Step is what one rule has to say to a Query.
type Step struct {
	Rule string // policy.yaml:3
	Why  string // what does not fit; empty = the rule allows it
}

// Explain goes through the rules in their order, past the first that allows it: a second one may allow it too.
func (p *Policy) Explain(q Query) []Step {
	steps := make([]Step, len(p.Rules))
	for i := range p.Rules {
		steps[i] = Step{p.Rules[i].Where, p.Rules[i].objection(q)}
	}
	return steps
}

// objection is everything that does not fit. Nothing is left out: who mends one thing wants to know of the next.
func (r *Rule) objection(q Query) string {
	var all []string
	if !matchIdentity(r.Identity, q.Identity) {
		all = append(all, fmt.Sprintf("the identity is not %s", r.Identity))
	}
	if !r.names(q.Mailbox) {
		all = append(all, fmt.Sprintf("the mailbox is none of %s", strings.Join(r.Mailboxes, ", ")))
	}
	if !r.speaks(q.Protocol) {
		all = append(all, fmt.Sprintf("the protocol is none of %s", strings.Join(r.Protocols, ", ")))
	}
	if !r.has(q.Verb) {
		all = append(all, fmt.Sprintf("the verb is none of %s", join(r.Verbs)))
	}
	if q.TenantWide && !r.TenantWide {
		all = append(all, "the token opens the whole tenant and the rule does not say tenant-wide: true")
	}
	return strings.Join(all, "; ")
}

func join(all []Verb) string {
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}
