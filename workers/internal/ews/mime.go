package ews

import (
	"bufio"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"mailporter/workers/internal/fault"
)

// content streams the MIME form out of a GetItem answer. Decoded as a struct a message of 35 MB would take 250 MB.
type content struct {
	body io.Closer
	rest *bufio.Reader // what follows the MIME form
	mime io.Reader
}

// openContent reads up to the MIME form. An answer without one is an error with its code.
func openContent(body io.ReadCloser) (io.ReadCloser, error) {
	r := bufio.NewReaderSize(body, 32<<10)
	m, found, err := seekContent(xml.NewDecoder(r)) // it reads no byte more than it needs from a ByteReader
	if found {
		return &content{body, r, base64.NewDecoder(base64.StdEncoding, &text{r: r})}, nil
	}
	err = errors.Join(ignoreEOF(err), body.Close())
	if err != nil {
		return nil, fault.New(fault.Temporary, err)
	}
	if err := m.fault(); err != nil {
		return nil, err
	}
	return nil, fault.New(fault.Temporary, errors.New("the answer has no MIME content"))
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// seekContent reads tokens up to MimeContent and keeps what is said about the item.
func seekContent(d *xml.Decoder) (m message, found bool, err error) {
	name := ""
	for {
		tok, err := d.RawToken()
		if err != nil {
			return m, false, err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			name = t.Name.Local
			if name == "MimeContent" {
				return m, true, nil
			}
			if name == "Value" {
				m.Values = append(m.Values, value{Name: attribute(t, "Name")})
			}
		case xml.EndElement:
			name = ""
		case xml.CharData:
			m.note(name, string(t))
		}
	}
}

func attribute(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (m *message) note(name, text string) {
	switch name {
	case "ResponseCode":
		m.Code = text
	case "MessageText":
		m.Text = text
	case "Value":
		m.Values[len(m.Values)-1].Text = text
	}
}

// Read gives the message. At its end the rest of the document must come too: what was cut off is not whole.
func (c *content) Read(p []byte) (int, error) {
	n, err := c.mime.Read(p)
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		return n, fault.New(fault.Temporary, fmt.Errorf("read message: %w", err))
	}
	if err := c.finish(); err != nil {
		return n, fault.New(fault.Temporary, fmt.Errorf("read message: %w", err))
	}
	return n, io.EOF
}

// tail is how much of a document is read behind the MIME form, in bytes.
const tail = 64 << 10

func (c *content) finish() error {
	b, err := io.ReadAll(io.LimitReader(c.rest, tail))
	if err != nil {
		return err
	}
	if !strings.HasSuffix(strings.TrimSpace(string(b)), "Envelope>") {
		return io.ErrUnexpectedEOF
	}
	c.mime = strings.NewReader("") // a further Read is at the end as well
	c.rest = bufio.NewReader(strings.NewReader("Envelope>"))
	return nil
}

// Close ends the request.
func (c *content) Close() error { return c.body.Close() }

// text reads the characters of an element up to its end tag, without white space and character references: Exchange writes
// &#xD; at line ends.
type text struct {
	r *bufio.Reader
}

func (t *text) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if t.r.Buffered() == 0 && n > 0 {
			return n, nil // rather than wait for more
		}
		if _, err := t.r.Peek(1); err == io.EOF {
			return n, io.ErrUnexpectedEOF
		} else if err != nil {
			return n, err
		}
		chunk, _ := t.r.Peek(t.r.Buffered()) // no error: all of it is there
		used, wrote, stop := copyText(p[n:], chunk)
		n += wrote
		_, _ = t.r.Discard(used) // likewise
		if stop == '<' && n > 0 {
			return n, nil
		} else if stop == '<' {
			return 0, io.EOF
		}
		if stop == '&' {
			if err := t.skipReference(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// copyText copies what is no white space until p is full or markup begins, which is not used.
func copyText(p, chunk []byte) (used, wrote int, stop byte) {
	for i, b := range chunk {
		switch {
		case b == '<' || b == '&':
			return i, wrote, b
		case b <= ' ':
		case wrote == len(p):
			return i, wrote, 0
		default:
			p[wrote] = b
			wrote++
		}
	}
	return len(chunk), wrote, 0
}

// longestReference is that of a character in hexadecimal: &#x10FFFF;
const longestReference = 10

func (t *text) skipReference() error {
	for range longestReference {
		b, err := t.r.ReadByte()
		if err != nil {
			return io.ErrUnexpectedEOF
		}
		if b == ';' {
			return nil
		}
	}
	return errors.New("no character reference")
}
