package web_test

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"mailporter/workers/internal/web"
)

// shelf opens messages and counts those that are open.
type shelf struct {
	size   int // of each message, in bytes
	opened atomic.Int32
	open   atomic.Int32
}

type volume struct {
	io.Reader
	shelf *shelf
}

func (v volume) Close() error { v.shelf.open.Add(-1); return nil }

func (s *shelf) take(_ context.Context, id string) (io.ReadCloser, error) {
	s.opened.Add(1)
	s.open.Add(1)
	return volume{bytes.NewReader(bytes.Repeat([]byte(id), s.size)), s}, nil
}

// TestLargeOnesWaitForTheirTurn: what is too large to be read ahead is not held open where the server counts that, and comes whole
// when it is asked for, whenever that is.
func TestLargeOnesWaitForTheirTurn(t *testing.T) {
	for name, tc := range map[string]struct {
		whole bool
		size  int
		open  int32 // while one is in hand
	}{
		"small":                 {true, 1000, 0},
		"large":                 {true, 300 << 10, 1},
		"large, nobody counts":  {false, 300 << 10, 4},
		"just what is read":     {true, 256 << 10, 1},
		"a little less than it": {true, 256<<10 - 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shelf{size: tc.size}
				a := web.Ahead{Parallel: 4, Whole: tc.whole}
				for i := range 6 {
					a.Expect(strconv.Itoa(i))
				}
				for i := range 6 {
					r, err := a.Take(t.Context(), strconv.Itoa(i), s.take)
					if err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					if n := s.open.Load(); n > tc.open {
						t.Errorf("%d are open, want %d at most", n, tc.open)
					}
					b, err := io.ReadAll(r)
					if err != nil || !bytes.Equal(b, bytes.Repeat([]byte(strconv.Itoa(i)), tc.size)) {
						t.Errorf("%d: %d bytes, %v", i, len(b), err)
					}
					if err := r.Close(); err != nil {
						t.Error(err)
					}
				}
				a.Stop()
				if n := s.open.Load(); n != 0 {
					t.Errorf("%d are left open", n)
				}
			})
		})
	}
}
