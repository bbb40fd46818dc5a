package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mailporter/kit/lockfile"
	"mailporter/workers/internal/intake"
)

const (
	failed = "failed" // the folder for what cannot be taken
	suffix = ".eml"
)

// Door takes mail out of a folder. It is made with New.
type Door struct {
	config  Config
	outbox  intake.Outbox
	senders *intake.Senders

	lock *os.File // nil while another process has the folder
	last string   // what was complained about last, so that one trouble is one line
}

// New makes a door that puts mail into o. senders may be filled, and change, while it serves.
func New(c Config, o intake.Outbox, senders *intake.Senders) *Door {
	return &Door{config: c.withDefaults(), outbox: o, senders: senders}
}

// Prepare makes the folder, for this user alone, if it is missing.
func (d *Door) Prepare() error {
	if err := os.MkdirAll(filepath.Join(d.config.Path, failed), 0o700); err != nil {
		return fmt.Errorf("make the drop folder: %w", err)
	}
	return nil
}

// Serve looks into the folder until ctx ends; files that are on their way are taken to their end. Of several processes that
// serve the same folder one has it, and the others wait until it is gone. Trouble with the folder is logged, and waited out.
func (d *Door) Serve(ctx context.Context) error {
	look := time.NewTicker(d.config.Poll)
	defer look.Stop()
	defer d.release()
	for {
		d.complain(d.round(ctx))
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *Door) release() {
	if d.lock != nil {
		_ = d.lock.Close() // nothing is written to it
		d.lock = nil
	}
}

// complain logs what is wrong once, and once that it is over.
func (d *Door) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == d.last:
	case err == nil:
		d.config.Log.Info("the drop folder is served again", "folder", d.config.Path)
	case errors.Is(err, lockfile.ErrHeld):
		d.config.Log.Info("another process serves the drop folder; waiting for it to end", "folder", d.config.Path)
	case intake.AsRefusal(err) != nil, errors.Is(err, errChanging):
		d.config.Log.Warn("files wait in the drop folder", "folder", d.config.Path, "error", err)
	default:
		d.config.Log.Error("the drop folder cannot be served", "folder", d.config.Path, "error", err)
	}
	d.last = text
}

// round takes what lies in the folder. The error is about all of it, and files are left where they are.
func (d *Door) round(ctx context.Context) error {
	if err := d.own(); err != nil {
		return err
	}
	names, err := d.files()
	if err != nil {
		return err
	}
	var trouble error
	for some := range slices.Chunk(names, together) {
		if ctx.Err() != nil {
			return nil
		}
		err := d.takeAll(context.WithoutCancel(ctx), some) // what is on its way arrives
		if intake.AsRefusal(err) != nil {
			return err // as long as the mailboxes are not known, this goes for all
		}
		if trouble == nil {
			trouble = err // one file that cannot be read must not keep back the others
		}
	}
	return trouble
}

// own makes sure that nobody else serves the folder.
func (d *Door) own() error {
	if d.lock != nil {
		return nil
	}
	if err := d.Prepare(); err != nil {
		return err
	}
	lock, err := lockfile.Take(d.config.Path)
	d.lock = lock
	return err
}

// files lists what is complete.
func (d *Door) files() ([]string, error) {
	entries, err := os.ReadDir(d.config.Path)
	if err != nil {
		return nil, fmt.Errorf("list the drop folder: %w", err)
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); !e.IsDir() && !strings.HasPrefix(n, ".") && strings.HasSuffix(strings.ToLower(n), suffix) {
			names = append(names, n)
		}
	}
	return names, nil
}

// together is how many files are taken at a time: the outbox makes several durable at once.
const together = 16

// takeAll takes some files, and makes sure that those that are gone stay so. Without that a file could come back with the power,
// and only the outbox's memory of requests would keep it from being sent again.
func (d *Door) takeAll(ctx context.Context, names []string) error {
	errs := make([]error, len(names)+1)
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { errs[i] = d.take(ctx, name) })
	}
	all.Wait()
	errs[len(names)] = syncFolder(d.config.Path)
	return first(errs)
}

// first is one of the errors: the others are most likely the same.
func first(errs []error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// remove deletes the file that the outbox has. Somebody may have been quicker, or have put another message in its place, which
// the next look takes.
func remove(path, name, taken string) error {
	var s unix.Stat_t
	if unix.Lstat(path, &s) == nil && identity(&s, name) != taken {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what was taken: %w", err)
	}
	return nil
}
