package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

func sealer(t *testing.T) *Sealer {
	t.Helper()
	s, err := OpenOrMake(filepath.Join(t.TempDir(), "secrets", "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	key  = token.Key{Credential: "cred", Version: "v", Audience: "aud"}
	when = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
)

func TestTokenOpensOnlyForItsKey(t *testing.T) {
	s := sealer(t)
	want := token.Token{Value: secret.New("MARKER"), Sent: when, Expires: when.Add(time.Hour), RenewIn: time.Minute, Generation: 7, Trace: "t"}
	b, err := s.Token(key, want)
	if err != nil || bytes.Contains(b, []byte("MARKER")) {
		t.Fatal(err, "or the value is plain")
	}
	got, err := s.OpenToken(key, b)
	if err != nil || !got.Value.Equal(want.Value) || !got.Expires.Equal(want.Expires) || got.RenewIn != want.RenewIn || got.Generation != 7 || got.Trace != "t" {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, other := range map[string]token.Key{
		"credential": {Credential: "cred2", Version: "v", Audience: "aud"},
		"version":    {Credential: "cred", Version: "w", Audience: "aud"},
		"audience":   {Credential: "cred", Version: "v", Audience: "aud2"},
		"shifted":    {Credential: "cre", Version: "v", Audience: "daud"},
	} {
		if _, err := s.OpenToken(other, b); !errors.Is(err, keeper.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
		if s.TokenName(other) == s.TokenName(key) {
			t.Errorf("%s: the same name", name)
		}
	}
	if _, err := s.OpenRecord("cred", b); !errors.Is(err, keeper.ErrSealed) {
		t.Errorf("a token opens as a record: %v", err)
	}
	for i := range b {
		b[i] ^= 1
		if _, err := s.OpenToken(key, b); !errors.Is(err, keeper.ErrSealed) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		b[i] ^= 1
	}
	if _, err := sealer(t).OpenToken(key, b); !errors.Is(err, keeper.ErrSealed) {
		t.Errorf("another keyset: %v", err)
	}
}

func TestRecordKeepsEveryField(t *testing.T) {
	s := sealer(t)
	fault := &remedy.Fault{Class: remedy.NeedsAdmin, Reason: "R", Remedy: "do", Codes: []int{7000222}, After: time.Second}
	want := keeper.Record{Refresh: secret.New("new"), Previous: secret.New("old"), Version: "v", Frozen: fault, Barred: map[token.Audience]*remedy.Fault{"a": fault}, Since: when, Failures: 3,
		Hold: when.Add(1), Last: fault, Rotated: when.Add(2), Minted: when.Add(3), Changed: when.Add(4), First: when.Add(5), Forced: []time.Time{when.Add(6)}}
	for i := range reflect.TypeFor[keeper.Record]().NumField() {
		if reflect.ValueOf(want).Field(i).IsZero() {
			t.Fatalf("the test does not set %s", reflect.TypeFor[keeper.Record]().Field(i).Name)
		}
	}
	b, err := s.Record("id", want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.OpenRecord("id", b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := s.OpenRecord("other", b); !errors.Is(err, keeper.ErrSealed) {
		t.Fatalf("moved to another credential: %v", err)
	}
}

func TestKeysetFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	if _, err := Open(path); err == nil {
		t.Fatal("a missing keyset opens")
	}
	first, err := OpenOrMake(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if err := Make(path); !errors.Is(err, os.ErrExist) {
		t.Fatalf("Make over an existing one: %v", err)
	}
	again, err := OpenOrMake(path)
	if err != nil || again.TokenName(key) != first.TokenName(key) {
		t.Fatal("the second start has another keyset", err)
	}
	if err := os.WriteFile(path, []byte(`{"primaryKeyId": "MARKER"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || bytes.Contains([]byte(err.Error()), []byte("MARKER")) {
		t.Fatalf("a broken keyset: %v", err)
	}
}

func TestRotatedKeysetStillOpens(t *testing.T) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	old, err := fromHandle(h, "test")
	if err != nil {
		t.Fatal(err)
	}
	b, err := old.Record("id", keeper.Record{Refresh: secret.New("r")})
	if err != nil {
		t.Fatal(err)
	}
	m := keyset.NewManagerFromHandle(h)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	if err != nil {
		t.Fatal(err)
	}
	if h, err = m.Handle(); err != nil {
		t.Fatal(err)
	}
	var written bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&written)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keyset.json")
	if err := os.WriteFile(path, written.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	rotated, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := rotated.OpenRecord("id", b); err != nil || r.Refresh.Reveal() != "r" {
		t.Fatalf("after the rotation: %v", err)
	}
}
