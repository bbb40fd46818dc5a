package inbound

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSpool(t *testing.T) {
	for _, size := range []int{0, 1, spoolMemory - 1, spoolMemory, spoolMemory + 1, 3 * spoolMemory} {
		want := bytes.Repeat([]byte("x"), size)
		s, err := spool(iotest.HalfReader(bytes.NewReader(want)), t.TempDir(), 0)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		for range 2 { // it may be opened again, and side by side
			a, errA := s.Open()
			b, errB := s.Open()
			if err := errors.Join(errA, errB); err != nil {
				t.Fatal(err)
			}
			gotA, errA := io.ReadAll(a)
			gotB, errB := io.ReadAll(b)
			if err := errors.Join(errA, errB); err != nil || !bytes.Equal(gotA, want) || !bytes.Equal(gotB, want) || s.Size() != int64(size) {
				t.Errorf("%d bytes: read %d and %d of size %d, %v", size, len(gotA), len(gotB), s.Size(), err)
			}
		}
		if err := s.drop(); err != nil {
			t.Error(err)
		}
	}
}

func TestSpoolLimit(t *testing.T) {
	for _, limit := range []int64{10, spoolMemory, spoolMemory + 10} {
		for _, more := range []int64{0, 1} {
			s, err := spool(strings.NewReader(strings.Repeat("x", int(limit+more))), t.TempDir(), limit)
			if want := more == 1; errors.Is(err, errTooLarge) != want || (s == nil) != want {
				t.Errorf("limit %d, %d more: %v", limit, more, err)
			}
			if s != nil {
				if err := s.drop(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestSpoolLeavesNothingBehind(t *testing.T) {
	broken := errors.New("the line broke")
	for _, size := range []int{10, 2 * spoolMemory} {
		dir := t.TempDir()
		r := io.MultiReader(strings.NewReader(strings.Repeat("x", size)), iotest.ErrReader(broken))
		if _, err := spool(r, dir, 0); !errors.Is(err, broken) {
			t.Errorf("spool: %v, want the reader's error", err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	if _, err := spool(strings.NewReader(strings.Repeat("x", 2*spoolMemory)), filepath.Join(t.TempDir(), "gone"), 0); err == nil {
		t.Error("a spool without a folder worked")
	}
}
