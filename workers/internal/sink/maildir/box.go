package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/sink"
)

// box is one Maildir.
type box struct {
	path  string
	new   *syncer
	turns sink.Turns // Puts of one name wait for each other

	mu       sync.Mutex
	known    map[string]string // names in cur: without flags -> with flags; nil = not read yet
	curStamp int64             // modification time of cur when it was read
}

func newBox(path string) *box {
	return &box{path: path, new: &syncer{path: filepath.Join(path, "new")}}
}

// make makes what is missing and makes it durable, all new parents included.
func (b *box) make() error {
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := makeDurable(filepath.Join(b.path, sub)); err != nil {
			return err
		}
	}
	return b.sweep()
}

// makeDurable is MkdirAll with an fsync of every folder that got a new entry.
func makeDurable(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDurable(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// sweep removes what an earlier process left in tmp. Names say whose they are: other programs' files are not touched.
func (b *box) sweep() error {
	old, err := filepath.Glob(filepath.Join(b.path, "tmp", tmpPrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := removeAbandoned(path); err != nil {
			return err
		}
	}
	return nil
}

// tmpPrefix begins the names of our files in tmp; the process id follows.
const tmpPrefix = "mp-tmp-"

// removeAbandoned removes a file of tmp whose process is gone.
func removeAbandoned(path string) error {
	var pid int
	if n, err := fmt.Sscanf(filepath.Base(path), tmpPrefix+"%d-", &pid); n != 1 || err != nil || pid == os.Getpid() {
		return nil
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		return nil // another worker of this machine is writing it
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// deliver leaves exactly one copy under name. Two Puts of one name wait for each other. Another message under a name that
// is there is kept beside it: the key was no good, and mail is not to be lost for that.
func (b *box) deliver(name string, body mail.Body) error {
	defer b.turns.Take(name)()
	there, err := b.find(name)
	if err != nil {
		return err
	}
	if there != "" {
		same, err := sameMessage(there, body)
		if err != nil {
			return err
		}
		if !same {
			return b.deliverBeside(name, body)
		}
		return b.new.sync() // it may have been linked by a Put that died before its fsync
	}
	return b.place(name, body)
}

// deliverBeside delivers under a name that holds the content's sum, once.
func (b *box) deliverBeside(name string, body mail.Body) error {
	sum, err := sumOf(body)
	if err != nil {
		return err
	}
	name += "-" + sum
	there, err := b.find(name)
	if err != nil || there != "" {
		return errors.Join(err, b.new.sync())
	}
	return b.place(name, body)
}

// place writes the message and gives it its name.
func (b *box) place(name string, body mail.Body) error {
	d, err := newDraft(filepath.Join(b.path, "tmp"))
	if err != nil {
		return err
	}
	if err = write(d.file, body); err == nil {
		err = d.link(filepath.Join(b.path, "new", name))
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err := errors.Join(err, d.drop()); err != nil {
		return err
	}
	return b.new.sync()
}

// find returns the path of the message in new or cur, or nothing.
func (b *box) find(name string) (string, error) {
	path := filepath.Join(b.path, "new", name)
	_, err := os.Lstat(path)
	if err == nil {
		return path, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	flagged, err := b.inCur(name)
	if err != nil || flagged == "" {
		return "", err
	}
	return filepath.Join(b.path, "cur", flagged), nil
}

// settled is how old a folder's modification time must be to prove that nothing changed since: its clock ticks in
// milliseconds or, on some file systems, in seconds.
const settled = 3 * time.Second

// inCur is the message's name in cur, name + ":2,FLAGS", if a mail program moved it there. The folder is read again only
// when it changed.
func (b *box) inCur(name string) (string, error) {
	cur := filepath.Join(b.path, "cur")
	info, err := os.Stat(cur)
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if stamp := info.ModTime().UnixNano(); b.known == nil || stamp != b.curStamp {
		known, err := namesIn(cur)
		if err != nil {
			return "", err
		}
		b.known, b.curStamp = known, stamp
		if time.Since(info.ModTime()) < settled {
			b.curStamp = 0
		}
	}
	return b.known[name], nil
}

// namesIn are our names in cur, without what mail programs added.
func namesIn(cur string) (map[string]string, error) {
	d, err := os.Open(cur)
	if err != nil {
		return nil, err
	}
	all, err := d.Readdirnames(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	known := map[string]string{}
	for _, n := range all {
		if base, _, _ := strings.Cut(n, ":"); strings.HasPrefix(base, "mp-") {
			known[base] = n
		}
	}
	return known, nil
}

// write writes the body, durably.
func write(f *os.File, body mail.Body) error {
	r, err := body.Open()
	if err != nil {
		return fmt.Errorf("open the message: %w", err)
	}
	n, err := io.Copy(f, r)
	if err == nil && n != body.Size() {
		err = fmt.Errorf("the message ended after %d of %d bytes", n, body.Size())
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, r.Close())
}
