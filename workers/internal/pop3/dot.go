package pop3

import (
	"bufio"
	"bytes"
	"io"
)

// dotReader reads a message as it stands in a multi-line answer: RFC 1939 section 3. It takes the dots out that were put in
// before lines that begin with one, and ends at CRLF.CRLF. Only CRLF ends a line: everything else, a lone CR or LF, NUL, a
// line of any length, is passed on as it is. io.EOF comes only after the end; an answer that is cut short ends with
// io.ErrUnexpectedEOF. It holds nothing of a message but what r has buffered.
type dotReader struct {
	r      *bufio.Reader // at least three bytes large
	within bool          // not at the start of a line
	cr     bool          // the last byte was a CR
	err    error         // for every Read from now on
}

// Read implements io.Reader.
func (d *dotReader) Read(p []byte) (int, error) {
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	if !d.within {
		if d.err = d.dot(); d.err != nil {
			return 0, d.err
		}
	}
	chunk, err := d.chunk(len(p))
	if err != nil {
		d.err = err
		return 0, err
	}
	n := copy(p, d.upToDot(chunk))
	_, _ = d.r.Discard(n) // they are buffered
	return n, nil
}

// dot takes a stuffed dot off the start of a line; io.EOF: it was the end.
func (d *dotReader) dot() error {
	first, err := d.r.Peek(1)
	if err != nil {
		return cutShort(err)
	}
	if first[0] != '.' {
		return nil
	}
	three, err := d.r.Peek(len(".\r\n")) // a stuffed line is not the last one: there are always three
	if err != nil {
		return cutShort(err)
	}
	if bytes.Equal(three, []byte(".\r\n")) {
		_, _ = d.r.Discard(len(three))
		return io.EOF
	}
	_, _ = d.r.Discard(1)
	return nil
}

// chunk is what is there already, or what comes next; at most limit bytes.
func (d *dotReader) chunk(limit int) ([]byte, error) {
	if _, err := d.r.Peek(1); err != nil {
		return nil, cutShort(err)
	}
	return d.r.Peek(min(limit, d.r.Buffered()))
}

// upToDot is the part of chunk, never empty, before the next line that begins with a dot.
func (d *dotReader) upToDot(chunk []byte) []byte {
	if d.within && d.cr && chunk[0] == '\n' {
		chunk = chunk[:1]
		d.within, d.cr = false, false
		return chunk
	}
	if i := bytes.Index(chunk, []byte("\r\n.")); i >= 0 {
		chunk = chunk[:i+2]
	}
	d.within = !bytes.HasSuffix(chunk, []byte("\r\n"))
	d.cr = chunk[len(chunk)-1] == '\r'
	return chunk
}

func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
