package service

import (
	"crypto/sha256"
	"strings"
	"testing"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// TestWhatTheMailServerSays: a mailbox that is at fault spends no token. It is degraded, with the reason and the remedy, until
// an operator resets it.
func TestWhatTheMailServerSays(t *testing.T) {
	b := newBroker(t)
	b.keeper.status = keeper.Status{State: keeper.Ready}
	b.keeper.reject = func(secret.Fingerprint) keeper.Rejection {
		t.Error("a token was replaced for a mailbox that is closed")
		return keeper.Rejection{}
	}
	sum := sha256.Sum256([]byte("MARKER-token"))
	resp, err := brokerv1.NewTokenServiceClient(b.as(worker)).ReportRejection(b.ctx(), &brokerv1.ReportRejectionRequest{
		Selector: inbound("support@contoso.com"), Fingerprint: sum[:], Kind: brokerv1.RejectionKind_REJECTION_KIND_SASL, Server: "outlook.office365.com:993",
		Reply: "BAD User is authenticated but not connected."})
	if err != nil || resp.GetOutcome() != brokerv1.RejectionOutcome_REJECTION_OUTCOME_SUPPRESSED || resp.GetReason() != "MAILBOX_NOT_CONNECTED" ||
		!strings.Contains(resp.GetRemedy(), "Set-CASMailbox") || resp.GetRetryDelay().AsDuration() <= 0 {
		t.Fatalf("%v, %v", resp, err)
	}
	if e := b.audit.last(t); e.Method != "ReportRejection" || e.Reason != "MAILBOX_NOT_CONNECTED" {
		t.Errorf("audit %+v", e)
	}
	operators := brokerv1.NewMailboxServiceClient(b.as(operator))
	state := func() *brokerv1.MailboxStatus {
		t.Helper()
		box, err := operators.GetMailbox(b.ctx(), &brokerv1.GetMailboxRequest{Mailbox: "support@contoso.com"})
		if err != nil {
			t.Fatal(err)
		}
		return box.GetMailbox().GetStatuses()[0]
	}
	if st := state(); st.GetState() != brokerv1.State_STATE_DEGRADED || st.GetReason() != "MAILBOX_NOT_CONNECTED" || st.GetRemedy() == "" || st.GetFailingSinceTime() == nil {
		t.Errorf("status %v", st)
	}
	if _, err := operators.ResetMailbox(b.ctx(), &brokerv1.ResetMailboxRequest{Selector: inbound("support@contoso.com")}); err != nil {
		t.Fatal(err)
	}
	if st := state(); st.GetState() != brokerv1.State_STATE_HEALTHY || st.GetReason() != "" {
		t.Errorf("after a reset: %v", st)
	}
}

// TestWhoRefused: servers must be told apart even where workers do not name them.
func TestWhoRefused(t *testing.T) {
	one := &directory.Section{Endpoint: directory.Endpoint{Server: "imap.one.example", Port: 993}}
	other := &directory.Section{Endpoint: directory.Endpoint{Server: "imap.other.example", Port: 993}}
	sum := sha256.Sum256([]byte("MARKER-token"))
	silent := &brokerv1.ReportRejectionRequest{Fingerprint: sum[:]}
	named := &brokerv1.ReportRejectionRequest{Fingerprint: sum[:], Server: "imap-7.one.example:993"}
	if got := reportOf(one, silent).Server; got != "imap.one.example:993" {
		t.Errorf("not told: %q", got)
	}
	if reportOf(one, silent).Server == reportOf(other, silent).Server {
		t.Error("two servers look like one")
	}
	if got := reportOf(one, named).Server; got != "imap-7.one.example:993" {
		t.Errorf("told: %q", got)
	}
}
