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

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/web"
)

// Sizes in bytes. Graph takes attachments below 3 MB in a request and larger ones by session, in parts below 4 MB, which are
// to be multiples of 320 KiB.
const (
	maxAttachment = 3_000_000
	chunk         = 10 * 320 << 10
	maxUpload     = 150_000_000
)

// attachment is a small one as Graph writes it.
type attachment struct {
	Type         string `json:"@odata.type"`
	Name         string `json:"name"`
	ContentType  string `json:"contentType"`
	ContentID    string `json:"contentId,omitempty"`
	IsInline     bool   `json:"isInline"`
	ContentBytes []byte `json:"contentBytes"`
}

// attachmentItem opens a session for a large one.
type attachmentItem struct {
	AttachmentType string `json:"attachmentType"`
	Name           string `json:"name"`
	Size           int64  `json:"size"`
	ContentType    string `json:"contentType,omitempty"`
	ContentID      string `json:"contentId,omitempty"`
	IsInline       bool   `json:"isInline"`
}

// attachAll puts the attachments of a message on its draft, one after the other, as they come in the message.
func (t *Transport) attachAll(ctx context.Context, draft string, b mail.Body, sizes []int64) error {
	next := 0
	w := walk{onFile: func(f file, r io.Reader) error {
		if next >= len(sizes) {
			return fault.Newf(fault.Temporary, "the message is not the one that it was")
		}
		f.size = sizes[next]
		next++
		if f.size < maxAttachment {
			return t.attach(ctx, draft, f, r)
		}
		return t.upload(ctx, draft, f, r)
	}}
	return w.over(b)
}

func (t *Transport) attach(ctx context.Context, draft string, f file, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxAttachment))
	if err != nil {
		return err
	}
	a := attachment{"#microsoft.graph.fileAttachment", f.name, f.contentType, f.contentID, f.inline, b}
	return t.call(ctx, request{what: "attach", method: http.MethodPost, url: t.url("", "messages", draft, "attachments"), body: a}, nil)
}

// session is an attachment on its way. Its address is a credential: whoever has it may write.
type session struct {
	address string
	size    int64
}

// upload sends a large attachment part by part.
func (t *Transport) upload(ctx context.Context, draft string, f file, r io.Reader) error {
	s, err := t.openSession(ctx, draft, f)
	if err != nil {
		return err
	}
	part := make([]byte, chunk)
	for at := int64(0); at < s.size; {
		n, err := io.ReadFull(r, part[:min(chunk, s.size-at)])
		if err != nil {
			return err
		}
		if err := t.deliver(ctx, s, part[:n], at); err != nil {
			return fmt.Errorf("upload: %w", err)
		}
		at += int64(n)
	}
	return nil
}

func (t *Transport) openSession(ctx context.Context, draft string, f file) (session, error) {
	wish := map[string]attachmentItem{"AttachmentItem": {"file", f.name, f.size, f.contentType, f.contentID, f.inline}}
	var made struct{ UploadURL string }
	r := request{what: "open upload", method: http.MethodPost, url: t.url("", "messages", draft, "attachments", "createUploadSession"), body: wish}
	if err := t.call(ctx, r, &made); err != nil {
		return session{}, err
	}
	if u, err := url.Parse(made.UploadURL); err != nil || u.Scheme != "https" || u.Host == "" {
		return session{}, fault.Newf(fault.Temporary, "open upload: the answer has no address over https") // and it is not shown
	}
	return session{made.UploadURL, f.size}, nil
}

// resumptions is how often a part that broke off is taken up again.
const resumptions = 3

// deliver sends one part, and what the server is still waiting for of it after the link broke.
func (t *Transport) deliver(ctx context.Context, s session, part []byte, at int64) error {
	end := at + int64(len(part))
	expected, err := t.put(ctx, s, part, at)
	for range resumptions {
		if err == nil && (expected == end || end == s.size) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			expected, err = t.ask(ctx, s)
		}
		if err != nil || expected < at || expected > end {
			break
		}
		if expected < end {
			expected, err = t.put(ctx, s, part[expected-at:], expected)
		}
	}
	if err == nil && expected == end {
		return nil
	}
	return errors.Join(fault.Newf(fault.Temporary, "the server lost the session"), err)
}

// put sends bytes from at on, and returns what the server expects next; its size after the last.
func (t *Transport) put(ctx context.Context, s session, b []byte, at int64) (expected int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.address, bytes.NewReader(b))
	if err != nil {
		return 0, fault.Newf(fault.Temporary, "the address of the session is none")
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, at+int64(len(b))-1, s.size))
	return t.progress(req, s)
}

// ask asks how far the server is.
func (t *Transport) ask(ctx context.Context, s session) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address, nil)
	if err != nil {
		return 0, fault.Newf(fault.Temporary, "the address of the session is none")
	}
	return t.progress(req, s)
}

// progress makes a request of a session, without a token: the address is enough, and leads elsewhere.
func (t *Transport) progress(req *http.Request, s session) (int64, error) {
	leave, err := t.enter(req.Context())
	if err != nil {
		return 0, err
	}
	defer leave()
	release, err := t.slot(req.Context())
	if err != nil {
		return 0, err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	res, err := t.http.Do(req.WithContext(ctx))
	if err != nil {
		return 0, fault.New(fault.Temporary, web.Cause(err))
	}
	body := web.Body(ctx, res.Body, t.config.Settings.Endpoint.ProtocolTimeout, cancel)
	defer body.Close()
	switch res.StatusCode {
	case http.StatusCreated:
		return s.size, nil
	case http.StatusOK, http.StatusAccepted:
		return next(body)
	}
	err = t.refused(res, body)
	if k := fault.Of(err); k == fault.Throttled || k == fault.Permanent {
		return 0, err
	}
	return 0, fault.New(fault.Temporary, err) // the session is gone, or wants no token: the draft is made anew
}

// next reads where the server wants to go on: "5-", "5-9" or "5".
func next(body io.Reader) (int64, error) {
	var said struct{ NextExpectedRanges []string }
	b, err := io.ReadAll(io.LimitReader(body, maxError))
	if err == nil {
		err = json.Unmarshal(b, &said)
	}
	if err != nil || len(said.NextExpectedRanges) == 0 {
		return 0, fault.Newf(fault.Temporary, "the server does not say where to go on")
	}
	from, _, _ := strings.Cut(said.NextExpectedRanges[0], "-")
	n, err := strconv.ParseInt(from, 10, 64)
	if err != nil || n < 0 {
		return 0, fault.Newf(fault.Temporary, "the server does not say where to go on")
	}
	return n, nil
}
