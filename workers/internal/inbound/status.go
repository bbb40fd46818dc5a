package inbound

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// FolderStatus is how one folder stands, for people.
type FolderStatus struct {
	Mailbox     string    `json:"mailbox"`
	Folder      string    `json:"folder"`
	Protocol    string    `json:"protocol"`
	State       string    `json:"state"` // starting, reading, waiting, failing, elsewhere (another worker has it)
	LastSuccess time.Time `json:"last_success,omitzero"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	Delivered   int       `json:"delivered"`   // messages since this worker started
	Quarantined int       `json:"quarantined"` // messages since this worker started
	Failure     *Failure  `json:"failure,omitempty"`
	Junk        *Junk     `json:"junk,omitempty"`
}

// Failure is why a folder cannot be read, and what to do.
type Failure struct {
	Kind   string    `json:"kind"`
	Reason string    `json:"reason,omitempty"`
	Remedy string    `json:"remedy,omitempty"`
	Text   string    `json:"text"`
	Since  time.Time `json:"since"`
}

// Junk is what waits in the junk folder.
type Junk struct {
	Messages int       `json:"messages"`
	Oldest   time.Time `json:"oldest,omitzero"`
}

// describe finds who must do what in err.
func describe(err error) Failure {
	f := Failure{Kind: fault.Of(err).String(), Text: oneLine(err)}
	var reply *fault.Error
	if errors.As(err, &reply) {
		f.Reason, f.Remedy = reply.Reason, reply.Remedy
	}
	var broker *tokenclient.Error
	if !errors.As(err, &broker) {
		return f
	}
	f.Reason = cmp.Or(broker.Reason, f.Reason)
	f.Remedy = cmp.Or(broker.Remedy, f.Remedy)
	switch {
	case broker.Class == tokenclient.Throttled:
		f.Kind = fault.Throttled.String()
	case broker.NeedsHuman():
		f.Kind = fault.Auth.String()
	}
	return f
}

// Board is the status of all folders of a worker. The zero value is empty; it is safe for use by many goroutines.
type Board struct {
	Metrics *Metrics // gets the health gauges; may be nil

	mu      sync.Mutex
	folders map[mail.Folder]*FolderStatus
}

// List is sorted by mailbox and folder.
func (b *Board) List() []FolderStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]FolderStatus, 0, len(b.folders))
	for _, s := range b.folders {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(x, y FolderStatus) int {
		return cmp.Or(cmp.Compare(x.Mailbox, y.Mailbox), cmp.Compare(x.Folder, y.Folder))
	})
	return all
}

// ServeHTTP answers with List as JSON.
func (b *Board) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, b.List())
}

// Folder starts a folder's status.
func (b *Board) Folder(f mail.Folder, protocol string) *Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.folders == nil {
		b.folders = map[mail.Folder]*FolderStatus{}
	}
	b.folders[f] = &FolderStatus{Mailbox: f.Mailbox, Folder: f.Name, Protocol: protocol, State: "starting"}
	return &Status{board: b, folder: f}
}

// Status is a Mover's side of the Board. nil keeps nothing.
type Status struct {
	board  *Board
	folder mail.Folder
}

func (s *Status) change(fn func(*FolderStatus)) {
	if s == nil {
		return
	}
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	if f := s.board.folders[s.folder]; f != nil {
		fn(f)
		s.board.Metrics.health(*f)
	}
}

func (s *Status) begin() { s.change(func(f *FolderStatus) { f.State = "reading" }) }

func (s *Status) elsewhere() {
	s.change(func(f *FolderStatus) { f.State, f.Failure, f.NextAttempt = "elsewhere", nil, time.Time{} })
}

func (s *Status) delivered() { s.change(func(f *FolderStatus) { f.Delivered++ }) }

func (s *Status) succeeded(next time.Time) {
	s.change(func(f *FolderStatus) {
		f.State, f.Failure, f.LastSuccess, f.NextAttempt = "waiting", nil, time.Now(), next
	})
}

func (s *Status) failed(why Failure, next time.Time) {
	s.change(func(f *FolderStatus) {
		why.Since = time.Now()
		if f.Failure != nil {
			why.Since = f.Failure.Since
		}
		f.State, f.Failure, f.NextAttempt = "failing", &why, next
	})
}

func (s *Status) quarantined() { s.change(func(f *FolderStatus) { f.Quarantined++ }) }

func (s *Status) junk(n int, oldest time.Time) {
	s.change(func(f *FolderStatus) { f.Junk = &Junk{n, oldest} })
}

// Fail notes what keeps a folder from being read at all.
func (s *Status) Fail(err error) {
	s.failed(describe(err), time.Time{})
}

// stopped takes the folder off the board.
func (s *Status) stopped() {
	if s == nil {
		return
	}
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	delete(s.board.folders, s.folder)
	s.board.Metrics.forget(s.folder)
}
