package serviceaccount_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/serviceaccount"
	"mailporter/broker/internal/serviceaccount/issuertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func verifier(t *testing.T, c serviceaccount.Config) *serviceaccount.Verifier {
	t.Helper()
	c.Issuer, c.Audience, c.Log = issuertest.Name, issuertest.Audience, slog.New(slog.DiscardHandler)
	v, err := serviceaccount.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func of(t *testing.T, i *issuertest.Issuer) *serviceaccount.Verifier {
	return verifier(t, serviceaccount.Config{Keys: i.URL, Roots: i.CA.Pool()})
}

// refused is the fault that a token meets. It must hold nothing of the token.
func refused(t *testing.T, v *serviceaccount.Verifier, token string) *remedy.Fault {
	t.Helper()
	identity, _, err := v.Verify(t.Context(), token)
	var f *remedy.Fault
	if !errors.As(err, &f) || identity != "" {
		t.Fatalf("identity %q, %v", identity, err)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(f.Error()+f.Remedy, part) {
			t.Errorf("a part of the token stands in the fault: %v", f)
		}
	}
	return f
}

func TestVerify(t *testing.T) {
	i := issuertest.Start(t)
	v := of(t, i)
	for range 3 {
		identity, until, err := v.Verify(t.Context(), i.Token(issuertest.Good()))
		if err != nil || identity != issuertest.Worker || time.Until(until) < 59*time.Minute {
			t.Fatalf("%q until %v, %v", identity, until, err)
		}
	}
	large := issuertest.Good().With("padding", strings.Repeat("x", 8<<10))
	if _, _, err := v.Verify(t.Context(), i.Token(large)); err != nil {
		t.Fatalf("a token of more than 8 KiB: %v", err)
	}
	if n := i.Requests(); n != 1 {
		t.Fatalf("%d requests for keys", n)
	}
}

func TestRefused(t *testing.T) {
	i := issuertest.Start(t)
	key, id := i.Key()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	sign := func(c issuertest.Claims) string { return i.Token(c) }
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	good, now := sign(issuertest.Good()), time.Now()
	pieces := strings.Split(good, ".")
	for name, tc := range map[string]struct{ token, reason, detail string }{
		"another audience":    {sign(issuertest.Good().With("aud", "https://kubernetes.default.svc")), serviceaccount.Invalid, `expected audience "mailporter-broker"`},
		"no audience":         {sign(issuertest.Good().With("aud", nil)), serviceaccount.Invalid, "audience"},
		"another issuer":      {sign(issuertest.Good().With("iss", "https://evil.example")), serviceaccount.Invalid, "different provider"},
		"issuer with a slash": {sign(issuertest.Good().With("iss", issuertest.Name+"/")), serviceaccount.Invalid, "different provider"},
		"expired":             {sign(issuertest.Good().With("exp", now.Add(-time.Second).Unix())), serviceaccount.Expired, "it ended at"},
		"no expiry":           {sign(issuertest.Good().With("exp", nil)), serviceaccount.Expired, ""},
		"not yet valid":       {sign(issuertest.Good().With("nbf", now.Add(time.Hour).Unix())), serviceaccount.Invalid, "not before"},
		"a person":            {sign(issuertest.Good().With("sub", "ops@contoso.com")), serviceaccount.Invalid, "no service account"},
		"a node":              {sign(issuertest.Good().With("sub", "system:node:a")), serviceaccount.Invalid, "no service account"},
		"no name":             {sign(issuertest.Good().With("sub", "system:serviceaccount:mail:")), serviceaccount.Invalid, "no service account"},
		"five segments":       {sign(issuertest.Good().With("sub", "system:serviceaccount:mail:a:b")), serviceaccount.Invalid, "no service account"},
		"a star":              {sign(issuertest.Good().With("sub", "system:serviceaccount:mail:*")), serviceaccount.Invalid, "no service account"},
		"a line break":        {sign(issuertest.Good().With("sub", issuertest.Worker+"\n")), serviceaccount.Invalid, "no service account"},
		"another's key":       {issuertest.Sign(t, jose.RS256, other, id, issuertest.Good()), serviceaccount.Invalid, "no key of the issuer"},
		"unknown key":         {issuertest.Sign(t, jose.RS256, other, "key-9", issuertest.Good()), serviceaccount.Invalid, "no key of the issuer"},
		"HS256, public key":   {issuertest.Sign(t, jose.HS256, publicPEM, id, issuertest.Good()), serviceaccount.Invalid, "no key of the issuer"},
		"HS256, DER":          {issuertest.Sign(t, jose.HS256, public, id, issuertest.Good()), serviceaccount.Invalid, "no key of the issuer"},
		"HS256, oct key":      {issuertest.Sign(t, jose.HS256, []byte(strings.Repeat("secret", 8)), id, issuertest.Good()), serviceaccount.Invalid, "no key of the issuer"},
		"another algorithm":   {issuertest.Sign(t, jose.PS256, key, id, issuertest.Good()), serviceaccount.Invalid, "no key of the issuer"},
		"none":                {part(map[string]string{"alg": "none", "kid": id}) + "." + part(issuertest.Good()) + ".", serviceaccount.Invalid, "no key of the issuer"},
		"None":                {part(map[string]string{"alg": "None"}) + "." + part(issuertest.Good()) + ".", serviceaccount.Invalid, "no key of the issuer"},
		"other claims":        {pieces[0] + "." + part(issuertest.Good().With("sub", "system:serviceaccount:kube-system:admin")) + "." + pieces[2], serviceaccount.Invalid, "no key of the issuer"},
		"no signature":        {pieces[0] + "." + pieces[1] + ".", serviceaccount.Invalid, "no key of the issuer"},
		"JSON serialization":  {`{"protected":"` + pieces[0] + `","payload":"` + pieces[1] + `","signature":"` + pieces[2] + `"}`, serviceaccount.Invalid, "no key of the issuer"},
		"no token":            {"MARKER-not-a-token", serviceaccount.Invalid, "no key of the issuer"},
		"nothing":             {"", serviceaccount.Invalid, "no key of the issuer"},
		"far too long":        {sign(issuertest.Good().With("padding", strings.Repeat("x", 16<<10))), serviceaccount.Invalid, "more than 16384 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			f := refused(t, of(t, i), tc.token)
			if f.Class != remedy.WrongConfig || f.Reason != tc.reason || !strings.Contains(f.Detail, tc.detail) || f.Remedy == "" {
				t.Fatalf("%+v", f)
			}
		})
	}
}

// TestClockLeniency: five minutes for nbf, none for exp.
func TestClockLeniency(t *testing.T) {
	i := issuertest.Start(t)
	if _, _, err := of(t, i).Verify(t.Context(), i.Token(issuertest.Good().With("nbf", time.Now().Add(4*time.Minute).Unix()))); err != nil {
		t.Fatal(err)
	}
}

func TestIssuerAway(t *testing.T) {
	i := issuertest.Start(t)
	warm, cold := of(t, i), of(t, i)
	token := i.Token(issuertest.Good())
	if _, _, err := warm.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	i.Stop()
	if _, _, err := warm.Verify(t.Context(), token); err != nil {
		t.Fatalf("with keys from before: %v", err)
	}
	if f := refused(t, cold, token); f.Class != remedy.Transient || f.Reason != serviceaccount.Unverifiable || f.After == 0 {
		t.Fatalf("without keys: %+v", f)
	}
	i.Resume()
}

func TestBadAnswers(t *testing.T) {
	i := issuertest.Start(t)
	token := i.Token(issuertest.Good())
	for name, answer := range map[string]http.HandlerFunc{
		"oversized": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[], "x":"` + strings.Repeat("x", 1<<20) + `"}`))
		},
		"no JSON":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no keys":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"redirect":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, i.URL, http.StatusFound) },
		"error":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"forbidden":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"cut off":     func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"private key": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(private(t, i)) },
	} {
		t.Run(name, func(t *testing.T) {
			i.Answer(answer)
			if f := refused(t, of(t, i), token); f.Class != remedy.Transient || f.Reason != serviceaccount.Unverifiable {
				t.Fatalf("%+v", f)
			}
		})
	}
}

// private is a set whose only key is a private one: whoever publishes that is not to be trusted.
func private(t *testing.T, i *issuertest.Issuer) []byte {
	t.Helper()
	key, id := i.Key()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: id}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnotherCA(t *testing.T) {
	i, evil := issuertest.Start(t), issuertest.Start(t)
	v := verifier(t, serviceaccount.Config{Keys: i.URL, Roots: evil.CA.Pool()})
	if f := refused(t, v, i.Token(issuertest.Good())); f.Class != remedy.Transient || !strings.Contains(f.Detail, "certificate") {
		t.Fatalf("%+v", f)
	}
}

// TestOwnToken: API servers show their keys to accounts of the cluster alone.
func TestOwnToken(t *testing.T) {
	i := issuertest.Start(t)
	i.Want("own")
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("own\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := verifier(t, serviceaccount.Config{Keys: i.URL, Roots: i.CA.Pool(), TokenFile: path})
	if _, _, err := v.Verify(t.Context(), i.Token(issuertest.Good())); err != nil {
		t.Fatal(err)
	}
	if f := refused(t, of(t, i), i.Token(issuertest.Good())); !strings.Contains(f.Detail, "kubernetes.token-file") {
		t.Fatalf("%+v", f)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	gone := verifier(t, serviceaccount.Config{Keys: i.URL, Roots: i.CA.Pool(), TokenFile: path})
	if f := refused(t, gone, i.Token(issuertest.Good())); !strings.Contains(f.Detail, "no such file") {
		t.Fatalf("%+v", f)
	}
}

func TestKeysInAFile(t *testing.T) {
	i := issuertest.Start(t)
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, i.JWKS(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := verifier(t, serviceaccount.Config{Keys: path}).Verify(t.Context(), i.Token(issuertest.Good())); err != nil {
		t.Fatal(err)
	}
	if i.Requests() != 0 {
		t.Error("the server was asked all the same")
	}
	if f := refused(t, verifier(t, serviceaccount.Config{Keys: path + "x"}), i.Token(issuertest.Good())); f.Reason != serviceaccount.Unverifiable {
		t.Fatalf("%+v", f)
	}
}

func TestManyCallersReadOnce(t *testing.T) {
	i := issuertest.Start(t)
	v, token := of(t, i), i.Token(issuertest.Good())
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, _, err := v.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := i.Requests(); n != 1 {
		t.Fatalf("%d requests for keys", n)
	}
}

// TestFollow: the keys are there before the first token comes.
func TestFollow(t *testing.T) {
	i := issuertest.Start(t)
	v := of(t, i)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { v.Follow(ctx); close(done) }()
	for i.Requests() == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, _, err := v.Verify(t.Context(), i.Token(issuertest.Good())); err != nil {
		t.Fatal(err)
	}
	stop()
	<-done
	if n := i.Requests(); n != 1 {
		t.Fatalf("%d requests", n)
	}
}

func TestNew(t *testing.T) {
	for name, c := range map[string]serviceaccount.Config{
		"no audience":  {Issuer: "https://a", Keys: "https://a/keys"},
		"no issuer":    {Audience: "a", Keys: "https://a/keys"},
		"plain http":   {Issuer: "https://a", Audience: "a", Keys: "http://a/keys"},
		"other scheme": {Issuer: "https://a", Audience: "a", Keys: "ftp://a/keys"},
		"with a user":  {Issuer: "https://a", Audience: "a", Keys: "https://u:p@a/keys"},
		"no URL":       {Issuer: "https://a", Audience: "a", Keys: "https://%"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := serviceaccount.New(c); err == nil {
				t.Fatal("accepted")
			}
		})
	}
}
