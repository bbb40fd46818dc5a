package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"mailporter/sandbox/internal/stage"
)

// A letter is a message that is to arrive. Each time that it is handed in it is another message by its key, so that what a
// submitter repeats is told from what a worker sends twice.
type letter struct {
	row    row
	number int
	to     []string // who gets it
	named  int      // how many of them the header names; the others are Bcc
	body   string
	large  bool // its body is an attachment
}

// keyField is the field that tells submissions apart.
const keyField = "X-Sweep"

// key names one submission of the letter.
func (l letter) key(attempt int) string {
	name, _, _ := strings.Cut(l.row.Address, "@")
	return fmt.Sprintf("%s.%d.%d", name, l.number, attempt)
}

// write is the message of one submission.
func (l letter) write(key string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: letter %d\r\n", l.row.Address, strings.Join(l.to[:l.named], ">,\r\n\t<"), l.number)
	fmt.Fprintf(&b, "Message-ID: <%s@%s>\r\n%s: %s\r\nMIME-Version: 1.0\r\n", key, domain, keyField, key)
	if !l.large {
		fmt.Fprintf(&b, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s", l.body)
		return b.Bytes()
	}
	b.WriteString(stage.WithAttachment([]byte(l.body)))
	return b.Bytes()
}

// odd are the bodies that senders trip over.
var odd = []string{
	"Good morning,\r\n\r\nwhere is my order?\r\n", "", ".\r\n..\r\n.hidden\r\n.\r\n", "From nobody Sat Jan  1 00:00:00 2000\r\n>From x\r\n",
	"Grüße, 日本語, \xe9\xff\x80 latin-1\r\n", "\r\n\r\n \r\n\t\r\n\r\n", strings.Repeat("a", 998) + "\r\n." + strings.Repeat("b", 3000) + "\r\n",
}

const (
	// shortest is how long a message is at least, in bytes: a link can be cut so far inside.
	shortest = 300
	// largeBody is what no single request of Graph can carry.
	largeBody = 3_200_000
	// largeOnes are how many such letters a row has that wants them.
	largeOnes = 3
)

// letters are n for a row.
func letters(r row, n int, lot *rand.Rand) []letter {
	all := make([]letter, n)
	for i := range all {
		l := letter{row: r, number: i, named: 1, to: []string{reader(lot.IntN(readers))}, body: odd[i%len(odd)]}
		switch {
		case i%4 == 1 || r.step.at == "update": // one whom the header does not name
			l.to = append(l.to, other(l.to[0], lot))
		case i%9 == 2:
			l.to, l.named = append(l.to, other(l.to[0], lot)), 2
		}
		for range 2 + lot.IntN(40) {
			l.body += fmt.Sprintf("%064x\r\n", lot.Uint64())
		}
		if r.step.large && i < largeOnes {
			l.large, l.body = true, noise(largeBody, lot)
		}
		all[i] = l
	}
	return all
}

func other(than string, lot *rand.Rand) string {
	for {
		if to := reader(lot.IntN(readers)); to != than {
			return to
		}
	}
}

// noise is n bytes that nothing makes smaller.
func noise(n int, lot *rand.Rand) string {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, lot.Uint64())
	}
	return string(b[:n])
}

// keyOf reads the key out of a message that arrived; empty: it is none of ours.
func keyOf(raw []byte) string {
	head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	_, rest, _ := bytes.Cut(head, []byte("\r\n"+keyField+": "))
	key, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(key)
}
