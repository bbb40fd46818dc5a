package inbound

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"mailporter/workers/internal/mail"
)

// spoolMemory is how much of a message is kept in memory before it goes to a temporary file, in bytes.
const spoolMemory = 128 << 10

// A spooled message lies on this machine, so that a slow sink does not hold up the source: the IMAP library gives a
// message five minutes, its reader's pauses included.
type spooled struct {
	mail.Body
	file *os.File // nil = in memory
}

// errTooLarge says that more bytes came than were allowed.
var errTooLarge = errors.New("the message is too large")

// spool reads r to its end; errTooLarge if it has more than limit bytes (0 = any number). Errors of r come back as they
// are, those of the disk with "spool". The caller drops what it gets.
func spool(r io.Reader, dir string, limit int64) (*spooled, error) {
	if limit > 0 {
		r = io.LimitReader(r, limit+1)
	}
	var head bytes.Buffer
	n, err := io.CopyN(&head, r, spoolMemory)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if limit > 0 && n > limit {
		return nil, errTooLarge
	}
	if err == io.EOF {
		return &spooled{Body: mail.Bytes(head.Bytes())}, nil
	}
	return spoolFile(&head, r, dir, limit)
}

func spoolFile(head *bytes.Buffer, rest io.Reader, dir string, limit int64) (*spooled, error) {
	f, err := os.CreateTemp(dir, "mailporter-spool-*")
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &spooled{file: f}
	// Without a name it vanishes with the process, however that ends.
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("spool: %w", errors.Join(err, s.drop()))
	}
	n, err := io.Copy(f, io.MultiReader(head, rest))
	if err == nil && limit > 0 && n > limit {
		err = errTooLarge
	}
	if err != nil {
		return nil, errors.Join(err, s.drop())
	}
	s.Body = section{f, n}
	return s, nil
}

// drop frees the disk.
func (s *spooled) drop() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// section is a Body in a file.
type section struct {
	file *os.File
	size int64
}

func (s section) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(s.file, 0, s.size)), nil
}

func (s section) Size() int64 { return s.size }
