package idp

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is a SHA-1 sum (RFC 7515 section 4.1.7); it names a certificate and protects nothing
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Federated trusts the tokens of another issuer as an application's credential; all three claims must match letter for letter.
type Federated struct {
	Issuer   string `yaml:"issuer"`
	Subject  string `yaml:"subject"`
	Audience string `yaml:"audience"`
	// Key is the issuer's RSA public key: PEM, or a file of it.
	Key string `yaml:"key"`
}

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// asserted remembers the ids of assertions until they end.
type asserted struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

// again says whether the id was used before.
func (a *asserted) again(id string, expires time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for old, end := range a.seen {
		if end.Before(now) {
			delete(a.seen, old)
		}
	}
	_, used := a.seen[id]
	a.seen[id] = expires
	return used
}

// checkAssertion verifies a client assertion (RFC 7523 section 3): signed with a registered certificate by the application
// itself, or by an issuer that it trusts.
func (s *Server) checkAssertion(r *request) error {
	if len(r.app.Certificates) == 0 && len(r.app.Federated) == 0 {
		return refuse(700027, r.app.ClientID)
	}
	text := r.get("client_assertion")
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(text, &claims); err != nil || r.get("client_assertion_type") != jwtBearer {
		return refuse(50027)
	}
	if claims.Issuer != r.app.ClientID {
		return r.app.checkFederated(text, claims)
	}
	if err := verify(text, r.app.signer, s.config.Base+r.URL.Path); err != nil {
		return refuse(codeOf(err), r.app.ClientID)
	}
	if claims.Subject != claims.Issuer || claims.ID == "" || s.asserted.again(r.app.ClientID+" "+claims.ID, claims.ExpiresAt.Time) {
		return refuse(50027)
	}
	return nil
}

func (a *App) checkFederated(text string, claims jwt.RegisteredClaims) error {
	i := slices.IndexFunc(a.Federated, func(f Federated) bool {
		return f.Issuer == claims.Issuer && f.Subject == claims.Subject && slices.Contains(claims.Audience, f.Audience)
	})
	if i < 0 {
		return refuse(700213, claims.Subject)
	}
	key := func(*jwt.Token) (any, error) { return publicKey(a.Federated[i].Key) }
	if err := verify(text, key, a.Federated[i].Audience); err != nil {
		return refuse(codeOf(err), a.ClientID)
	}
	return nil
}

func verify(text string, key jwt.Keyfunc, audience string) error {
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"PS256", "RS256"}), jwt.WithAudience(audience), jwt.WithExpirationRequired()).
		ParseWithClaims(text, &jwt.RegisteredClaims{}, key)
	return err
}

// codeOf is the AADSTS number for what is wrong with an assertion.
func codeOf(err error) int {
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return 700027
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return 700024
	}
	return 50027
}

// signer finds the registered certificate that the header names.
func (a *App) signer(t *jwt.Token) (any, error) {
	for _, text := range a.Certificates {
		c, err := certificate(text)
		if err != nil {
			return nil, err
		}
		strong, weak := sha256.Sum256(c.Raw), sha1.Sum(c.Raw) //nolint:gosec // see the import
		if names(t.Header["x5t#S256"], strong[:]) || names(t.Header["x5t"], weak[:]) {
			if now := time.Now(); now.Before(c.NotBefore) || now.After(c.NotAfter) {
				return nil, errors.New("the certificate is not valid now")
			}
			return c.PublicKey, nil
		}
	}
	return nil, errors.New("no registered certificate has this thumbprint")
}

// names compares a thumbprint. RFC 7515 wants base64url without padding; clients in use also send plain base64.
func names(header any, sum []byte) bool {
	s, ok := header.(string)
	if !ok {
		return false
	}
	s = strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(s)
	return s == base64.RawURLEncoding.EncodeToString(sum)
}

func certificate(text string) (*x509.Certificate, error) {
	b, err := pemOf(text)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if _, ok := c.PublicKey.(*rsa.PublicKey); !ok {
		return nil, errors.New("certificate: the key is not RSA")
	}
	return c, nil
}

func publicKey(text string) (crypto.PublicKey, error) {
	b, err := pemOf(text)
	if err != nil {
		return nil, err
	}
	k, err := x509.ParsePKIXPublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return k, nil
}

// pemOf is the first block of a text or of the file that it names.
func pemOf(text string) ([]byte, error) {
	if !strings.Contains(text, "-----BEGIN") {
		b, err := os.ReadFile(text)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	return block.Bytes, nil
}

// checkKeys complains about certificates and keys that cannot be read.
func (a *App) checkKeys() error {
	var errs []error
	for i, text := range a.Certificates {
		if _, err := certificate(text); err != nil {
			errs = append(errs, fmt.Errorf("certificates[%d] of %s: %w", i, a.ClientID, err))
		}
	}
	for i, f := range a.Federated {
		if _, err := publicKey(f.Key); err != nil {
			errs = append(errs, fmt.Errorf("federated[%d].key of %s: %w", i, a.ClientID, err))
		}
	}
	return errors.Join(errs...)
}
