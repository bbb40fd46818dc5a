package smtpd

import (
	"fmt"

	"github.com/emersion/go-smtp"

	"mailporter/sandbox/fault"
)

func refuse(code int, a, b, c int, format string, args ...any) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{a, b, c}, Message: fmt.Sprintf(format, args...)}
}

// hostname is what the Exchange half calls itself in its replies.
const hostname = "sandbox.prod.outlook.example"

// The replies of Exchange Online, as its documentation and its users quote them.
var (
	errNotAuthenticated = refuse(530, 5, 7, 57, "Client not authenticated to send mail. [%s]", hostname)
	errUnsuccessful     = refuse(535, 5, 7, 3, "Authentication unsuccessful [%s]", hostname)
	errSMTPDisabled     = refuse(535, 5, 7, 139, "Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information. [%s]", hostname)
	errBasicDisabled    = refuse(535, 5, 7, 139, "Authentication unsuccessful, basic authentication is disabled. [%s]", hostname)
	errCredentials      = refuse(535, 5, 7, 139, "Authentication unsuccessful, the user credentials were incorrect. [%s]", hostname)
	errRecipientLimit   = refuse(554, 5, 2, 0, "STOREDRV.Submission.Exception:SubmissionQuotaExceededException; the daily limit of recipients is exceeded [%s]", hostname)
	errConcurrent       = refuse(432, 4, 3, 2, "Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information. [%s]", hostname)
	errSendAs           = refuse(550, 5, 7, 60, "SMTP; Client does not have permissions to send as this sender")
	errUnknownRecipient = refuse(550, 5, 1, 10, "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup")
	errMalformed        = refuse(501, 5, 5, 4, "Cannot decode the SASL response")
)

func errSendAsDenied(mailbox, from string) error {
	return refuse(554, 5, 2, 252, "SendAsDenied; %s not allowed to send as %s; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied", mailbox, from)
}

// Gmail's replies.
var (
	errGmailCredentials = refuse(535, 5, 7, 8, "5.7.8 Username and Password not accepted. For more information, go to\nhttps://support.google.com/mail/?p=BadCredentials")
	errGmailAuthFirst   = refuse(530, 5, 7, 0, "5.7.0 Authentication Required. For more information, go to\nhttps://support.google.com/accounts/troubleshooter/2402620")
	errGmailRecipient   = refuse(550, 5, 1, 1, "The email account that you tried to reach does not exist.")
	errGmailTooMany     = refuse(421, 4, 7, 0, "Too many simultaneous connections. Try again later.")
)

// gmailChallenge goes before errGmailCredentials when a token is bad.
const gmailChallenge = `{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`

// replyError makes the reply that a fault asks for.
func replyError(text string) *smtp.SMTPError {
	code, enhanced, message, err := fault.ParseReply(text)
	if err != nil { // Validate has let it through: it cannot happen
		return refuse(451, 4, 3, 0, "%s", text)
	}
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: message}
}
