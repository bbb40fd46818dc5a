// Package reporttest reads delivery reports as their receivers do, by the parsers of the standard library.
package reporttest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
)

// Report is a delivery report taken apart.
type Report struct {
	Header     mail.Header
	Text       string                 // for people
	StatusType string                 // media type of the second part
	Message    textproto.MIMEHeader   // its fields about the message
	Recipients []textproto.MIMEHeader // and about each recipient
	ThirdType  string                 // media type of the third part; empty = there is none
	Third      []byte                 // the message, or its header
}

// Parse takes a report apart, or says why it is none.
func Parse(raw []byte) (Report, error) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return Report{}, err
	}
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || parameters["report-type"] != "delivery-status" {
		return Report{}, fmt.Errorf("content type %s, %v: %w", kind, parameters, err)
	}
	r := Report{Header: m.Header}
	form := multipart.NewReader(m.Body, parameters["boundary"])
	text, _, err := next(form)
	if err != nil {
		return r, err
	}
	status, statusType, err := next(form)
	if err != nil {
		return r, err
	}
	r.Text, r.StatusType = string(text), statusType
	if r.Third, r.ThirdType, err = next(form); err == io.EOF {
		return r, r.groups(status)
	} else if err != nil {
		return r, err
	}
	if _, err := form.NextRawPart(); err != io.EOF {
		return r, fmt.Errorf("a fourth part: %w", err)
	}
	return r, r.groups(status)
}

// next reads a part and takes its encoding off.
func next(form *multipart.Reader) (content []byte, kind string, err error) {
	p, err := form.NextRawPart()
	if err != nil {
		return nil, "", err
	}
	if kind, _, err = mime.ParseMediaType(p.Header.Get("Content-Type")); err != nil {
		return nil, "", err
	}
	var in io.Reader = p
	switch e := p.Header.Get("Content-Transfer-Encoding"); e {
	case "quoted-printable":
		in = quotedprintable.NewReader(p)
	case "7bit", "8bit":
	default:
		return nil, "", fmt.Errorf("encoding %q", e)
	}
	content, err = io.ReadAll(in)
	return content, kind, err
}

// groups reads the fields of the second part: RFC 3464 section 2.1.
func (r *Report) groups(status []byte) error {
	var all []textproto.MIMEHeader
	for group := range strings.SplitSeq(strings.TrimSuffix(string(status), "\r\n"), "\r\n\r\n") {
		fields, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimSuffix(group, "\r\n") + "\r\n\r\n"))).ReadMIMEHeader()
		if err != nil {
			return fmt.Errorf("fields %q: %w", group, err)
		}
		all = append(all, fields)
	}
	if len(all) < 2 {
		return errors.New("no recipients")
	}
	r.Message, r.Recipients = all[0], all[1:]
	return nil
}
