package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailporter/kit/config"
)

const sample = `
rules:
  - identity: "spiffe://mail.example/imap-worker"
    mailboxes: ["*@contoso.com"]
    protocols: [imap]
    verbs: [token, settings, report]
    tenant-wide: true
    rate: 100/s
  - identity: "spiffe://mail.example/*"
    mailboxes: [help@fabrikam.com]
    verbs: [token]
  - identity: "*.ops.example"
    mailboxes: "*"
    verbs: [admin, password]
`

func parsed(t *testing.T, text string) (*Policy, config.Complaints) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestDecide(t *testing.T) {
	p, complaints := parsed(t, sample)
	if err := complaints.Err(); err != nil {
		t.Fatal(err)
	}
	imap := "spiffe://mail.example/imap-worker"
	for name, tc := range map[string]struct {
		q    Query
		want Decision
	}{
		"matching rule":      {Query{imap, "a@contoso.com", "IMAP", Token, false}, Decision{true, "policy.yaml:3", 100}},
		"tenant-wide token":  {Query{imap, "a@contoso.com", "IMAP", Token, true}, Decision{true, "policy.yaml:3", 100}},
		"other protocol":     {Query{imap, "a@contoso.com", "SMTP", Token, false}, Decision{false, NoRule, 0}},
		"other domain":       {Query{imap, "a@evil.com", "IMAP", Token, false}, Decision{false, NoRule, 0}},
		"domain as prefix":   {Query{imap, "a@contoso.com.evil.com", "IMAP", Token, false}, Decision{false, NoRule, 0}},
		"two at signs":       {Query{imap, "a@b@contoso.com", "IMAP", Token, false}, Decision{false, NoRule, 0}},
		"verb not given":     {Query{imap, "a@contoso.com", "IMAP", Password, false}, Decision{false, NoRule, 0}},
		"second rule":        {Query{imap, "help@fabrikam.com", "SMTP", Token, false}, Decision{true, "policy.yaml:9", 0}},
		"not tenant-wide":    {Query{imap, "help@fabrikam.com", "SMTP", Token, true}, Decision{false, NeedTenantWide, 0}},
		"segment":            {Query{"spiffe://mail.example/a/b", "help@fabrikam.com", "", Token, false}, Decision{false, NoRule, 0}},
		"other trust domain": {Query{"spiffe://evil.example/imap-worker", "a@contoso.com", "IMAP", Token, false}, Decision{false, NoRule, 0}},
		"dns name":           {Query{"host1.ops.example", "x@y.z", "", Admin, false}, Decision{true, "policy.yaml:12", 0}},
		"dns segment":        {Query{"a.b.ops.example", "x@y.z", "", Admin, false}, Decision{false, NoRule, 0}},
		"nobody":             {Query{"", "x@y.z", "", Admin, false}, Decision{false, NoRule, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := p.Decide(tc.q); got != tc.want {
				t.Fatalf("got %+v, want %+v", got, tc.want)
			}
		})
	}
	var none Policy
	if none.Decide(Query{imap, "a@contoso.com", "IMAP", Token, false}).Allowed {
		t.Fatal("an empty policy allows")
	}
	if !p.Holds("h.ops.example", Admin) || p.Holds(imap, Admin) {
		t.Fatal("Holds")
	}
}

func TestComplaints(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"verb":       {"rules: [{identity: a, mailboxes: ['*'], verbs: [toke]}]", `"toke" is not allowed; use some of: token`},
		"no verbs":   {"rules: [{identity: a, mailboxes: ['*']}]", "verbs: is missing"},
		"identity":   {"rules: [{mailboxes: ['*'], verbs: [token]}]", "rules[0].identity: is missing"},
		"mailboxes":  {"rules: [{identity: a, verbs: [token]}]", "names no mailbox"},
		"protocol":   {"rules: [{identity: a, mailboxes: ['*'], verbs: [token], protocols: [X400]}]", `"X400" is not allowed`},
		"rate":       {"rules: [{identity: a, mailboxes: ['*'], verbs: [token], rate: fast}]", `"fast" is no rate`},
		"rate nan":   {"rules: [{identity: a, mailboxes: ['*'], verbs: [token], rate: NaN/s}]", `"NaN/s" is no rate`},
		"unknown":    {"rules: [{identity: a, mailboxes: ['*'], verbs: [token], tenantwide: true}]", `did you mean "tenant-wide"?`},
		"no rules":   {"rules: []", "everything is denied"},
		"duplicate":  {"rules: [{identity: a, mailboxes: ['*'], verbs: [token, report]}, {mailboxes: ['*'], verbs: [report, token], identity: a}]", "policy.yaml:1:119: warning: rules[1].identity: stands in the same rule at policy.yaml:1 already"},
		"same key":   {"rules: [{identity: a, mailboxes: ['*'], verbs: [token], identity: b}]", "policy.yaml:1:57"},
		"no address": {"rules: [{identity: a, mailboxes: ['contoso.com'], verbs: [token]}]", `"contoso.com" matches no address`},
		"two at":     {"rules: [{identity: a, mailboxes: ['a@b@c'], verbs: [token]}]", `"a@b@c" matches no address`},
		"no caller":  {"rules: [{identity: 'system:*:mail:a', mailboxes: ['*'], verbs: [token]}]", `"system:*:mail:a" matches no caller`},
		"not a list": {"rules: {}", "must be a list"},
	} {
		t.Run(name, func(t *testing.T) {
			_, complaints := parsed(t, tc.text)
			if !strings.Contains(complaints.Error(), tc.want) || !strings.Contains(complaints.Error(), "policy.yaml:1:") {
				t.Fatalf("complaints: %v", complaints)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	var l Limits
	now := time.Unix(1e9, 0)
	for i := range 10 {
		if wait := l.Take("a", 10, now); wait != 0 {
			t.Fatalf("call %d waits %v", i, wait)
		}
	}
	if wait := l.Take("a", 10, now); wait < 90*time.Millisecond || wait > 110*time.Millisecond {
		t.Fatalf("the eleventh waits %v, want a tenth of a second", wait)
	}
	if l.Take("b", 10, now) != 0 || l.Take("a", 0, now) != 0 {
		t.Fatal("another identity, or none limited, must not wait")
	}
	if l.Take("a", 1, now) != 0 || l.Take("a", 10, now) == 0 || l.Take("a", 1, now) == 0 {
		t.Fatal("two rules with rates must not renew each other's allowance")
	}
	if l.Take("a", 10, now.Add(100*time.Millisecond)) != 0 {
		t.Fatal("the allowance did not come back")
	}
}
