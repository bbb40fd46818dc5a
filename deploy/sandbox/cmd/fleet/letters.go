package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"

	"mailporter/sandbox/mailstore"
)

// A letter is one message and the mailbox that it arrives in.
type letter struct {
	to    string
	bytes []byte
}

func (l letter) sum() [sha256.Size]byte { return sha256.Sum256(l.bytes) }

// odd are the bodies that movers trip over; the last ones no sender may send, and providers hand them out nevertheless.
var odd = []string{
	"Good morning,\r\n\r\nwhere is my order?\r\n", "", ".\r\n..\r\n.hidden\r\n.\r\n", "From nobody Sat Jan  1 00:00:00 2000\r\n",
	"Grüße, 日本語, \xe9\xff\x80\r\n", "no line end", "bare\nline\nfeeds\n", "bare\rreturns\r", "NUL \x00 NUL\r\n",
}

// write makes n letters, dealt out to the mailboxes in turn; no two are alike.
func write(n int, to []box) []letter {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	all := make([]letter, n)
	for i := range all {
		var b bytes.Buffer
		fmt.Fprintf(&b, "From: <someone@fabrikam.example>\r\nTo: <%s>\r\nSubject: letter %d\r\n", to[i%len(to)].Address, i)
		if i%7 != 0 { // one in seven has no Message-ID: nothing but its bytes tells who it is
			fmt.Fprintf(&b, "Message-ID: <%d@fabrikam.example>\r\n", i)
		}
		fmt.Fprintf(&b, "\r\n%s", odd[i%len(odd)])
		for range r.IntN(80) {
			fmt.Fprintf(&b, "%064x\r\n", r.Uint64())
		}
		if to[i%len(to)].Protocol.Name == "POP3" && !bytes.HasSuffix(b.Bytes(), []byte("\r\n")) {
			b.WriteString("\r\n") // RFC 1939 section 3 has no other way to end a message
		}
		all[i] = letter{to[i%len(to)].Address, b.Bytes()}
	}
	return all
}

// post lets the letters arrive, spread evenly over a time.
func (f *fleet) post(ctx context.Context, letters []letter, over time.Duration) error {
	began := time.Now()
	for i, l := range letters {
		due := began.Add(over * time.Duration(i) / time.Duration(len(letters)))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := f.provider.Store().Deliver(l.bytes, []mailstore.Target{{Mailbox: l.to, Folder: mailstore.Inbox}}, nil); err != nil {
			return fmt.Errorf("deliver to %s: %w", l.to, err)
		}
	}
	return nil
}
