// Package inbound moves mail out of mailboxes: Source -> Mover -> Sink.
//
// The Mover's order is Put, Settle, Save. A message leaves its mailbox only after the sink has it durably, and the cursor
// is saved only after that: any other order loses or strands mail after a crash. What a crash can cost is a second Put of
// the same Item.Key, which a sink turns into one copy.
package inbound

import (
	"context"
	"errors"
	"io"
	"time"

	"mailporter/workers/internal/mail"
)

// Cursor says how far a folder was read. It is opaque to everything but the Source that made it, and versioned by it:
// UIDVALIDITY and UID, a set of UIDLs, a SyncState and a deltaLink share nothing. nil is the beginning.
type Cursor []byte

// Item is one message in a folder.
type Item struct {
	ID      string    // the handle for Open and Settle; may change when the cursor is lost
	Key     string    // the identity, which outlives a lost cursor; unique within the mailbox
	Size    int64     // bytes as announced by the server, perhaps an estimate; -1 = unknown
	Arrived time.Time // when the server got it; zero = unknown
}

// Page is some messages after a cursor.
type Page struct {
	Items []Item // in any order, perhaps some again; may be empty while More is set
	Next  Cursor // the cursor behind this page; save it once every item of the page is settled or quarantined
	More  bool   // there is another page right now
}

// A Source reads one folder. It dials lazily, redials by itself, and never retries; one goroutine at a time uses it.
type Source interface {
	// List returns at most max messages that arrived after the cursor (nil: the beginning), in any order, perhaps again.
	// fault.CursorLost: start again from nil.
	List(ctx context.Context, after Cursor, max int) (Page, error)
	// Open streams the RFC 5322 bytes from the start without marking the message read. fault.Gone if it left,
	// fault.Permanent if the server will never render it. A read that ends with io.EOF read the whole message: a message
	// that was cut short ends with another error.
	Open(ctx context.Context, id string) (io.ReadCloser, error)
	// Settle keeps, marks, moves or deletes what is safe, as configured. Durable on return; the gone are settled.
	Settle(ctx context.Context, ids []string) error
	// Close ends the session. The Source may be used again: it dials anew.
	Close() error
}

// A Waiter is a Source that learns of new mail by itself. Wait returns nil when there may be some, or when limit has
// passed; it must end within a second of ctx.
type Waiter interface {
	Wait(ctx context.Context, limit time.Duration) error
}

// A Yielder is a Source whose session keeps others out of the mailbox, or shows nothing that came since it began. Yield ends
// the session; the Mover calls it before it waits.
type Yielder interface {
	Yield()
}

// A Setter-aside is a Source that can move a quarantined message to the configured failed-items folder. Settled on
// return; false: no folder is configured and the message stays where it is.
type SetterAside interface {
	SetAside(ctx context.Context, id string) (moved bool, err error)
}

// A JunkCounter is a Source that can look into the junk folder: how many messages wait there, and since when the oldest
// does. No folder: 0.
type JunkCounter interface {
	CountJunk(ctx context.Context) (n int, oldest time.Time, err error)
}

// A Sink takes custody. Put returns nil once the bytes are durable; a second Put of the same folder and Item.Key leaves
// one copy. A sink that can tell keeps another message that comes under a key that it has. Puts may run side by side. fault.Permanent: it will never take this message, quarantine it.
type Sink interface {
	Put(ctx context.Context, f mail.Folder, it Item, b mail.Body) error
}

var (
	// ErrLeased says that another worker has the folder.
	ErrLeased = errors.New("another worker holds the lease")
	// ErrLost says that the lease is no longer ours; it is final for that lease.
	ErrLost = errors.New("the lease was lost")
)

// Checkpoints lets one worker at a time read a folder and remembers how far it was read.
type Checkpoints interface {
	// Lease takes the folder for ttl, or answers ErrLeased.
	Lease(ctx context.Context, f mail.Folder, ttl time.Duration) (Lease, error)
}

// A Lease is the right to read one folder. It ends ttl after the last Save or Renew. Once lost, Save and Renew answer
// ErrLost for ever, also if nobody else took it: a fencing number that only grows decides, not the clock of the caller.
type Lease interface {
	// Cursor is the cursor saved last, nil if there is none.
	Cursor() Cursor
	// Save stores the cursor durably and renews.
	Save(ctx context.Context, c Cursor) error
	// Renew extends the lease to ttl from now.
	Renew(ctx context.Context) error
	// Release gives the folder to the next worker at once. Releasing a lost lease is no error.
	Release(ctx context.Context) error
}

// Peers tells which workers share the folders of a protocol.
type Peers interface {
	// Announce says that a worker lives, for ttl from now, and returns the names of all of its group that do, itself
	// included, in any order.
	Announce(ctx context.Context, group, worker string, ttl time.Duration) ([]string, error)
	// Leave ends that at once. Leaving what was not announced is no error.
	Leave(ctx context.Context, group, worker string) error
}

// Quarantined is a message that its sink will never take or its server never render.
type Quarantined struct {
	Folder mail.Folder
	Item   Item
	Reason string    // for a person, without the message's content
	Moved  bool      // it is in the failed-items folder; otherwise it was left where it was
	Since  time.Time // when it was noted first
}

// Quarantine remembers the messages that were passed over. Noting the same folder and Item.Key again changes nothing but
// Moved.
type Quarantine interface {
	Note(ctx context.Context, q Quarantined) error
	// Has says whether the message was noted, so that it is not fetched again.
	Has(ctx context.Context, f mail.Folder, key string) (bool, error)
	// List returns at most max entries, the oldest first; mailbox "" = all.
	List(ctx context.Context, mailbox string, max int) ([]Quarantined, error)
}

// Deliveries remembers what a sink handed over to a receiver that cannot tell a second copy by itself. What is older than
// 90 days may be forgotten.
type Deliveries interface {
	// Note remembers the name of a delivery, durably on return. Noting it again changes nothing.
	Note(ctx context.Context, id string) error
	// Has says whether it was noted.
	Has(ctx context.Context, id string) (bool, error)
}

// ErrSessionOver says that the server ended the session as it does when a token expires. It is a planned end: the Mover
// comes back at once and counts no error.
var ErrSessionOver = errors.New("the session ended with its token")

// JunkFolder as a folder's name asks the Source for the mailbox's junk folder, whatever it is called there.
const JunkFolder = `\Junk`
