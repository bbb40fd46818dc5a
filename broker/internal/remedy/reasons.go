package remedy

import "time"

// Reasons that the broker gives itself, or decides by. The table knows more.
const (
	ClientSecretInvalid      = "CLIENT_SECRET_INVALID"
	ClientSecretExpired      = "CLIENT_SECRET_EXPIRED"
	ClientCertificateUnknown = "CLIENT_CERTIFICATE_UNKNOWN"
	ClientAssertionOutdated  = "CLIENT_ASSERTION_OUTDATED"
	FederatedTokenUnreadable = "FEDERATED_TOKEN_UNREADABLE"
	ReauthorizationRequired  = "REAUTHORIZATION_REQUIRED"
	Throttling               = "IDP_THROTTLED"
	Unavailable              = "IDP_UNAVAILABLE"
	Untrusted                = "IDP_CERTIFICATE_UNTRUSTED"
	Redirected               = "IDP_REDIRECTED"
	Unreadable               = "IDP_ANSWER_UNREADABLE"
	Refused                  = "REQUEST_REFUSED"
	UnknownRefusal           = "UNKNOWN_REFUSAL"
	StoreUnavailable         = "STORE_UNAVAILABLE"
	StoredUnreadable         = "STORED_CREDENTIAL_UNREADABLE"
	LifetimeBelowMargin      = "TOKEN_LIFETIME_BELOW_MARGIN"
	RejectsFreshToken        = "SERVER_REJECTS_FRESH_TOKEN"
	AuthorityNotAllowed      = "AUTHORITY_NOT_ALLOWED"
	PasswordRejected         = "PASSWORD_REJECTED"
	UserNotFound             = "USER_NOT_FOUND"
	FederationUnavailable    = "FEDERATED_IDP_UNAVAILABLE"
	FederationUnreadable     = "FEDERATED_IDP_UNREADABLE"
	FederationRefused        = "FEDERATED_IDP_REFUSED"
	GrantNotServed           = "GRANT_NOT_SERVED"
)

// ofAudience are the reasons that concern what was asked for.
var ofAudience = map[string]bool{
	"SCOPE_INVALID": true, "RESOURCE_NOT_FOUND": true, "RESOURCE_DISABLED": true, "PERMISSION_NOT_REGISTERED": true,
	"SERVICE_NOT_LICENSED": true, "ROLE_NOT_ASSIGNED": true, "CONSENT_REQUIRED": true,
}

// NoStore: the store does not answer, and without it the credential must not be used.
func NoStore() *Fault {
	return &Fault{
		Class: Transient, Reason: StoreUnavailable, After: time.Second,
		Remedy: "Whoever runs the broker must bring its store back; refresh tokens are not used meanwhile, because a rotated one that cannot be saved is lost.",
	}
}

// Sealed: what the store holds does not open with the keyset. The refresh token in it is not replaced by the configured one,
// which may be years older.
func Sealed() *Fault {
	return &Fault{
		Class: NeedsAdmin, Reason: StoredUnreadable,
		Remedy: "Whoever runs the broker must give it the keyset with which its store was written; if there is none any more, or somebody tampered with the store, `brokerctl mailbox reset` puts the record aside and begins again with the configured refresh token.",
	}
}

// ShortLived: a new token lives no longer than the margin asked for.
func ShortLived(life, margin time.Duration) *Fault {
	return &Fault{
		Class: WrongConfig, Reason: LifetimeBelowMargin, Detail: "token lives " + life.String() + ", margin is " + margin.String(),
		Remedy: "Whoever configures the broker must set token-expiry-margin-time (or the caller its min_validity) below the life of the provider's tokens, " + life.String() + ".",
	}
}

// FreshRefused: mail servers refuse new tokens again and again; the next is made after the time given.
func FreshRefused(after time.Duration) *Fault {
	return &Fault{
		Class: NeedsAdmin, Reason: RejectsFreshToken, After: after,
		Remedy: "An administrator must check that the protocol is enabled for the mailbox (Set-CASMailbox), that the application has the permission with consent, and for app-only tokens that its service principal is registered in Exchange (New-ServicePrincipal, Add-MailboxPermission).",
		Link:   "https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth",
	}
}

// testingLife is how long Google lets refresh tokens of a project live whose publishing status is Testing.
const testingLife = 7 * 24 * time.Hour

// AfterTesting is f with the likely cause, if a refresh token of Google's was refused that lived as long as those of a
// project in testing do.
func (f *Fault) AfterTesting(lived time.Duration) *Fault {
	if f.Reason != ReauthorizationRequired || lived < testingLife-12*time.Hour || lived > testingLife+24*time.Hour {
		return f
	}
	told := *f
	told.Remedy += " It worked for seven days, which is how long refresh tokens live while the project's publishing status is Testing: whoever owns the project must set it to In production first (Google Auth Platform, Audience)."
	return &told
}
