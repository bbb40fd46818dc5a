package webhook

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailporter/kit/secret"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

var (
	inbox  = mail.Folder{Mailbox: "support@contoso.example", Name: "Eingänge/Wichtig"}
	letter = mail.Bytes("Subject: one\r\n\r\nbody\r\n")
)

// TestStatuses: only what is about the message itself gives it up.
func TestStatuses(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		header http.Header
		body   string
		want   fault.Error
		text   string
	}{
		"bad message":       {400, nil, "no Subject\nstack trace", fault.Error{Kind: fault.Permanent}, "answered 400: no Subject"},
		"too large":         {413, nil, "", fault.Error{Kind: fault.Permanent}, "answered 413"},
		"not processable":   {422, nil, "", fault.Error{Kind: fault.Permanent}, "answered 422"},
		"wrong type":        {415, nil, "", fault.Error{Kind: fault.Temporary, Reason: "WEBHOOK_WRONG_TYPE"}, "answered 415"},
		"wrong key":         {401, nil, "", fault.Error{Kind: fault.Temporary, Reason: "WEBHOOK_UNAUTHORIZED"}, "hmac-key"},
		"forbidden":         {403, nil, "", fault.Error{Kind: fault.Temporary, Reason: "WEBHOOK_UNAUTHORIZED"}, "hmac-key"},
		"wrong path":        {404, nil, "", fault.Error{Kind: fault.Temporary, Reason: "WEBHOOK_WRONG_ADDRESS"}, "address"},
		"closed":            {410, nil, "", fault.Error{Kind: fault.Temporary, Reason: "WEBHOOK_WRONG_ADDRESS"}, "address"},
		"in another's hand": {409, nil, "", fault.Error{Kind: fault.Temporary}, "answered 409"},
		"moved":             {307, http.Header{"Location": {"https://elsewhere.example/"}}, "", fault.Error{Kind: fault.Temporary, Reason: "WEBHOOK_REDIRECTS"}, "answered 307"},
		"busy":              {429, http.Header{"Retry-After": {"90"}}, "", fault.Error{Kind: fault.Throttled, After: 90 * time.Second}, "answered 429"},
		"down for a week":   {503, http.Header{"Retry-After": {"604800"}}, "", fault.Error{Kind: fault.Throttled, After: time.Hour}, "answered 503"},
		"broken":            {500, nil, "", fault.Error{Kind: fault.Temporary}, "answered 500"},
		"unheard of":        {418, nil, "", fault.Error{Kind: fault.Temporary}, "answered 418"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			r.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Type", "text/plain")
				for k, v := range tc.header {
					w.Header()[k] = v
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
				return true
			}
			err := r.sink(t).Put(t.Context(), inbox, inbound.Item{Key: "k"}, letter)
			var got *fault.Error
			if !errors.As(err, &got) || got.Kind != tc.want.Kind || got.Reason != tc.want.Reason || got.After != tc.want.After {
				t.Fatalf("%+v, want %+v", got, tc.want)
			}
			if !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "MARKER") || strings.Contains(err.Error(), "stack") {
				t.Errorf("%v; want %q in it and no secret", err, tc.text)
			}
		})
	}
}

// TestLostAnswer: the receiver has the message, we do not know; the second post is the same delivery.
func TestLostAnswer(t *testing.T) {
	r := newReceiver(t)
	var posts atomic.Int32
	r.before = func(_ http.ResponseWriter, req *http.Request) bool {
		if posts.Add(1) > 1 {
			return false
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		r.keep(req.Header, body)
		panic(http.ErrAbortHandler) // cuts the connection
	}
	s, it := r.sink(t), inbound.Item{Key: "k", Arrived: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)}
	if err := s.Put(t.Context(), inbox, it, letter); fault.Of(err) != fault.Temporary || err == nil {
		t.Fatalf("a lost answer is %v", err)
	}
	if err := s.Put(t.Context(), inbox, it, letter); err != nil {
		t.Fatal(err)
	}
	if got := r.messages(); len(got) != 1 || string(got[0]) != string(letter) {
		t.Fatalf("%d messages, want the one", len(got))
	}
	for _, h := range r.headers {
		if h.Get("Mailporter-Mailbox") != inbox.Mailbox || h.Get("Mailporter-Received") != "2026-03-01T09:30:00Z" ||
			h.Get("Mailporter-Folder") != "=?utf-8?q?Eing=C3=A4nge/Wichtig?=" {
			t.Errorf("headers %v", h)
		}
	}
}

// TestSilentReceiver: one that takes the message and says nothing is left after the time-out.
func TestSilentReceiver(t *testing.T) {
	r := newReceiver(t)
	gone := make(chan struct{})
	r.before = func(_ http.ResponseWriter, req *http.Request) bool {
		<-req.Context().Done()
		close(gone)
		return true
	}
	s := r.sink(t, func(c *Config) { c.Timeout = 50 * time.Millisecond })
	if err := s.Put(t.Context(), inbox, inbound.Item{Key: "k"}, letter); err == nil || fault.Of(err) != fault.Temporary {
		t.Fatalf("silence is %v", err)
	}
	<-gone
}

// TestKeys: a key made by a Standard Webhooks tool is the bytes it stands for.
func TestKeys(t *testing.T) {
	r := newReceiver(t)
	s := r.sink(t, func(c *Config) {
		c.Key = secret.New(keyPrefix + base64.StdEncoding.EncodeToString([]byte(signingKey)))
	})
	if err := s.Put(t.Context(), inbox, inbound.Item{Key: "k"}, letter); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"short", "whsec_%%%", "whsec_c2hvcnQ="} {
		if err := CheckKey(secret.New(bad)); err == nil {
			t.Errorf("%q is taken as a key", bad)
		} else if strings.Contains(err.Error(), bad) {
			t.Errorf("the key shows: %v", err)
		}
	}
}

func TestUnsigned(t *testing.T) {
	var signed string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { signed = r.Header.Get("Webhook-Signature") }))
	defer server.Close()
	s, err := New(Config{URL: server.URL}) // loopback may do without TLS
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Put(t.Context(), inbox, inbound.Item{Key: "k"}, letter), s.Close()); err != nil || signed != "" {
		t.Errorf("%v, signature %q", err, signed)
	}
}

func TestCheck(t *testing.T) {
	for address, want := range map[string]string{
		"https://helpdesk.example/in":          "",
		"http://127.0.0.1:8080/in":             "",
		"http://localhost/in":                  "",
		"http://helpdesk.example/in":           "in the clear",
		"https://user:MARKER@helpdesk.example": "authorization",
		"helpdesk.example/in":                  "https://HOST",
		"ftp://helpdesk.example":               "https://HOST",
		"https://":                             "https://HOST",
		"https://%MARKER/":                     "https://HOST",
	} {
		err := Check(address)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "MARKER") {
			t.Errorf("the password shows: %v", err)
		}
	}
}
