package file

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/store/seal"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("MAILPORTER_TEST_CHILD"); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := tryOpen(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func tryOpen(dir string) (*Store, error) {
	sealer, err := seal.OpenOrMake(filepath.Join(dir, "keyset.json"))
	if err != nil {
		return nil, err
	}
	return Open(dir, sealer)
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	_, err := tryOpen(dir)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Fatalf("second open: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestRelativeFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	open(t, "state dir?")
	if _, err := os.Stat("state dir?/broker.db"); err != nil {
		t.Fatal(err)
	}
}

func TestRestartKeepsRecordsTokensAndFences(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	key := token.Key{Credential: "c", Version: "v", Audience: "a"}
	s := open(t, dir)
	l, err := s.Lease(ctx, "c", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Save(ctx, keeper.Record{Refresh: secret.New("rotated")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, key, token.Token{Value: secret.New("tok"), Generation: 3, Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // the lease is still held
		t.Fatal(err)
	}
	s = open(t, dir)
	again, err := s.Lease(ctx, "c", time.Minute)
	if err != nil || again.Record().Refresh.Reveal() != "rotated" {
		t.Fatalf("after the restart: %v", err)
	}
	if again.(*lease).fence != 2 {
		t.Fatalf("fence %d", again.(*lease).fence)
	}
	if got, err := s.Get(ctx, key); err != nil || got.Value.Reveal() != "tok" {
		t.Fatalf("token: %v", err)
	}
	if err := l.Save(ctx, keeper.Record{Refresh: secret.New("late")}); !errors.Is(err, keeper.ErrLost) && err == nil {
		t.Fatal("a lease of the former life still writes")
	}
}

func TestNothingIsPlain(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s := open(t, dir)
	l, err := s.Lease(ctx, "c", time.Minute)
	if err == nil {
		err = l.Save(ctx, keeper.Record{Refresh: secret.New("MARKER-refresh"), Previous: secret.New("MARKER-previous")})
	}
	if err == nil {
		err = s.Put(ctx, token.Key{Credential: "c"}, token.Token{Value: secret.New("MARKER-token"), Generation: 1, Expires: time.Now().Add(time.Hour)})
	}
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("MARKER")) {
			t.Errorf("%s holds a secret in the clear", e.Name())
		}
	}
}

func TestTamperedRowsDoNotOpen(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir())
	for _, id := range []string{"a", "b"} {
		l, err := s.Lease(ctx, id, time.Minute)
		if err == nil {
			err = errors.Join(l.Save(ctx, keeper.Record{Refresh: secret.New("of " + id)}), l.Release(ctx))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.db.Exec("UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE id = 'a') WHERE id = 'b'"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(ctx, "b"); !errors.Is(err, keeper.ErrSealed) {
		t.Fatalf("a moved record: %v", err)
	}
	if _, err := s.Lease(ctx, "b", time.Minute); !errors.Is(err, keeper.ErrSealed) {
		t.Fatalf("lease of a moved record: %v", err)
	}
	if _, err := s.Lease(ctx, "b", time.Minute); !errors.Is(err, keeper.ErrSealed) {
		t.Fatalf("the failed lease was not given back: %v", err)
	}
}

// child saves records for ever and prints each number once its Save has returned.
func child(dir string) {
	s, err := tryOpen(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var out sync.Mutex
	for g := range 4 {
		go func() {
			ctx, id := context.Background(), fmt.Sprint("c", g)
			for n := 1; ; n++ {
				l, err := s.Lease(ctx, id, time.Minute)
				if err == nil {
					err = errors.Join(l.Save(ctx, keeper.Record{Failures: n, Version: id}), l.Release(ctx))
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Println(id, n)
				out.Unlock()
			}
		}()
	}
	select {}
}

// A record whose Save returned is there after kill -9, at whatever moment it comes.
func TestKillLosesNoSave(t *testing.T) {
	for round := range 10 {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			dir := t.TempDir()
			saved := runChild(t, dir, 5+round*7)
			s := open(t, dir)
			for id, n := range saved {
				r, err := s.Load(context.Background(), id)
				if err != nil || r.Failures < n || r.Version != id {
					t.Errorf("%s: saved %d, found %d, %v", id, n, r.Failures, err)
				}
			}
		})
	}
}

// runChild starts this binary as a child, kills it after so many saves, and returns the last one of each credential.
func runChild(t *testing.T, dir string, lines int) map[string]int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MAILPORTER_TEST_CHILD="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	saved := map[string]int{}
	scan := bufio.NewScanner(out)
	for i := 0; scan.Scan(); i++ {
		var id string
		var n int
		if _, err := fmt.Sscan(scan.Text(), &id, &n); err != nil {
			t.Fatal(err)
		}
		saved[id] = n
		if i == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed
	if len(saved) == 0 {
		t.Fatal("the child saved nothing")
	}
	return saved
}
