// Package issuertest is the part of a Kubernetes API server that concerns service-account tokens: it signs them, and shows
// its public keys over HTTPS to who asks with a token.
package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"mailporter/kit/certtest"
)

// What every test's tokens are for.
const (
	Name     = "https://kubernetes.default.svc.cluster.local" // the issuer
	Audience = "mailporter-broker"
	Worker   = "system:serviceaccount:mail:imap-worker"
)

// Claims are those of a token.
type Claims map[string]any

// Issuer is a running one. Its methods may be called from any number of goroutines.
type Issuer struct {
	CA  *certtest.CA // of its server
	URL string       // of its keys

	t      testing.TB
	server *httptest.Server

	mu       sync.Mutex
	key      crypto.Signer
	id       string
	count    int
	requests int
	answer   http.HandlerFunc // instead of the keys; nil = the keys
	password string           // bearer token that it wants; empty = none
}

// Start runs one until the end of the test.
func Start(t testing.TB) *Issuer {
	t.Helper()
	ca, err := certtest.NewCA("cluster")
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{CA: ca, t: t}
	i.Rotate()
	i.serve("127.0.0.1:0")
	t.Cleanup(func() { i.server.Close() })
	return i
}

func (i *Issuer) serve(address string) {
	i.t.Helper()
	pair, err := i.CA.Issue(certtest.Options{CommonName: "api", IP: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		i.t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		i.t.Fatal(err)
	}
	i.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(i.show), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)},
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}
	i.server.StartTLS()
	i.URL = i.server.URL + "/openid/v1/jwks"
}

// Stop ends the server; Resume starts it again at the same address.
func (i *Issuer) Stop() { i.server.Close() }

// Resume starts the server again.
func (i *Issuer) Resume() { i.serve(i.server.Listener.Addr().String()) }

// Rotate replaces the key: RSA and ECDSA take turns.
func (i *Issuer) Rotate() {
	i.mu.Lock()
	defer i.mu.Unlock()
	var err error
	if i.count++; i.count%2 == 1 {
		i.key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		i.t.Fatal(err)
	}
	i.id = fmt.Sprintf("key-%d", i.count)
}

// Answer lets the server say something else than its keys; nil = the keys again.
func (i *Issuer) Answer(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = h
}

// Want lets the server ask for a bearer token.
func (i *Issuer) Want(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.password = token
}

// Requests is how often the keys were asked for.
func (i *Issuer) Requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests
}

// Key is the present key and its id.
func (i *Issuer) Key() (crypto.Signer, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.key, i.id
}

// JWKS is the set of the present public key, among others of no use.
func (i *Issuer) JWKS() []byte {
	key, id := i.Key()
	b, err := json.Marshal(map[string]any{"keys": []any{
		map[string]any{"kty": "oct", "kid": id, "k": "c2VjcmV0"}, map[string]any{"kty": "unheard-of"},
		jose.JSONWebKey{Key: key.Public(), KeyID: id, Use: "sig", Algorithm: string(algorithm(key))}}})
	if err != nil {
		i.t.Fatal(err)
	}
	return b
}

func (i *Issuer) show(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.requests++
	answer, password := i.answer, i.password
	i.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case password != "" && r.Header.Get("Authorization") != "Bearer "+password:
		w.WriteHeader(http.StatusForbidden)
	default:
		_, _ = w.Write(i.JWKS())
	}
}

// Good are the claims of a token as the kubelet gets it for the worker.
func Good() Claims {
	now := time.Now()
	return Claims{"iss": Name, "aud": []string{Audience}, "sub": Worker, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "mail", "serviceaccount": map[string]string{"name": "imap-worker", "uid": "1"}}}
}

// With returns the claims with one of them changed; nil removes it.
func (c Claims) With(name string, value any) Claims {
	if c[name] = value; value == nil {
		delete(c, name)
	}
	return c
}

// Token signs the claims with the present key.
func (i *Issuer) Token(c Claims) string {
	i.t.Helper()
	key, id := i.Key()
	return Sign(i.t, algorithm(key), key, id, c)
}

// File writes such a token to a file and returns its path.
func (i *Issuer) File(c Claims) string {
	i.t.Helper()
	path := filepath.Join(i.t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(i.Token(c)+"\n"), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return path
}

// Sign makes a token with any key and algorithm.
func Sign(t testing.TB, alg jose.SignatureAlgorithm, key any, id string, c Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", id))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil || strings.Count(token, ".") != 2 {
		t.Fatal(token, err)
	}
	return token
}

func algorithm(key crypto.Signer) jose.SignatureAlgorithm {
	if _, ok := key.(*rsa.PrivateKey); ok {
		return jose.RS256
	}
	return jose.ES256
}
