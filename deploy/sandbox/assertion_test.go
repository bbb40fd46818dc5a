package sandbox_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mailporter/sandbox"
)

// holder is a key with its self-signed certificate.
type holder struct {
	key *rsa.PrivateKey
	der []byte
}

func newHolder(t *testing.T, life time.Duration) holder {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return holder{key, der}
}

func (h holder) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.der}))
}

// assertion is a good one for the endpoint, but for the changes.
func (h holder) assertion(t *testing.T, endpoint string, weak bool, changes map[string]any) string {
	t.Helper()
	claims := jwt.MapClaims{"aud": endpoint, "iss": service, "sub": service, "jti": rand.Text(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
	for k, v := range changes {
		claims[k] = v
	}
	strong, short := sha256.Sum256(h.der), sha1.Sum(h.der)
	token := jwt.NewWithClaims(jwt.SigningMethodPS256, claims)
	token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(strong[:])
	if weak {
		token = jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
		token.Header["x5t"] = base64.RawURLEncoding.EncodeToString(short[:])
	}
	text, err := token.SignedString(h.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestClientAssertionsAreVerified(t *testing.T) {
	sb := start(t, contoso())
	known, expired, stranger := newHolder(t, time.Hour), newHolder(t, -time.Hour), newHolder(t, time.Hour)
	if !sb.Directory().UpdateApp(tenantID, service, func(a *sandbox.App) { a.Certificates = []string{expired.pem(), known.pem()} }) {
		t.Fatal("no such application")
	}
	at, past := entra(sb, tenantID), time.Now().Add(-time.Minute).Unix()
	forged := holder{stranger.key, known.der}
	for name, tc := range map[string]struct {
		assertion string
		code      int
	}{
		"PS256":         {known.assertion(t, at, false, nil), 0},
		"RS256":         {known.assertion(t, at, true, nil), 0},
		"unregistered":  {stranger.assertion(t, at, false, nil), 700027},
		"forged":        {forged.assertion(t, at, false, nil), 700027},
		"expired cert":  {expired.assertion(t, at, false, nil), 700027},
		"outdated":      {known.assertion(t, at, false, map[string]any{"exp": past}), 700024},
		"too early":     {known.assertion(t, at, false, map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), 700024},
		"other address": {known.assertion(t, "https://evil.example", false, nil), 50027},
		"other subject": {known.assertion(t, at, false, map[string]any{"sub": webApp}), 50027},
		"other issuer":  {known.assertion(t, at, false, map[string]any{"iss": webApp}), 700213},
		"without id":    {known.assertion(t, at, false, map[string]any{"jti": ""}), 50027},
		"no JWT":        {"nonsense", 50027},
	} {
		t.Run(name, func(t *testing.T) {
			ask := func() answer {
				return post(t, sb, at, form("grant_type", "client_credentials", "client_id", service, "scope", appOnly,
					"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", tc.assertion))
			}
			a := ask()
			if tc.code == 0 && a.Access == "" || tc.code != 0 && (len(a.Codes) != 1 || a.Codes[0] != tc.code) {
				t.Fatalf("want %d: %s", tc.code, a.raw)
			}
			if again := ask(); again.Access != "" {
				t.Error("an assertion was taken twice")
			}
		})
	}
}

func TestAnUnreadableCertificateIsAComplaint(t *testing.T) {
	c := contoso()
	c.Tenants[0].Apps[0].Certificates = []string{"/nowhere/cert.pem"}
	c.Tenants[0].Apps[0].Federated = []sandbox.Federated{{Key: "-----BEGIN NOTHING"}}
	if err := c.Validate(); err == nil {
		t.Error("taken")
	}
}
