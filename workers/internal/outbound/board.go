package outbound

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailporter/workers/internal/redact"
)

// MailboxStatus is how sending from one mailbox stands, for people.
type MailboxStatus struct {
	Mailbox     string    `json:"mailbox"`
	Protocol    string    `json:"protocol"`
	State       string    `json:"state"` // ready, sending, paused, failing; not served here
	Running     int       `json:"running"`
	Sent        int       `json:"sent"` // messages since this worker started
	LastSuccess time.Time `json:"last_success,omitzero"`
	PausedUntil time.Time `json:"paused_until,omitzero"`
	Because     string    `json:"paused_because,omitempty"`
	Problem     *Problem  `json:"problem,omitempty"` // of the last attempt

	// What waits in the outbox, for all workers that share it; see Overview.
	Waiting int64     `json:"waiting_messages,omitempty"`
	Oldest  time.Time `json:"oldest_accepted,omitzero"`
	ETA     *int64    `json:"eta_seconds,omitempty"` // until all of it is sent; absent = nobody can tell
}

// Problem is why an attempt failed, and what to do.
type Problem struct {
	Kind   string    `json:"kind"`
	Reason string    `json:"reason,omitempty"`
	Remedy string    `json:"remedy,omitempty"`
	Text   string    `json:"text"`
	Since  time.Time `json:"since"`
}

// Board is the status of all mailboxes of a worker. The zero value is empty; it is safe for use by many goroutines.
type Board struct {
	mu       sync.Mutex
	boxes    map[string]*MailboxStatus
	outlooks func(context.Context) ([]Outlook, error) // nil: nobody counts what waits
}

// watch makes Overview tell what waits.
func (b *Board) watch(outlooks func(context.Context) ([]Outlook, error)) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outlooks = outlooks
}

// Overview is List and what waits for each mailbox, of those too that this worker does not serve. A store that does not
// answer within a few seconds leaves that out.
func (b *Board) Overview(ctx context.Context) []MailboxStatus {
	all := b.List()
	b.mu.Lock()
	outlooks := b.outlooks
	b.mu.Unlock()
	if outlooks == nil {
		return all
	}
	ctx, cancel := context.WithTimeout(ctx, collectWithin)
	defer cancel()
	waiting, err := outlooks(ctx)
	if err != nil {
		return all
	}
	for _, o := range waiting {
		i, served := slices.BinarySearchFunc(all, o.Mailbox, func(s MailboxStatus, mailbox string) int { return strings.Compare(s.Mailbox, mailbox) })
		if !served {
			all = slices.Insert(all, i, MailboxStatus{Mailbox: o.Mailbox, State: "not served here"})
		}
		all[i].foresee(o)
	}
	return all
}

func (s *MailboxStatus) foresee(o Outlook) {
	s.Waiting, s.Oldest = o.Messages, o.Oldest
	if o.Known {
		seconds := int64(math.Ceil(o.ETA.Seconds()))
		s.ETA = &seconds
	}
}

// List is sorted by mailbox.
func (b *Board) List() []MailboxStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]MailboxStatus, 0, len(b.boxes))
	for _, s := range b.boxes {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(x, y MailboxStatus) int { return strings.Compare(x.Mailbox, y.Mailbox) })
	return all
}

// ServeHTTP answers with Overview as JSON.
func (b *Board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, b.Overview(r.Context()))
}

// change makes a mailbox known if need be. A nil Board keeps nothing.
func (b *Board) change(mailbox string, fn func(*MailboxStatus)) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.boxes == nil {
		b.boxes = map[string]*MailboxStatus{}
	}
	s := b.boxes[mailbox]
	if s == nil {
		s = &MailboxStatus{Mailbox: mailbox}
		b.boxes[mailbox] = s
	}
	fn(s)
	s.State = s.word()
}

func (s *MailboxStatus) word() string {
	switch {
	case s.Running > 0:
		return "sending"
	case time.Now().Before(s.PausedUntil):
		return "paused"
	case s.Problem != nil:
		return "failing"
	}
	return "ready"
}

func (b *Board) ended(mailbox string, sent bool, err error) {
	b.change(mailbox, func(s *MailboxStatus) {
		s.Running--
		if waits(err) {
			return // nothing is wrong: see PausedUntil
		}
		if err != nil {
			s.fail(err)
			return
		}
		s.Problem = nil
		if sent {
			s.Sent++
			s.LastSuccess = time.Now()
		}
	})
}

func (s *MailboxStatus) fail(err error) {
	since := time.Now()
	if s.Problem != nil {
		since = s.Problem.Since
	}
	reason, remedy := why(err)
	s.Problem = &Problem{Kind: kindOf(err).String(), Reason: reason, Remedy: remedy, Text: s.public(err), Since: since}
}

// public is an error without correspondents: the page is open to whoever may collect metrics.
func (s *MailboxStatus) public(err error) string { return redact.Text(oneLine(err), s.Mailbox) }

// paused are the mailboxes from which nothing is sent now.
func (b *Board) paused(now time.Time) map[string]MailboxStatus {
	all := map[string]MailboxStatus{}
	if b == nil {
		return all
	}
	for _, s := range b.List() {
		if now.Before(s.PausedUntil) {
			all[s.Mailbox] = s
		}
	}
	return all
}

func (b *Board) forget(mailbox string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.boxes, mailbox)
}

// listed is a Status as the admin page shows it.
type listed struct {
	ID         string            `json:"id"`
	Mailbox    string            `json:"mailbox"`
	From       string            `json:"from"`
	Size       int64             `json:"size_bytes"`
	Accepted   time.Time         `json:"accepted"`
	Attempts   int               `json:"attempts"`
	Next       time.Time         `json:"next_attempt,omitzero"`
	Held       bool              `json:"held,omitempty"`       // nothing happens until an operator decides
	WaitsUntil time.Time         `json:"waits_until,omitzero"` // its mailbox is paused until then
	WaitsFor   string            `json:"waits_for,omitempty"`  // because of this
	Recipients []listedRecipient `json:"recipients"`
}

type listedRecipient struct {
	Address string    `json:"address"`
	State   string    `json:"state"`
	Reason  string    `json:"reason,omitempty"`
	Changed time.Time `json:"changed"`
}

// Listing answers with the messages that are not sent, the oldest first, as JSON: at most max (100; at most 10,000) of
// one mailbox, or of all. A page that is full has a Link (RFC 8288) to the next one. The board, which may be nil, says which of
// them wait for their mailbox.
func Listing(o Outbox, b *Board) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most, err := strconv.Atoi(cmp.Or(r.FormValue("max"), "100"))
		if err != nil || most < 1 || most > queueMost {
			http.Error(w, "max: a number from 1 to 10000", http.StatusBadRequest)
			return
		}
		all, err := o.ListAfter(r.Context(), r.FormValue("mailbox"), r.FormValue("after"), most)
		switch {
		case errors.Is(err, ErrPlace):
			http.Error(w, "after: "+ErrPlace.Error(), http.StatusBadRequest)
			return
		case err != nil:
			http.Error(w, "the outbox cannot be read: "+oneLine(err), http.StatusServiceUnavailable)
			return
		case len(all) == most:
			next := url.Values{"after": {all[most-1].Place}, "mailbox": {r.FormValue("mailbox")}, "max": {strconv.Itoa(most)}}
			w.Header().Set("Link", "<?"+next.Encode()+`>; rel="next"`)
		}
		writeJSON(w, toListed(all, b))
	})
}

func toListed(all []Status, b *Board) []listed {
	out := make([]listed, len(all))
	paused := b.paused(time.Now())
	for i, s := range all {
		out[i] = listed{ID: s.ID, Mailbox: s.Mailbox, From: s.From, Size: s.Size, Accepted: s.Accepted, Attempts: s.Attempts, Next: s.Next}
		for _, r := range s.Recipients {
			out[i].Recipients = append(out[i].Recipients, listedRecipient{r.Address, r.State.String(), r.Reason, r.Changed})
			out[i].Held = out[i].Held || r.State == Unknown && s.Next.IsZero()
		}
		if p, waits := paused[s.Mailbox]; waits && !s.Next.IsZero() {
			out[i].WaitsUntil, out[i].WaitsFor = p.PausedUntil, p.Because
		}
	}
	return out
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client went away
}
