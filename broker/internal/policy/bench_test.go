package policy

import (
	"fmt"
	"testing"
)

// BenchmarkDecide is a worker's question to a policy in which every team has its own rule, and the worker's is the last.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{3, 100} {
		p := &Policy{}
		for i := range n {
			p.Rules = append(p.Rules, Rule{Identity: fmt.Sprintf("spiffe://mail.example/team-%d/*", i), Mailboxes: []string{fmt.Sprintf("*@team-%d.example", i)},
				Protocols: []string{"IMAP"}, Verbs: []Verb{Token, Settings, Report}, TenantWide: true})
		}
		q := Query{Identity: fmt.Sprintf("spiffe://mail.example/team-%d/imap-worker", n-1), Mailbox: fmt.Sprintf("support@team-%d.example", n-1), Protocol: "IMAP", Verb: Token, TenantWide: true}
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !p.Decide(q).Allowed {
					b.Fatal("denied")
				}
			}
		})
	}
}
