package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/sink"
)

// Placeholder in a path stands for the mailbox's address.
const Placeholder = "{mailbox}"

// Sink delivers into one Maildir, or one per mailbox if its path holds Placeholder.
type Sink struct {
	path string

	mu    sync.Mutex
	boxes map[string]*box // by path
}

var _ inbound.Sink = (*Sink)(nil)

// New makes a sink. Folders are made when the first message comes.
func New(path string) (*Sink, error) {
	if path == "" {
		return nil, errors.New("maildir: name a folder")
	}
	return &Sink{path: filepath.Clean(path), boxes: map[string]*box{}}, nil
}

// Put implements inbound.Sink. Whatever the disk says is temporary: full disks are made room on, wrong rights corrected.
func (s *Sink) Put(ctx context.Context, f mail.Folder, it inbound.Item, b mail.Body) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	box, err := s.box(f.Mailbox)
	if err != nil {
		return fault.New(fault.Temporary, err)
	}
	return classify(box.deliver(name(f, it.Key), b))
}

func classify(err error) error {
	if err == nil {
		return nil
	}
	e := &fault.Error{Kind: fault.Temporary, Err: fmt.Errorf("maildir: %w", err)}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Reason, e.Remedy = "DISK_FULL", "make room on the disk of the Maildir"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e.Reason, e.Remedy = "NOT_WRITABLE", "let the worker's user write to the Maildir"
	}
	return e
}

// name is the file's name. It has no colon: flags follow one.
func name(f mail.Folder, key string) string { return "mp-" + sink.ID(f, key) }

// box finds or makes the Maildir of a mailbox.
func (s *Sink) box(mailbox string) (*box, error) {
	path := s.path
	if strings.Contains(path, Placeholder) {
		part, err := pathElement(mailbox)
		if err != nil {
			return nil, err
		}
		path = strings.ReplaceAll(path, Placeholder, part)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.boxes[path]; ok {
		return b, nil
	}
	b := newBox(path)
	if err := b.make(); err != nil {
		return nil, fmt.Errorf("maildir: %w", err)
	}
	s.boxes[path] = b
	return b, nil
}

// pathElement is the address as one element of a path: it must not lead elsewhere.
func pathElement(mailbox string) (string, error) {
	p := strings.ToLower(mailbox)
	if p == "" || p == "." || p == ".." || strings.ContainsAny(p, "/\x00") {
		return "", fmt.Errorf("maildir: the address %q cannot name a folder", mailbox)
	}
	return p, nil
}
