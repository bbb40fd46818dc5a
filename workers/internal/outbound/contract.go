// Package outbound sends mail into the world: Outbox -> Sender -> Transport.
//
// A message is in the Outbox, durably, before its submitter hears yes, and stays there until each recipient is sent or
// dead. Only the holder of a claim decides about a job; a claim that nobody settles lapses and the job comes back. When
// the link broke after the hand-over nobody knows whether the server took the message: that is its own outcome.
package outbound

import (
	"context"
	"errors"
	"io"
	"time"

	"mailporter/workers/internal/mail"
)

// State is where one recipient of a job stands.
type State int

const (
	Queued   State = iota // waits for its first attempt
	Sending               // an attempt is under way
	Sent                  // the server took responsibility
	Deferred              // waits for its next attempt
	Unknown               // handed over without an answer: it may be sent already
	Dead                  // given up; kept with its reason
)

var stateNames = [...]string{"queued", "sending", "sent", "deferred", "unknown", "dead"}

// String is the word for people and labels.
func (s State) String() string { return stateNames[s] }

// Submission is a message on its way into the Outbox.
type Submission struct {
	Mailbox  string        // the configured mailbox that sends it
	Envelope mail.Envelope // at least one recipient, and none twice
	Body     io.Reader     // read to its end; its error is Add's, and then nothing was added
	Request  string        // the submitter's id: the same one twice is one message; empty = none
}

// Job is one message of one mailbox with the recipients that are still open.
type Job struct {
	ID       string
	Claim    string        // names this claim; part of every Settle
	Mailbox  string        // the configured mailbox that sends it
	Envelope mail.Envelope // Recipients: only the open ones
	Size     int64         // bytes
	Attempts int           // made before this one; a claim that lapsed was one
	InDoubt  bool          // an earlier attempt ended without an answer, or a claim lapsed: somebody may have it already
	Draft    string        // what an earlier attempt left behind to look by, such as the draft in the mailbox; empty = nothing
	Accepted time.Time     // when the Outbox took it
}

// Failure is a recipient that was refused, and the server's words.
type Failure struct {
	Address string
	Reason  string // reply code and text, without any credential
	Status  string // the code of RFC 3463 that says why: 5.1.1; empty = unknown. It is not kept
	Reply   string // an SMTP server's reply alone: 550 5.1.1 no such user; empty = none. It is not kept
}

// Verdict is what became of a claimed job. Every recipient of the job stands in exactly one of the three lists.
type Verdict struct {
	Sent  []string
	Dead  []Failure
	Later []Failure // open still; claimed again after At, but see Stays
	At    time.Time // when to try Later again
	Doubt bool      // Later's recipients may have it already: their state is Unknown, not Deferred
	Held  bool      // Later's recipients wait for an operator: they are not claimed again
	Free  bool      // it was no attempt: Job.Attempts does not grow
	Stays bool      // Later keeps its place among what is due, whatever At says: the mailbox waits, and not this message
}

// RecipientStatus is one recipient of a kept message.
type RecipientStatus struct {
	Address string
	State   State
	Reason  string
	Changed time.Time
}

// Status is one message in the Outbox.
type Status struct {
	ID         string
	Mailbox    string
	From       string
	Size       int64
	Accepted   time.Time
	Attempts   int
	Next       time.Time // next attempt; zero = none planned
	Place      string    // where it stands in the order of List: for ListAfter. It never changes, and is opaque
	Recipients []RecipientStatus
}

// Backlog is what waits in one mailbox to be sent. The dead do not, nor what is held for an operator.
type Backlog struct {
	Mailbox  string
	Messages int64     // including those that are being sent
	Cost     Cost      // of all of them; a store may reckon it from some
	Oldest   time.Time // when the oldest of them was accepted
}

var (
	// ErrLost says that the claim lapsed or was settled: somebody else decides now.
	ErrLost = errors.New("the claim was lost")
	// ErrNone says that there is no such message, or that all of its recipients have it.
	ErrNone = errors.New("there is no such message in the outbox; what was sent leaves it")
	// ErrPlace says that a list cannot be continued there.
	ErrPlace = errors.New("this is no place in the outbox's list: begin again without one")
	// ErrClaimed says that the message is being sent.
	ErrClaimed = errors.New("the message is being sent right now: try again when that has ended")
)

// An Outbox keeps mail until each recipient is sent or dead.
type Outbox interface {
	// Add stores the message durably and returns its id. The same Request of a mailbox twice, within a week, returns the
	// first id.
	Add(ctx context.Context, s Submission) (id string, err error)
	// Claim takes at most max jobs that are due for ttl, oldest first, of the given mailboxes, and none of a mailbox that
	// has already limit claimed jobs, whoever claimed them.
	Claim(ctx context.Context, mailboxes []string, limit, max int, ttl time.Duration) ([]Job, error)
	// Extend makes the claim last ttl from now, or answers ErrLost.
	Extend(ctx context.Context, j Job, ttl time.Duration) error
	// Drafted remembers Job.Draft durably, or answers ErrLost. Empty forgets it.
	Drafted(ctx context.Context, j Job, draft string) error
	// Open reads the message from the start; it may be called again.
	Open(ctx context.Context, j Job) (io.ReadCloser, error)
	// Settle records the verdict durably and ends the claim, or answers ErrLost. A job without open recipients leaves the
	// Outbox when all were sent and is kept, without end, when any is dead.
	Settle(ctx context.Context, j Job, v Verdict) error
	// SettleAndClaim is Settle and a Claim of at most one job of the same mailbox in one step: both happen or neither does. A
	// mailbox that has much to send waits for half as many commits. next is empty if nothing is due or limit is reached.
	SettleAndClaim(ctx context.Context, j Job, v Verdict, limit int, ttl time.Duration) (next []Job, err error)
	// Next is when the next unclaimed job of these mailboxes is due; zero = there is none.
	Next(ctx context.Context, mailboxes []string) (time.Time, error)
	// List returns at most max messages that are not sent, in the order in which they were first taken; mailbox "" = all.
	List(ctx context.Context, mailbox string, max int) ([]Status, error)
	// ListAfter goes on behind a Status.Place, whatever became of its message; "" = from the beginning. Fewer than max are the
	// last. Who takes page after page meets everything once that was there all the time, and nothing twice. ErrPlace: this
	// Outbox gave no such place.
	ListAfter(ctx context.Context, mailbox, place string, max int) ([]Status, error)
	// Backlogs counts what waits, of every mailbox where anything does, in any order. It is asked every few seconds, and
	// must be cheap however much waits.
	Backlogs(ctx context.Context) ([]Backlog, error)
	// Get is one message that is not sent, or ErrNone.
	Get(ctx context.Context, id string) (Status, error)
	// Requested is the id of the message that was added with this request, empty if none is remembered. It says what is known
	// now; only Add says that a message is durable.
	Requested(ctx context.Context, mailbox, request string) (id string, err error)
	// Sent is a message that everybody has, or ErrNone. It is remembered for as long as its Request is, a week at least, and not at
	// all without one.
	Sent(ctx context.Context, id string) (Status, error)
	// Retry makes everyone who has not got it Queued, as if the message had been taken now: the dead, the held and those
	// who wait. Doubt ends: whoever asks for it wants it sent. ErrNone or ErrClaimed.
	Retry(ctx context.Context, id string) error
	// Drop removes the message with its bytes. ErrNone or ErrClaimed.
	Drop(ctx context.Context, id string) error
	// Changed delivers a signal after an Add, a Settle of either kind or a Retry of this process; missing some is allowed.
	Changed() <-chan struct{}
}

// Receipt says whom the server refused while it took the message for the others, or may have: see fault.InDoubt.
type Receipt struct {
	Refused []Refusal
	Reports bool // it took NOTIFY along: to report what becomes of the message is its duty now (RFC 3461 section 5.2)
}

// Refusal is a recipient that was refused, for good or for now.
type Refusal struct {
	Address string
	Err     error // fault.Permanent, or try again
}

// ErrNextTurn in the error of a Refusal says that nothing is wrong with the recipient: the server takes only so many at a time.
// Who is left when others were accepted is offered at once in another attempt.
var ErrNextTurn = errors.New("the server takes fewer recipients at a time: the next ones follow")

// A Transport offers one message once. nil: the server took responsibility for everyone but Receipt.Refused. An error is
// about all recipients alike; fault.InDoubt: the server may have taken it for everyone but Receipt.Refused. Sends may run
// side by side, up to the number of connections that the mailbox is allowed.
type Transport interface {
	Send(ctx context.Context, e mail.Envelope, b mail.Body) (Receipt, error)
	Close() error
}

// A Drafter is a Transport that sends in two steps: the message is put into the mailbox as a draft, and the draft is sent.
// The job remembers the draft in between, so that after a crash or a lost answer one can look instead of guess. Its Send
// takes both steps at once and remembers nothing.
type Drafter interface {
	Transport
	// Draft puts the message into the mailbox without sending it, and names the draft by what outlives its sending. An
	// error means that nothing was sent, nor will be.
	Draft(ctx context.Context, e mail.Envelope, b mail.Body) (draft string, err error)
	// SendDraft sends it to everyone. fault.InDoubt: it may be sent. fault.Permanent: it never will, and is removed as
	// well as can be.
	SendDraft(ctx context.Context, draft string) error
	// Look tells what became of it.
	Look(ctx context.Context, draft string) (Fate, error)
}

// A DraftFinder is a Drafter that can find a draft whose making got no answer, or of which a worker that died told nobody.
type DraftFinder interface {
	// FindDraft names a draft of this very message that was made at since or later by the provider's clock and was not sent;
	// empty: there is none that is surely one. It changes nothing. It is asked before a message is drafted again, not for each.
	FindDraft(ctx context.Context, e mail.Envelope, b mail.Body, since time.Time) (draft string, err error)
}

// Fate is what became of a draft.
type Fate int

const (
	Vanished Fate = iota // neither among the drafts nor among what was sent: somebody may have removed it, sent or not
	Waiting              // it was not sent
	Gone                 // it was sent
)

// A Bounded is a Transport whose server bounds what a mailbox may do at a time. The Sender keeps to it with all workers
// together, whatever number of connections the mailbox is configured with.
type Bounded interface {
	Parallel() int // Sends side by side, at least 1
}

// A SentFinder looks among the sent mail of a mailbox, where its provider keeps a copy of what was submitted.
type SentFinder interface {
	// FindSent says whether there is a copy with this Message-ID, <id@domain>, that was put there at since or later by the
	// provider's clock. That there is none yet proves nothing. fault.Auth, Permanent or Gone: it cannot look, and will not be
	// able to before somebody acts. Calls may run side by side.
	FindSent(ctx context.Context, messageID string, since time.Time) (bool, error)
	Close() error
}
