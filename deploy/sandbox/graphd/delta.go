package graphd

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

// rounds remembers what delta links stand for. Like the real server's they live in a memory that may be lost.
type rounds struct {
	mu    sync.Mutex
	links map[string]*round
	order []string // the oldest first
}

// round is where a client stands: after a nextLink with entries to come, after a deltaLink with none.
type round struct {
	mailbox string
	folder  uint32 // UIDVALIDITY
	query   url.Values
	seen    map[string]string // by message: its flags when the round began
	pending []entry
	last    *entry // the last one of the page before: it comes again
}

// entry is one line of a round; a nil message left the folder.
type entry struct {
	id      string
	message *mailstore.Message
}

// maxLinks bounds the memory.
const maxLinks = 20_000

func (r *rounds) keep(at *round) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.links == nil {
		r.links = map[string]*round{}
	}
	token := rand.Text()
	r.links[token] = at
	r.order = append(r.order, token)
	for len(r.order) > maxLinks {
		delete(r.links, r.order[0])
		r.order = r.order[1:]
	}
	return token
}

func (r *rounds) find(token string) (*round, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.links[token]
	return at, ok
}

func (r *rounds) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links, r.order = nil, nil
}

const (
	deltaToken = "$deltatoken"
	skipToken  = "$skiptoken"
)

func (s *Server) delta(c *call) fault.Answer {
	if s.config.NoDelta {
		return fail(http.StatusBadRequest, "BadRequest", "Resource not found for the segment 'delta'.")
	}
	f, ok := s.folder(c.mailbox, c.PathValue("folder"))
	if !ok {
		return noFolder
	}
	q := c.URL.Query()
	token := q.Get(deltaToken) + q.Get(skipToken)
	if token == "" {
		return s.page(c, f, begin(c, f, &round{query: q}))
	}
	at, ok := s.rounds.find(token)
	if !ok || at.mailbox != c.mailbox || at.folder != f.UIDValidity {
		return fail(http.StatusGone, "SyncStateNotFound", "The sync state generation is not found; continuing with a full sync is necessary.")
	}
	if q.Has(deltaToken) {
		at = begin(c, f, at)
	}
	return s.page(c, f, at)
}

// begin is a round from where the one before ended.
func begin(c *call, f mailstore.Folder, before *round) *round {
	r := &round{mailbox: c.mailbox, folder: f.UIDValidity, query: before.query, seen: map[string]string{}}
	onlyNew := before.query.Get("changeType") == "created"
	for _, m := range slices.Backward(f.Messages) { // the newest first
		flags := strings.Join(m.Flags, " ")
		r.seen[m.ID] = flags
		was, known := before.seen[m.ID]
		if !known || was != flags && !onlyNew {
			r.pending = append(r.pending, entry{m.ID, m})
		}
	}
	for id := range before.seen {
		if _, here := r.seen[id]; !here && !onlyNew {
			r.pending = append(r.pending, entry{id, nil})
		}
	}
	return r
}

// page answers the next entries of a round, and the link behind them.
func (s *Server) page(c *call, f mailstore.Folder, at *round) fault.Answer {
	size := c.pageSize
	if size < 1 {
		size = defaultTop
	}
	now := at.pending[:min(size, len(at.pending))]
	next := *at
	next.pending = at.pending[len(now):]
	if at.last != nil && len(now) > 0 && size > 1 { // what came may come again
		now = append([]entry{*at.last}, now[:min(size-1, len(now))]...)
		next.pending = at.pending[len(now)-1:]
	}
	if len(now) > 0 {
		next.last = &now[len(now)-1]
	}
	body := map[string]any{"value": c.entries(f, now, selected(at.query))}
	if len(next.pending) > 0 {
		body["@odata.nextLink"] = s.deltaLink(c, skipToken, &next)
	} else {
		next.last = nil
		body["@odata.deltaLink"] = s.deltaLink(c, deltaToken, &next)
	}
	return jsonAnswer(http.StatusOK, body)
}

func (s *Server) deltaLink(c *call, kind string, at *round) string {
	return s.link(c, "mailFolders/"+url.PathEscape(c.PathValue("folder"))+"/messages/delta", url.Values{kind: {s.rounds.keep(at)}})
}

func (c *call) entries(f mailstore.Folder, all []entry, fields []string) []any {
	value := []any{}
	for _, e := range all {
		if e.message == nil {
			value = append(value, map[string]any{"id": c.idOf(f, &mailstore.Message{ID: e.id}), "@removed": map[string]string{"reason": "deleted"}})
			continue
		}
		value = append(value, c.messageJSON(f, e.message, fields))
	}
	return value
}
