package webhook

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/web"
)

// meaning is what a status of the receiver says about the message, or about the receiver.
type meaning struct {
	kind           fault.Kind
	reason, remedy string
}

// meanings of the statuses that are no success. Permanent is only what is about this message: an address that moved or
// a key that ended must not empty a mailbox into the quarantine.
var meanings = map[int]meaning{
	http.StatusBadRequest:            {fault.Permanent, "", ""},
	http.StatusRequestEntityTooLarge: {fault.Permanent, "", ""},
	http.StatusUnsupportedMediaType:  {fault.Temporary, "WEBHOOK_WRONG_TYPE", "let the receiver take message/rfc822"},
	http.StatusUnprocessableEntity:   {fault.Permanent, "", ""},
	http.StatusUnauthorized:          {fault.Temporary, "WEBHOOK_UNAUTHORIZED", "correct hmac-key or authorization of the sink: the receiver does not accept it"},
	http.StatusForbidden:             {fault.Temporary, "WEBHOOK_UNAUTHORIZED", "correct hmac-key or authorization of the sink: the receiver does not accept it"},
	http.StatusNotFound:              {fault.Temporary, "WEBHOOK_WRONG_ADDRESS", "correct the sink's webhook address: the receiver knows none like it"},
	http.StatusMethodNotAllowed:      {fault.Temporary, "WEBHOOK_WRONG_ADDRESS", "correct the sink's webhook address: it takes no POST"},
	http.StatusGone:                  {fault.Temporary, "WEBHOOK_WRONG_ADDRESS", "correct the sink's webhook address: the receiver closed it"},
	http.StatusTooManyRequests:       {fault.Throttled, "", ""},
	http.StatusServiceUnavailable:    {fault.Throttled, "", ""},
}

// judge is nil if the receiver took custody.
func judge(res *http.Response) error {
	said := firstLine(res)
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return nil
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return &fault.Error{
			Kind: fault.Temporary, Reason: "WEBHOOK_REDIRECTS", Err: fmt.Errorf("webhook: the receiver answered %d", res.StatusCode),
			Remedy: "name the receiver's final address: mail is not sent on to another one",
		}
	}
	m := meanings[res.StatusCode] // not known: temporary
	err := &fault.Error{Kind: m.kind, Reason: m.reason, Remedy: m.remedy, Err: fmt.Errorf("webhook: the receiver answered %d%s", res.StatusCode, said)}
	if m.kind == fault.Throttled {
		err.After = min(web.RetryAfter(res.Header.Get("Retry-After"), time.Now()), mostPatience)
	}
	return err
}

const (
	maxDrain = 64 << 10 // bytes of an answer that are read, so that the connection may serve again
	maxSaid  = 200      // bytes of an answer that are told
)

// firstLine is what the receiver says about it, for a person: the first line of a plain text.
func firstLine(res *http.Response) string {
	b, err := io.ReadAll(io.LimitReader(res.Body, maxDrain))
	kind, _, typeErr := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || typeErr != nil || kind != "text/plain" {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	line = strings.Join(strings.Fields(strings.ToValidUTF8(line, "")), " ")
	if line == "" {
		return ""
	}
	if len(line) > maxSaid {
		line = strings.ToValidUTF8(line[:maxSaid], "") + "..."
	}
	return ": " + line
}

// mostPatience bounds what a receiver may ask for.
const mostPatience = time.Hour

// broken is a post without an answer: the receiver may have the message, and will know it by its Webhook-Id.
func broken(err error) error {
	return fault.New(fault.Temporary, fmt.Errorf("webhook: %w", web.Cause(err)))
}
