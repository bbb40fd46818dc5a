package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/web"
)

// parallel is how many requests Exchange runs at a time for a mailbox and an application.
const parallel = 4

// client speaks to one mailbox.
type client struct {
	config Config
	http   *http.Client
	base   string // https://host/v1.0/users/user
}

func newClient(c Config) (*client, error) {
	e := c.Settings.Endpoint
	h, err := web.NewClient(web.Options{
		Roots: c.Roots, Proxy: e.Proxy, ConnectTimeout: e.ConnectTimeout, Silence: e.ProtocolTimeout, Connections: parallel,
	})
	if err != nil {
		return nil, err
	}
	return &client{config: c, http: h, base: "https://" + c.host() + "/v1.0/users/" + url.PathEscape(e.User)}, nil
}

// request is one to Graph.
type request struct {
	what     string // for errors: "list messages"
	method   string
	url      string    // absolute
	body     any       // sent as JSON; nil = none
	mime     mail.Body // sent as base64 text; nil = none
	pageSize int       // how many entries are wanted; 0 = as many as the server likes
	final    bool      // it sends mail: without an answer nobody knows whether it did
}

// url is below the mailbox; ids hold characters that must be escaped.
func (c *client) url(query string, segments ...string) string {
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	u := c.base + "/" + strings.Join(segments, "/")
	if query != "" {
		u += "?" + query
	}
	return u
}

// errElsewhere says that the server wants a token sent to another host.
var errElsewhere = errors.New("the server's link leads to another host")

// expected says whether a link of the server may be followed: it gets the token.
func (c *client) expected(link string) error {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" || u.User != nil || !strings.EqualFold(u.Host, c.config.host()) {
		return errElsewhere
	}
	return nil
}

// open sends a request when the mailbox may have another one, with another token if the first is refused, and returns the body
// of a good answer. The token comes last: it must not end while its request waits.
func (c *client) open(ctx context.Context, r request) (io.ReadCloser, error) {
	release, err := c.slot(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.what, err)
	}
	body, _, err := tokenclient.Use(ctx, c.config.Broker, c.config.Settings.Ask(), func(ctx context.Context, t tokenclient.Token) (io.ReadCloser, error) {
		return c.send(ctx, r, t)
	})
	if err != nil {
		release()
		return nil, fmt.Errorf("%s: %w", r.what, err)
	}
	return slotted{body, release}, nil
}

func (c *client) send(ctx context.Context, r request, t tokenclient.Token) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := r.build(ctx)
	if err != nil {
		cancel(err)
		return nil, fault.New(fault.Temporary, err)
	}
	authorize(req, t)
	res, err := r.do(c.http, req)
	if err != nil {
		cancel(err)
		return nil, err
	}
	body := web.Body(ctx, res.Body, c.config.Settings.Endpoint.ProtocolTimeout, cancel)
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return body, nil
	}
	defer body.Close()
	return nil, r.judged(res.StatusCode, c.refused(res, body))
}

// slot waits until the mailbox may have another request: it has four, for all folders that are read and all that is sent, by
// all workers.
func (c *client) slot(ctx context.Context) (release func(), err error) {
	release, err = c.config.Slots.Take(ctx, "graph "+strings.ToLower(c.config.Settings.Mailbox), parallel)
	if err != nil {
		return nil, fault.New(fault.Temporary, err)
	}
	return release, nil
}

// slotted is an answer that gives its request's slot back when it is closed: until then Exchange counts the request.
type slotted struct {
	io.ReadCloser
	release func()
}

// Close implements io.Closer.
func (s slotted) Close() error {
	defer s.release()
	return s.ReadCloser.Close()
}

// do sends the request. If the link breaks after its header left us, a final one may have had its effect.
func (r request) do(h *http.Client, req *http.Request) (*http.Response, error) {
	var connected, left atomic.Bool
	trace := &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { connected.Store(true) },
		WroteHeaders: func() { left.Store(true) },
	}
	res, err := h.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	if err == nil {
		return res, nil
	}
	err = web.Cause(err)
	switch {
	case !connected.Load():
		return nil, fault.New(fault.Temporary, web.NotConnected(err))
	case r.final && left.Load():
		return nil, fault.New(fault.InDoubt, err)
	}
	return nil, fault.New(fault.Temporary, err)
}

func (r request) build(ctx context.Context) (*http.Request, error) {
	content, length, kind, err := r.content()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, content)
	if err != nil {
		return nil, err
	}
	if content != nil {
		req.ContentLength = length
		req.Header.Set("Content-Type", kind)
	}
	prefer := `IdType="ImmutableId"`
	if r.pageSize > 0 {
		prefer += ", odata.maxpagesize=" + strconv.Itoa(r.pageSize)
	}
	req.Header.Set("Prefer", prefer)
	req.Header.Set("User-Agent", "mailporter") // a tenant's EwsApplicationAccessPolicy allows and blocks by it
	return req, nil
}

// content is what the request carries: nil is nothing, not even the length of nothing.
func (r request) content() (_ io.Reader, length int64, kind string, err error) {
	switch {
	case r.mime != nil:
		src, err := r.mime.Open()
		if err != nil {
			return nil, 0, "", fmt.Errorf("open message: %w", err)
		}
		return newEncoder(src), encodedLength(r.mime.Size()), "text/plain", nil
	case r.body != nil:
		b, err := json.Marshal(r.body)
		return bytes.NewReader(b), int64(len(b)), "application/json", err
	}
	return nil, 0, "", nil
}

// maxAnswer bounds a JSON answer, in bytes: a page of a thousand entries has half of it.
const maxAnswer = 4 << 20

// read sends a request and reads its JSON answer into v; nil: the answer is of no interest.
func (c *client) read(ctx context.Context, r request, v any) error {
	body, err := c.open(ctx, r)
	if err != nil {
		return err
	}
	if v == nil {
		return web.Drain(body, maxAnswer)
	}
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err := errors.Join(err, body.Close()); err != nil {
		return fault.New(fault.Temporary, fmt.Errorf("%s: %w", r.what, err))
	}
	if len(b) > maxAnswer {
		return fault.Newf(fault.Temporary, "%s: the answer has more than %d bytes", r.what, maxAnswer)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fault.Newf(fault.Temporary, "%s: the answer is no JSON of Graph's", r.what) // not err: it repeats the answer
	}
	return nil
}
