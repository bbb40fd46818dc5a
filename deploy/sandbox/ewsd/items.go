package ewsd

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

var (
	noItem  = message{code: "ErrorItemNotFound", text: "The specified object was not found in the store.", content: "<m:Items/>"}
	badItem = message{code: "ErrorInvalidIdMalformed", text: "Id is malformed.", content: "<m:Items/>"}
)

// idOf is where a message lies: it changes when it moves.
func idOf(f mailstore.Folder, m *mailstore.Message) string {
	b := binary.BigEndian.AppendUint32([]byte("item:"), f.UIDValidity)
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, m.UID))
}

// changeKey changes with every change of the message.
func changeKey(m *mailstore.Message) string {
	return base64.StdEncoding.EncodeToString([]byte("key:" + strings.Join(m.Flags, " ")))
}

var errNoID = errors.New("not an id of this server")

func (s *Server) item(c *call, id string) (f folder, m *mailstore.Message, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(id)
	if err != nil || len(b) != 13 || string(b[:5]) != "item:" {
		return f, nil, errNoID
	}
	f, ok := s.search(c, func(f mailstore.Folder) bool { return f.UIDValidity == binary.BigEndian.Uint32(b[5:]) })
	if !ok {
		return f, nil, nil
	}
	uid := binary.BigEndian.Uint32(b[9:])
	n, found := slices.BinarySearchFunc(f.Messages, uid, func(m *mailstore.Message, uid uint32) int { return int(int64(m.UID) - int64(uid)) })
	if !found {
		return f, nil, nil
	}
	return f, f.Messages[n], nil
}

// itemXML is a message with the properties that were asked for, in the order of the schema.
func itemXML(f mailstore.Folder, m *mailstore.Message, sh shape, mime string) string {
	b := "<t:Message>" + mime + fmt.Sprintf(`<t:ItemId Id="%s" ChangeKey="%s"/>`, idOf(f, m), changeKey(m))
	if sh.has("item:DateTimeReceived") {
		b += "<t:DateTimeReceived>" + m.Received.UTC().Format(time.RFC3339) + "</t:DateTimeReceived>"
	}
	if sh.has("item:Size") {
		b += fmt.Sprintf("<t:Size>%d</t:Size>", m.Size)
	}
	if sh.has("item:IsSubmitted") {
		b += fmt.Sprintf("<t:IsSubmitted>%t</t:IsSubmitted>", false) // here nothing waits in the outbox
	}
	if sh.has("item:IsDraft") {
		b += fmt.Sprintf("<t:IsDraft>%t</t:IsDraft>", m.Has(`\Draft`))
	}
	if sh.has("item:DateTimeCreated") {
		b += "<t:DateTimeCreated>" + m.Received.UTC().Format(time.RFC3339) + "</t:DateTimeCreated>"
	}
	if sh.has("message:IsRead") {
		b += fmt.Sprintf("<t:IsRead>%t</t:IsRead>", m.Has(`\Seen`))
	}
	return b + "</t:Message>"
}

func (s *Server) getItem(c *call) fault.Answer {
	q := c.soap.Body.GetItem
	if q.Shape.IncludeMIME && len(q.Items) > 1 {
		return refuse("ErrorTooManyObjectsOpened", "The sandbox gives the MIME content of one item at a time.", 0)
	}
	var all []message
	for _, id := range q.Items {
		f, m, err := s.item(c, id.ID)
		switch {
		case err != nil:
			all = append(all, badItem)
		case m == nil:
			all = append(all, noItem)
		default:
			all = append(all, getOne(f.Folder, m, q.Shape))
		}
	}
	return answers("GetItem", all...)
}

func getOne(f mailstore.Folder, m *mailstore.Message, sh shape) message {
	mime := ""
	if sh.IncludeMIME {
		raw, err := m.Raw()
		if err != nil {
			return broken
		}
		mime = `<t:MimeContent CharacterSet="UTF-8">` + base64.StdEncoding.EncodeToString(raw) + `</t:MimeContent>`
	}
	return message{content: "<m:Items>" + itemXML(f, m, sh, mime) + "</m:Items>"}
}

// each answers about every item.
func (s *Server) each(c *call, items []ref, do func(folder, *mailstore.Message) message) (all []message) {
	for _, id := range items {
		f, m, err := s.item(c, id.ID)
		switch {
		case err != nil:
			all = append(all, badItem)
		case m == nil:
			all = append(all, noItem)
		default:
			all = append(all, do(f, m))
		}
	}
	return all
}

func (s *Server) moveItem(c *call) fault.Answer {
	q := c.soap.Body.MoveItem
	to, ok := s.folder(c, q.To)
	if !ok {
		m := message{code: "ErrorToFolderNotFound", text: "The destination folder was not found.", content: "<m:Items/>"}
		return answers("MoveItem", slices.Repeat([]message{m}, max(len(q.Items), 1))...)
	}
	return answers("MoveItem", s.each(c, q.Items, func(f folder, m *mailstore.Message) message {
		moved, err := s.config.Store.Move(f.owner, f.Name, []uint32{m.UID}, to.Name)
		if err != nil {
			return broken
		}
		if len(moved.To) == 0 {
			return noItem
		}
		now := *m
		now.UID = moved.To[0]
		return message{content: "<m:Items>" + itemXML(to.Folder, &now, shape{}, "") + "</m:Items>"}
	})...)
}

func (s *Server) deleteItem(c *call) fault.Answer {
	q := c.soap.Body.DeleteItem
	if q.Type == "" || q.Meetings == "" || q.Tasks == "" {
		return refuse("ErrorSendMeetingCancellationsRequired", "The SendMeetingCancellations attribute is required for Calendar items.", 0)
	}
	all := s.each(c, q.Items, func(f folder, m *mailstore.Message) message {
		var err error
		if trash := s.config.Store.Used(f.owner, mailstore.UseTrash); q.Type == "MoveToDeletedItems" && trash != "" {
			_, err = s.config.Store.Move(f.owner, f.Name, []uint32{m.UID}, trash)
		} else {
			_, err = s.config.Store.Expunge(f.owner, f.Name, []uint32{m.UID})
		}
		if err != nil {
			return broken
		}
		return message{}
	})
	for i := range all {
		if all[i].content == "<m:Items/>" {
			all[i].content = "" // this answer has no items
		}
	}
	return answers("DeleteItem", all...)
}

func (s *Server) updateItem(c *call) fault.Answer {
	q := c.soap.Body.UpdateItem
	if q.Disposition == "" {
		return refuse("ErrorMessageDispositionRequired", "The MessageDisposition attribute is required for messages.", 0)
	}
	var all []message
	for _, change := range q.Changes {
		all = append(all, s.each(c, []ref{change.Item}, func(f folder, m *mailstore.Message) message {
			switch {
			case change.Item.ChangeKey == "":
				return message{code: "ErrorChangeKeyRequiredForWriteOperations", text: "The change key is required.", content: "<m:Items/>"}
			case change.Item.ChangeKey != changeKey(m) && q.Resolution != "AlwaysOverwrite":
				return message{code: "ErrorIrresolvableConflict", text: "The send or update operation could not be performed because the change key passed in the request does not match the current change key for the item.", content: "<m:Items/>"}
			case change.IsRead == nil:
				return message{code: "ErrorIncorrectUpdatePropertyCount", text: "An object within a change description must contain one and only one property to modify.", content: "<m:Items/>"}
			}
			mode := mailstore.FlagsRemove
			if *change.IsRead {
				mode = mailstore.FlagsAdd
			}
			if err := s.config.Store.SetFlags(f.owner, f.Name, []uint32{m.UID}, mode, []string{`\Seen`}); err != nil {
				return broken
			}
			return message{content: "<m:Items>" + itemXML(f.Folder, m, shape{}, "") + "</m:Items><m:ConflictResults><t:Count>0</t:Count></m:ConflictResults>"}
		})...)
	}
	return answers("UpdateItem", all...)
}
