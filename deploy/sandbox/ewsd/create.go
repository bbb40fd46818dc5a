package ewsd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/mail"
	"strings"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

// Where the store keeps recipients that were given beside the MIME content, as JSON. They take the place of the header's.
const (
	overTo  = "to"
	overCc  = "cc"
	overBcc = "bcc"
)

// createItem makes drafts of MIME content, or sends it at once.
func (s *Server) createItem(c *call) fault.Answer {
	q := c.soap.Body.CreateItem
	if q.Disposition == "" {
		return refuse("ErrorMessageDispositionRequired", "The MessageDisposition attribute is required for messages.", 0)
	}
	if len(q.Messages) == 0 {
		return refuse("ErrorSchemaValidation", "The request failed schema validation: it has no message.", 0)
	}
	var all []message
	for _, m := range q.Messages {
		all = append(all, s.createOne(c, q, m))
	}
	return answers("CreateItem", all...)
}

func (s *Server) createOne(c *call, q *createItem, item mimeItem) message {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(item.MIME))
	if err != nil || len(raw) == 0 {
		return itemError("ErrorMimeContentInvalidBase64String", "The specified MIME content is not a valid base64 string.")
	}
	if int64(len(raw)) > s.config.MaxSize {
		return itemError("ErrorMessageSizeExceeded", "The message exceeds the maximum supported size.")
	}
	if _, err := mail.ReadMessage(bytes.NewReader(raw)); err != nil {
		return itemError("ErrorMimeContentInvalid", "The MIME content is invalid.")
	}
	properties, err := item.properties()
	if err != nil {
		return itemError("ErrorInvalidExtendedProperty", err.Error())
	}
	switch q.Disposition {
	case "SaveOnly":
		return s.saveDraft(c, q.Folder, raw, properties)
	case "SendOnly", "SendAndSaveCopy":
		return s.sendAtOnce(c, q, letter{raw: raw, over: properties})
	}
	return itemError("ErrorMessageDispositionRequired", "The MessageDisposition attribute is not valid.")
}

// itemError is an answer of those operations that answer with items.
func itemError(code, text string) message {
	return message{code: code, text: text, content: "<m:Items/>"}
}

// properties are what the store keeps beside the MIME content.
func (m mimeItem) properties() (map[string]string, error) {
	all := map[string]string{}
	for _, p := range m.Properties {
		if !p.Field.known() {
			return nil, fmt.Errorf("the sandbox keeps strings of PublicStrings, not %q", p.Field.Name)
		}
		all[p.Field.key()] = p.Value
	}
	for key, list := range map[string]*recipients{overTo: m.To, overCc: m.Cc, overBcc: m.Bcc} {
		if list == nil {
			continue
		}
		b, err := json.Marshal(list.Addresses)
		if err != nil {
			return nil, err
		}
		all[key] = string(b)
	}
	return all, nil
}

// saveDraft puts a message into the drafts, or where it is wanted.
func (s *Server) saveDraft(c *call, where *folderRef, raw []byte, properties map[string]string) message {
	f, ok := s.saved(c, where, "drafts")
	if !ok {
		return itemError("ErrorSavedItemFolderNotFound", "The folder specified in SavedItemFolderId could not be found.")
	}
	uids, err := s.config.Store.Deliver(raw, []mailstore.Target{{
		Mailbox: f.owner, Folder: f.Name, Flags: []string{`\Draft`, `\Seen`}, Properties: maps.Clone(properties),
	}}, nil)
	if err != nil {
		return broken
	}
	now := &mailstore.Message{UID: uids[0], Flags: []string{`\Draft`, `\Seen`}}
	return message{content: "<m:Items>" + itemXML(f.Folder, now, shape{}, "") + "</m:Items>"}
}

// saved is the folder that a copy goes to.
func (s *Server) saved(c *call, where *folderRef, otherwise string) (folder, bool) {
	if where == nil {
		where = &folderRef{Distinguished: &distinguishedRef{ID: otherwise}}
	}
	return s.folder(c, *where)
}

// sendAtOnce sends without a draft. Its answer names no item.
func (s *Server) sendAtOnce(c *call, q *createItem, l letter) message {
	if s.wait(c); c.Context().Err() != nil {
		return broken
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	keep := folder{}
	if q.Disposition == "SendAndSaveCopy" {
		var ok bool
		if keep, ok = s.saved(c, q.Folder, "sentitems"); !ok {
			return itemError("ErrorSavedItemFolderNotFound", "The folder specified in SavedItemFolderId could not be found.")
		}
	}
	if refused := s.submit(c, l); refused.code != "" {
		refused.content = "<m:Items/>"
		return refused
	}
	if keep.Name != "" {
		if _, err := s.config.Store.Deliver(l.raw, []mailstore.Target{{Mailbox: keep.owner, Folder: keep.Name, Flags: []string{`\Seen`}, Properties: l.over}}, nil); err != nil {
			return broken
		}
	}
	return message{content: "<m:Items/>"}
}

// sendItem sends drafts. Their ids are void afterwards.
func (s *Server) sendItem(c *call) fault.Answer {
	q := c.soap.Body.SendItem
	save := q.Save == "true" || q.Save == "1"
	switch {
	case q.Save == "" || len(q.Items) == 0:
		return refuse("ErrorSchemaValidation", "The request failed schema validation: SaveItemToFolder and ItemIds are required.", 0)
	case !save && q.Folder != nil:
		return refuse("ErrorInvalidSendItemSaveSettings", "The SavedItemFolderId must be absent if SaveItemToFolder is false.", 0)
	}
	keep, ok := folder{}, true
	if save {
		keep, ok = s.saved(c, q.Folder, "sentitems")
	}
	var all []message
	for _, id := range q.Items {
		if !ok {
			all = append(all, message{code: "ErrorSavedItemFolderNotFound", text: "The folder specified in SavedItemFolderId could not be found."})
			continue
		}
		all = append(all, s.sendOne(c, id, keep))
	}
	return answers("SendItem", all...)
}

// sendOne sends a draft and moves it to keep, if there is such a folder.
func (s *Server) sendOne(c *call, id ref, keep folder) message {
	if s.wait(c); c.Context().Err() != nil {
		return broken // nobody waits for it any more
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	f, m, refused := s.sendable(c, id)
	if refused.code != "" {
		return refused
	}
	raw, err := m.Raw()
	if err != nil {
		return broken
	}
	if refused := s.submit(c, letter{raw: raw, over: m.Properties}); refused.code != "" {
		return refused
	}
	if err := s.leave(f, m, keep); err != nil {
		return broken
	}
	return message{}
}

// sendable finds a draft that may be sent.
func (s *Server) sendable(c *call, id ref) (folder, *mailstore.Message, message) {
	f, m, err := s.item(c, id.ID)
	refused := message{}
	switch {
	case err != nil:
		refused = message{code: badItem.code, text: badItem.text}
	case m == nil:
		refused = message{code: noItem.code, text: noItem.text}
	case id.ChangeKey == "":
		refused = message{code: "ErrorChangeKeyRequired", text: "The change key is required for this operation."}
	case id.ChangeKey != changeKey(m):
		refused = message{code: "ErrorStaleObject", text: "The item was changed since its change key was given out."}
	case !m.Has(`\Draft`):
		refused = message{code: "ErrorInvalidItemForOperationSendItem", text: "Operation is not supported for items that are no drafts."}
	}
	return f, m, refused
}

// leave takes a draft that was sent out of its folder.
func (s *Server) leave(f folder, m *mailstore.Message, keep folder) error {
	store := s.config.Store
	if keep.Name == "" || keep.owner != f.owner {
		_, err := store.Expunge(f.owner, f.Name, []uint32{m.UID})
		return err
	}
	moved, err := store.Move(f.owner, f.Name, []uint32{m.UID}, keep.Name)
	if err != nil {
		return err
	}
	return store.SetFlags(keep.owner, keep.Name, moved.To, mailstore.FlagsRemove, []string{`\Draft`})
}
