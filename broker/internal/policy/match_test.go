package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mailporter/kit/identity"
)

func TestMatchIdentity(t *testing.T) {
	for name, tc := range map[string]struct {
		pattern, identity string
		want              bool
	}{
		"the same URI":           {"spiffe://mail.example/imap", "spiffe://mail.example/imap", true},
		"a segment of a URI":     {"spiffe://mail.example/*", "spiffe://mail.example/imap.worker:1", true},
		"a part of a segment":    {"spiffe://mail.example/imap-*", "spiffe://mail.example/imap-7", true},
		"two segments":           {"spiffe://mail.example/*", "spiffe://mail.example/ns/imap", false},
		"two stars":              {"spiffe://mail.example/*/*", "spiffe://mail.example/ns/imap", true},
		"another trust domain":   {"spiffe://mail.example/*", "spiffe://mail.example.evil/imap", false},
		"any trust domain":       {"spiffe://*/imap", "spiffe://mail.example/imap", true},
		"case":                   {"spiffe://mail.example/imap", "spiffe://mail.example/IMAP", false},
		"a service account":      {"system:serviceaccount:mail:imap-worker", "system:serviceaccount:mail:imap-worker", true},
		"any of a namespace":     {"system:serviceaccount:mail:*", "system:serviceaccount:mail:imap.worker", true},
		"any namespace":          {"system:serviceaccount:*:imap-worker", "system:serviceaccount:mail:imap-worker", true},
		"another namespace":      {"system:serviceaccount:mail:*", "system:serviceaccount:mail2:imap-worker", false},
		"namespace as prefix":    {"system:serviceaccount:mail*", "system:serviceaccount:mail:imap-worker", false},
		"a name":                 {"*.mail.example", "a.mail.example", true},
		"two labels":             {"*.mail.example", "a.b.mail.example", false},
		"a star and a name":      {"*", "imap-worker", true},
		"a star and a URI":       {"*", "spiffe://mail/imap", false},
		"a star and an account":  {"*", "system:serviceaccount:mail:imap", false},
		"a URI and an account":   {"spiffe://*", "system:serviceaccount:mail:imap", false},
		"an account and a URI":   {"system:serviceaccount:*:*", "system:serviceaccount://x", false},
		"nobody":                 {"*", "", false},
		"an empty pattern":       {"", "imap-worker", false},
		"nobody, empty pattern":  {"", "", false},
		"a dot is not any":       {"a.b", "aXb", false},
		"a question mark is not": {"a?", "ab", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := matchIdentity(tc.pattern, tc.identity); got != tc.want {
				t.Fatalf("matchIdentity(%q, %q) = %v", tc.pattern, tc.identity, got)
			}
		})
	}
}

func TestMatchMailbox(t *testing.T) {
	for name, tc := range map[string]struct {
		pattern, address string
		want             bool
	}{
		"the same":           {"a@contoso.com", "a@contoso.com", true},
		"a domain":           {"*@contoso.com", "support@contoso.com", true},
		"a subdomain":        {"*@contoso.com", "support@eu.contoso.com", false},
		"any subdomain":      {"*@*.contoso.com", "support@eu.contoso.com", true},
		"a prefix":           {"support-*@contoso.com", "support-de@contoso.com", true},
		"a star is all":      {"*", "support@contoso.com", true},
		"not across the at":  {"*contoso.com", "support@contoso.com", false},
		"a domain behind it": {"*@contoso.com", "a@contoso.com.evil.example", false},
		"a domain before it": {"*@contoso.com", "a@evil.example@contoso.com", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := matchMailbox(tc.pattern, tc.address); got != tc.want {
				t.Fatalf("matchMailbox(%q, %q) = %v", tc.pattern, tc.address, got)
			}
		})
	}
}

// TestMatchAsDefined: whatever the pattern, the quick matcher says what the definition says.
func TestMatchAsDefined(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern, s := rapid.StringOfN(rapid.RuneFrom([]rune("ab@*")), 0, 12, -1).Draw(t, "pattern"), rapid.StringOfN(rapid.RuneFrom([]rune("ab@")), 0, 12, -1).Draw(t, "text")
		if got, want := match(pattern, s, '@'), slow(pattern, s, '@'); got != want {
			t.Fatalf("match(%q, %q) = %v", pattern, s, got)
		}
	})
}

// TestStarStaysWithinItsSegment: what a pattern matches has as many segments as the pattern.
func TestStarStaysWithinItsSegment(t *testing.T) {
	word := rapid.StringOfN(rapid.RuneFrom([]rune("ab*")), 1, 4, -1)
	rest := rapid.StringOfN(rapid.RuneFrom([]rune("ab/:.")), 0, 12, -1)
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]struct{ start, end string }{{"spiffe://", "/"}, {identity.ServiceAccounts, ":"}, {"", "."}}).Draw(t, "kind")
		pattern := kind.start + strings.Join(rapid.SliceOfN(word, 1, 4).Draw(t, "segments"), kind.end)
		who := kind.start + rest.Draw(t, "identity")
		if matchIdentity(pattern, who) && strings.Count(pattern, kind.end) != strings.Count(who, kind.end) {
			t.Fatalf("%q matches %q", pattern, who)
		}
	})
}

// TestRulesOnlyAdd: one more rule never takes anything away, and the explanation says what the decision says.
func TestRulesOnlyAdd(t *testing.T) {
	rule := rapid.Custom(func(t *rapid.T) Rule {
		return Rule{
			Identity:   rapid.SampledFrom([]string{"*", "a", "b.*", "spiffe://x/*", "system:serviceaccount:mail:*"}).Draw(t, "identity"),
			Mailboxes:  rapid.SliceOfN(rapid.SampledFrom([]string{"*", "*@c.com", "a@c.com"}), 1, 2).Draw(t, "mailboxes"),
			Protocols:  rapid.SliceOfN(rapid.SampledFrom(protocols), 0, 2).Draw(t, "protocols"),
			Verbs:      rapid.SliceOfN(rapid.SampledFrom([]Verb{Token, Report, Admin}), 1, 2).Draw(t, "verbs"),
			TenantWide: rapid.Bool().Draw(t, "tenant-wide"),
		}
	})
	query := rapid.Custom(func(t *rapid.T) Query {
		return Query{
			Identity:   rapid.SampledFrom([]string{"", "a", "b.c", "spiffe://x/y", "system:serviceaccount:mail:w", "system:serviceaccount:other:w"}).Draw(t, "who"),
			Mailbox:    rapid.SampledFrom([]string{"a@c.com", "b@c.com", "a@d.com"}).Draw(t, "mailbox"),
			Protocol:   rapid.SampledFrom(append([]string{""}, protocols...)).Draw(t, "protocol"),
			Verb:       rapid.SampledFrom([]Verb{Token, Report, Admin, Password}).Draw(t, "verb"),
			TenantWide: rapid.Bool().Draw(t, "opens the tenant"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		p, more, q := &Policy{Rules: rapid.SliceOfN(rule, 0, 4).Draw(t, "rules")}, rule.Draw(t, "one more"), query.Draw(t, "query")
		before := p.Decide(q)
		explained := false
		for _, s := range p.Explain(q) {
			explained = explained || s.Why == ""
		}
		if explained != before.Allowed {
			t.Fatalf("explained %v, decided %v", explained, before.Allowed)
		}
		if q.Identity == "" && before.Allowed {
			t.Fatal("nobody is allowed")
		}
		if p.Rules = append(p.Rules, more); before.Allowed && !p.Decide(q).Allowed {
			t.Fatal("a rule took something away")
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("*@contoso.com", "a@contoso.com")
	f.Add("a*b*c", "abbbc")
	f.Add("**", "")
	f.Add("spiffe://*/a", "spiffe://x/a")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 200 || len(s) > 200 {
			return
		}
		for _, end := range []byte("@/:.") {
			if got, want := match(pattern, s, end), slow(pattern, s, end); got != want {
				t.Fatalf("match(%q, %q, %q) = %v", pattern, s, end, got)
			}
		}
	})
}

// slow is the definition: a table of which pattern prefix matches which prefix of s.
func slow(pattern, s string, end byte) bool {
	row := make([]bool, len(s)+1)
	row[0] = true
	for _, c := range []byte(pattern) {
		next := make([]bool, len(s)+1)
		next[0] = row[0] && c == '*'
		for i := range len(s) {
			if c == '*' {
				next[i+1] = row[i+1] || next[i] && s[i] != end
			} else {
				next[i+1] = row[i] && s[i] == c
			}
		}
		row = next
	}
	return row[len(s)]
}
