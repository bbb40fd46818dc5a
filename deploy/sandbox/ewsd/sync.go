package ewsd

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

// states remembers what sync states stand for.
type states struct {
	mu    sync.Mutex
	known map[string]*state
	order []string // the oldest first
}

// state is where a client stands.
type state struct {
	mailbox string
	folder  uint32            // UIDVALIDITY
	seen    map[uint32]string // by UID: flags when the round began
	pending []string          // changes to come, as XML
}

// maxStates bounds the memory.
const maxStates = 20_000

func (s *states) keep(at *state) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]*state{}
	}
	// As long as real ones: clients must not cut them off.
	token := base64.StdEncoding.EncodeToString([]byte(rand.Text() + strings.Repeat("state ", 300)))
	s.known[token] = at
	s.order = append(s.order, token)
	for len(s.order) > maxStates {
		delete(s.known, s.order[0])
		s.order = s.order[1:]
	}
	return token
}

func (s *states) find(token string) (*state, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.known[token]
	return at, ok
}

func (s *states) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known, s.order = nil, nil
}

func (s *Server) syncItems(c *call) fault.Answer {
	q := c.soap.Body.SyncFolderItems
	f, ok := s.folder(c, q.Folder)
	if !ok {
		return answers("SyncFolderItems", message{code: "ErrorSyncFolderNotFound", text: "The folder to be synchronized could not be found."})
	}
	if q.Max < 1 || q.Max > 512 {
		return refuse("ErrorSchemaValidation", "MaxChangesReturned must be from 1 to 512.", 0)
	}
	at := &state{}
	if q.SyncState != "" {
		if at, ok = s.states.find(q.SyncState); !ok || at.mailbox != c.mailbox || at.folder != f.UIDValidity {
			return answers("SyncFolderItems", message{code: "ErrorInvalidSyncStateData", text: "Synchronization state data is corrupt or otherwise invalid."})
		}
	}
	if len(at.pending) == 0 {
		at = begin(c, f.Folder, at, q.Shape)
	}
	n := min(q.Max, len(at.pending))
	next := *at
	next.pending = at.pending[n:]
	return answers("SyncFolderItems", message{content: fmt.Sprintf(
		"<m:SyncState>%s</m:SyncState><m:IncludesLastItemInRange>%t</m:IncludesLastItemInRange><m:Changes>%s</m:Changes>",
		s.states.keep(&next), len(next.pending) == 0, strings.Join(at.pending[:n], ""))})
}

// begin is a round from where the one before ended: the newest first.
func begin(c *call, f mailstore.Folder, before *state, sh shape) *state {
	at := &state{mailbox: c.mailbox, folder: f.UIDValidity, seen: map[uint32]string{}}
	for _, m := range slices.Backward(f.Messages) {
		flags := strings.Join(m.Flags, " ")
		at.seen[m.UID] = flags
		was, known := before.seen[m.UID]
		switch {
		case !known:
			at.pending = append(at.pending, "<t:Create>"+itemXML(f, m, sh, "")+"</t:Create>")
		case was != flags:
			at.pending = append(at.pending, fmt.Sprintf(`<t:ReadFlagChange><t:ItemId Id="%s" ChangeKey="%s"/><t:IsRead>%t</t:IsRead></t:ReadFlagChange>`,
				idOf(f, m), changeKey(m), m.Has(`\Seen`)))
		}
	}
	for uid := range before.seen {
		if _, here := at.seen[uid]; !here {
			at.pending = append(at.pending, fmt.Sprintf(`<t:Delete><t:ItemId Id="%s"/></t:Delete>`, idOf(f, &mailstore.Message{UID: uid})))
		}
	}
	return at
}
