package graph

import (
	"encoding/base64"
	"io"
)

// encoder reads a message as the base64 text that Graph wants, a block at a time. Closing it closes the message.
type encoder struct {
	src  io.ReadCloser
	raw  []byte // room for a block; base64 can be written in pieces of three bytes
	text []byte // room for a block's text
	rest []byte // of the text, still to be read
	err  error
}

const block = 24 << 10 // bytes; a multiple of three

func newEncoder(src io.ReadCloser) *encoder {
	return &encoder{src: src, raw: make([]byte, block), text: make([]byte, base64.StdEncoding.EncodedLen(block))}
}

// encodedLength is how long the text of a message is, in bytes.
func encodedLength(size int64) int64 { return (size + 2) / 3 * 4 }

// Read implements io.Reader.
func (e *encoder) Read(p []byte) (int, error) {
	for len(e.rest) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		e.fill()
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// fill encodes the next block. What comes before an error that is no end is not worth sending.
func (e *encoder) fill() {
	n, err := io.ReadFull(e.src, e.raw)
	switch err {
	case nil:
	case io.EOF, io.ErrUnexpectedEOF:
		e.err = io.EOF
	default:
		e.err = err
		return
	}
	e.rest = e.text[:base64.StdEncoding.EncodedLen(n)]
	base64.StdEncoding.Encode(e.rest, e.raw[:n])
}

// Close implements io.Closer.
func (e *encoder) Close() error { return e.src.Close() }
