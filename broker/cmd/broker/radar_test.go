package main

import (
	"strings"
	"testing"
	"time"
)

// What ends is told before it does: in the metrics, in the log, to -check and to brokerctl.
func TestRadar(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	day := time.Now().Add(72 * time.Hour).UTC().Format(time.DateOnly)
	mailboxes := strings.Replace(s.read("mailboxes.d/all.yaml"), "secrets: [{file: ../secrets/app}]", "secrets: [{file: ../secrets/app, expires: "+day+"}]", 1)
	mailboxes += "  - {address: old@contoso.example, application: public, password: {file: ../secrets/user}, pop-client: {type: EWS, server: outlook.office365.com, mail.ews.auth.mechanisms: XOAUTH2}}\n"
	s.write("mailboxes.d/all.yaml", mailboxes)
	s.write("policy.yaml", policy+operatorRule)
	s.start()
	name := `broker_action_due_seconds{credential="EWS",what="Exchange Online switches EWS off for good: move the mailbox to GRAPH"}`
	if time.Until(time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)) < farthest {
		s.gauge(name)
	}
	found := ""
	for line := range strings.Lines(s.metrics()) {
		if strings.HasPrefix(line, "broker_action_due_seconds") && strings.Contains(line, "the client secret of service @") {
			found = line
		}
	}
	if found == "" {
		t.Error("no gauge for a secret that ends")
	}
	if what := s.out.wait(t, "a person must act before tokens end", "what"); !strings.Contains(what, "client secret") {
		t.Errorf("the log tells of %s", what)
	}
	for mailbox, want := range map[string]string{"app@contoso.example": "the client secret of service", "old@contoso.example": "Exchange Online switches EWS off"} {
		if _, out := s.brokerctl("mailbox", "status", mailbox); !strings.Contains(out, want) {
			t.Errorf("brokerctl does not tell %q:\n%s", want, out)
		}
	}
}
