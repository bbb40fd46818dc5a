package smtp

import (
	"bufio"
	"errors"
	"io"

	"mailporter/workers/internal/intake"
)

// dataReader reads a message as DATA carries it: RFC 5321 section 4.5.2. It takes the doubled dots away, changes nothing
// else, and ends with io.EOF at the final dot. Its errors do not end the message: skip reads on to where it ends.
type dataReader struct {
	r          *bufio.Reader
	inspection *intake.Inspection

	rest   []byte // of the last line, not yet read
	start  bool   // at the start of a line
	ended  bool   // the final dot was seen
	failed error  // what is wrong with the message, a *intake.Refusal; or with the connection
}

func newDataReader(r *bufio.Reader, rules intake.Rules) *dataReader {
	return &dataReader{r: r, inspection: rules.Inspect(), start: true}
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
			d.check(part) // says so
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

// check looks at one part, of which only the last byte may be an LF.
func (d *dataReader) check(part []byte) {
	if refusal := d.inspection.Look(part); refusal != nil {
		d.fail(refusal)
	}
	d.start = len(part) > 0 && part[len(part)-1] == '\n'
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
