package ewsd

import (
	"bytes"
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

// findItem lists folders by the time of arrival: one answer for each.
func (s *Server) findItem(c *call) fault.Answer {
	q := c.soap.Body.FindItem
	if r := q.Restriction; r != nil && !r.known() {
		return refuse("ErrorUnsupportedPathForQuery", "The sandbox finds items by extended properties of PublicStrings and by InternetMessageId.", 0)
	}
	var all []message
	for _, r := range q.Parents.each() {
		all = append(all, s.findIn(c, q, r))
	}
	if len(all) == 0 {
		return refuse("ErrorSchemaValidation", "The request failed schema validation: it names no folder.", 0)
	}
	return answers("FindItem", all...)
}

// each is what is named, one by one.
func (r folderRefs) each() (all []folderRef) {
	for i := range r.Distinguished {
		all = append(all, folderRef{Distinguished: &r.Distinguished[i]})
	}
	for i := range r.FolderIDs {
		all = append(all, folderRef{FolderID: &r.FolderIDs[i]})
	}
	return all
}

func (s *Server) findIn(c *call, q *findItem, r folderRef) message {
	f, ok := s.folder(c, r)
	if r.Distinguished != nil && r.Distinguished.ID == "outbox" {
		ok = true // every mailbox has one; here nothing ever waits in it
	}
	if !ok {
		return noFolder
	}
	all := slices.DeleteFunc(slices.Clone(f.Messages), func(m *mailstore.Message) bool { return q.Restriction != nil && !q.Restriction.holds(m) })
	slices.SortStableFunc(all, func(a, b *mailstore.Message) int {
		if q.Order.Order == "Ascending" {
			return a.Received.Compare(b.Received)
		}
		return b.Received.Compare(a.Received)
	})
	from := min(max(q.View.Offset, 0), len(all))
	to := min(from+max(q.View.Max, 1), len(all))
	items := ""
	for _, m := range all[from:to] {
		items += itemXML(f.Folder, m, q.Shape, "")
	}
	return message{content: fmt.Sprintf(`<m:RootFolder IndexedPagingOffset="%d" TotalItemsInView="%d" IncludesLastItemInRange="%t"><t:Items>%s</t:Items></m:RootFolder>`,
		to, len(all), to == len(all), items)}
}

// known tells whether the sandbox can look for it.
func (r *isEqualTo) known() bool {
	return r.Extended != nil && r.Extended.known() || r.Field.URI == "message:InternetMessageId"
}

// holds tells whether a message is meant.
func (r *isEqualTo) holds(m *mailstore.Message) bool {
	if r.Extended != nil {
		value, has := m.Properties[r.Extended.key()]
		return has && value == r.Constant.Value
	}
	return messageID(m) == strings.TrimSpace(r.Constant.Value)
}

func messageID(m *mailstore.Message) string {
	raw, err := m.Raw()
	if err != nil {
		return ""
	}
	parsed, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(parsed.Header.Get("Message-Id"))
}
