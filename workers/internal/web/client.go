// Package web makes the HTTP clients that speak to Exchange, Graph and webhooks. They follow no redirects: a token or a
// message goes to the configured address and nowhere else.
package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Options say how to reach a server.
type Options struct {
	Roots          *x509.CertPool // whom to trust; nil = the system's
	Proxy          string         // http://[user:password@]host:port or socks5://...; empty = none
	ConnectTimeout time.Duration  // longest time until TLS stands; 0 = 30 s
	Silence        time.Duration  // longest wait for an answer's header; 0 = 2 min. See Body for what follows it
	Connections    int            // most at a time to one host; 0 = any number
}

const (
	defaultConnect = 30 * time.Second
	defaultSilence = 2 * time.Minute
)

// ErrProxy says that a proxy's address is none. It does not repeat it: it may hold a password.
var ErrProxy = errors.New("the proxy is no URL of the form http://host:port or socks5://host:port")

// NewClient makes a client with connections of its own; CloseIdleConnections ends them.
func NewClient(o Options) (*http.Client, error) {
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = defaultConnect
	}
	if o.Silence <= 0 {
		o.Silence = defaultSilence
	}
	t := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: o.ConnectTimeout}).DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots}, TLSHandshakeTimeout: o.ConnectTimeout,
		ResponseHeaderTimeout: o.Silence, ForceAttemptHTTP2: true,
		MaxConnsPerHost: o.Connections, MaxIdleConnsPerHost: max(o.Connections, 2), IdleConnTimeout: time.Minute,
		// The bytes of a message are what the server has, not what a codec makes of them.
		DisableCompression: true,
	}
	if o.Proxy != "" {
		u, err := url.Parse(o.Proxy)
		if err != nil || u.Host == "" {
			return nil, ErrProxy
		}
		t.Proxy = http.ProxyURL(u)
	}
	return &http.Client{Transport: t, CheckRedirect: stay}, nil
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Cause is what a client's error is about, without the address: that may hold what is nobody's business.
func Cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// NotConnected marks the error of a request that never had a connection: the server is away, or its TLS does not come to stand.
func NotConnected(err error) error { return notConnected{err} }

type notConnected struct{ error }

// Unwrap leads to the error itself.
func (n notConnected) Unwrap() error { return n.error }

// IsNotConnected says whether an error is of that kind.
func IsNotConnected(err error) bool { return errors.As(err, new(notConnected)) }

// ErrSilence says that the server stopped sending in the middle of an answer.
var ErrSilence = errors.New("the server fell silent in the middle of an answer")

// Body bounds the silence within an answer's body: a Read that gets nothing for so long ends it. The time in which nobody
// reads does not count. ctx is the request's; cancel ends it, after silence and by Close. A body that ends after its
// request did was not read whole, whatever its last Read says.
func Body(ctx context.Context, body io.ReadCloser, silence time.Duration, cancel context.CancelCauseFunc) io.ReadCloser {
	return &bounded{ctx: ctx, body: body, silence: silence, cancel: cancel}
}

type bounded struct {
	ctx     context.Context
	body    io.ReadCloser
	silence time.Duration
	cancel  context.CancelCauseFunc
}

// Read waits for the server as long as silence allows. To end a request is to say goodbye over TLS first; a server that
// answers it by ending its answer in due form makes io.EOF of a cut.
func (b *bounded) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.silence, func() { b.cancel(ErrSilence) })
	defer timer.Stop()
	n, err := b.body.Read(p)
	if err == io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

// Close ends the request, whether or not all of it was read.
func (b *bounded) Close() error {
	b.cancel(context.Canceled)
	return b.body.Close()
}

// mostPatience bounds what a server may ask for.
const mostPatience = 24 * time.Hour

// RetryAfter reads the header of that name: RFC 9110 section 10.2.3 has seconds or a date, Graph also sends fractions. 0:
// it does not say.
func RetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	var d time.Duration
	if n, err := strconv.ParseFloat(value, 64); err == nil && n >= 0 && n < 1e9 {
		d = time.Duration(n * float64(time.Second))
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), mostPatience)
}

// Drain reads at most limit bytes of what is left of an answer, so that its connection may serve again, and closes it.
func Drain(body io.ReadCloser, limit int64) error {
	_, err := io.CopyN(io.Discard, body, limit)
	if err == io.EOF {
		err = nil
	}
	if err := errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("end of an answer: %w", err)
	}
	return nil
}
