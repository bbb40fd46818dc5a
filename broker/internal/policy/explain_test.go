package policy

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	p, complaints := parsed(t, sample)
	if err := complaints.Err(); err != nil {
		t.Fatal(err)
	}
	worker := "spiffe://mail.example/imap-worker"
	for name, tc := range map[string]struct {
		q    Query
		want []string // one for each rule; "" = allows
	}{
		"allowed":          {Query{worker, "a@contoso.com", "IMAP", Token, true}, []string{"", "mailbox is none of help@fabrikam.com; the token opens", "identity is not *.ops.example; the verb is none of admin, password"}},
		"other protocol":   {Query{worker, "a@contoso.com", "SMTP", Token, false}, []string{"protocol is none of IMAP", "mailbox is none", "identity is not"}},
		"needs the tenant": {Query{worker, "help@fabrikam.com", "IMAP", Token, true}, []string{"mailbox is none of *@contoso.com", "tenant-wide: true", "identity is not"}},
		"operator":         {Query{"a.ops.example", "x@y.z", "", Admin, false}, []string{"identity is not spiffe://mail.example/imap-worker; the mailbox is none", "identity is not", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			steps := p.Explain(tc.q)
			allowed := false
			for i, s := range steps {
				if (s.Why == "") != (tc.want[i] == "") || !strings.Contains(s.Why, tc.want[i]) || !strings.Contains(s.Rule, "policy.yaml:") {
					t.Errorf("rule %d: %+v, want %q", i, s, tc.want[i])
				}
				allowed = allowed || s.Why == ""
			}
			if allowed != p.Decide(tc.q).Allowed {
				t.Error("the explanation and the decision disagree")
			}
		})
	}
}
