package ews

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/web"
)

// parallel is how many requests are made at a time: Exchange allows more, and slows a mailbox down that uses them.
const parallel = 4

// client speaks to one mailbox.
type client struct {
	config Config
	anchor string // address of the mailbox that requests are about
	http   *http.Client
}

// newClient makes one with at most so many connections.
func newClient(c Config, anchor string, connections int) (*client, error) {
	e := c.Settings.Endpoint
	h, err := web.NewClient(web.Options{
		Roots: c.Roots, Proxy: e.Proxy, ConnectTimeout: e.ConnectTimeout, Silence: e.ProtocolTimeout, Connections: connections,
	})
	if err != nil {
		return nil, err
	}
	return &client{config: c, anchor: anchor, http: h}, nil
}

// request is one operation.
type request struct {
	what    string  // for errors: "sync folder"
	body    string  // XML, or its beginning
	upload  *upload // goes into it; nil for none
	after   string  // XML behind the upload
	acts    bool    // without an answer nobody knows whether it was done: fault.InDoubt
	cookie  string  // of the server that has a subscription; empty = none
	affine  bool    // ask for such a cookie
	silence time.Duration
}

// open sends a request, with another token if the first is refused.
func (c *client) open(ctx context.Context, r request) (*http.Response, error) {
	res, _, err := tokenclient.Use(ctx, c.config.Broker, c.config.Settings.Ask(), func(ctx context.Context, t tokenclient.Token) (*http.Response, error) {
		return c.send(ctx, r, t)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.what, err)
	}
	return res, nil
}

func (c *client) send(ctx context.Context, r request, t tokenclient.Token) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var connected atomic.Bool
	req, err := c.build(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}), r)
	if err != nil {
		cancel(err)
		return nil, fault.New(fault.Temporary, err)
	}
	authorize(req, t)
	silence := cmp.Or(r.silence, c.config.Settings.Endpoint.ProtocolTimeout)
	sent := &paced{ReadCloser: req.Body, silence: silence, cancel: cancel}
	req.Body = sent
	res, err := c.http.Do(req)
	if sent.stop(); err != nil {
		cancel(err)
		return nil, r.unanswered(connected.Load(), cmp.Or(silent(ctx), web.Cause(err)))
	}
	res.Body = web.Body(ctx, res.Body, silence, cancel)
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	return nil, r.refused(c.config.host(), res)
}

// unanswered is a request that nobody answered. One that never had a connection, or whose body broke off, did nothing.
func (r request) unanswered(connected bool, err error) error {
	if cause := r.upload.failure(); cause != nil {
		return fault.New(fault.Temporary, cause)
	}
	if !connected {
		return fault.New(fault.Temporary, web.NotConnected(err))
	}
	return r.unclear(err)
}

// unclear is about an answer that did not come, or that nobody understands.
func (r request) unclear(err error) error {
	if r.acts {
		return fault.New(fault.InDoubt, err)
	}
	return fault.New(fault.Temporary, err)
}

func (c *client) build(ctx context.Context, r request) (*http.Request, error) {
	e, impersonate := c.config.Settings.Endpoint, ""
	if e.Impersonate {
		impersonate = e.User
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.url(), nil)
	if err != nil {
		return nil, err
	}
	if err := r.fill(req, impersonate); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"Content-Type": "text/xml; charset=utf-8", "Accept": "text/xml", "X-AnchorMailbox": c.anchor,
		"User-Agent":        "mailporter", // a tenant's EwsApplicationAccessPolicy allows and blocks by it
		"client-request-id": rand.Text(), "return-client-request-id": "true",
	} {
		req.Header.Set(name, value)
	}
	if r.affine || r.cookie != "" {
		req.Header.Set("X-PreferServerAffinity", "true")
	}
	if r.cookie != "" {
		req.AddCookie(&http.Cookie{Name: affinityCookie, Value: r.cookie})
	}
	return req, nil
}

// maxAnswer bounds an answer other than a message, in bytes: a page of 512 changes has a third of it.
const maxAnswer = 4 << 20

// call sends a request and returns the answers about its objects; each has an error of its own.
func (c *client) call(ctx context.Context, r request) ([]message, error) {
	res, err := c.open(ctx, r)
	if err != nil {
		return nil, err
	}
	return r.answers(res)
}

func (r request) answers(res *http.Response) ([]message, error) {
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, r.unclear(fmt.Errorf("%s: %w", r.what, err))
	}
	if len(b) > maxAnswer {
		return nil, r.unclear(fmt.Errorf("%s: the answer has more than %d bytes", r.what, maxAnswer))
	}
	d, err := parse(b)
	all := d.Body.Operation.ResponseMessages.All
	switch {
	case err != nil:
		return nil, r.unclear(fmt.Errorf("%s: the answer is no XML of Exchange's", r.what)) // not err: it repeats the answer
	case d.Body.Fault != nil:
		return nil, fmt.Errorf("%s: %w", r.what, d.Body.Fault.fault())
	case len(all) == 0:
		return nil, r.unclear(fmt.Errorf("%s: the answer is about nothing", r.what))
	}
	return all, nil
}

// one is for requests about one object.
func (c *client) one(ctx context.Context, r request) (message, error) {
	all, err := c.call(ctx, r)
	if err != nil {
		return message{}, err
	}
	if err := all[0].fault(); err != nil {
		return message{}, fmt.Errorf("%s: %w", r.what, err)
	}
	return all[0], nil
}
