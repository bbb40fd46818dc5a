package smtp

import (
	"bufio"
	"errors"
	"strings"
	"testing"
	"time"

	"mailporter/workers/internal/esmtp"
	"mailporter/workers/internal/fault"
)

func parse(t *testing.T, text string) esmtp.Reply {
	t.Helper()
	r, err := esmtp.ReadReply(bufio.NewReaderSize(strings.NewReader(text+"\r\n"), esmtp.MaxLine))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The replies of Exchange Online and Gmail as they were seen.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		reply  string
		at     step
		kind   fault.Kind
		after  time.Duration
		reason string
	}{
		{"421 4.3.2 Service not available", atMail, fault.Temporary, 0, ""},
		{"421-4.7.0 Our system has detected an unusual rate of\r\n421 4.7.0 unsolicited mail", atMessage, fault.Throttled, time.Hour, "UNUSUAL_RATE"},
		{"432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending", atLogin, fault.Throttled, 5 * time.Second, "TOO_MANY_CONNECTIONS"},
		{"432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", atMessage, fault.Throttled, 5 * time.Second, "TOO_MANY_CONNECTIONS"},
		{"450 4.2.1 The user you are trying to contact is receiving mail too quickly", atRecipient, fault.Throttled, 15 * time.Minute, "RECIPIENT_RATE"},
		{"451 4.3.0 Temporary server error", atMessage, fault.Temporary, 0, ""},
		{"451 4.7.500 Server busy. Please try again later (AS843)", atMail, fault.Throttled, 15 * time.Minute, "TRAFFIC_UNDER_SUSPICION"},
		{"451 4.7.850 Access denied, please try again later", atMail, fault.Throttled, 15 * time.Minute, "TRAFFIC_UNDER_SUSPICION"},
		{"451 4.7.700 Something else", atMail, fault.Temporary, 0, ""},
		{"452 4.5.3 Too many recipients", atRecipient, fault.Temporary, 0, "TOO_MANY_RECIPIENTS"},
		{"552 Too many recipients", atRecipient, fault.Temporary, 0, "TOO_MANY_RECIPIENTS"},
		{"552 no room", atRecipient, fault.Temporary, 0, ""},
		{"452 too many recipients", atRecipient, fault.Temporary, 0, "TOO_MANY_RECIPIENTS"},
		{"552 Message too large", atMessage, fault.Permanent, 0, ""},
		{"421 4.7.0 Too many simultaneous connections. Try again later.", atLogin, fault.Throttled, 30 * time.Second, "TOO_MANY_CONNECTIONS"},
		{"421-4.7.28 Gmail has detected an unusual rate of mail\r\n421 4.7.28 from you", atMessage, fault.Throttled, time.Hour, "UNUSUAL_RATE"},
		{"421 4.4.5 Server busy, try again later.", atMail, fault.Temporary, 0, ""},
		{"421 4.3.0 Temporary System Problem. Try again later", atMail, fault.Temporary, 0, ""},
		{"454 4.7.0 TLS not available due to temporary reason", atOpen, fault.Temporary, 0, "TLS_NOT_AVAILABLE"},
		{"554 5.4.300 Message expired", atMessage, fault.Permanent, 0, ""},
		{"550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup", atRecipient, fault.Permanent, 0, "RECIPIENT_RESTRICTED"},
		{"550 5.7.124 Sender not in allowed-senders list", atRecipient, fault.Permanent, 0, "RECIPIENT_RESTRICTED"},
		{"550 5.7.26 Unauthenticated email is not accepted due to domain's DMARC policy", atMessage, fault.Permanent, 0, "SENDER_NOT_AUTHENTICATED"},
		{"550 5.7.233 tenant exceeded external recipients", atMessage, fault.Throttled, 24 * time.Hour, "TENANT_RECIPIENTS"},
		{"550 5.5.3 Too many recipients", atRecipient, fault.Temporary, 0, "TOO_MANY_RECIPIENTS"},
		{"452 4.2.2 The recipient's mailbox is full", atRecipient, fault.Temporary, 0, ""},
		{"552 5.2.2 The recipient's mailbox is full", atRecipient, fault.Permanent, 0, ""},
		{"454 4.7.0 Too many login attempts, please try again later", atLogin, fault.Throttled, 5 * time.Minute, "LOGIN_RATE"},
		{"530 5.7.57 Client not authenticated to send mail", atMail, fault.Auth, 0, "NOT_AUTHENTICATED"},
		{"530 5.7.0 Authentication Required", atMail, fault.Auth, 0, "NOT_AUTHENTICATED"},
		{"534 5.7.9 Application-specific password required", atLogin, fault.Auth, 0, "SIGN_IN_NEEDED"},
		{"535 5.7.3 Authentication unsuccessful", atLogin, fault.Auth, 0, ""},
		{"535 5.7.8 Username and Password not accepted", atLogin, fault.Auth, 0, ""},
		{"535 Authentication failed", atLogin, fault.Auth, 0, ""},
		{"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.", atLogin, fault.Auth, 0, "SMTP_AUTH_DISABLED"},
		{"535 5.7.139 Authentication unsuccessful, basic authentication is disabled.", atLogin, fault.Auth, 0, "BASIC_AUTH_DISABLED"},
		{"535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully", atLogin, fault.Auth, 0, "CONDITIONAL_ACCESS"},
		{"535 5.7.139 Authentication unsuccessful, account is locked", atLogin, fault.Auth, 0, "ACCOUNT_LOCKED"},
		{"535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.", atLogin, fault.Auth, 0, "PASSWORD_REFUSED"},
		{"535 5.7.139 Authentication unsuccessful, something new", atLogin, fault.Auth, 0, "SIGN_IN_REFUSED"},
		{"535 5.7.139 Authentication unsuccessful, user or tenant not allowed", atLogin, fault.Auth, 0, "SIGN_IN_NOT_ALLOWED"},
		{"535 5.7.139 Authentication unsuccessful, the federated STS could not be reached", atLogin, fault.Auth, 0, "FEDERATION_UNREACHABLE"},
		{"550 5.7.30 Basic authentication is not supported for Client Submission", atLogin, fault.Auth, 0, "BASIC_AUTH_RETIRED"},
		{"504 5.7.4 Unrecognized authentication type", atLogin, fault.Temporary, 0, ""},
		{"554 5.3.2 not here", atOpen, fault.Temporary, 0, ""},
		{"550 5.1.1 no such user", atRecipient, fault.Permanent, 0, ""},
		{"550 5.1.10 RESOLVER.ADR.RecipientNotFound", atRecipient, fault.Permanent, 0, ""},
		{"550 5.1.8 Access denied, bad outbound sender", atMessage, fault.Auth, 0, "SENDER_BLOCKED"},
		{"550 5.7.502 Access denied, banned sender", atMail, fault.Auth, 0, "SENDER_BLOCKED"},
		{"550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP", atMail, fault.Auth, 0, "TENANT_BLOCKED"},
		{"554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", atMessage, fault.Throttled, time.Hour, "DAILY_RECIPIENTS"},
		{"550 5.1.90 Your message can't be sent because you've reached your daily limit", atMessage, fault.Throttled, time.Hour, "DAILY_RECIPIENTS"},
		{"550 5.4.5 Daily user sending limit exceeded", atMessage, fault.Throttled, 24 * time.Hour, "DAILY_LIMIT"},
		{"550 5.2.121 Recipient's hourly message receive limit exceeded", atRecipient, fault.Throttled, time.Hour, "RECIPIENT_RATE"},
		{"554 5.2.2 mailbox full; STOREDRV.Submission: QuotaExceededException", atMessage, fault.Auth, 0, "SENDER_MAILBOX_FULL"},
		{"550 5.7.60 SMTP; Client does not have permissions to send as this sender", atMessage, fault.Permanent, 0, "SEND_AS_DENIED"},
		{"554 5.2.252 SendAsDenied; a@b not allowed to send as c@d", atMessage, fault.Permanent, 0, "SEND_AS_DENIED"},
		{"554 5.6.0 Corrupt message content", atMessage, fault.Permanent, 0, "CONTENT_INVALID"},
		{"552 5.3.4 Message size exceeds fixed maximum message size", atMail, fault.Permanent, 0, "MESSAGE_TOO_LARGE"},
		{"550 5.7.1 Delivery not authorized", atRecipient, fault.Permanent, 0, ""},
		{"503 5.5.1 Bad sequence of commands", atData, fault.Temporary, 0, ""},
		{"530 Authentication required", atMail, fault.Auth, 0, "NOT_AUTHENTICATED"},
		{"530 5.7.1 Client was not authenticated", atMail, fault.Auth, 0, "NOT_AUTHENTICATED"},
		{"530-5.5.1 Authentication Required. Learn more at\r\n530 5.5.1 https://mail.example", atMail, fault.Auth, 0, "NOT_AUTHENTICATED"},
		{"535 Authentication required.", atRecipient, fault.Auth, 0, ""},
		{"250 2.0.0 ok?", atData, fault.Temporary, 0, ""},
	} {
		t.Run(c.reply, func(t *testing.T) {
			err := classify(parse(t, c.reply), c.at)
			var f *fault.Error
			if !errors.As(err, &f) {
				t.Fatalf("%T", err)
			}
			if f.Kind != c.kind || f.After != c.after || f.Reason != c.reason {
				t.Errorf("%v, %v, %q; want %v, %v, %q", f.Kind, f.After, f.Reason, c.kind, c.after, c.reason)
			}
			if f.Kind == fault.Auth && f.Reason != "" && f.Remedy == "" {
				t.Error("who must do what?")
			}
		})
	}
}

// A login that is switched off is not asked for with yet another token.
func TestWhoseTokenIsRefused(t *testing.T) {
	for reply, want := range map[string]bool{
		"535 5.7.3 Authentication unsuccessful":                                             true,
		"535 5.7.139 SmtpClientAuthentication is disabled for the Mailbox":                  false,
		"432 4.3.2 Concurrent connections limit exceeded":                                   false,
		"535 5.7.139 Authentication unsuccessful, user or tenant not allowed to do so here": false,
	} {
		var r interface{ TokenRefused() bool }
		if err := classify(parse(t, reply), atLogin); !errors.As(err, &r) || r.TokenRefused() != want {
			t.Errorf("%s: %v", reply, err)
		}
	}
}

func TestEchoedCredentialsAreCutOut(t *testing.T) {
	token := strings.Repeat("eyJ0", 30) + ".abc-_"
	r := parse(t, "535 5.7.3 bad token "+token+" of a@b\x00")
	if got := r.Error(); strings.Contains(got, "eyJ0") || got != "535 5.7.3 bad token [secret] of a@b" {
		t.Errorf("%q", got)
	}
}
