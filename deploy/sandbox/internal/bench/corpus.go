package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The sizes of ordinary messages, in bytes: as many between 2 and 20 kB as between 20 and 200.
const (
	smallest = 2 << 10
	largest  = 200 << 10
)

// oddEvery is how often one of the hostile messages comes.
const oddEvery = 100

// hostile are messages that mail movers stumble over. Each comes behind a header, unless it says that it has none.
var hostile = []struct {
	name string
	raw  string
}{
	{"no blank line behind the header", "Subject: no end of the header"},
	{"no header", "\r\nonly a body\r\n"},
	{"NUL", "Subject: NUL\r\n\r\na\x00b\r\n"},
	{"a line of 100 kB", "Subject: long\r\n\r\n" + strings.Repeat("x", 100<<10) + "\r\n"},
	{"dots", "Subject: dots\r\n\r\n.\r\n..\r\n.\r\n"},
	{"8-bit header", "Subject: \xe9\xff\x80\r\nTo: \xf0\x28\r\n\r\nx\r\n"},
	{"a header that looks like an mbox", "From nobody Sat Jan  1 00:00:00 2000\r\nSubject: x\r\n\r\nFrom y\r\n"},
	{"multipart, 300 deep", nested(300)},
}

func nested(depth int) string {
	var b strings.Builder
	fmt.Fprint(&b, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b0\r\n\r\n")
	for i := range depth {
		fmt.Fprintf(&b, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	return b.String()
}

// corpus makes messages, the same for the same seed.
type corpus struct {
	random *rand.Rand
	text   []byte // base64 in lines, to cut bodies from
	n      int
}

func newCorpus(seed uint64) *corpus {
	c := &corpus{random: rand.New(rand.NewPCG(seed, 0))}
	raw := make([]byte, 3*largest)
	for i := range raw {
		raw[i] = byte(c.random.Uint32())
	}
	var b bytes.Buffer
	for line := raw; len(line) >= 57; line = line[57:] {
		b.WriteString(base64.StdEncoding.EncodeToString(line[:57]) + "\r\n")
	}
	c.text = b.Bytes()
	return c
}

// next is one more message; ordinary ones have only lines that end in CRLF.
func (c *corpus) next() (raw []byte, ordinary bool) {
	c.n++
	if c.n%oddEvery == 0 {
		odd := hostile[c.n/oddEvery%len(hostile)]
		return fmt.Appendf(nil, "%s", odd.raw), false
	}
	return c.ordinary(int(smallest * math.Pow(largest/smallest, c.random.Float64()))), true
}

// ordinary is a message of about that many bytes.
func (c *corpus) ordinary(size int) []byte {
	b := fmt.Appendf(nil, "Return-Path: <customer@shop.example>\r\nReceived: from shop.example by mail.real.example; Mon, 16 Nov 2026 10:00:00 +0000\r\n"+
		"From: Customer <customer@shop.example>\r\nTo: Support <support@real.example>\r\nSubject: order %d\r\nMessage-ID: <%d.bench@shop.example>\r\n"+
		"Date: Mon, 16 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n", c.n, c.n)
	const line = 78 // 76 and CRLF
	lines := max(1, (size-len(b))/line)
	from := c.random.IntN(len(c.text)/line-lines) * line
	return append(b, c.text[from:from+lines*line]...)
}

// fill writes n messages into a Maildir as Dovecot names them, and links them into the others.
func (c *corpus) fill(n int, first string, others ...string) error {
	for i := range n {
		raw, ordinary := c.next()
		name := fmt.Sprintf("%d.M%dP1.bench", 1700000000+i, i)
		if ordinary { // the size with CRLF is known: S of the file, W on the wire
			name = fmt.Sprintf("%s,S=%d,W=%d", name, len(raw), len(raw))
		}
		path := filepath.Join(first, "new", name)
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			return err
		}
		arrived := time.Unix(1700000000+int64(i), 0)
		if err := os.Chtimes(path, arrived, arrived); err != nil {
			return err
		}
		for _, other := range others {
			if err := os.Link(path, filepath.Join(other, "new", name)); err != nil {
				return err
			}
		}
	}
	return nil
}
