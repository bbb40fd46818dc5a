package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/outbound"
)

// take moves one file into the outbox, or aside if that can never be. The error is not the file's fault.
func (d *Door) take(ctx context.Context, name string) error {
	path := filepath.Join(d.config.Path, name)
	id, m, err := d.add(ctx, path, name)
	refusal := intake.AsRefusal(err)
	switch {
	case err == nil:
		d.config.Log.Debug("took a file", "file", name, "mailbox", m.Mailbox, "id", id)
		return remove(path, name, m.Request)
	case errors.Is(err, errGone):
		return nil
	case refusal != nil && refusal.Reason == intake.MailboxesUnknown:
		return err
	case refusal != nil, fault.Of(err) == fault.Permanent:
		return d.reject(name, err)
	}
	return fmt.Errorf("take %s: %w", name, err)
}

// add gives a file's message to the outbox. What it was comes back without its body.
func (d *Door) add(ctx context.Context, path, name string) (id string, m outbound.Submission, err error) {
	// O_NONBLOCK: to open a FIFO would wait for its writer. A link could name what its owner may not read.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", m, unreadable(err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	request, err := identify(f, name)
	if err != nil {
		return "", m, err
	}
	m, err = d.submission(f)
	if err != nil {
		return "", m, err
	}
	m.Request = request
	m.Body = &whole{m.Body, f, request, name}
	id, err = d.outbox.Add(ctx, m)
	m.Body = nil
	return id, m, err
}

// errGone says that somebody took the file back.
var errGone = errors.New("the file is gone")

// unreadable makes a refusal of what only the file's owner can mend.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ELOOP) {
		return fault.New(fault.Permanent, fmt.Errorf("the file cannot be opened: %w; let the worker's user read it, and give a file, no link", err))
	}
	return err
}

// identify names a file so that it has the same name after a crash and no other file ever has: the crash may come between the
// outbox's yes and the file's removal. A program may use a name again for the same text, and a file system may use an inode again;
// the time of the last change of the inode tells those apart. Moving a file back into the folder changes it too: it is a new
// message then, as it should be.
func identify(f *os.File, name string) (string, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return "", fmt.Errorf("look at %s: %w", name, err)
	}
	if s.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", fault.Newf(fault.Permanent, "this is no regular file: drop messages")
	}
	return identity(&s, name), nil
}

func identity(s *unix.Stat_t, name string) string {
	return fmt.Sprintf("folder %d %d %d %d %s", s.Ino, s.Size, s.Mtim.Nano(), s.Ctim.Nano(), name)
}

// whole is a message whose end counts only if its file is still what it was at the beginning: of a program that writes into a
// file that is complete already, half would be sent.
type whole struct {
	io.Reader
	file *os.File
	was  string
	name string
}

// Read implements io.Reader.
func (w *whole) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if is, ierr := identify(w.file, w.name); ierr != nil {
		return n, ierr
	} else if is != w.was {
		return n, errChanging
	}
	return n, err
}

// errChanging leaves a file for the next look.
var errChanging = errors.New("somebody writes into the file; write it under another name, and rename it once it is complete")

// submission reads a file twice: once to see whether its message may be sent, and later, as the body, once more. Nothing of a
// message that is refused gets into the outbox.
func (d *Door) submission(f readable) (m outbound.Submission, err error) {
	head, err := readHead(f)
	if err != nil {
		return m, err
	}
	if m.Envelope, err = head.envelope(); err != nil {
		return m, err
	}
	if err := d.config.Check(&m.Envelope); err != nil {
		return m, err
	}
	if m.Mailbox, err = d.config.Mailbox(d.senders, intake.Submitter{Senders: d.config.Senders}, m.Envelope.From); err != nil {
		return m, err
	}
	m.Envelope.EightBit, err = inspect(d.config.Guard(head.message(f)))
	m.Body = d.config.Guard(head.message(f)) // again: whoever writes into a file that is complete must not get round the rules
	return m, err
}

// readable is the part of *os.File that is read.
type readable interface {
	io.Reader
	io.ReaderAt
}

// inspect reads a message to its end and says whether it goes beyond ASCII.
func inspect(r io.Reader) (eightBit bool, err error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		for _, b := range buf[:n] {
			eightBit = eightBit || b >= 0x80
		}
		if errors.Is(err, io.EOF) {
			return eightBit, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// reject moves a file aside, the reason first: a file there without one would be a riddle.
func (d *Door) reject(name string, why error) error {
	aside := filepath.Join(d.config.Path, failed)
	target, err := free(aside, name)
	if err != nil {
		return fmt.Errorf("move %s aside: %w", name, err)
	}
	text := fmt.Sprintf("%s was not sent.\n%v\nMend it and move it back to %s, or delete it.\n", name, why, d.config.Path)
	err = writeDurably(target+".reason", text)
	if err == nil {
		err = os.Rename(filepath.Join(d.config.Path, name), target)
	}
	if err == nil {
		err = syncFolder(aside)
	}
	if err != nil {
		return fmt.Errorf("move %s aside: %w", name, err)
	}
	// Not why: that may name correspondents, who have no place in a log.
	d.config.Log.Warn("moved a file aside that cannot be taken", "file", target, "reason", target+".reason")
	return nil
}

func writeDurably(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// longest is how long a name may be so that it can get a number and .reason: file systems take 255 bytes.
const longest = 255 - len("-1000000.reason")

// free is a path in dir that nothing has: a file of the same name may be there from before. A name that leaves no room for
// .reason is cut.
func free(dir, name string) (string, error) {
	base := name[:len(name)-len(suffix)]
	if len(name) > longest {
		base = base[:longest-len(suffix)]
		name = base + suffix
	}
	for n := 0; ; n++ {
		path := filepath.Join(dir, name)
		if n > 0 {
			path = filepath.Join(dir, fmt.Sprintf("%s-%d%s", base, n, strings.ToLower(suffix)))
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", err
		}
	}
}
