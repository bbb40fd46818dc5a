// Package mail holds the words that both pipelines share. They are plain values.
package mail

import (
	"bytes"
	"io"
)

// Folder is one folder of one mailbox.
type Folder struct {
	Mailbox string // the configured address
	Name    string // the folder's name as the server has it, decoded to UTF-8; INBOX
}

// String is for logs: mailbox/name.
func (f Folder) String() string { return f.Mailbox + "/" + f.Name }

// Body is a message's RFC 5322 bytes. Open may be called again, and side by side: a refused token or a retry needs the
// bytes from the start.
type Body interface {
	Open() (io.ReadCloser, error)
	Size() int64 // bytes; exact
}

// Bytes is a Body in memory.
type Bytes []byte

// Open reads from the start.
func (b Bytes) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }

// Size is the length.
func (b Bytes) Size() int64 { return int64(len(b)) }

// Recipient is one RCPT TO.
type Recipient struct {
	Address  string
	Notify   string // NOTIFY= of RFC 3461 as given, or empty
	Original string // ORCPT= as given, or empty
}

// Envelope is what MAIL FROM and RCPT TO say: RFC 5321 section 2.3.1.
type Envelope struct {
	From       string // reverse path without brackets; empty = the null sender
	Recipients []Recipient
	Return     string // RET= of RFC 3461: FULL, HDRS or empty
	ID         string // ENVID= as given, or empty
	EightBit   bool   // BODY=8BITMIME was declared
	UTF8       bool   // SMTPUTF8 was asked for: RFC 6531
}
