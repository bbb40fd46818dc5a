package microsoft

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"mailporter/broker/internal/grant/wire"
	"mailporter/broker/internal/remedy"
)

// maxForm is far above what MSAL sends; assertions have a few KiB.
const maxForm = 1 << 20

// sparing is the HTTP client of public clients. MSAL sends the user's name and password along when it redeems an assertion
// of a federation server, and Entra has no use for either (RFC 7522 section 2.1): they are taken out.
type sparing struct{ next *wire.Client }

// Do implements MSAL's ops.HTTPClient.
func (s sparing) Do(r *http.Request) (*http.Response, error) {
	if err := spare(r); err != nil {
		return nil, err
	}
	return s.next.Do(r)
}

// CloseIdleConnections implements MSAL's ops.HTTPClient.
func (s sparing) CloseIdleConnections() { s.next.CloseIdleConnections() }

// spare rewrites the form of a request that redeems an assertion, and leaves all others as they are.
func spare(r *http.Request) error {
	if r.Method != http.MethodPost || r.Body == nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxForm))
	if err = errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	form, err := url.ParseQuery(string(text))
	if err == nil && strings.HasPrefix(form.Get("grant_type"), "urn:ietf:params:oauth:grant-type:saml") {
		form.Del("username")
		form.Del("password")
		text = []byte(form.Encode())
	}
	r.ContentLength = int64(len(text))
	r.Body = io.NopCloser(bytes.NewReader(text))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	return nil
}

// beforeTheToken judges a password grant that ended before Entra's token endpoint was asked: at the user's realm, or at
// the federation server that holds the password. nil: it did not. MSAL's errors tell these apart only by their texts.
func beforeTheToken(last wire.Seen, authority string, about remedy.About) *remedy.Fault {
	switch {
	case last.Host == authority && strings.Contains(last.Path, "/UserRealm/") && last.Status == http.StatusOK:
		return realmFault(last.Body, about)
	case last.Host == "" || last.Host == authority || wire.Allowed(last.Host, hosts) || wire.Refused(last.Err):
		return nil
	}
	f := federationFault(last, about)
	f.Status = last.Status
	return f
}

// realmFault: the realm is known, and nothing was asked after it.
func realmFault(body []byte, about remedy.About) *remedy.Fault {
	var realm struct {
		Type string `json:"account_type"`
	}
	if json.Unmarshal(body, &realm) != nil || realm.Type != "Unknown" {
		return nil
	}
	return &remedy.Fault{Class: remedy.WrongConfig, Reason: remedy.UserNotFound, Status: http.StatusOK,
		Remedy: "Whoever configures the broker must correct the user " + about.User + ": no directory of this cloud knows the domain."}
}

func federationFault(last wire.Seen, about remedy.About) *remedy.Fault {
	who := "Whoever runs the federation server " + last.Host + " of " + about.User
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(last.Err, &untrusted):
		return &remedy.Fault{Class: remedy.Transient, Reason: remedy.Untrusted, Detail: remedy.Detail(last.Err),
			Remedy: "Whoever configures the broker must name the certificate authority of the federation server " + last.Host + " under trusted-ca."}
	case wire.TooLarge(last.Err):
		return unreadable(who, "the answer is too large")
	case last.Err != nil:
		return &remedy.Fault{Class: remedy.Transient, Reason: remedy.FederationUnavailable, Detail: remedy.Detail(last.Err),
			Remedy: who + " must look at it if this lasts; the broker tries again."}
	case last.Status == http.StatusUnauthorized:
		return rejected(last.Host, about)
	}
	if code := faultCode(last.Body); code != "" {
		return soapFault(code, who, last.Host, about)
	}
	if last.Status >= 500 || last.Status == http.StatusTooManyRequests {
		return &remedy.Fault{Class: remedy.Transient, Reason: remedy.FederationUnavailable, Remedy: who + " must look at it if this lasts; the broker tries again."}
	}
	return unreadable(who, "")
}

// rejected freezes: a federation server locks accounts as Entra does.
func rejected(host string, about remedy.About) *remedy.Fault {
	return &remedy.Fault{Class: remedy.NeedsUser, Reason: remedy.PasswordRejected,
		Remedy: "The user " + about.User + " or whoever configures the broker must correct the password, which the federation server " + host +
			" refuses; it is not tried again until then, because more tries would lock the account."}
}

func unreadable(who, detail string) *remedy.Fault {
	return &remedy.Fault{Class: remedy.Transient, Reason: remedy.FederationUnreadable, Detail: detail,
		Remedy: who + " must see to it that its metadata name an endpoint for WS-Trust 1.3 with user name and password, and that no gateway answers in its place."}
}

// soapFault judges by WS-Trust 1.3 section 11. A fault comes with status 500, but AD FS is there and has an opinion: asking
// again and again with a wrong password would lock the account, so whatever is not known is final soon.
func soapFault(code, who, host string, about remedy.About) *remedy.Fault {
	const tries = 3
	switch code {
	case "FailedAuthentication", "FailedCheck", "InvalidSecurityToken":
		return rejected(host, about)
	case "InvalidScope", "InvalidRequest", "RequestFailed", "BadRequest":
		return &remedy.Fault{Class: remedy.WrongConfig, Reason: remedy.FederationRefused, Detail: code,
			Remedy: who + " must check that it trusts Microsoft (urn:federation:MicrosoftOnline) and that its clock and that of the broker are right; then reset the credential."}
	}
	return &remedy.Fault{Class: remedy.Transient, Reason: remedy.FederationRefused, Detail: code, Tries: tries,
		Remedy: who + " must look into its log: it refuses the sign-in with " + code + "."}
}

// faultCode is the innermost code of a SOAP 1.2 fault without its prefix, or empty if the body is none.
func faultCode(body []byte) string {
	var envelope struct {
		Code    string `xml:"Body>Fault>Code>Value"`
		Subcode string `xml:"Body>Fault>Code>Subcode>Value"`
	}
	if xml.Unmarshal(body, &envelope) != nil {
		return ""
	}
	code := envelope.Subcode
	if code == "" {
		code = envelope.Code
	}
	_, name, prefixed := strings.Cut(strings.TrimSpace(code), ":")
	if !prefixed {
		name = strings.TrimSpace(code)
	}
	if len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') }) {
		return "Unknown" // none of a stranger's text gets into our logs
	}
	return name
}
