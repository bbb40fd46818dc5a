package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

var discard = slog.New(slog.DiscardHandler)

// watching watches paths until the test ends; each change is one message.
func watching(t *testing.T, paths ...string) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changes := make(chan struct{}, 100)
	ended := Watch(ctx, discard, paths, func() { changes <- struct{}{} })
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return changes
}

// once wants one change, within far less than the time after which Watch looks without being told.
func once(t *testing.T, changes <-chan struct{}) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(poll / 2):
		t.Fatal("the change was not seen")
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestWatchSees(t *testing.T) {
	for name, tc := range map[string]struct {
		path    string // relative to the folder
		prepare func(t *testing.T, dir string)
		change  func(t *testing.T, dir string)
	}{
		"written in place": {"a", func(t *testing.T, dir string) { write(t, dir+"/a", "1") }, func(t *testing.T, dir string) { write(t, dir+"/a", "2") }},
		"replaced": {"a", func(t *testing.T, dir string) { write(t, dir+"/a", "1") }, func(t *testing.T, dir string) {
			rename(t, write(t, dir+"/b", "2"), dir+"/a")
		}},
		"removed": {"a", func(t *testing.T, dir string) { write(t, dir+"/a", "1") }, func(t *testing.T, dir string) {
			if err := os.Remove(dir + "/a"); err != nil {
				t.Fatal(err)
			}
		}},
		"appeared":        {"a", func(*testing.T, string) {}, func(t *testing.T, dir string) { write(t, dir+"/a", "1") }},
		"new in a glob":   {"*.yaml", func(*testing.T, string) {}, func(t *testing.T, dir string) { write(t, dir+"/x.yaml", "") }},
		"glob of folders": {"*/a", func(*testing.T, string) {}, func(t *testing.T, dir string) { write(t, dir+"/new/a", "1") }},
		"folder appears":  {"x/y/z/a", func(*testing.T, string) {}, func(t *testing.T, dir string) { write(t, dir+"/x/y/z/a", "1") }},
		"folder is made anew": {"x/a", func(t *testing.T, dir string) { write(t, dir+"/x/a", "1") }, func(t *testing.T, dir string) {
			rename(t, dir+"/x", dir+"/old")
			write(t, dir+"/x/a", "2")
		}},
		"file behind a link": {"a", func(t *testing.T, dir string) {
			write(t, dir+"/real/a", "1")
			link(t, "real/a", dir+"/a")
		}, func(t *testing.T, dir string) { write(t, dir+"/real/a", "2") }},
		// A mounted secret: a -> ..data/a, ..data -> ..1; the update makes ..2 and renames a new ..data over the old one.
		"link swapped": {"a", func(t *testing.T, dir string) {
			write(t, dir+"/..1/a", "1")
			link(t, "..1", dir+"/..data")
			link(t, "..data/a", dir+"/a")
		}, func(t *testing.T, dir string) {
			write(t, dir+"/..2/a", "2")
			link(t, "..2", dir+"/..new")
			rename(t, dir+"/..new", dir+"/..data")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tc.prepare(t, dir)
			changes := watching(t, filepath.Join(dir, tc.path))
			tc.change(t, dir)
			once(t, changes)
		})
	}
}

// What is written again as it was is no change: the one that is seen is the other file's.
func TestWatchComparesContents(t *testing.T) {
	dir := t.TempDir()
	a, b := write(t, dir+"/a", "1"), write(t, dir+"/b", "1")
	changes := watching(t, a, b)
	write(t, a, "1")
	rename(t, write(t, dir+"/c", "1"), a)
	write(t, dir+"/unrelated", "2")
	rename(t, write(t, dir+"/c", "2"), b)
	once(t, changes)
	rename(t, write(t, dir+"/c", "3"), b)
	once(t, changes)
	if len(changes) != 0 {
		t.Errorf("%d changes too many", len(changes))
	}
}

// A log beside the configuration is written to with every call: nobody needs to read all files for that.
func TestWatchIsNotConcernedByLogs(t *testing.T) {
	dir := t.TempDir()
	log, link := dir+"/audit.jsonl", dir+"/link.yaml"
	real := write(t, dir+"/real/a.yaml", "1")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	w := &watcher{paths: []string{dir + "/*.yaml"}}
	w.look()
	for name, tc := range map[string]struct {
		event fsnotify.Event
		want  bool
	}{
		"log written":           {fsnotify.Event{Name: log, Op: fsnotify.Write}, false},
		"log renamed":           {fsnotify.Event{Name: log, Op: fsnotify.Rename}, true},
		"something appears":     {fsnotify.Event{Name: dir + "/..data", Op: fsnotify.Create}, true},
		"something goes":        {fsnotify.Event{Name: dir + "/..data", Op: fsnotify.Remove}, true},
		"file written":          {fsnotify.Event{Name: dir + "/./link.yaml", Op: fsnotify.Write}, true},
		"file behind a link":    {fsnotify.Event{Name: real, Op: fsnotify.Write}, true},
		"file readable for all": {fsnotify.Event{Name: link, Op: fsnotify.Chmod}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.concerns(tc.event); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// Paths may be relative to where the program was started.
func TestWatchRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, dir+"/a", "1")
	changes := watching(t, "./a")
	write(t, dir+"/a", "2")
	once(t, changes)
}

// A file that appeared after the start is one of the files from then on.
func TestWatchFollowsWhatAppeared(t *testing.T) {
	dir := t.TempDir()
	changes := watching(t, dir+"/*.yaml")
	for _, text := range []string{"1", "2", "3"} {
		write(t, dir+"/new.yaml", text)
		once(t, changes)
	}
}

func TestWatchBadPattern(t *testing.T) {
	dir := t.TempDir()
	changes := watching(t, dir+"/[a")
	write(t, dir+"/[a", "1")
	once(t, changes)
}

// Where the system cannot tell of changes, Watch looks by itself.
func TestWatchPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := write(t, t.TempDir()+"/a", "1")
		changes := 0
		w := &watcher{paths: []string{path}, changed: func() { changes++ }, log: discard, notify: &fsnotify.Watcher{}}
		w.sum = w.look()
		ctx, cancel := context.WithTimeout(t.Context(), 5*poll-1)
		defer cancel()
		time.AfterFunc(poll+1, func() { write(t, path, "2") })
		w.run(ctx)
		if changes != 1 {
			t.Errorf("%d changes", changes)
		}
	})
}
