package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Why a message is refused while it comes in.
var (
	errLoneLineEnd = errors.New("the message holds a CR or LF that is not part of CRLF")
	errTooLarge    = errors.New("the message is too large")
	errLoop        = errors.New("the message has too many Received lines")
)

// dataReader reads a message as DATA carries it: RFC 5321 section 4.5.2. It takes the doubled dots away, changes nothing
// else, and ends with io.EOF at the final dot. Its errors do not end the message: skip reads on to where it ends.
type dataReader struct {
	r    *bufio.Reader
	left int64 // bytes that may come yet
	hops int   // Received lines that may come yet

	rest   []byte // of the last line, not yet read
	start  bool   // at the start of a line
	cr     bool   // the last byte of the part before was a CR
	body   bool   // the header is over
	ended  bool   // the final dot was seen
	failed error  // what is wrong with the message; or with the connection
}

func newDataReader(r *bufio.Reader, most int64, hops int) *dataReader {
	return &dataReader{r: r, left: most, hops: hops, start: true}
}

// Read implements io.Reader.
func (d *dataReader) Read(p []byte) (int, error) {
	for len(d.rest) == 0 {
		if d.failed != nil {
			return 0, d.failed
		}
		if d.ended {
			return 0, io.EOF
		}
		d.next()
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// next reads a line, or as much of a long one as fits into the buffer.
func (d *dataReader) next() {
	part, err := d.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		d.fail(noEOF(err))
		return
	}
	if d.start && isFinalDot(part) {
		d.ended = true
		if len(part) != len(".\r\n") {
			d.fail(errLoneLineEnd)
		}
		return
	}
	if d.start && part[0] == '.' {
		part = part[1:]
	}
	d.check(part)
	if d.failed == nil {
		d.rest = part
	}
}

// isFinalDot also takes a dot with a lone LF: the message is refused then, and nothing that follows is believed.
func isFinalDot(part []byte) bool { return string(part) == ".\r\n" || string(part) == ".\n" }

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (d *dataReader) fail(err error) {
	if d.failed == nil {
		d.failed = err
	}
}

// check looks at one part, of which only the last byte may be an LF, and notes what it means for the next one.
func (d *dataReader) check(part []byte) {
	if len(part) == 0 {
		return
	}
	d.checkLineEnds(part)
	d.checkHops(part)
	if d.left -= int64(len(part)); d.left < 0 {
		d.fail(errTooLarge)
	}
	last := part[len(part)-1]
	d.start, d.cr = last == '\n', last == '\r'
}

func (d *dataReader) checkLineEnds(part []byte) {
	line := part
	if part[len(part)-1] == '\n' {
		line = part[:len(part)-1]
		if len(line) > 0 && line[len(line)-1] == '\r' {
			line = line[:len(line)-1]
		} else if len(line) > 0 || !d.cr {
			d.fail(errLoneLineEnd)
		}
	} else if part[len(part)-1] == '\r' {
		line = part[:len(part)-1] // its LF may come with the next part
	}
	if d.cr && part[0] != '\n' || bytes.IndexByte(line, '\r') >= 0 {
		d.fail(errLoneLineEnd)
	}
}

var received = []byte("received:")

func (d *dataReader) checkHops(part []byte) {
	if d.body || !d.start {
		return
	}
	if string(part) == "\r\n" {
		d.body = true
		return
	}
	if len(part) >= len(received) && bytes.EqualFold(part[:len(received)], received) {
		if d.hops--; d.hops < 0 {
			d.fail(errLoop)
		}
	}
}

// skip reads on to the end of the message. The error is the connection's.
func (d *dataReader) skip() error {
	d.rest = nil
	for !d.ended {
		part, err := d.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return noEOF(err)
		}
		d.ended = d.start && isFinalDot(part)
		d.start = part[len(part)-1] == '\n'
	}
	return nil
}
