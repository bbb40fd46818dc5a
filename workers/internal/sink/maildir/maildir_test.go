package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string) *Sink {
	t.Helper()
	s, err := New(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// files are the paths below root that lie in folders of that name.
func files(t *testing.T, root, folder string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(filepath.Dir(path)) == folder {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func contents(t *testing.T, paths []string) [][]byte {
	t.Helper()
	var all [][]byte
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func TestSink(t *testing.T) {
	for name, path := range map[string]string{"one for all": "in", "one per mailbox": "in/" + Placeholder} {
		t.Run(name, func(t *testing.T) {
			inboundtest.Sink(t, func(t *testing.T) inboundtest.SinkStore {
				root := t.TempDir()
				return inboundtest.SinkStore{
					Open: func(t *testing.T) inbound.Sink { return open(t, filepath.Join(root, path)) },
					Messages: func(t *testing.T) [][]byte {
						if left := files(t, root, "tmp"); len(left) > 0 {
							t.Errorf("left in tmp: %v", left)
						}
						return contents(t, files(t, root, "new"))
					},
				}
			})
		})
	}
}

var (
	folder = mail.Folder{Mailbox: "Support@contoso.example", Name: "INBOX"}
	body   = mail.Bytes("Subject: a\r\n\r\nb\r\n")
)

func deliver(t *testing.T, s *Sink, key string) {
	t.Helper()
	if err := s.Put(t.Context(), folder, inbound.Item{Key: key}, body); err != nil {
		t.Fatal(err)
	}
}

func TestAMessageThatWasReadStaysOne(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	for i := range 3 {
		key := fmt.Sprint(i)
		deliver(t, s, key)
		path := files(t, root, "new")[0]
		if err := os.Rename(path, filepath.Join(root, "cur", filepath.Base(path)+":2,FS")); err != nil {
			t.Fatal(err)
		}
		deliver(t, s, key)
		if again := files(t, root, "new"); len(again) != 0 {
			t.Fatalf("delivered again: %v", again)
		}
	}
}

func TestOneMaildirPerMailbox(t *testing.T) {
	root := t.TempDir()
	deliver(t, open(t, filepath.Join(root, Placeholder)), "k")
	if _, err := os.Stat(filepath.Join(root, "support@contoso.example", "new")); err != nil {
		t.Error(err)
	}
}

func TestAnAddressCannotLeadElsewhere(t *testing.T) {
	root := t.TempDir()
	for _, mailbox := range []string{"", "..", "../x", "a/b", "a\x00b"} {
		err := open(t, filepath.Join(root, Placeholder)).Put(t.Context(), mail.Folder{Mailbox: mailbox, Name: "INBOX"}, inbound.Item{Key: "k"}, body)
		if err == nil {
			t.Errorf("%q was taken for a folder's name", mailbox)
		}
	}
	if left := files(t, root, "new"); len(left) != 0 {
		t.Errorf("delivered: %v", left)
	}
}

func TestLeftoversOfADeadProcessAreSwept(t *testing.T) {
	root := t.TempDir()
	deliver(t, open(t, root), "k")
	const nobody = 1 << 30 // beyond every pid_max
	dead := filepath.Join(root, "tmp", fmt.Sprintf("%s%d-x", tmpPrefix, nobody))
	foreign := filepath.Join(root, "tmp", "1700000000.M1.host")
	for _, path := range []string{dead, foreign} {
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	deliver(t, open(t, root), "k")
	if left := files(t, root, "tmp"); len(left) != 1 || left[0] != foreign {
		t.Errorf("left in tmp: %v, want the foreign file alone", left)
	}
}

func TestDiskErrorsAreTemporary(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, filepath.Join(file, "in")).Put(t.Context(), folder, inbound.Item{Key: "k"}, body); err == nil || fault.Of(err) != fault.Temporary {
		t.Errorf("put below a file: %v, want a temporary error", err)
	}
	for cause, reason := range map[error]string{syscall.ENOSPC: "DISK_FULL", syscall.EDQUOT: "DISK_FULL", syscall.EROFS: "NOT_WRITABLE", fs.ErrPermission: "NOT_WRITABLE"} {
		var e *fault.Error
		if err := classify(&fs.PathError{Op: "write", Err: cause}); !errors.As(err, &e) || e.Kind != fault.Temporary || e.Reason != reason || e.Remedy == "" {
			t.Errorf("%v: %v, want %s with a remedy", cause, err, reason)
		}
	}
}

func TestEverySyncBeginsAfterItsCall(t *testing.T) {
	f := &syncer{path: t.TempDir()}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			if err := f.sync(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	f.path = filepath.Join(f.path, "gone")
	if err := f.sync(); err == nil {
		t.Error("the fsync of a folder that is not there succeeded")
	}
}

func TestANamelessSinkIsRefused(t *testing.T) {
	if _, err := New(""); err == nil || !strings.Contains(err.Error(), "name a folder") {
		t.Errorf("New(\"\") = %v", err)
	}
}
