package graphd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/mail"
	"strings"
	"sync"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

var (
	noJSON    = fail(http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload.")
	noBase64  = fail(http.StatusBadRequest, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.")
	noMIME    = fail(http.StatusBadRequest, "ErrorMimeContentInvalid", "The MIME content isn't valid.")
	tooLarge  = fail(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The maximum request size is exceeded.")
	notADraft = fail(http.StatusBadRequest, "ErrorInvalidOperation", "The operation is only valid for a draft message.")
	noList    = fail(http.StatusBadRequest, "ErrorInvalidRecipients", "At least one recipient is not valid.")
)

// drafts remembers what drafts that were written as JSON are made of, by message id: attachments come later. A draft that
// came as MIME is its bytes alone.
type drafts struct {
	mu   sync.Mutex // held while a draft changes or is sent
	json map[string]*draft
}

// mimeOf reads the request's base64 text.
func mimeOf(c *call) ([]byte, *fault.Answer) {
	text, err := io.ReadAll(c.Body)
	if tooLong(err) {
		return nil, &tooLarge
	}
	raw, derr := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || derr != nil {
		return nil, &noBase64
	}
	if _, err := mail.ReadMessage(bytes.NewReader(raw)); err != nil {
		return nil, &noMIME
	}
	return raw, nil
}

func tooLong(err error) bool {
	var most *http.MaxBytesError
	return errors.As(err, &most)
}

// draft makes one, of MIME or of JSON.
func (s *Server) draft(c *call) fault.Answer {
	if strings.HasPrefix(c.Header.Get("Content-Type"), "text/plain") {
		raw, refused := mimeOf(c)
		if refused != nil {
			return *refused
		}
		return s.store(c, raw, nil)
	}
	d, refused := readDraft(c)
	if refused != nil {
		return *refused
	}
	return s.store(c, d.mime(c.mailbox), d)
}

// store puts a draft among the drafts; d is nil for one of MIME.
func (s *Server) store(c *call, raw []byte, d *draft) fault.Answer {
	folder := s.config.Store.Used(c.mailbox, mailstore.UseDrafts)
	target := mailstore.Target{Mailbox: c.mailbox, Folder: folder, Flags: []string{`\Draft`, `\Seen`}}
	uids, err := s.config.Store.Deliver(raw, []mailstore.Target{target}, nil)
	if err != nil {
		return broken
	}
	f, err := s.config.Store.Folder(c.mailbox, folder)
	if err != nil {
		return broken
	}
	for _, m := range f.Messages {
		if m.UID != uids[0] {
			continue
		}
		if d != nil {
			s.drafts.mu.Lock()
			defer s.drafts.mu.Unlock()
			if s.drafts.json == nil {
				s.drafts.json = map[string]*draft{}
			}
			s.drafts.json[m.ID] = d
		}
		return jsonAnswer(http.StatusCreated, c.messageJSON(f, m, nil))
	}
	return noMessage // somebody was quick to remove it
}

// readdress is what a PATCH may change of a draft.
type readdress struct {
	From          *recipient
	ToRecipients  *[]recipient
	CcRecipients  *[]recipient
	BccRecipients *[]recipient
}

func (r readdress) empty() bool {
	return r.From == nil && r.ToRecipients == nil && r.CcRecipients == nil && r.BccRecipients == nil
}

// readdress changes the recipients or the sender of a draft.
func (s *Server) readdress(c *call, f mailstore.Folder, m *mailstore.Message, r readdress) *fault.Answer {
	s.drafts.mu.Lock()
	defer s.drafts.mu.Unlock()
	raw, err := m.Raw()
	switch {
	case err != nil:
		return &broken
	case !m.Has(`\Draft`):
		return &notADraft
	}
	for field, list := range map[string]*[]recipient{"To": r.ToRecipients, "Cc": r.CcRecipients, "Bcc": r.BccRecipients} {
		if list == nil {
			continue
		}
		for _, to := range *list {
			if !to.valid() {
				return &noList
			}
		}
		raw = with(raw, field, *list)
	}
	if from, _ := named(raw, "From"); r.From != nil && (len(from) != 1 || !strings.EqualFold(from[0], r.From.EmailAddress.Address)) {
		raw = with(raw, "From", []recipient{*r.From})
	}
	if d := s.drafts.json[m.ID]; d != nil {
		d.readdress(r)
		raw = d.mime(c.mailbox)
	}
	if err := s.config.Store.Replace(c.mailbox, f.Name, m.UID, raw); err != nil {
		return &broken
	}
	return nil
}

// change applies f to a draft of JSON and stores it anew.
func (s *Server) change(c *call, f func(*draft)) *fault.Answer {
	s.drafts.mu.Lock()
	defer s.drafts.mu.Unlock()
	folder, m, refused := s.found(c)
	if refused != nil {
		return refused
	}
	d := s.drafts.json[m.ID]
	switch {
	case d == nil && m.Has(`\Draft`) && m.Received.Before(s.began):
		return &broken // what it is made of was forgotten at the restart, which is nobody's fault but ours
	case d == nil || !m.Has(`\Draft`):
		return &notADraft
	}
	f(d)
	if err := s.config.Store.Replace(c.mailbox, folder.Name, m.UID, d.mime(c.mailbox)); err != nil {
		return &broken
	}
	return nil
}

// decode reads JSON of known fields only: what Graph does not know it refuses, too.
func decode(c *call, v any) *fault.Answer {
	dec := json.NewDecoder(c.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	switch {
	case tooLong(err):
		return &tooLarge
	case err != nil:
		return answer(fail(http.StatusBadRequest, "RequestBodyRead", err.Error()))
	}
	return nil
}
