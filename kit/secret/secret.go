// Package secret holds values that must not be printed, and the references by which configuration names them.
//
// A String hides its value behind a pointer: a plain string in an unexported field prints under %v in spite of every
// String and Format method, a pointer does not. Reveal is the only way out; call it where the bytes leave for the wire.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[secret]"

// String is a secret text. The zero value is the empty secret.
type String struct{ hidden *string }

// New wraps s.
func New(s string) String { return String{&s} }

// Reveal returns the value. Its result must not reach a log, an error, a metric or a label.
func (s String) Reveal() string {
	if s.hidden == nil {
		return ""
	}
	return *s.hidden
}

// Empty says whether there is nothing to hide.
func (s String) Empty() bool { return s.Reveal() == "" }

// Equal compares in constant time.
func (s String) Equal(other String) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// Fingerprint is the SHA-256 of the value: a name for it that tells nothing about it, if it has enough entropy. Tokens
// have; passwords have not, so never print a password's.
func (s String) Fingerprint() Fingerprint { return sha256.Sum256([]byte(s.Reveal())) }

// Format prints the same word under every verb.
func (s String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue keeps the value out of slog's handlers.
func (s String) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the value out of encoders.
func (s String) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Fingerprint is a SHA-256 sum, 32 bytes.
type Fingerprint [sha256.Size]byte

// String is the short form for logs: 12 hexadecimal digits.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:6]) }
