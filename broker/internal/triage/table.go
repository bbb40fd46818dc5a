package triage

import (
	"strings"

	"mailporter/broker/internal/remedy"
)

// sign is part of a server's reply, in lower case, that tells what is wrong. None of these is cured by another token.
type sign struct {
	text   string
	class  remedy.Class
	reason string
	remedy string
}

const (
	protocolOff = "An administrator must allow the protocol for the mailbox (Exchange: Set-CASMailbox; Google: Admin console, Gmail, End user access)."
	noAccess    = "An administrator must give the application or the user access to the mailbox (Add-MailboxPermission, or a role assignment with a scope)."
	blocked     = "An administrator must look at the account's sign-in log: a policy or the state of the account keeps it out."
)

// signs are the replies of Exchange Online and Gmail whose meaning is known.
var signs = []sign{
	{"authenticated but not connected", remedy.NeedsAdmin, "MAILBOX_NOT_CONNECTED",
		"An administrator must enable IMAP or POP for the mailbox (Set-CASMailbox) and give the application or user FullAccess to it; the service principal must have been made with the object id of the enterprise application."},
	{"smtpclientauthentication is disabled", remedy.NeedsAdmin, "SMTP_AUTH_DISABLED",
		"An administrator must allow authenticated SMTP for the mailbox (Set-CASMailbox -SmtpClientAuthenticationDisabled $false) or the tenant."},
	{"imap access is disabled", remedy.NeedsAdmin, "PROTOCOL_DISABLED", protocolOff}, {"not enabled for imap", remedy.NeedsAdmin, "PROTOCOL_DISABLED", protocolOff},
	{"pop access is disabled", remedy.NeedsAdmin, "PROTOCOL_DISABLED", protocolOff}, {"not enabled for pop", remedy.NeedsAdmin, "PROTOCOL_DISABLED", protocolOff},
	{"erroraccessdenied", remedy.NeedsAdmin, "MAILBOX_PERMISSION_MISSING", noAccess}, {"access is denied", remedy.NeedsAdmin, "MAILBOX_PERMISSION_MISSING", noAccess},
	{"errorimpersonat", remedy.NeedsAdmin, "MAILBOX_PERMISSION_MISSING", noAccess},
	{"did not meet the criteria", remedy.NeedsAdmin, "SIGN_IN_BLOCKED", blocked}, {"user or tenant not allowed", remedy.NeedsAdmin, "SIGN_IN_BLOCKED", blocked},
	{"account is locked", remedy.NeedsAdmin, "SIGN_IN_BLOCKED", blocked},
	{"web login required", remedy.NeedsUser, "WEB_LOGIN_REQUIRED", "The mailbox's user must sign in once with a web browser; Google holds the account back until then."},
	{"log in via your web browser", remedy.NeedsUser, "WEB_LOGIN_REQUIRED", "The mailbox's user must sign in once with a web browser; Google holds the account back until then."},
}

// read is what a reply says, or nil.
func read(reply string) *remedy.Fault {
	text := strings.ToLower(reply)
	for _, s := range signs {
		if strings.Contains(text, s.text) {
			return &remedy.Fault{Class: s.class, Reason: s.reason, Remedy: s.remedy, After: atFault}
		}
	}
	return nil
}

// everybody: the server refuses tokens of many mailboxes.
func everybody(server string) *remedy.Fault {
	return &remedy.Fault{Class: remedy.Transient, Reason: "MAIL_SERVER_REFUSES_EVERYBODY", After: outage,
		Remedy: "Nobody needs to act yet: " + server + " refuses tokens of many mailboxes at once, which looks like a disturbance of the provider; see its health page if it lasts."}
}

// unmet: fresh tokens are answered with a claims challenge.
func unmet() *remedy.Fault {
	return &remedy.Fault{Class: remedy.NeedsAdmin, Reason: "CLAIMS_CHALLENGE", After: atFault,
		Remedy: "An administrator must find out in the sign-in log which policy (continuous access evaluation, Conditional Access) asks for more than the application can prove; a user's consent must be given again."}
}
