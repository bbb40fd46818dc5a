package service

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func TestAcquireToken(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewTokenServiceClient(b.as(worker))
	resp, err := c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: inbound("SUPPORT@contoso.com"),
		MinValidity: durationpb.New(20 * time.Minute), NewerThanGeneration: 4})
	if err != nil {
		t.Fatal(err)
	}
	got, sum := resp.GetAccessToken(), sha256.Sum256([]byte("MARKER-token"))
	if got.GetValue() != "MARKER-token" || got.GetSaslUser() != "Support@contoso.com" || got.GetMechanism() != brokerv1.Mechanism_MECHANISM_XOAUTH2 ||
		got.GetGeneration() != 5 || !bytes.Equal(got.GetFingerprint(), sum[:]) {
		t.Error("the token or what belongs to it is wrong")
	}
	if until := got.GetExpireTime().AsTime().Sub(got.GetUsableUntil().AsTime()); until != 20*time.Minute {
		t.Errorf("usable_until is %v before the expiry", until)
	}
	if d := got.GetValidFor().AsDuration() - got.GetUsableFor().AsDuration(); d != 20*time.Minute {
		t.Errorf("the durations differ by %v", d)
	}
	w := b.keeper.wishes[0]
	if w.Margin != 20*time.Minute || w.NewerThan != 4 || w.Credential.ClientID != "c" {
		t.Errorf("wish %+v", w)
	}
	e := b.audit.last(t)
	if e.Identity != worker || e.Decision != "allow" || e.Rule != "policy.yaml:3" || e.Outcome != "OK" || !e.TenantWide || e.Generation != 5 ||
		e.Source != "provider" || e.Correlation != "trace-1" || e.Grant != "client_credentials" || e.Protocol != "IMAP" || e.Direction != "inbound" ||
		e.Fingerprint != secret.New("MARKER-token").Fingerprint().String() || e.Expires == "" || e.Peer == "" || e.Request == "" {
		t.Errorf("audit %+v", e)
	}
}

func TestMarginIsTheSectionsAtLeast(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewTokenServiceClient(b.as(worker))
	if _, err := c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com"), MinValidity: durationpb.New(time.Second)}); err != nil {
		t.Fatal(err)
	}
	if m := b.keeper.wishes[0].Margin; m != 10*time.Second {
		t.Fatalf("margin %v", m)
	}
}

func TestPasswordAndNoLogin(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewTokenServiceClient(b.as(worker))
	resp, err := c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: outbound("support@contoso.com")})
	if err != nil || resp.GetPassword().GetValue() != "MARKER-pass" || resp.GetPassword().GetUser() != "Support@contoso.com" {
		t.Fatal("no password", err)
	}
	if e := b.audit.last(t); e.Grant != "basic" || e.Fingerprint != "" {
		t.Errorf("audit %+v", e)
	}
	_, err = c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: outbound("relay@contoso.com")})
	details(t, err, codes.FailedPrecondition, "NO_LOGIN")
	narrow := brokerv1.NewTokenServiceClient(b.as("spiffe://mail.example/narrow"))
	_, err = narrow.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: outbound("support@contoso.com")})
	details(t, err, codes.PermissionDenied, "POLICY_DENIED")
}

func TestForbiddenAndUnknownAnswerAlike(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewTokenServiceClient(b.as(worker))
	m := brokerv1.NewMailboxServiceClient(b.as(worker))
	var texts []string
	for _, tc := range []struct{ mailbox, rule string }{{"secret@fabrikam.com", "default deny"}, {"nobody@contoso.com", "unknown mailbox"}, {"", "unknown mailbox"}} {
		_, err := c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: inbound(tc.mailbox)})
		details(t, err, codes.PermissionDenied, "POLICY_DENIED")
		texts = append(texts, status.Convert(err).Proto().String())
		if e := b.audit.last(t); e.Decision != "deny" || e.Rule != tc.rule || e.Reason != "POLICY_DENIED" {
			t.Errorf("audit %+v", e)
		}
		_, err = m.GetMailbox(b.ctx(), &brokerv1.GetMailboxRequest{Mailbox: tc.mailbox})
		details(t, err, codes.PermissionDenied, "POLICY_DENIED")
		texts = append(texts, status.Convert(err).Proto().String())
	}
	narrow := brokerv1.NewTokenServiceClient(b.as("spiffe://mail.example/narrow"))
	_, err := narrow.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com")})
	texts = append(texts, status.Convert(err).Proto().String())
	if e := b.audit.last(t); !strings.Contains(e.Rule, "tenant-wide") {
		t.Errorf("audit %+v", e)
	}
	for _, text := range texts {
		if text != texts[0] {
			t.Fatalf("answers differ:\n%s\n%s", texts[0], text)
		}
	}
	if len(b.keeper.wishes) != 0 {
		t.Fatal("the keeper was asked for somebody who may not")
	}
}

func TestFaultsBecomeCodes(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewTokenServiceClient(b.as(worker))
	for name, tc := range map[string]struct {
		err    error
		code   codes.Code
		reason string
		retry  time.Duration
	}{
		"admin":     {&remedy.Fault{Class: remedy.NeedsAdmin, Reason: "CLIENT_SECRET_EXPIRED", Remedy: "Renew it.", Link: "https://x", OAuth: "invalid_client", Codes: []int{7000222}, Trace: "id"}, codes.FailedPrecondition, "CLIENT_SECRET_EXPIRED", 0},
		"user":      {&remedy.Fault{Class: remedy.NeedsUser, Reason: "MFA_REQUIRED", Remedy: "Sign in."}, codes.FailedPrecondition, "MFA_REQUIRED", 0},
		"config":    {&remedy.Fault{Class: remedy.WrongConfig, Reason: "TENANT_NOT_FOUND", Remedy: "Correct it."}, codes.FailedPrecondition, "TENANT_NOT_FOUND", 0},
		"throttled": {&remedy.Fault{Class: remedy.Throttled, Reason: "IDP_THROTTLED", Remedy: "Wait.", After: 7 * time.Second}, codes.ResourceExhausted, "IDP_THROTTLED", 7 * time.Second},
		"transient": {&remedy.Fault{Class: remedy.Transient, Reason: "IDP_UNAVAILABLE", Remedy: "Wait."}, codes.Unavailable, "IDP_UNAVAILABLE", time.Second},
		"wrapped":   {errors.Join(errors.New("MARKER"), &remedy.Fault{Class: remedy.NeedsAdmin, Reason: "R"}), codes.FailedPrecondition, "R", 0},
		"unknown":   {errors.New("MARKER in a library's error"), codes.Internal, "INTERNAL", 0},
		"deadline":  {context.DeadlineExceeded, codes.DeadlineExceeded, "TIMED_OUT", 0},
	} {
		t.Run(name, func(t *testing.T) {
			b.keeper.ask = func(context.Context, keeper.Wish) (keeper.Handout, error) { return keeper.Handout{}, tc.err }
			var trailer metadata.MD
			_, err := c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com")}, grpc.Trailer(&trailer))
			info, rest := details(t, err, tc.code, tc.reason)
			checkRetry(t, rest, trailer, tc.retry)
			if tc.code == codes.FailedPrecondition && !has[*errdetails.PreconditionFailure](rest) {
				t.Error("no PreconditionFailure")
			}
			if name == "admin" && (info.GetMetadata()["remedy"] != "Renew it." || info.GetMetadata()["class"] != "needs-admin" ||
				info.GetMetadata()["codes"] != "7000222" || info.GetMetadata()["correlationId"] != "id" || !has[*errdetails.Help](rest)) {
				t.Errorf("metadata %v, details %v", info.GetMetadata(), rest)
			}
			if e := b.audit.last(t); e.Reason != tc.reason || e.Outcome != tc.code.String() || e.Decision != "allow" {
				t.Errorf("audit %+v", e)
			}
		})
	}
}

func has[T any](all []any) bool {
	for _, d := range all {
		if _, ok := d.(T); ok {
			return true
		}
	}
	return false
}

func checkRetry(t *testing.T, rest []any, trailer metadata.MD, want time.Duration) {
	t.Helper()
	var got time.Duration
	for _, d := range rest {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			got = r.GetRetryDelay().AsDuration()
		}
	}
	if got != want {
		t.Errorf("RetryInfo %v, want %v", got, want)
	}
	if pushback := trailer.Get("grpc-retry-pushback-ms"); (len(pushback) == 1) != (want > 0) {
		t.Errorf("pushback %v", pushback)
	}
}

func TestRateLimit(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewTokenServiceClient(b.as("spiffe://mail.example/slow"))
	req := &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com")}
	if _, err := c.AcquireToken(b.ctx(), req); err != nil {
		t.Fatal(err)
	}
	_, err := c.AcquireToken(b.ctx(), req)
	_, rest := details(t, err, codes.ResourceExhausted, "CALLER_RATE_LIMITED")
	if !has[*errdetails.RetryInfo](rest) {
		t.Fatal("no RetryInfo")
	}
}

func TestNoAuditNoToken(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewTokenServiceClient(b.as(worker))
	b.audit.fail(errors.New("no space left on device"))
	_, err := c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com")})
	details(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	b.audit.fail(nil)
	if _, err := c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com")}); err != nil {
		t.Fatal(err)
	}
}

func TestBadRequests(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewTokenServiceClient(b.as(worker))
	_, err := c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: &brokerv1.Selector{Mailbox: "support@contoso.com"}})
	details(t, err, codes.InvalidArgument, "DIRECTION_MISSING")
	_, err = c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com"), MinValidity: durationpb.New(time.Hour)})
	details(t, err, codes.InvalidArgument, "MIN_VALIDITY_TOO_LARGE")
	_, err = c.ReportRejection(b.ctx(), &brokerv1.ReportRejectionRequest{Selector: inbound("support@contoso.com"), Fingerprint: []byte("short")})
	details(t, err, codes.InvalidArgument, "FINGERPRINT_INVALID")
}

func TestReportRejection(t *testing.T) {
	b := newBroker(t)
	c := brokerv1.NewTokenServiceClient(b.as(worker))
	sum := sha256.Sum256([]byte("MARKER-token"))
	for name, tc := range map[string]struct {
		answer keeper.Rejection
		want   brokerv1.RejectionOutcome
	}{
		"old":        {keeper.Rejection{Outcome: keeper.AlreadyReplaced, Generation: 6}, brokerv1.RejectionOutcome_REJECTION_OUTCOME_ALREADY_REPLACED},
		"current":    {keeper.Rejection{Outcome: keeper.Replacing, Generation: 5}, brokerv1.RejectionOutcome_REJECTION_OUTCOME_REPLACING},
		"suppressed": {keeper.Rejection{Outcome: keeper.Suppressed, Fault: &remedy.Fault{Remedy: "look", After: time.Minute}}, brokerv1.RejectionOutcome_REJECTION_OUTCOME_SUPPRESSED},
	} {
		t.Run(name, func(t *testing.T) {
			b.keeper.reject = func(f secret.Fingerprint) keeper.Rejection {
				if f != sum {
					t.Error("another fingerprint")
				}
				return tc.answer
			}
			resp, err := c.ReportRejection(b.ctx(), &brokerv1.ReportRejectionRequest{Selector: inbound("support@contoso.com"), Fingerprint: sum[:],
				Kind: brokerv1.RejectionKind_REJECTION_KIND_SASL, Server: "h:993"})
			if err != nil || resp.GetOutcome() != tc.want || resp.GetCurrentGeneration() != tc.answer.Generation {
				t.Fatalf("%v, %v", resp, err)
			}
			if tc.answer.Fault != nil && (resp.GetRemedy() != "look" || resp.GetRetryDelay().AsDuration() != time.Minute) {
				t.Fatalf("%v", resp)
			}
		})
	}
	if !strings.Contains(b.log.String(), "a mail server refused a credential") {
		t.Fatal("the refusal is not in the log")
	}
	sum = sha256.Sum256([]byte("MARKER-pass"))
	resp, err := c.ReportRejection(b.ctx(), &brokerv1.ReportRejectionRequest{Selector: outbound("support@contoso.com"), Fingerprint: sum[:],
		Kind: brokerv1.RejectionKind_REJECTION_KIND_SASL})
	if err != nil || resp.GetOutcome() != brokerv1.RejectionOutcome_REJECTION_OUTCOME_SUPPRESSED || resp.GetRetryDelay().AsDuration() < time.Minute {
		t.Fatalf("a refused password: %v, %v", resp, err)
	}
	_, err = c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: outbound("support@contoso.com")})
	if d, _ := details(t, err, codes.FailedPrecondition, "PASSWORD_REJECTED"); !strings.Contains(d.GetMetadata()["remedy"], "correct the mailbox's password") {
		t.Fatalf("a refused password goes out again: %v", d)
	}
	if strings.Contains(b.audit.String(), secret.Fingerprint(sum).String()) {
		t.Fatal("a password's fingerprint is in the audit")
	}
}
