package serviceaccount

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/broker/internal/serviceaccount/issuertest"
)

// fixture is a Verifier whose keys come from a function, so that time can be the bubble's.
func fixture(t *testing.T, load func(context.Context) ([]byte, error)) *Verifier {
	t.Helper()
	v, err := New(Config{Issuer: issuertest.Name, Audience: issuertest.Audience, Keys: "unread", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	v.keys = newKeyring(load)
	return v
}

// TestRotation: a new key is read for with its first token, and the old one is worth nothing from then on.
func TestRotation(t *testing.T) {
	i := issuertest.Start(t)
	keys := i.JWKS()
	old := i.Token(issuertest.Good().With("exp", 1<<40).With("nbf", nil))
	i.Rotate()
	rotated := i.JWKS()
	reads := 0
	synctest.Test(t, func(t *testing.T) {
		v := fixture(t, func(context.Context) ([]byte, error) { reads++; return keys, nil })
		fresh := i.Token(issuertest.Good())
		check := func(token string, good bool) {
			t.Helper()
			if _, _, err := v.Verify(t.Context(), token); (err == nil) != good {
				t.Fatalf("good = %v, %v", good, err)
			}
		}
		check(old, true)
		keys = rotated
		check(fresh, false) // read a moment ago
		check(old, true)
		if reads != 1 {
			t.Fatalf("%d reads", reads)
		}
		time.Sleep(pause)
		check(fresh, true)
		check(old, false)
		for range 100 { // tokens of a key that was withdrawn, or never was, do not become requests
			check(old, false)
		}
		if reads != 2 {
			t.Fatalf("%d reads", reads)
		}
	})
}

// TestFollowKeepsTheLastKeys: soon again while there are none, every five minutes once there are; a silent issuer changes nothing.
func TestFollowKeepsTheLastKeys(t *testing.T) {
	i := issuertest.Start(t)
	keys := i.JWKS()
	synctest.Test(t, func(t *testing.T) {
		token := i.Token(issuertest.Good().With("exp", time.Now().Add(48*time.Hour).Unix()))
		var away atomic.Bool
		var reads atomic.Int64
		var warnings lines
		v := fixture(t, func(context.Context) ([]byte, error) {
			if reads.Add(1); away.Load() {
				return nil, errors.New("connection refused")
			}
			return keys, nil
		})
		v.config.Log = slog.New(slog.NewTextHandler(&warnings, nil))
		away.Store(true)
		ctx, stop := context.WithCancel(t.Context())
		go v.Follow(ctx)
		time.Sleep(35 * time.Second)
		if n := reads.Load(); n != 4 {
			t.Fatalf("%d reads in 35 s without keys", n)
		}
		away.Store(false)
		time.Sleep(10 * time.Second)
		away.Store(true)
		before := warnings.Load()
		time.Sleep(24 * time.Hour)
		if _, _, err := v.Verify(ctx, token); err != nil {
			t.Fatalf("the last keys must stay: %v", err)
		}
		if n := warnings.Load() - before; n < 280 || n > 290 {
			t.Fatalf("%d warnings in a day, want one every five minutes", n)
		}
		stop()
		synctest.Wait()
	})
}

// lines counts what is written.
type lines struct{ atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) {
	l.Add(1)
	return len(p), nil
}

// TestReadOutlivesItsCaller: who leaves does not take the reading with them, and who waits leaves at their own time.
func TestReadOutlivesItsCaller(t *testing.T) {
	i := issuertest.Start(t)
	keys := i.JWKS()
	synctest.Test(t, func(t *testing.T) {
		v := fixture(t, func(ctx context.Context) ([]byte, error) {
			select {
			case <-time.After(3 * time.Second):
				return keys, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		token := i.Token(issuertest.Good())
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go v.Verify(impatient, token) //nolint:errcheck // the next one tells
		synctest.Wait()
		start := time.Now()
		if _, _, err := v.Verify(impatient, token); err == nil || time.Since(start) != time.Second {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		if _, _, err := v.Verify(t.Context(), token); err != nil || time.Since(start) != 3*time.Second {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"keys":[]}`, `{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`,
		`{"keys":[{"kty":"oct","k":"AA"}]}`, `[]`, `{"keys":[null,{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parse(text)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if !k.IsPublic() {
				t.Fatal("a key that is not public")
			}
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(`{"payload":"","signatures":[]}`)
	v, err := New(Config{Issuer: issuertest.Name, Audience: issuertest.Audience, Keys: "unread", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	v.keys = newKeyring(func(context.Context) ([]byte, error) {
		return []byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`), nil
	})
	f.Fuzz(func(t *testing.T, token string) {
		if identity, _, err := v.Verify(t.Context(), token); err == nil {
			t.Fatalf("%q is %s", token, identity)
		}
	})
}
