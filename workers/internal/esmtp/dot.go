package esmtp

import (
	"bufio"
	"errors"
	"io"
	"sync"
)

// ErrLoneLineEnd says that a message holds a CR without LF or an LF without CR.
var ErrLoneLineEnd = errors.New("the message holds a CR or LF that is not part of CRLF")

// DotWriter writes a message for DATA: RFC 5321 section 4.5.2. It doubles dots at line starts and alters nothing else. It
// is written to as the message comes, and ended with End.
type DotWriter struct {
	w    *bufio.Writer
	last byte // '\n' at the start of a line, '\r' after one, else anything
}

// NewDotWriter writes to w, which End flushes.
func NewDotWriter(w *bufio.Writer) *DotWriter { return &DotWriter{w: w, last: '\n'} }

// Write implements io.Writer. It writes nothing of a p with a lone CR or LF from there on.
func (d *DotWriter) Write(p []byte) (int, error) {
	from := 0 // what is not written yet
	for i, b := range p {
		if (b == '\n') != (d.last == '\r') {
			return from, ErrLoneLineEnd
		}
		if b == '.' && d.last == '\n' {
			if _, err := d.w.Write(p[from : i+1]); err != nil {
				return from, err
			}
			from = i // once more
		}
		d.last = b
	}
	if _, err := d.w.Write(p[from:]); err != nil {
		return from, err
	}
	return len(p), nil
}

// Whole says whether the message may end here: nil, or ErrLoneLineEnd after a CR.
func (d *DotWriter) Whole() error {
	if d.last == '\r' {
		return ErrLoneLineEnd
	}
	return nil
}

// End writes the final dot. A message that does not end with a line end gets one: DATA has no way to carry it otherwise.
func (d *DotWriter) End() error {
	end := ".\r\n"
	switch d.last {
	case '\r':
		return ErrLoneLineEnd
	case '\n':
	default:
		end = "\r\n.\r\n"
	}
	if _, err := d.w.WriteString(end); err != nil {
		return err
	}
	return d.w.Flush()
}

// copying are buffers of CopyBody, larger than most messages.
var copying = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// CopyBody writes all of r. bodyErr is the reader's, wireErr the writer's.
func (d *DotWriter) CopyBody(r io.Reader) (bodyErr, wireErr error) {
	whole := copying.Get().(*[32 << 10]byte)
	defer copying.Put(whole)
	buf := whole[:]
	for {
		n, err := r.Read(buf)
		if _, werr := d.Write(buf[:n]); errors.Is(werr, ErrLoneLineEnd) {
			return werr, nil
		} else if werr != nil {
			return nil, werr
		}
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
}
