package main

import (
	"strings"
	"testing"
	"time"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"
)

// TestFederatedDomain: the federation server must be allowed; then its users' passwords work, and a wrong one costs one
// attempt, whoever asks and however often, also over a restart.
func TestFederatedDomain(t *testing.T) {
	sb := providerWith(t, time.Hour, func(c *sandbox.Config) {
		c.Tenants[0].Domains = append(c.Tenants[0].Domains, "fed.example")
		c.Tenants[0].Federated = []sandbox.FederatedDomain{{Domain: "fed.example"}}
		c.Tenants[0].Users = append(c.Tenants[0].Users, sandbox.User{Address: "good@fed.example", Password: userPassword}, sandbox.User{Address: "typo@fed.example", Password: "another"})
	})
	attempts := sb.Faults().Add(fault.Rule{Target: fault.Identity, Step: "trust", Action: fault.Delay})
	s := newSite(t, sb, "file:state")
	s.write("policy.yaml", strings.Replace(policy, `"*@shop.example"`, `"*@fed.example"`, 1))
	boxes := s.read("mailboxes.d/all.yaml")
	for _, name := range []string{"good", "typo"} {
		boxes += "  - {address: " + name + "@fed.example, application: public, password: {file: ../secrets/user}, pop-client: {}}\n"
	}
	s.write("mailboxes.d/all.yaml", boxes)
	s.start()
	server := strings.TrimPrefix(sb.Federation(), "https://")
	_, err := ask(s.connect(worker), "good@fed.example", in)
	info, _, _ := told(err)
	if reason(err) != "FailedPrecondition wrong-config AUTHORITY_NOT_ALLOWED" || !strings.Contains(info.GetMetadata()["remedy"], "must name "+server+" under allowed-authorities") {
		t.Fatalf("%s: %v", reason(err), info)
	}
	host := strings.TrimPrefix(sb.Authority(), "https://")
	s.write("broker.yaml", strings.Replace(s.read("broker.yaml"), `["`+host+`"]`, `["`+host+`", "`+server+`"]`, 1))
	s.mustServe(s.connect(worker), "good@fed.example")
	for range 2 {
		for range 3 {
			if _, err := ask(s.connect(worker), "typo@fed.example", in); reason(err) != "FailedPrecondition needs-user PASSWORD_REJECTED" {
				t.Fatal(reason(err))
			}
		}
		s.end()
		s.start()
	}
	if n := sb.Faults().Fired(attempts); n != 2 {
		t.Errorf("%d sign-ins at the federation server, want one for each user", n)
	}
}
