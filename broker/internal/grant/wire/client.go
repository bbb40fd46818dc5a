package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"mailporter/broker/internal/clock"
	"mailporter/broker/internal/remedy"
)

const (
	defaultTimeout = 10 * time.Second
	maxAnswer      = 64 << 10 // bytes; real token answers are a few KiB
	maxDocument    = 1 << 20  // of what a GET brings: the metadata of a federation server may have 100 KiB
)

// Options are what every grant needs to know.
type Options struct {
	Roots       *x509.CertPool  // of identity providers; nil: the system's
	Proxy       string          // http://host:port or socks5://host:port; empty: what the environment says
	Authorities func() []string // allowed besides the provider's own: host (port 443) or host:port; nil: none. Asked each time
	Timeout     time.Duration   // of one exchange; default 10 s. Leases must be longer.
	Remedies    *remedy.Table   // default: the built-in one

	// Clock is told what every answer says about the provider's clock; nil: nobody is.
	Clock func(clock.Reading)
}

// Extra are the authorities that are allowed now besides the provider's own.
func (o Options) Extra() []string {
	if o.Authorities == nil {
		return nil
	}
	return o.Authorities()
}

// Table is the table of remedies to use.
func (o Options) Table() *remedy.Table {
	if o.Remedies == nil {
		return remedy.Default()
	}
	return o.Remedies
}

var (
	errTooLarge   = errors.New("the answer is too large")
	errNotAllowed = errors.New("the request was for a host that is not allowed")
)

// Refused says that a request was not sent because its host is not allowed.
func Refused(err error) bool { return errors.Is(err, errNotAllowed) }

// TooLarge says that an answer was larger than may be.
func TooLarge(err error) bool { return errors.Is(err, errTooLarge) }

// Client makes exchanges. Its methods may be called from any number of goroutines; MSAL takes it as it is.
type Client struct {
	http *http.Client
	base *http.Transport
}

// New makes a Client. The error is about Options.Proxy.
func New(o Options) (*Client, error) {
	base := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: maxAnswer,
	}
	if o.Proxy != "" {
		u, err := url.Parse(o.Proxy)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("proxy: %q is not http://host:port or socks5://host:port", o.Proxy)
		}
		base.Proxy = http.ProxyURL(u)
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	c := &Client{base: base}
	c.http = &http.Client{
		Transport: recorder{base, o.Timeout, o.Clock},
		// A redirect would post the secret elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Do makes one exchange.
func (c *Client) Do(r *http.Request) (*http.Response, error) { return c.http.Do(r) }

// CloseIdleConnections closes what is kept open for the next exchange.
func (c *Client) CloseIdleConnections() { c.base.CloseIdleConnections() }

// HTTP is the client for libraries that want the standard type.
func (c *Client) HTTP() *http.Client { return c.http }

// Bound is the client for libraries that make requests without the context that they were given: each request gets ctx,
// and with it the Exchange and the end of the caller's patience.
func (c *Client) Bound(ctx context.Context) *http.Client {
	bound := *c.http
	bound.Transport = binder{ctx, c.http.Transport}
	return &bound
}

type binder struct {
	ctx  context.Context //nolint:containedctx // the library has no other way to take it
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b binder) RoundTrip(r *http.Request) (*http.Response, error) {
	return b.next.RoundTrip(r.WithContext(b.ctx))
}

// Exchange is the last that went over the wire for one Mint.
type Exchange struct {
	allow func(host string) bool
	mu    sync.Mutex // a library may still be at it when its caller's time is over
	last  exchange
}

type exchange struct {
	host   string // host or host:port, as in the URL
	path   string
	sent   time.Time // when the request was sent
	status int       // of the answer, 0 = none came
	header http.Header
	body   []byte
	err    error // why no answer came; errNotAllowed: the request was not sent
}

// Seen is the last exchange as far as those who know the protocol want to judge it. Body may hold secrets.
type Seen struct {
	Host   string // host or host:port; empty: there was none
	Path   string
	Status int // 0: no answer came
	Body   []byte
	Err    error // why none came
}

// Last is the last exchange.
func (x *Exchange) Last() Seen {
	x.mu.Lock()
	defer x.mu.Unlock()
	return Seen{x.last.host, x.last.path, x.last.status, x.last.body, x.last.err}
}

func (x *Exchange) note(e exchange) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last = e
}

type exchangeKey struct{}

// Record returns a context whose requests are noted in the Exchange. Requests to hosts (host or host:port, as in the
// URL) that allow refuses are not sent.
func Record(ctx context.Context, allow func(host string) bool) (context.Context, *Exchange) {
	x := &Exchange{allow: allow}
	return context.WithValue(ctx, exchangeKey{}, x), x
}

// recorder notes every exchange and hands the answer on from memory.
type recorder struct {
	base    *http.Transport
	timeout time.Duration // of one exchange, its body included: not every library hands its context on
	clock   func(clock.Reading)
}

// RoundTrip refuses requests that nobody recorded: they would come from a library that acts on its own.
func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*Exchange)
	if !ok {
		return nil, errNotAllowed
	}
	e := exchange{host: req.URL.Host, path: req.URL.Path, sent: time.Now()}
	if req.URL.Scheme != "https" || !x.allow(req.URL.Host) {
		e.err = errNotAllowed
		x.note(e)
		return nil, errNotAllowed
	}
	ctx, cancel := context.WithTimeout(req.Context(), r.timeout)
	defer cancel() // the body is in memory by then
	resp, err := r.base.RoundTrip(req.WithContext(ctx))
	if err == nil {
		r.readClock(e.sent, resp.Header)
		e.status, e.header = resp.StatusCode, resp.Header
		e.body, err = readAll(resp.Body, limit(req))
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx) // the transport calls it by other names, depending on where it was
		}
		e.status, e.err = 0, err
		x.note(e)
		return nil, err
	}
	x.note(e)
	resp.Body = io.NopCloser(bytes.NewReader(e.body))
	return resp, nil
}

// limit is how many bytes an answer may have. Tokens come with POST.
func limit(r *http.Request) int64 {
	if r.Method == http.MethodGet {
		return maxDocument
	}
	return maxAnswer
}

func readAll(r io.ReadCloser, most int64) ([]byte, error) {
	defer r.Close() // what it says about a body that was read adds nothing
	body, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(body)) > most {
		return nil, errTooLarge
	}
	return body, err
}
