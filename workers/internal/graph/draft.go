package graph

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// maxRequest is how many bytes of base64 are sent in one request. Graph takes about 4 MB and does not say exactly.
const maxRequest = 3_500_000

// Draft implements outbound.Drafter. What cannot be sent is refused before anything is in the mailbox.
func (t *Transport) Draft(ctx context.Context, e mail.Envelope, b mail.Body) (string, error) {
	want, err := t.plan(e, b)
	if err != nil {
		return "", err
	}
	id, err := t.create(ctx, request{mime: b})
	if err != nil {
		return "", err
	}
	if want.none() {
		return id, nil
	}
	if err := t.call(ctx, request{what: "address the draft", method: http.MethodPatch, url: t.url("", "messages", id), body: want}, nil); err != nil {
		t.discard(ctx, id)
		return "", err
	}
	return id, nil
}

// plan says what the draft of a message needs beyond its bytes.
func (t *Transport) plan(e mail.Envelope, b mail.Body) (want changes, err error) {
	if err := speakable(e); err != nil {
		return changes{}, err
	}
	h, err := readHeader(b)
	if err != nil {
		return changes{}, err
	}
	if n := encodedLength(b.Size()); n > maxRequest {
		return changes{}, &fault.Error{
			Kind: fault.Permanent, Reason: tooLarge, Err: fmt.Errorf("the message has %d bytes; Graph takes about %d of MIME", b.Size(), maxRequest/4*3),
			Remedy: "send this message by SMTP or EWS",
		}
	}
	if want.From, err = t.sender(h); err != nil {
		return changes{}, err
	}
	want.BccRecipients, err = reconcile(h, e)
	return want, err
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
