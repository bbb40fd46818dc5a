package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"mailporter/kit/secret"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	signingKey = "MARKER-signing-key-of-36-characters-"
	bearer     = "Bearer MARKER-bearer"
)

// receiver is what a user would put at the address: it checks what the specification tells receivers to check, and keeps
// one message per Webhook-Id.
type receiver struct {
	*httptest.Server
	before func(w http.ResponseWriter, r *http.Request) (done bool) // misbehaves

	mu      sync.Mutex
	kept    map[string][]byte
	headers map[string]http.Header
	faults  []error
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{kept: map[string][]byte{}, headers: map[string]http.Header{}}
	r.Server = httptest.NewUnstartedServer(r)
	r.EnableHTTP2 = true
	r.StartTLS()
	t.Cleanup(func() {
		r.Close()
		for _, err := range r.faults {
			t.Error(err)
		}
	})
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.before != nil && r.before(w, req) {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // half a message: whoever sent it comes again
	}
	if err := verify(req, body); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.faults = append(r.faults, err)
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	r.keep(req.Header, body)
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) keep(h http.Header, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[h.Get("Webhook-Id")] = body
	r.headers[h.Get("Webhook-Id")] = h
}

func verify(req *http.Request, body []byte) error {
	h := req.Header
	mac := hmac.New(sha256.New, []byte(signingKey))
	mac.Write([]byte(h.Get("Webhook-Id") + "." + h.Get("Webhook-Timestamp") + "."))
	mac.Write(body)
	sum := sha256.Sum256(body)
	switch {
	case req.Method != http.MethodPost, h.Get("Content-Type") != "message/rfc822":
		return errors.New("no POST of a message")
	case h.Get("Webhook-Signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)):
		return errors.New("the signature is wrong")
	case h.Get("Content-Digest") != "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":":
		return errors.New("the digest is wrong")
	case h.Get("Idempotency-Key") != `"`+h.Get("Webhook-Id")+`"` || len(h.Get("Webhook-Id")) != 40:
		return errors.New("the delivery has no name")
	case h.Get("Authorization") != bearer:
		return errors.New("not authorized")
	case req.ContentLength != int64(len(body)):
		return errors.New("the length was not announced")
	}
	return nil
}

func (r *receiver) messages() (all [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.kept {
		all = append(all, b)
	}
	return all
}

func (r *receiver) sink(t *testing.T, change ...func(*Config)) *Sink {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(r.Certificate())
	c := Config{URL: r.URL + "/in", Key: secret.New(signingKey), Authorization: secret.New(bearer), Roots: roots}
	for _, f := range change {
		f(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSink(t *testing.T) {
	inboundtest.Sink(t, func(t *testing.T) inboundtest.SinkStore {
		r := newReceiver(t)
		return inboundtest.SinkStore{
			Open:     func(t *testing.T) inbound.Sink { return r.sink(t) },
			Messages: func(*testing.T) [][]byte { return r.messages() },
		}
	})
}
