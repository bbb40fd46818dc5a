package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxAnswer bounds what a worker may tell, in bytes: 10,000 messages with a few recipients each.
const maxAnswer = 64 << 20

// page is what is asked of a worker's admin server.
type page struct {
	method, path string
	absent       string // what a program without such a page lacks: an outbox
	of           string // whose admin address to name instead: a worker that sends
}

// ask sends a request to a worker and reads its JSON answer into out, unless that is nil. worker is host:port or a URL.
func (p page) ask(ctx context.Context, worker string, out any) error {
	_, err := p.fetch(ctx, worker, out)
	return err
}

// fetch is ask for a list that comes in pages; next is the query of the next one, ?a=b, or empty.
func (p page) fetch(ctx context.Context, worker string, out any) (next string, err error) {
	if !strings.Contains(worker, "://") {
		worker = "http://" + worker
	}
	req, err := http.NewRequestWithContext(ctx, p.method, strings.TrimRight(worker, "/")+p.path, nil)
	if err != nil {
		return "", errors.New("this is no address: write host:port of a worker's option admin")
	}
	req.Header.Set("Mailporter-Operator", "brokerctl")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", errors.Unwrap(err) // without the address once more
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	said := visible(strings.TrimSpace(string(b[:min(len(b), 500)])))
	switch {
	case err != nil:
		return "", err
	case res.StatusCode == http.StatusNotFound && !strings.Contains(said, "there is no such message"):
		return "", fmt.Errorf("it keeps no %s: name the admin address of %s", p.absent, p.of)
	case res.StatusCode >= 300:
		return "", fmt.Errorf("it answered %s: %s", res.Status, said)
	case out == nil:
		return "", nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return "", fmt.Errorf("the answer is no list of messages: name the admin address of %s", p.of)
	}
	return nextPage(res.Header), nil
}

// nextPage is the query of the page that a Link (RFC 8288) calls the next, empty if there is none.
func nextPage(h http.Header) string {
	target, found := strings.CutSuffix(h.Get("Link"), `>; rel="next"`)
	if !found || !strings.HasPrefix(target, "<?") {
		return ""
	}
	return target[1:]
}
