package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

const version = "v1" // of what follows: the JSON and the associated data

// TokenName is the key of a cached token, 32 hexadecimal digits. It is keyed: Key.Version is a hash over secrets, and a
// plain hash in the store would let a thief try passwords against it.
func (s *Sealer) TokenName(k token.Key) string {
	mac := hmac.New(sha256.New, s.names)
	mac.Write(prefixed(k.Credential, k.Version, string(k.Audience)))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// sealedToken is the plain form of a token.
type sealedToken struct {
	Value      string
	Sent       time.Time
	Expires    time.Time
	RenewIn    time.Duration
	Generation int64
	Trace      string
}

// Token seals a token for its key.
func (s *Sealer) Token(k token.Key, t token.Token) ([]byte, error) {
	return s.seal(sealedToken{t.Value.Reveal(), t.Sent, t.Expires, t.RenewIn, t.Generation, t.Trace}, tokenData(k))
}

// OpenToken opens what Token sealed for the same key, or answers keeper.ErrSealed.
func (s *Sealer) OpenToken(k token.Key, b []byte) (token.Token, error) {
	var t sealedToken
	if err := s.open(b, tokenData(k), &t); err != nil {
		return token.Token{}, err
	}
	return token.Token{Value: secret.New(t.Value), Sent: t.Sent, Expires: t.Expires, RenewIn: t.RenewIn, Generation: t.Generation, Trace: t.Trace}, nil
}

func tokenData(k token.Key) []byte {
	return prefixed(version, "token", k.Credential, string(k.Audience), k.Version)
}

// sealedRecord is the plain form of a record: keeper.Record with its secrets revealed.
type sealedRecord struct {
	Refresh, Previous string
	Version           string
	Frozen, Last      *remedy.Fault
	Barred            map[token.Audience]*remedy.Fault
	Since, Hold       time.Time
	Failures          int
	Rotated           time.Time
	Minted, Changed   time.Time
	First             time.Time   `json:",omitzero"`
	Forced            []time.Time `json:",omitempty"`
}

// Record seals a record for its credential.
func (s *Sealer) Record(id string, r keeper.Record) ([]byte, error) {
	return s.seal(sealedRecord{Refresh: r.Refresh.Reveal(), Previous: r.Previous.Reveal(), Version: r.Version, Frozen: r.Frozen, Barred: r.Barred, Last: r.Last,
		Since: r.Since, Hold: r.Hold, Failures: r.Failures, Rotated: r.Rotated, Minted: r.Minted, Changed: r.Changed, First: r.First, Forced: r.Forced}, recordData(id))
}

// OpenRecord opens what Record sealed for the same credential, or answers keeper.ErrSealed.
func (s *Sealer) OpenRecord(id string, b []byte) (keeper.Record, error) {
	var r sealedRecord
	if err := s.open(b, recordData(id), &r); err != nil {
		return keeper.Record{}, err
	}
	return keeper.Record{Refresh: wrap(r.Refresh), Previous: wrap(r.Previous), Version: r.Version, Frozen: r.Frozen, Barred: r.Barred, Last: r.Last,
		Since: r.Since, Hold: r.Hold, Failures: r.Failures, Rotated: r.Rotated, Minted: r.Minted, Changed: r.Changed, First: r.First, Forced: r.Forced}, nil
}

func wrap(s string) secret.String {
	if s == "" {
		return secret.String{}
	}
	return secret.New(s)
}

// recordData has no credential version: a record outlives a changed secret, and says itself whose version it is of.
func recordData(id string) []byte { return prefixed(version, "record", id, "", "") }

func (s *Sealer) seal(v any, data []byte) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	b, err := s.aead.Encrypt(plain, data)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return b, nil
}

func (s *Sealer) open(b, data []byte, into any) error {
	plain, err := s.aead.Decrypt(b, data)
	if err != nil {
		return keeper.ErrSealed
	}
	if err := json.Unmarshal(plain, into); err != nil {
		return fmt.Errorf("%w: another form", keeper.ErrSealed) // the decoder's error would quote the plain text
	}
	return nil
}

// prefixed puts each part's length before it, so that ("ab", "c") and ("a", "bc") differ.
func prefixed(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}
