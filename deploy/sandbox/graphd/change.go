package graphd

import (
	"encoding/json"
	"net/http"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

func (s *Server) update(c *call) fault.Answer {
	f, m, refused := s.found(c)
	if refused != nil {
		return *refused
	}
	var wish struct {
		IsRead *bool
		readdress
	}
	if err := json.NewDecoder(c.Body).Decode(&wish); err != nil {
		return noJSON
	}
	if !wish.empty() {
		if refused := s.readdress(c, f, m, wish.readdress); refused != nil {
			return *refused
		}
	}
	if wish.IsRead != nil {
		mode := mailstore.FlagsRemove
		if *wish.IsRead {
			mode = mailstore.FlagsAdd
		}
		if err := s.config.Store.SetFlags(c.mailbox, f.Name, []uint32{m.UID}, mode, []string{`\Seen`}); err != nil {
			return broken
		}
	}
	return s.oneMessage(c)
}

func (s *Server) move(c *call) fault.Answer {
	f, m, refused := s.found(c)
	if refused != nil {
		return *refused
	}
	var wish struct{ DestinationID string }
	if err := json.NewDecoder(c.Body).Decode(&wish); err != nil {
		return noJSON
	}
	to, ok := s.folder(c.mailbox, wish.DestinationID)
	if !ok {
		return noFolder
	}
	moved, err := s.config.Store.Move(c.mailbox, f.Name, []uint32{m.UID}, to.Name)
	if err != nil {
		return broken
	}
	if len(moved.To) == 0 {
		return noMessage
	}
	now := *m
	now.UID = moved.To[0]
	return jsonAnswer(http.StatusCreated, c.messageJSON(to, &now, nil))
}

// remove deletes for good: there is no folder of recoverable items.
func (s *Server) remove(c *call) fault.Answer {
	f, m, refused := s.found(c)
	if refused != nil {
		return *refused
	}
	if _, err := s.config.Store.Expunge(c.mailbox, f.Name, []uint32{m.UID}); err != nil {
		return broken
	}
	return fault.Answer{Status: http.StatusNoContent}
}
