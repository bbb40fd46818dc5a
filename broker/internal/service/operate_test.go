package service

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func TestOperatorsCheckAndReset(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewMailboxServiceClient(b.as(operator))
	frozen := &remedy.Fault{Class: remedy.NeedsAdmin, Reason: "CLIENT_SECRET_EXPIRED", Remedy: "renew it"}
	b.keeper.status = keeper.Status{State: keeper.Frozen, Fault: frozen}
	b.keeper.trouble = frozen
	checked, err := c.CheckMailbox(b.ctx(), &brokerv1.CheckMailboxRequest{Selector: inbound("support@contoso.com")})
	if err != nil || checked.GetStatus().GetReason() != "CLIENT_SECRET_EXPIRED" || checked.GetStatus().GetRemedy() != "renew it" {
		t.Fatalf("%v, %v: what the provider says is the answer", checked, err)
	}
	if e := b.audit.last(t); e.Method != "CheckMailbox" || e.Reason != "CLIENT_SECRET_EXPIRED" || e.Decision != "allow" {
		t.Errorf("audit %+v", e)
	}
	b.keeper.trouble = nil
	b.keeper.status = keeper.Status{State: keeper.Ready}
	reset, err := c.ResetMailbox(b.ctx(), &brokerv1.ResetMailboxRequest{Selector: inbound("support@contoso.com")})
	if err != nil || reset.GetStatus().GetState() != brokerv1.State_STATE_HEALTHY || len(b.keeper.reset) != 1 || len(b.keeper.checked) != 1 {
		t.Fatalf("%v, %v, reset %v", reset, err, b.keeper.reset)
	}
	b.keeper.trouble = errors.New("the store is away: MARKER")
	_, err = c.ResetMailbox(b.ctx(), &brokerv1.ResetMailboxRequest{Selector: inbound("support@contoso.com")})
	details(t, err, codes.Internal, "INTERNAL")
}

func TestOnlyOperatorsMay(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewMailboxServiceClient(b.as(worker))
	_, err := c.CheckMailbox(b.ctx(), &brokerv1.CheckMailboxRequest{Selector: inbound("support@contoso.com")})
	details(t, err, codes.PermissionDenied, "POLICY_DENIED")
	_, err = c.ResetMailbox(b.ctx(), &brokerv1.ResetMailboxRequest{Selector: inbound("support@contoso.com")})
	details(t, err, codes.PermissionDenied, "POLICY_DENIED")
	_, err = brokerv1.NewMailboxServiceClient(b.as(operator)).CheckMailbox(b.ctx(), &brokerv1.CheckMailboxRequest{Selector: inbound("nobody@contoso.com")})
	details(t, err, codes.PermissionDenied, "POLICY_DENIED")
	_, err = brokerv1.NewMailboxServiceClient(b.as(operator)).ResetMailbox(b.ctx(), &brokerv1.ResetMailboxRequest{Selector: &brokerv1.Selector{Mailbox: "support@contoso.com"}})
	details(t, err, codes.InvalidArgument, "DIRECTION_MISSING")
	if len(b.keeper.checked)+len(b.keeper.reset) != 0 {
		t.Fatal("something was done all the same")
	}
}

func TestResetLetsAPasswordOutAgain(t *testing.T) {
	b := newBroker(t)
	c, tokens := brokerv1.NewMailboxServiceClient(b.as(operator)), brokerv1.NewTokenServiceClient(b.as(worker))
	box := b.server.Directory.Now().Find("support@contoso.com").Outbound
	b.server.passwords.refuse(box, time.Now())
	_, err := tokens.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: outbound("support@contoso.com")})
	details(t, err, codes.FailedPrecondition, "PASSWORD_REJECTED")
	held, err := c.CheckMailbox(b.ctx(), &brokerv1.CheckMailboxRequest{Selector: outbound("support@contoso.com")})
	if err != nil || held.GetStatus().GetReason() != "PASSWORD_REJECTED" {
		t.Fatalf("%v, %v", held, err)
	}
	if _, err := c.ResetMailbox(b.ctx(), &brokerv1.ResetMailboxRequest{Selector: outbound("support@contoso.com")}); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: outbound("support@contoso.com")}); err != nil {
		t.Fatalf("after the reset: %v", err)
	}
}
