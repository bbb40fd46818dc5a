package stage

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
)

// Digest is what must not change on the way: all bytes of a message, or, of one with attachments, who wrote it to whom and
// what its parts hold. Graph takes a large one apart and puts it together.
func Digest(raw []byte) [sha256.Size]byte {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return sha256.Sum256(raw)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") {
		return sha256.Sum256(raw)
	}
	sum := sha256.New()
	for _, field := range []string{"From", "To"} {
		list, _ := m.Header.AddressList(field) // an address that cannot be read is missing
		for _, a := range list {
			fmt.Fprintf(sum, "%s %s\n", field, a.Address)
		}
	}
	subject, _ := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")) // likewise
	fmt.Fprintf(sum, "%s\n%s\n", subject, m.Header.Get("Message-ID"))
	parts := multipart.NewReader(m.Body, params["boundary"])
	for p, err := parts.NextPart(); err == nil; p, err = parts.NextPart() {
		b := content(p)
		fmt.Fprintf(sum, "%s %d\n%s\n", p.FileName(), len(b), b)
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// content is what a part holds. What cannot be read is missing, and so differs from what was sent.
func content(p *multipart.Part) []byte {
	r := io.Reader(p)
	if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), "base64") {
		r = base64.NewDecoder(base64.StdEncoding, p)
	}
	b, _ := io.ReadAll(r)
	if p.FileName() == "" {
		b = bytes.TrimSpace(b) // where a text ends is up to whoever puts the parts together
	}
	return b
}

// WithAttachment writes the part of a message from its Content-Type on: a line of text, and a file in base64.
func WithAttachment(file []byte) string {
	const boundary = "part"
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=" + boundary + "\r\n\r\n--" + boundary + "\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nlook at this\r\n--" + boundary + "\r\n" +
		"Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for text := base64.StdEncoding.EncodeToString(file); len(text) > 0; text = text[min(len(text), 76):] {
		b.WriteString(text[:min(len(text), 76)] + "\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	return b.String()
}
