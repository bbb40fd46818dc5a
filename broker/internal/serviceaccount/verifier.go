package serviceaccount

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc" // checks the claims as OpenID Connect wants them; its own key set has no bounds and forgets nothing
	"github.com/go-jose/go-jose/v4"

	"mailporter/broker/internal/remedy"
)

// Config says whose tokens are good.
type Config struct {
	Issuer    string         // `iss`, letter for letter
	Audience  string         // must be among `aud`
	Keys      string         // https URL or path of the issuer's JWKS
	Roots     *x509.CertPool // of the URL's server; nil = the system's
	TokenFile string         // sent to the URL as bearer token and read anew each time; empty = none
	Log       *slog.Logger
}

// The reasons of a refusal.
const (
	Invalid      = "CALLER_TOKEN_INVALID"      // it is wrong, or meant for somebody else
	Expired      = "CALLER_TOKEN_EXPIRED"      // it was good
	Unverifiable = "CALLER_TOKEN_UNVERIFIABLE" // there are no keys to verify it with: it may be good
)

// longest is the most that a token may have, in bytes. Those of Kubernetes have about 1,200.
const longest = 16 << 10

// algorithms are those that Kubernetes may be set up to sign with. What is not here is refused before a key is looked for.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512}

// Verifier verifies tokens of one issuer. Any number of goroutines may use it.
type Verifier struct {
	config Config
	claims *oidc.Config
	keys   *keyring
}

// New makes a Verifier. It reads nothing yet: call Follow.
func New(c Config) (*Verifier, error) {
	if c.Issuer == "" || c.Audience == "" {
		return nil, errors.New("service-account tokens need an issuer and an audience")
	}
	load, err := loader(c)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = string(a)
	}
	return &Verifier{config: c, claims: &oidc.Config{ClientID: c.Audience, SupportedSigningAlgs: names}, keys: newKeyring(load)}, nil
}

// Follow reads the keys now and every five minutes, until ctx ends.
func (v *Verifier) Follow(ctx context.Context) {
	v.keys.follow(ctx, v.config.Log.With("keys", v.config.Keys))
}

// Verify returns the service account that the token proves, system:serviceaccount:NAMESPACE:NAME, and when the token ends.
// It is called once for each call of a worker that shows no certificate. The error is a *remedy.Fault that holds nothing
// of the token: Transient if the token may be good, WrongConfig if it is not.
func (v *Verifier) Verify(ctx context.Context, token string) (identity string, until time.Time, err error) {
	if len(token) > longest {
		return "", until, v.invalid(fmt.Sprintf("it has more than %d bytes", longest))
	}
	a := &attempt{keys: v.keys}
	proved, err := oidc.NewVerifier(v.config.Issuer, a, v.claims).Verify(ctx, token)
	if err != nil {
		return "", until, v.fault(a, err)
	}
	if !isServiceAccount(proved.Subject) {
		return "", until, v.invalid("its subject is no service account")
	}
	return proved.Subject, proved.Expiry, nil
}

// fault says why a token was refused. The library's words are used only about tokens that the issuer really signed: about
// others they may hold parts of the token.
func (v *Verifier) fault(a *attempt, err error) *remedy.Fault {
	var expired *oidc.TokenExpiredError
	switch {
	case a.silent != nil:
		return &remedy.Fault{Class: remedy.Transient, Reason: Unverifiable, Detail: "no key to verify it with: " + a.silent.Error(), After: pause,
			Remedy: "have the operator of the broker look at the log: kubernetes.jwks cannot be read"}
	case errors.As(err, &expired):
		return &remedy.Fault{Class: remedy.WrongConfig, Reason: Expired, Detail: "it ended at " + expired.Expiry.UTC().Format(time.RFC3339),
			Remedy: "read the projected token file anew for each call: the kubelet replaces it in time"}
	case a.signed:
		return v.invalid(strings.TrimPrefix(err.Error(), "oidc: "))
	}
	return v.invalid("no key of the issuer made its signature, or it is no token")
}

func (v *Verifier) invalid(why string) *remedy.Fault {
	return &remedy.Fault{Class: remedy.WrongConfig, Reason: Invalid, Detail: why,
		Remedy: fmt.Sprintf("send a service-account token of %s for the audience %s: a projected volume in the pod, or kubectl create token --audience %[2]s",
			v.config.Issuer, v.config.Audience)}
}

// DNS labels, RFC 1123; names of service accounts may hold dots.
var subject = regexp.MustCompile(`^system:serviceaccount:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?:[a-z0-9][-.a-z0-9]{0,252}$`)

func isServiceAccount(sub string) bool { return subject.MatchString(sub) }

// attempt is the key set of one verification. The library drops the type of what it returns, so it is kept here.
type attempt struct {
	keys   *keyring
	signed bool  // the signature is the issuer's
	silent error // why the issuer's keys could not be read
}

var errNotSigned = errors.New("not signed by a key of the issuer")

// VerifySignature implements oidc.KeySet.
func (a *attempt) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(token, algorithms) // the other form, a JSON object, is for other uses
	if err != nil {
		return nil, errNotSigned
	}
	header := jws.Signatures[0].Protected // a key in the header itself proves nothing, and is not looked at
	candidates, err := a.keys.find(ctx, header.KeyID, header.Algorithm)
	a.silent = err
	for _, key := range candidates {
		if payload, err := jws.Verify(key.Key); err == nil {
			a.signed = true
			return payload, nil
		}
	}
	return nil, errNotSigned
}
