package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
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
	url      string // absolute
	body     any    // sent as JSON; nil = none
	pageSize int    // how many entries are wanted; 0 = as many as the server likes
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

// open sends a request, with another token if the first is refused, and returns the body of a good answer.
func (c *client) open(ctx context.Context, r request) (io.ReadCloser, error) {
	body, _, err := tokenclient.Use(ctx, c.config.Broker, c.config.Settings.Ask(), func(ctx context.Context, t tokenclient.Token) (io.ReadCloser, error) {
		return c.send(ctx, r, t)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.what, err)
	}
	return body, nil
}

func (c *client) send(ctx context.Context, r request, t tokenclient.Token) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := r.build(ctx)
	if err != nil {
		cancel(err)
		return nil, fault.New(fault.Temporary, err)
	}
	authorize(req, t)
	res, err := c.http.Do(req)
	if err != nil {
		cancel(err)
		return nil, fault.New(fault.Temporary, web.Cause(err))
	}
	body := web.Body(ctx, res.Body, c.config.Settings.Endpoint.ProtocolTimeout, cancel)
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return body, nil
	}
	defer body.Close()
	return nil, c.refused(res, body)
}

func (r request) build(ctx context.Context) (*http.Request, error) {
	var content io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, content)
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	prefer := `IdType="ImmutableId"`
	if r.pageSize > 0 {
		prefer += ", odata.maxpagesize=" + strconv.Itoa(r.pageSize)
	}
	req.Header.Set("Prefer", prefer)
	req.Header.Set("User-Agent", "mailporter") // a tenant's EwsApplicationAccessPolicy allows and blocks by it
	return req, nil
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
