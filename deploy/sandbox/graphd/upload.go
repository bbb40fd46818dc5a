package graphd

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"mailporter/sandbox/fault"
)

// uploadPath is where the parts of large attachments go. Whoever knows a session's address may write to it.
const uploadPath = "/upload/"

// uploads are the sessions that are open, by their secret.
type uploads struct {
	mu   sync.Mutex
	open map[string]*upload
}

// upload is one attachment on its way in.
type upload struct {
	call *call // of whom opened it
	file attachment
	size int
}

func (u *uploads) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open = nil
}

// attach adds an attachment that fits into one request.
func (s *Server) attach(c *call) fault.Answer {
	var a attachment
	if refused := decode(c, &a); refused != nil {
		return *refused
	}
	if a.Type != "#microsoft.graph.fileAttachment" {
		return fail(http.StatusBadRequest, "ErrorInvalidParameter", "The attachment type is not supported.")
	}
	if len(a.ContentBytes) >= maxAttachment {
		return fail(http.StatusRequestEntityTooLarge, "ErrorAttachmentSizeLimitExceeded", "The attachment size exceeds the allowed limit.")
	}
	if refused := s.change(c, func(d *draft) { d.Attachments = append(d.Attachments, a) }); refused != nil {
		return *refused
	}
	return jsonAnswer(http.StatusCreated, map[string]any{"id": encodeID('A', []byte(rand.Text())...), "name": a.Name, "size": len(a.ContentBytes)})
}

// openUpload opens a session for a larger one.
func (s *Server) openUpload(c *call) fault.Answer {
	var wish struct {
		AttachmentItem struct {
			AttachmentType, Name, ContentType, ContentID string
			Size                                         int
			IsInline                                     bool
		}
	}
	if refused := decode(c, &wish); refused != nil {
		return *refused
	}
	item := wish.AttachmentItem
	if item.AttachmentType != "file" || item.Name == "" || item.Size < maxAttachment || item.Size > 150<<20 {
		return fail(http.StatusBadRequest, "ErrorInvalidParameter", "A file of 3 to 150 MB is uploaded by session.")
	}
	if _, m, refused := s.found(c); refused != nil {
		return *refused
	} else if !m.Has(`\Draft`) {
		return notADraft
	}
	u := &upload{call: c, size: item.Size, file: attachment{
		Name: item.Name, ContentType: item.ContentType, ContentID: item.ContentID, IsInline: item.IsInline,
	}}
	secret := rand.Text()
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	if s.sessions.open == nil {
		s.sessions.open = map[string]*upload{}
	}
	s.sessions.open[secret] = u
	return jsonAnswer(http.StatusCreated, u.state("https://"+u.call.Host+uploadPath+secret))
}

// state tells what is expected next.
func (u *upload) state(url string) map[string]any {
	out := map[string]any{
		"expirationDateTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "nextExpectedRanges": []string{fmt.Sprintf("%d-", len(u.file.ContentBytes))},
	}
	if url != "" {
		out["uploadUrl"] = url
	}
	return out
}

// upload takes a part. It wants no token, and nobody may send one: it would go to whoever runs the storage behind it.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.sessions.mu.Lock()
	u := s.sessions.open[r.PathValue("session")]
	s.sessions.mu.Unlock()
	at := fault.Point{Target: fault.Graph, Step: "upload"}
	if u != nil {
		at.Mailbox, at.Client = u.call.mailbox, u.call.claims.Client
	}
	rule := s.config.Faults.Take(at)
	if rule != nil && rule.Action == fault.Forget {
		s.Forget()
	}
	rule.Serve(w, r, func() fault.Answer {
		if full := s.brings(at.Client, at.Mailbox, r); u != nil && full != nil {
			return *full
		}
		return s.takePart(r)
	})
}

func (s *Server) takePart(r *http.Request) fault.Answer {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	u := s.sessions.open[r.PathValue("session")]
	switch {
	case r.Header.Get("Authorization") != "":
		return fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "An upload session takes no Authorization header.")
	case u == nil:
		return fail(http.StatusNotFound, "ErrorItemNotFound", "The upload session was not found.")
	case r.Method == http.MethodGet:
		return jsonAnswer(http.StatusOK, u.state(""))
	}
	var first, last, size int
	if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); err != nil || size != u.size || last >= size || first > last {
		return fail(http.StatusBadRequest, "InvalidContentRangeHeader", "Invalid Content-Range header.")
	}
	b, err := io.ReadAll(r.Body)
	switch {
	case tooLong(err):
		return tooLarge
	case err != nil || len(b) != last-first+1:
		return fail(http.StatusBadRequest, "InvalidContentLength", "The body is not as long as its range.")
	case first != len(u.file.ContentBytes):
		return fail(http.StatusRequestedRangeNotSatisfiable, "ErrorInvalidRange", "The range is not the one that is expected.")
	}
	u.file.ContentBytes = append(u.file.ContentBytes, b...)
	if len(u.file.ContentBytes) < u.size {
		return jsonAnswer(http.StatusOK, u.state(""))
	}
	delete(s.sessions.open, r.PathValue("session"))
	if refused := s.change(u.call, func(d *draft) { d.Attachments = append(d.Attachments, u.file) }); refused != nil {
		return *refused
	}
	return fault.Answer{Status: http.StatusCreated, Header: http.Header{"Location": {"https://" + r.Host + strings.TrimSuffix(r.URL.Path, "/") + "/attachment"}}}
}
