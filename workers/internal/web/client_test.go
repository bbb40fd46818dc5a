package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"120":                           2 * time.Minute,
		"2.128":                         2128 * time.Millisecond,
		"-1":                            0,
		"soon":                          0,
		"NaN":                           0,
		"Inf":                           0,
		"99999999999999":                0,
		"9999999":                       24 * time.Hour,
		"Sun, 01 Mar 2026 09:31:30 GMT": 90 * time.Second,
		"Sun, 01 Mar 2026 09:00:00 GMT": 0,
		"Wed, 04 Mar 2026 09:30:00 GMT": 24 * time.Hour,
	} {
		if got := RetryAfter(value, now); got != want {
			t.Errorf("Retry-After %q: %v, want %v", value, got, want)
		}
	}
}

func TestNoRedirects(t *testing.T) {
	var elsewhere bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere = elsewhere || r.URL.Path == "/elsewhere"
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	c, err := NewClient(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	res, err := c.Post(server.URL, "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Drain(res.Body, 100); err != nil || res.StatusCode != http.StatusTemporaryRedirect || elsewhere {
		t.Errorf("%v, status %d, followed: %t", err, res.StatusCode, elsewhere)
	}
}

func TestProxy(t *testing.T) {
	for _, bad := range []string{"://MARKER", "MARKER", "http://"} {
		if _, err := NewClient(Options{Proxy: bad}); !errors.Is(err, ErrProxy) || strings.Contains(err.Error(), "MARKER") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// endless sends one byte a second until it is told to stop sending.
type endless struct {
	ctx  context.Context
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left--; e.left < 0 {
		<-e.ctx.Done()
		return 0, context.Cause(e.ctx)
	}
	time.Sleep(time.Second)
	p[0] = 'x'
	return 1, nil
}

// TestBody: a slow answer is read to its end, a silent one is given up.
func TestBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		b := Body(ctx, io.NopCloser(&endless{ctx, 100}), 10*time.Second, cancel)
		start := time.Now()
		got, err := io.ReadAll(b)
		if len(got) != 100 || !errors.Is(err, ErrSilence) || time.Since(start) != 110*time.Second {
			t.Errorf("%d bytes, %v after %v", len(got), err, time.Since(start))
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestBodyOfAnEndedRequest: an answer that ends in due form once nobody wants it any more is not whole.
func TestBodyOfAnEndedRequest(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	b := Body(ctx, io.NopCloser(strings.NewReader("half of it")), time.Minute, cancel)
	stopped := errors.New("the worker stops")
	cancel(stopped)
	if _, err := io.ReadAll(b); !errors.Is(err, stopped) {
		t.Errorf("%v: half a message counts as a whole one", err)
	}
}

// TestCause: a client's error is told without the address.
func TestCause(t *testing.T) {
	c, err := NewClient(Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Get("http://127.0.0.1:1/MARKER")
	if err == nil || strings.Contains(Cause(err).Error(), "MARKER") || !strings.Contains(err.Error(), "MARKER") {
		t.Errorf("%v, %v", err, Cause(err))
	}
}
