// Package folder is the door for programs that can write a file and nothing else: a drop folder.
//
// A file NAME.eml is one message, complete as soon as it has that name: write it under another name or elsewhere on the same
// file system, and rename it. Once the Outbox has it durably, the file is removed. What cannot be taken is moved to the folder
// failed, with the reason in a file beside it, and holds up nothing else.
//
// Who sends and who gets it is told in one of two ways. Lines X-Sender and X-Receiver at the top of the file, as the pickup
// directories of other mail servers have them, are an envelope: they are taken off, and the rest of the file is the message,
// byte for byte. Without them the header says it, as for sendmail -t: Sender or else From, To, Cc and Bcc; the Bcc fields are
// taken out, and nothing else is changed.
//
// A byte order mark is no part of the message.
//
// A file whose lines end with LF alone, as text files do, becomes a message whose lines end with CRLF.
package folder

import (
	"cmp"
	"log/slog"
	"time"

	"mailporter/workers/internal/intake"
)

// Config says where files are dropped.
type Config struct {
	intake.Rules
	Path    string        // made if it is missing
	Poll    time.Duration // how often to look; default 1 s
	Senders []string      // as intake.Submitter has them: whoever may write here may send as these
	Log     *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Rules = c.Rules.WithDefaults()
	c.Poll = cmp.Or(c.Poll, time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
