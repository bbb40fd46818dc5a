package mailstore

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// What callers must tell apart. Everything else that goes wrong is the disk.
var (
	ErrNoMailbox = errors.New("no such mailbox")
	ErrNoFolder  = errors.New("no such folder")
	ErrExists    = errors.New("folder exists already")
	ErrClosed    = errors.New("mail store is closed")
)

// Inbox is the one folder name that IMAP fixes (RFC 9051 section 5.1); it is matched in any case.
const Inbox = "INBOX"

// Special uses of folders (RFC 6154 section 2), in the words of LIST attributes.
const (
	UseSent    = `\Sent`
	UseDrafts  = `\Drafts`
	UseTrash   = `\Trash`
	UseJunk    = `\Junk`
	UseArchive = `\Archive`
)

// A FolderSpec names a folder and its special use; an empty Use is a plain folder.
type FolderSpec struct {
	Name string `json:"name"`
	Use  string `json:"use,omitempty"`
}

// Exchange returns the folders of a fresh Exchange mailbox, as an English user sees them.
func Exchange() []FolderSpec {
	return []FolderSpec{
		{Name: Inbox}, {"Sent Items", UseSent}, {"Drafts", UseDrafts}, {"Deleted Items", UseTrash},
		{"Junk Email", UseJunk}, {"Archive", UseArchive},
	}
}

// Gmail returns the folders of a fresh Gmail account. The labels \All and \Important are left out: folders are not labels here.
func Gmail() []FolderSpec {
	return []FolderSpec{
		{Name: Inbox}, {"[Gmail]/Sent Mail", UseSent}, {"[Gmail]/Drafts", UseDrafts}, {"[Gmail]/Trash", UseTrash},
		{"[Gmail]/Spam", UseJunk},
	}
}

// A Message is one message in one folder. It is a value that never changes: new flags make a new Message.
type Message struct {
	// ID stays the same when the message moves; a copy gets its own.
	ID string
	// UID counts up within the folder and its UIDValidity.
	UID uint32
	// Flags are sorted; system flags are written as RFC 9051 section 2.3.2 writes them.
	Flags    []string
	Received time.Time
	// Properties are what one of the servers keeps with the message, and takes along when it moves or is copied.
	Properties map[string]string
	// Size is the length of the raw message in bytes.
	Size int64

	body blob
}

// Raw returns the bytes exactly as they were delivered. The caller must not change them.
func (m *Message) Raw() ([]byte, error) { return m.body.bytes() }

// Has tells whether the message carries the flag, in any case.
func (m *Message) Has(flag string) bool { return slices.Contains(m.Flags, CanonicalFlag(flag)) }

// A Folder is a snapshot of one folder.
type Folder struct {
	Name        string
	Use         string
	UIDValidity uint32
	// UIDNext is above every UID that the folder ever gave out.
	UIDNext uint32
	// Version grows with every change of the folder: equal versions mean equal snapshots.
	Version uint64
	// Messages are in the order of their UIDs.
	Messages []*Message
}

// A Target is where a delivered message goes. A zero Received means now.
type Target struct {
	Mailbox  string
	Folder   string
	Flags    []string
	Received time.Time
	// Properties are what one of the servers keeps with the message; may be nil.
	Properties map[string]string
}

// An Outbound is a message that left for a domain nobody here is responsible for.
type Outbound struct {
	From string
	To   []string
	At   time.Time
	Size int64

	body blob
}

// Raw returns the bytes exactly as they were submitted.
func (o *Outbound) Raw() ([]byte, error) { return o.body.bytes() }

// CanonicalFlag writes the system flags in one way; keywords become lower case, as RFC 9051 compares them in any case.
func CanonicalFlag(flag string) string {
	for _, f := range []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`} {
		if strings.EqualFold(f, flag) {
			return f
		}
	}
	return strings.ToLower(flag)
}

func canonicalFlags(flags []string) []string {
	out := make([]string, 0, len(flags))
	for _, f := range flags {
		out = append(out, CanonicalFlag(f))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Address writes a mailbox address the way the store keys it.
func Address(addr string) string { return strings.ToLower(strings.TrimSpace(addr)) }

func folderName(name string) string {
	if strings.EqualFold(name, Inbox) {
		return Inbox
	}
	return name
}
