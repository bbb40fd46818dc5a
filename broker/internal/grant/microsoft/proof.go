package microsoft

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/url"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/golang-jwt/jwt/v5"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// assertionLife is how long an assertion of ours is good: Entra advises five to ten minutes.
const assertionLife = 5 * time.Minute

// proofOf is the application's proof of itself as MSAL takes it.
func proofOf(c token.Credential) (confidential.Credential, error) {
	switch {
	case len(c.Certificates) > 0:
		cert := c.Certificates[0]
		return confidential.NewCredFromCert([]*x509.Certificate{cert.Leaf()}, cert.Reveal())
	case c.FederatedFile != "":
		return confidential.NewCredFromAssertionCallback(func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			return federated(c.FederatedFile)
		}), nil
	}
	return confidential.NewCredFromSecret(firstSecret(c).Reveal())
}

// assert adds the assertion of an application that proves itself with one (RFC 7523 section 2.2). endpoint is where it goes.
func assert(params url.Values, c token.Credential, endpoint string) error {
	var text string
	var err error
	switch {
	case len(c.Certificates) > 0:
		text, err = signed(c, endpoint)
	case c.FederatedFile != "":
		text, err = federated(c.FederatedFile)
	default:
		return nil
	}
	params.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	params.Set("client_assertion", text)
	return err
}

// signed is a fresh assertion in the form that Entra documents for certificates: PS256, named by x5t#S256.
func signed(c token.Credential, endpoint string) (string, error) {
	cert, now := c.Certificates[0], time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodPS256, jwt.MapClaims{
		"aud": endpoint, "iss": c.ClientID, "sub": c.ClientID, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	sum := sha256.Sum256(cert.Leaf().Raw)
	t.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(sum[:])
	return t.SignedString(cert.Reveal())
}

// federated reads the file anew: such tokens are replaced about every hour.
func federated(path string) (string, error) {
	s, err := secret.Ref{File: path}.Read()
	return s.Reveal(), err
}

// checkFederated is the fault of a file that cannot be read. It is transient: whoever writes the file writes it again.
func checkFederated(c token.Credential) *remedy.Fault {
	if c.FederatedFile == "" {
		return nil
	}
	if _, err := federated(c.FederatedFile); err != nil {
		return &remedy.Fault{Class: remedy.Transient, Reason: remedy.FederatedTokenUnreadable, Detail: err.Error(),
			Remedy: "Whoever runs the broker must see to it that the federated token file exists and is readable."}
	}
	return nil
}

// retryOutdated keeps a stale federated token from freezing the credential: its file is renewed without a change of the
// configuration, so nothing would thaw it.
func retryOutdated(c token.Credential, err error) error {
	var f *remedy.Fault
	if c.FederatedFile == "" || !errors.As(err, &f) || f.Reason != remedy.ClientAssertionOutdated {
		return err
	}
	again := *f
	again.Class = remedy.Transient
	return &again
}
