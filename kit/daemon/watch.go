package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	settle = 100 * time.Millisecond // from the first event to the look: programs write a file in several steps
	poll   = 30 * time.Second       // look even without events: network file systems send none
)

// Watch calls changed whenever the content of what paths name has changed: files and globs, whose content includes which
// files there are. Paths may not exist yet, nor may their folders. Calls come one at a time, from one goroutine, until
// ctx ends; the channel closes when that goroutine is gone. What counts as unchanged is what is there when Watch is
// called, so call it before reading the files.
func Watch(ctx context.Context, log *slog.Logger, paths []string, changed func()) (ended <-chan struct{}) {
	w := &watcher{paths: paths, changed: changed, log: log, watched: map[string]bool{}}
	var err error
	if w.notify, err = fsnotify.NewWatcher(); err != nil {
		log.Warn("cannot be told of changed files; looking now and then", "every", poll.String(), "error", err)
		w.notify = &fsnotify.Watcher{} // its nil channels never deliver
	} else {
		w.follow()
	}
	w.sum = w.look()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	return done
}

type watcher struct {
	paths   []string
	changed func()
	log     *slog.Logger
	notify  *fsnotify.Watcher
	watched map[string]bool // folders
	files   map[string]bool // what was looked at, and what is behind it if that is a link
	sum     [sha256.Size]byte
}

func (w *watcher) run(ctx context.Context) {
	if w.notify.Events != nil {
		defer w.notify.Close()
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.notify.Events:
			if due == nil && w.concerns(e) { // counted from the first, or a busy folder would put it off for ever
				due = time.After(settle)
			}
			continue
		case err := <-w.notify.Errors:
			w.log.Warn("events about changed files were lost; looking now", "error", err)
		case <-due:
		case <-tick.C:
		}
		due = nil
		w.check()
	}
}

// concerns says whether an event may have to do with the files: those that lie beside them and are only written to, such as
// a log that grows with every call, do not. Whatever appears or goes may be a link on the way to one.
func (w *watcher) concerns(e fsnotify.Event) bool {
	return e.Has(fsnotify.Create) || e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) || w.files[filepath.Clean(e.Name)]
}

// check compares contents: most events mean nothing, and one change makes several.
func (w *watcher) check() {
	if w.notify.Events != nil {
		w.follow()
	}
	if sum := w.look(); sum != w.sum {
		w.sum = sum
		w.changed()
	}
}

// follow watches the folder of every path, and of the file behind it if that is a link. Folders, not files: a file that is
// replaced by another, as Kubernetes does with its ..data link, sends no event of its own. For a folder that is not
// there, the nearest one above is watched, to see it appear.
func (w *watcher) follow() {
	want := map[string]bool{}
	for _, p := range w.paths {
		for _, path := range expand(p) {
			want[nearest(filepath.Dir(path))] = true
			if real, err := filepath.EvalSymlinks(path); err == nil {
				want[filepath.Dir(real)] = true
			}
		}
	}
	for dir := range w.watched {
		if !want[dir] || !isDir(dir) {
			_ = w.notify.Remove(dir) // gone already, perhaps
			delete(w.watched, dir)
		}
	}
	for dir := range want {
		// Again for those that are watched: a folder that was removed and made anew has lost its watch unnoticed.
		if err := w.notify.Add(dir); err != nil {
			w.log.Debug("cannot watch a folder", "folder", dir, "error", err)
			continue
		}
		w.watched[dir] = true
	}
}

// expand is the pattern itself, for its folder, and what it matches now.
func expand(pattern string) []string {
	all := matches(pattern)
	for dir := filepath.Dir(pattern); isGlob(dir); dir = filepath.Dir(dir) {
		all = append(all, matches(dir)...)
	}
	return append(all, fixed(pattern))
}

// matches are the paths that a pattern stands for now, sorted; a file of just that name goes before its meaning as one.
func matches(pattern string) []string {
	if _, err := os.Stat(pattern); err == nil {
		return []string{pattern}
	}
	all, _ := filepath.Glob(pattern) // the only error is a bad pattern, which then stands for itself
	slices.Sort(all)
	return all
}

// fixed cuts the pattern before its first folder with a wildcard: for a/*/b it is a/*, whose folder is a.
func fixed(pattern string) string {
	for isGlob(filepath.Dir(pattern)) {
		pattern = filepath.Dir(pattern)
	}
	return pattern
}

func isGlob(path string) bool { return strings.ContainsAny(path, "*?[") }

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func nearest(dir string) string {
	for !isDir(dir) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
	}
	return dir
}

// look sums up names and contents of all files.
func (w *watcher) look() [sha256.Size]byte {
	h := sha256.New()
	w.files = map[string]bool{}
	for _, p := range w.paths {
		for _, path := range matches(p) {
			sumFile(h, path)
			w.files[filepath.Clean(path)] = true
			if real, err := filepath.EvalSymlinks(path); err == nil {
				w.files[real] = true
			}
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// sumFile adds one file, its lengths first, so that no two sets of files look alike.
func sumFile(h hash.Hash, path string) {
	inner := sha256.New()
	f, err := os.Open(path)
	if err == nil {
		_, err = io.Copy(inner, f)
		_ = f.Close() // only read
	}
	var head [9]byte
	binary.BigEndian.PutUint64(head[:], uint64(len(path)))
	if err != nil {
		head[8] = 1
	}
	h.Write(head[:])
	io.WriteString(h, path)
	h.Write(inner.Sum(nil))
}
