package stage

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// A Letter is one message and where it must arrive: at everyone of To, whether its header names him or not.
type Letter struct {
	From  string
	To    []string
	Bytes []byte
	Sum   [sha256.Size]byte
	// Envelope is whom the submitter names, if that is not To: an alias, or one whom the server refuses.
	Envelope []string
	// Rebuilt allows that a letter with attachments is put together anew on its way, as Graph does with large ones.
	Rebuilt bool
}

// bodies are the shapes that mail movers stumble over. Every one ends in CRLF, as SMTP demands.
var bodies = []struct {
	name string
	make func(r *rand.Rand) string
}{
	{"plain", func(*rand.Rand) string { return "Good morning,\r\n\r\nwhere is my order?\r\n" }},
	{"dots", func(*rand.Rand) string { return ".\r\n..\r\n...\r\n.hidden\r\n. \r\nend.\r\n.\r\n" }},
	{"8-bit", func(r *rand.Rand) string { return "Grüße, 日本語, \xe9\xff\x80 latin-1\r\n" + eightBit(r) }},
	{"long lines", func(r *rand.Rand) string {
		return strings.Repeat("a", 998) + "\r\n" + strings.Repeat("b", 2500) + "\r\n." + strings.Repeat("c", 9000) + "\r\n"
	}},
	{"empty", func(*rand.Rand) string { return "" }},
	{"blank lines", func(*rand.Rand) string { return "\r\n\r\n\r\n \r\n\t\r\n\r\n" }},
	{"looks like mbox", func(*rand.Rand) string { return "From nobody Sat Jan  1 00:00:00 2000\r\n>From x\r\nFrom y\r\n" }},
	{"nested", func(*rand.Rand) string { return nested(60) }},
	{"attachment, 100 kB", func(r *rand.Rand) string { return attachment(r, 75<<10) }},
	{"attachment, 400 kB", func(r *rand.Rand) string { return attachment(r, 300<<10) }},
}

// Write makes n letters between the mailboxes of the cast, each to one or two others, one of whom may be a Bcc; two of them
// are large.
func Write(n int, addresses []string, run string) []Letter {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	letters := make([]Letter, n)
	for i := range letters {
		from := addresses[i%len(addresses)]
		to := []string{addresses[(i+1+i/len(addresses))%len(addresses)]}
		if i%9 == 0 {
			to = append(to, addresses[(i+3+i/len(addresses))%len(addresses)])
		}
		named := len(to)
		if i%9 == 4 {
			to = append(to, addresses[(i+2+i/len(addresses))%len(addresses)])
		}
		shape := bodies[i%len(bodies)]
		body := plainText + shape.make(r)
		switch i {
		case n / 3:
			shape.name, body = "5 MB", WithAttachment(noise(r, 5<<20*3/4))
		case n / 2:
			shape.name, body = "1 MB of one byte", plainText+strings.Repeat(strings.Repeat("x", 78)+"\r\n", 1<<20/80)
		}
		letters[i] = seal(from, to, named, i, run, shape.name, body)
	}
	return letters
}

// firstHeader begins every letter.
const firstHeader = "From: <"

// plainText begins the body of a letter without attachments.
const plainText = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"

// Attached is a letter with a file of so many bytes, the number-th of a run.
func Attached(from, to string, bytes, number int, run string) Letter {
	file := noise(rand.New(rand.NewPCG(2, uint64(number))), bytes)
	return seal(from, []string{to}, 1, number, run, fmt.Sprintf("a file of %d bytes", bytes), WithAttachment(file))
}

// seal writes a letter whose header names the first few of to; body begins with its Content-Type.
func seal(from string, to []string, named, i int, run, shape, body string) Letter {
	var b bytes.Buffer
	fmt.Fprintf(&b, firstHeader+"%s>\r\nTo: <%s>\r\n", from, strings.Join(to[:named], ">,\r\n\t<"))
	fmt.Fprintf(&b, "Subject: letter %d:   %s\r\nMessage-ID: <%d.%s@demo.example>\r\nX-odd:\r\n  folded\r\n\t  twice  \r\n", i, shape, i, run)
	fmt.Fprintf(&b, "Date: %s\r\n", time.Unix(1700000000+int64(i), 0).UTC().Format(time.RFC1123Z))
	b.WriteString("MIME-Version: 1.0\r\n")
	b.WriteString(body)
	return Letter{From: from, To: dedupe(to), Bytes: b.Bytes(), Sum: sha256.Sum256(b.Bytes())}
}

func dedupe(to []string) []string {
	if len(to) == 2 && to[0] == to[1] {
		return to[:1]
	}
	return to
}

func eightBit(r *rand.Rand) string {
	var b strings.Builder
	for range 20 {
		for range 60 {
			b.WriteByte(byte(128 + r.IntN(128)))
		}
		b.WriteString("\r\n")
	}
	return b.String()
}

// noise is bytes that nothing makes smaller.
func noise(r *rand.Rand, size int) []byte {
	raw := make([]byte, 0, size+8)
	for len(raw) < size {
		raw = binary.LittleEndian.AppendUint64(raw, r.Uint64())
	}
	return raw[:size]
}

func attachment(r *rand.Rand, size int) string {
	text := base64.StdEncoding.EncodeToString(noise(r, size))
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	return b.String() + text + "\r\n"
}

func nested(depth int) string {
	var b strings.Builder
	for i := range depth {
		fmt.Fprintf(&b, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	for i := depth - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "--b%d--\r\n", i)
	}
	return b.String()
}
