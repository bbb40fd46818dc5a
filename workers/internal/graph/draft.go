package graph

import (
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// maxRequest is how many bytes of base64 are sent in one request. Graph takes about 4 MB and does not say exactly.
const maxRequest = 3_500_000

// Draft implements outbound.Drafter. What cannot be sent is refused before anything is in the mailbox; what goes wrong
// later takes the draft with it.
func (t *Transport) Draft(ctx context.Context, e mail.Envelope, b mail.Body) (string, error) {
	h, want, err := t.plan(e, b)
	if err != nil {
		return "", err
	}
	if encodedLength(b.Size()) > maxRequest {
		return t.draftParts(ctx, h, want, b)
	}
	id, err := t.create(ctx, request{mime: b})
	if err != nil || want.none() {
		return id, err
	}
	if err := t.call(ctx, request{what: "address the draft", method: http.MethodPatch, url: t.url("", "messages", id), body: want}, nil); err != nil {
		t.discard(ctx, id)
		return "", err
	}
	return id, nil
}

// draftParts makes the draft of a message that is too large for one request.
func (t *Transport) draftParts(ctx context.Context, h textproto.MIMEHeader, want changes, b mail.Body) (string, error) {
	m, sizes, err := rebuild(h, b)
	if err != nil {
		return "", err
	}
	m.From, m.Bcc = want.From, []recipient{}
	if want.BccRecipients != nil {
		m.Bcc = *want.BccRecipients
	} else if hidden, err := addresses(h, "Bcc"); err == nil {
		m.Bcc = withNames(hidden)
	}
	id, err := t.create(ctx, request{body: m})
	if err != nil {
		return "", err
	}
	if err := t.attachAll(ctx, id, b, sizes); err != nil {
		t.discard(ctx, id)
		return "", err
	}
	return id, nil
}

// plan says what the draft of a message needs beyond its bytes.
func (t *Transport) plan(e mail.Envelope, b mail.Body) (h textproto.MIMEHeader, want changes, err error) {
	if err := speakable(e); err != nil {
		return nil, changes{}, err
	}
	if h, err = readHeader(b); err != nil {
		return nil, changes{}, err
	}
	if want.From, err = t.sender(h); err != nil {
		return nil, changes{}, err
	}
	want.BccRecipients, err = reconcile(h, e)
	return h, want, err
}

// speakable refuses addresses that no field could carry.
func speakable(e mail.Envelope) error {
	for _, to := range e.Recipients {
		if to.Address == "" || strings.ContainsAny(to.Address, "\r\n\x00<>") {
			return &fault.Error{Kind: fault.Permanent, Reason: "RECIPIENTS_INVALID", Err: fmt.Errorf("the envelope holds an address that is none"), Remedy: "correct the addresses"}
		}
	}
	return nil
}

// create makes a draft of what the request carries, and returns its immutable id.
func (t *Transport) create(ctx context.Context, r request) (id string, err error) {
	r.what, r.method, r.url = "draft", http.MethodPost, t.url("", "messages")
	var made struct{ ID string }
	if err := t.call(ctx, r, &made); err != nil {
		return "", err
	}
	if made.ID == "" {
		return "", fault.Newf(fault.Temporary, "draft: the answer names none")
	}
	return made.ID, nil
}
