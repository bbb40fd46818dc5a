package graphd

import (
	"bytes"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

var (
	noMessage = fail(http.StatusNotFound, "ErrorItemNotFound", "The specified object was not found in the store.")
	badID     = fail(http.StatusBadRequest, "ErrorInvalidIdMalformed", "Id is malformed.")
)

// found is the message that the request is about, or what to answer instead.
func (s *Server) found(c *call) (mailstore.Folder, *mailstore.Message, *fault.Answer) {
	f, m, err := s.message(c.mailbox, c.PathValue("id"))
	switch {
	case err != nil:
		return f, nil, &badID
	case m == nil:
		return f, nil, &noMessage
	}
	return f, m, nil
}

// messageJSON is a message with the properties of $select; all that there are without one.
func (c *call) messageJSON(f mailstore.Folder, m *mailstore.Message, fields []string) map[string]any {
	all := map[string]any{
		"receivedDateTime": m.Received.UTC().Format(time.RFC3339), "createdDateTime": m.Received.UTC().Format(time.RFC3339), "isRead": m.Has(`\Seen`), "isDraft": m.Has(`\Draft`),
		"parentFolderId": idOfFolder(f),
	}
	if wantsAny(fields, "internetMessageId", "subject") {
		id, subject := headers(m)
		all["internetMessageId"], all["subject"] = id, subject
	}
	if wantsAny(fields, "from", "toRecipients", "ccRecipients", "bccRecipients") {
		maps.Copy(all, correspondents(m))
	}
	out := map[string]any{"@odata.etag": fmt.Sprintf(`W/"%d-%s"`, m.UID, strings.Join(m.Flags, "")), "id": c.idOf(f, m)}
	for k, v := range all {
		if len(fields) == 0 || slices.Contains(fields, k) {
			out[k] = v
		}
	}
	return out
}

// wantsAny says whether $select, if there is one, names one of the properties.
func wantsAny(fields []string, some ...string) bool {
	return len(fields) == 0 || slices.ContainsFunc(some, func(p string) bool { return slices.Contains(fields, p) })
}

// correspondents are those whom the header names; what cannot be read names nobody.
func correspondents(m *mailstore.Message) map[string]any {
	raw, err := m.Raw()
	if err != nil {
		return nil
	}
	all := map[string]any{}
	for property, field := range map[string]string{"toRecipients": "To", "ccRecipients": "Cc", "bccRecipients": "Bcc"} {
		list := []any{}
		names, _ := named(raw, field)
		for _, a := range names {
			list = append(list, correspondent(a))
		}
		all[property] = list
	}
	if from, _ := named(raw, "From"); len(from) > 0 {
		all["from"] = correspondent(from[0])
	}
	return all
}

func correspondent(address string) map[string]any {
	return map[string]any{"emailAddress": map[string]string{"name": address, "address": address}}
}

// headers are those that Graph shows as properties; a message without a readable header has none.
func headers(m *mailstore.Message) (id, subject string) {
	raw, err := m.Raw()
	if err != nil {
		return "", ""
	}
	msg, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return "", ""
	}
	subject = msg.Header.Get("Subject")
	if decoded, err := new(mime.WordDecoder).DecodeHeader(subject); err == nil {
		subject = decoded
	}
	return msg.Header.Get("Message-Id"), subject
}

func selected(q url.Values) []string {
	if q.Get("$select") == "" {
		return nil
	}
	return strings.Split(q.Get("$select"), ",")
}

var (
	receivedFilter = regexp.MustCompile(`^receivedDateTime (ge|gt) (\S+)$`)
	idFilter       = regexp.MustCompile(`^internetMessageId eq '((?:[^']|'')*)'$`)
)

// filter says which messages $filter wants; an error for what Graph would not take either.
func filter(text string) (func(*mailstore.Message) bool, bool) {
	switch m, byID := receivedFilter.FindStringSubmatch(text), idFilter.FindStringSubmatch(text); {
	case text == "":
		return func(*mailstore.Message) bool { return true }, true
	case text == "isRead eq false":
		return func(m *mailstore.Message) bool { return !m.Has(`\Seen`) }, true
	case byID != nil:
		wanted := strings.ReplaceAll(byID[1], "''", "'")
		return func(m *mailstore.Message) bool { id, _ := headers(m); return id == wanted }, true
	case m != nil:
		at, err := time.Parse(time.RFC3339, m[2])
		return func(msg *mailstore.Message) bool {
			received := msg.Received.Truncate(time.Second)
			return received.After(at) || m[1] == "ge" && received.Equal(at)
		}, err == nil
	}
	return nil, false
}

// defaultTop is how many messages are on a page if nobody says; maxTop the most.
const (
	defaultTop = 10
	maxTop     = 1000
)

func (s *Server) listMessages(c *call) fault.Answer {
	f, ok := s.folder(c.mailbox, c.PathValue("folder"))
	if !ok {
		return noFolder
	}
	q := c.URL.Query()
	wanted, ok := filter(q.Get("$filter"))
	if !ok {
		return fail(http.StatusBadRequest, "BadRequest", "Invalid filter clause")
	}
	all := slices.DeleteFunc(slices.Clone(f.Messages), func(m *mailstore.Message) bool { return !wanted(m) })
	if !order(all, q.Get("$orderby")) {
		return fail(http.StatusBadRequest, "BadRequest", "Invalid orderby clause")
	}
	top, skip := number(q.Get("$top"), defaultTop), number(q.Get("$skip"), 0)
	if top < 1 || top > maxTop || skip < 0 {
		return fail(http.StatusBadRequest, "BadRequest", "$top must be from 1 to 1000")
	}
	body := map[string]any{}
	page := all[min(skip, len(all)):min(skip+top, len(all))]
	if skip+top < len(all) {
		q.Set("$skip", strconv.Itoa(skip+top))
		body["@odata.nextLink"] = s.link(c, "mailFolders/"+url.PathEscape(c.PathValue("folder"))+"/messages", q)
	}
	value := []any{}
	for _, m := range page {
		value = append(value, c.messageJSON(f, m, selected(q)))
	}
	body["value"] = value
	return jsonAnswer(http.StatusOK, body)
}

func number(text string, fallback int) int {
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

// order sorts as $orderby wants; the newest first if it wants nothing.
func order(all []*mailstore.Message, by string) bool {
	field, direction, _ := strings.Cut(by, " ")
	if by != "" && (field != "receivedDateTime" || direction != "" && direction != "asc" && direction != "desc") {
		return false
	}
	up := by != "" && direction != "desc"
	slices.SortStableFunc(all, func(a, b *mailstore.Message) int {
		if up {
			return a.Received.Compare(b.Received)
		}
		return b.Received.Compare(a.Received)
	})
	return true
}

func (s *Server) oneMessage(c *call) fault.Answer {
	f, m, refused := s.found(c)
	if refused != nil {
		return *refused
	}
	return jsonAnswer(http.StatusOK, c.messageJSON(f, m, selected(c.URL.Query())))
}

// value is the message's MIME form.
func (s *Server) value(c *call) fault.Answer {
	_, m, refused := s.found(c)
	if refused != nil {
		return *refused
	}
	raw, err := m.Raw()
	if err != nil {
		return broken
	}
	return fault.Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"text/plain"}}, Body: raw}
}
