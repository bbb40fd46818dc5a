package token

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"time"

	"mailporter/kit/secret"
)

// Certificate is a client certificate and its private key, which does not print. The zero value is none.
type Certificate struct{ hidden *certificate }

type certificate struct {
	leaf *x509.Certificate
	key  *rsa.PrivateKey
}

// NewCertificate keeps a certificate with the key that belongs to it.
func NewCertificate(leaf *x509.Certificate, key *rsa.PrivateKey) Certificate {
	return Certificate{&certificate{leaf, key}}
}

// Leaf is the certificate itself, which is public.
func (c Certificate) Leaf() *x509.Certificate { return c.hidden.leaf }

// Reveal is the private key: for signing an assertion and nothing else.
func (c Certificate) Reveal() *rsa.PrivateKey { return c.hidden.key }

// NotAfter is when the certificate ends.
func (c Certificate) NotAfter() time.Time { return c.hidden.leaf.NotAfter }

// Fingerprint names the certificate: the SHA-256 sum of its DER form.
func (c Certificate) Fingerprint() secret.Fingerprint { return sha256.Sum256(c.hidden.leaf.Raw) }

const redacted = "[certificate]"

// Format prints a placeholder, whatever the verb.
func (c Certificate) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (c Certificate) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (c Certificate) MarshalText() ([]byte, error) { return []byte(redacted), nil }
