package graph

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// A request that makes a draft of MIME can carry no mark, so a draft whose making got no answer is known by what it is: the
// only draft with the message's Message-ID, made after the message was accepted, to the same people, with the same text and
// attachments. It is sent in place of another one, never removed: if a person had put it there after all, it is the message that
// we were given to send.

// trace is a message among the drafts.
type trace struct {
	ID      string
	IsDraft bool
	Created time.Time   `json:"createdDateTime"`
	Subject string      `json:"subject"`
	From    recipient   `json:"from"`
	To      []recipient `json:"toRecipients"`
	Cc      []recipient `json:"ccRecipients"`
	Bcc     []recipient `json:"bccRecipients"`
}

const traceFields = "id,isDraft,createdDateTime,subject,from,toRecipients,ccRecipients,bccRecipients"

// FindDraft implements outbound.DraftFinder. A message that went part by part is not looked for: its draft has but some of them.
func (t *Transport) FindDraft(ctx context.Context, e mail.Envelope, b mail.Body, since time.Time) (string, error) {
	h, want, err := t.plan(e, b)
	if err != nil {
		return "", err
	}
	if h.Get("Message-Id") == "" || encodedLength(b.Size()) > maxRequest {
		return "", nil
	}
	all, err := t.traces(ctx, h.Get("Message-Id"))
	if err != nil || len(all) != 1 || !all[0].IsDraft || all[0].Created.Before(since.Truncate(time.Second)) || !all[0].addressed(h, want) {
		return "", err
	}
	if alike, err := t.alike(ctx, all[0].ID, b); err != nil || !alike {
		return "", err
	}
	return all[0].ID, nil
}

// traces are the drafts with a Message-ID, at most two: of two nobody knows whose they are.
func (t *Transport) traces(ctx context.Context, messageID string) ([]trace, error) {
	query := url.Values{"$filter": {"internetMessageId eq " + quote(messageID)}, "$select": {traceFields}, "$top": {"2"}}
	var found struct{ Value []trace }
	r := request{what: "look among the drafts", method: http.MethodGet, url: t.url(query.Encode(), "mailFolders", draftsName, "messages")}
	return found.Value, t.call(ctx, r, &found)
}

// draftsName is the folder of drafts in every language.
const draftsName = "drafts"

// addressed says whether a draft is about the same and goes to the people that the message is to go to, as it lies there. One
// that still lacks its Bcc may be another message's that is being made: programs give a Message-ID to a copy for each recipient.
func (d trace) addressed(h textproto.MIMEHeader, want changes) bool {
	subject, err := words.DecodeHeader(h.Get("Subject"))
	if err != nil || strings.TrimSpace(subject) != strings.TrimSpace(d.Subject) {
		return false
	}
	if want.From != nil && !strings.EqualFold(want.From.EmailAddress.Address, d.From.EmailAddress.Address) {
		return false
	}
	for field, list := range map[string][]recipient{"To": d.To, "Cc": d.Cc, "Bcc": d.Bcc} {
		named, err := addresses(h, field)
		wanted := withNames(named)
		if field == "Bcc" && want.BccRecipients != nil {
			wanted = *want.BccRecipients
		}
		if err != nil || !slices.Equal(folded(wanted), folded(list)) {
			return false
		}
	}
	return true
}

// folded are the addresses without regard to case, order and repetition.
func folded(list []recipient) []string {
	all := make([]string, 0, len(list))
	for _, r := range list {
		all = append(all, strings.ToLower(r.EmailAddress.Address))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// maxTrace bounds what is read of a draft, in bytes: Exchange may write a message longer than it came.
const maxTrace = 2 * maxRequest

// alike says whether a draft has the text and the attachments of a message. What cannot be compared is not alike.
func (t *Transport) alike(ctx context.Context, id string, b mail.Body) (bool, error) {
	wanted, err := likeness(b)
	if err != nil {
		return false, ifFault(err)
	}
	raw, err := t.download(ctx, id)
	if err != nil {
		if fault.Of(err) == fault.Gone {
			err = nil
		}
		return false, err
	}
	found, err := likeness(mail.Bytes(raw))
	return err == nil && found == wanted, nil
}

// ifFault leaves an error that is not about the form of the message: see walk.over.
func ifFault(err error) error {
	var known *fault.Error
	if errors.As(err, &known) && known.Kind == fault.Temporary {
		return err
	}
	return nil
}

func (t *Transport) download(ctx context.Context, id string) (raw []byte, err error) {
	release, err := t.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	r, err := t.open(ctx, request{what: "read the draft", method: http.MethodGet, url: t.url("", "messages", id, "$value")})
	if err != nil {
		return nil, person(err)
	}
	raw, err = io.ReadAll(io.LimitReader(r, maxTrace))
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fault.New(fault.Temporary, fmt.Errorf("read the draft: %w", err))
	}
	return raw, nil
}

// likeness is what Exchange leaves of a message when it takes it apart and writes it anew: the words of its text, and its
// attachments.
func likeness(b mail.Body) (sum [sha256.Size]byte, err error) {
	var files bytes.Buffer // of each attachment its name and a sum
	w := walk{onFile: func(f file, r io.Reader) error {
		content := sha256.New()
		_, err := io.Copy(content, r)
		fmt.Fprintf(&files, "%q %x\n", f.name, content.Sum(nil))
		return err
	}}
	if err := w.over(b); err != nil {
		return sum, err
	}
	own := w.body()
	fmt.Fprintf(&files, "%s %q", own.ContentType, strings.Join(strings.Fields(own.Content), " "))
	return sha256.Sum256(files.Bytes()), nil
}
