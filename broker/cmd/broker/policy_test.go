package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// mustRefuse waits for the reload after which the caller is answered with the code.
func (s *site) mustRefuse(c brokerv1.TokenServiceClient, mailbox string, want codes.Code) {
	s.t.Helper()
	for late := time.Now().Add(30 * time.Second); ; {
		_, more := s.out.now()
		_, err := ask(c, mailbox, in)
		if status.Code(err) == want {
			return
		}
		if time.Now().After(late) {
			s.t.Fatalf("want %s, got %v", want, err)
		}
		select {
		case <-more: // every reload is logged
		case <-time.After(time.Second):
		}
	}
}

// TestPolicyReloads: a right that is given or taken away holds from the next call on, and a bad file changes nothing and
// is complained about with line and column.
func TestPolicyReloads(t *testing.T) {
	s := newSite(t, provider(t, time.Hour), "file:state")
	s.start()
	c, other := s.connect(worker), s.connect("spiffe://mail.example/other")
	if _, err := ask(c, "app@contoso.example", in); err != nil {
		t.Fatal(reason(err))
	}
	s.write("policy.yaml", strings.Replace(policy, worker, "spiffe://mail.example/other", 1))
	s.mustServe(other, "app@contoso.example")
	s.mustRefuse(c, "app@contoso.example", codes.PermissionDenied)

	s.write("policy.yaml", policy+"  - {identity: x, mailboxes: [\"*\"], verb: [token]}\n")
	s.out.wait(t, "configuration refused, the old one stays", "")
	if !strings.Contains(s.out.String(), `policy.yaml:4:37: rules[1].verb: is no known option here; did you mean \"verbs\"?`) {
		t.Errorf("no line and column in\n%s", s.out.String())
	}
	if _, err := ask(c, "app@contoso.example", in); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a bad policy gave a right: %v", err)
	}
	if _, err := ask(other, "app@contoso.example", in); err != nil {
		t.Errorf("a bad policy took a right: %v", err)
	}
	s.write("policy.yaml", strings.Replace(policy, "tenant-wide: true", "tenant-wide: true, rate: 1/h", 1))
	s.mustServe(c, "app@contoso.example")
	if _, err := ask(c, "app@contoso.example", in); reason(err) != "ResourceExhausted throttled CALLER_RATE_LIMITED" {
		t.Errorf("the rate of the new policy: %v", err)
	}
	s.write("policy.yaml", strings.Replace(policy, "tenant-wide: true", "rate: 1/h", 1))
	s.mustRefuse(c, "app@contoso.example", codes.PermissionDenied)
	s.end()
	for _, want := range []string{`"rule":"default deny: a rule matches but does not say tenant-wide"`, `"rule":"default deny"`, `"reason":"CALLER_RATE_LIMITED"`} {
		if !strings.Contains(s.read("audit.jsonl"), want) {
			t.Errorf("no %s in the audit", want)
		}
	}
}
