package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"mailporter/workers/internal/intake"
)

// dataReader reads a message as DATA carries it: RFC 5321 section 4.5.2. It takes the doubled dots away, changes nothing
// else, and ends with io.EOF at the final dot. Its errors do not end the message: skip reads on to where it ends.
type dataReader struct {
	r          *bufio.Reader
	inspection *intake.Inspection
	mend       bool // an LF alone gets a CR

	rest    []byte // of the last line, not yet read
	last    ending // of the last piece
	crlf    bool   // a line ended with CRLF
	ended   bool   // the final dot was seen
	unclear bool   // others would not take it for the final dot: nothing that follows is to be believed
	failed  error  // what is wrong with the message, a *intake.Refusal; or with the connection
}

// ending is how a piece of a message ends.
type ending int

const (
	within ending = iota // a line goes on
	withCR               // a line goes on, or ends if an LF follows
	withLF               // a line ended with LF alone
	withCRLF
)

func newDataReader(r *bufio.Reader, c Config) *dataReader {
	return &dataReader{r: r, inspection: c.Inspect(), mend: c.MendLineEnds, last: withCRLF}
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
	first := d.atStart()
	part, err := d.piece()
	switch {
	case err != nil:
		d.fail(err)
		return
	case d.unclear:
		d.check([]byte{'\n'}) // says so
		return
	case d.ended:
		return
	}
	if first && part[0] == '.' {
		part = part[1:]
	}
	if d.mend && d.last == withLF {
		part = append(bytes.Clone(part[:len(part)-1]), '\r', '\n')
	}
	d.check(part)
	if d.failed == nil {
		d.rest = part
	}
}

// atStart says whether a line begins.
func (d *dataReader) atStart() bool { return d.last == withLF || d.last == withCRLF }

// piece takes a line off the wire, or a part of a long one, and sees whether it is the end of the message. The error is the
// connection's.
func (d *dataReader) piece() ([]byte, error) {
	part, err := d.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, noEOF(err)
	}
	if d.atStart() && isFinalDot(part) {
		d.ended, d.unclear = true, !d.isClear(part)
		return nil, nil
	}
	d.last = endingOf(part, d.last)
	d.crlf = d.crlf || d.last == withCRLF
	return part, nil
}

func endingOf(part []byte, before ending) ending {
	n := len(part)
	switch {
	case part[n-1] == '\r':
		return withCR
	case part[n-1] != '\n':
		return within
	case n > 1 && part[n-2] == '\r', n == 1 && before == withCR:
		return withCRLF
	}
	return withLF
}

// isClear says whether everybody would take this final dot for the end. Where line ends are mended it may also be that of a
// client whose every line ends with LF alone. A server that passes on what a stranger wrote has ended a line with CRLF
// before: its own Received.
func (d *dataReader) isClear(dot []byte) bool {
	return d.last == withCRLF && len(dot) == len(".\r\n") || d.mend && !d.crlf
}

// check looks at one part, of which only the last byte may be an LF.
func (d *dataReader) check(part []byte) {
	if refusal := d.inspection.Look(part); refusal != nil {
		d.fail(refusal)
	}
}

// isFinalDot also takes a dot with a lone LF: whoever wrote it may mean the end.
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

// skip reads on to the end of the message. The error is the connection's.
func (d *dataReader) skip() error {
	d.rest = nil
	for !d.ended {
		if _, err := d.piece(); err != nil {
			return err
		}
	}
	return nil
}
