package ews

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// readerBody is a message of so many bytes that comes from a reader.
type readerBody struct {
	size int64
	open func() (io.Reader, error)
}

func (b readerBody) Size() int64 { return b.size }

func (b readerBody) Open() (io.ReadCloser, error) {
	r, err := b.open()
	return io.NopCloser(r), err
}

// TestUpload: a message of any length goes out as the base64 of its bytes, with the length that was announced, and again.
func TestUpload(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef\r\n\x00\xff"), 10_000)
	for _, n := range []int{0, 1, 2, 3, 4, 100, piece - 1, piece, piece + 1, 2*piece - 1, 2 * piece, len(long)} {
		for way, wrap := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			r := request{body: "<a>", after: "</a>", upload: &upload{message: readerBody{int64(n), func() (io.Reader, error) { return wrap(bytes.NewReader(long[:n])), nil }}}}
			want := opening("") + "<a>" + base64.StdEncoding.EncodeToString(long[:n]) + "</a>" + closing
			for range 2 {
				if got := wireForm(t, r, ""); string(got) != want {
					t.Errorf("%d bytes, %s: %d bytes of %d", n, way, len(got), len(want))
				}
			}
		}
	}
}

// TestUploadBreaksOff: a message that cannot be read is told apart from a server that cannot be reached.
func TestUploadBreaksOff(t *testing.T) {
	gone := errors.New("the disk is gone")
	u := &upload{message: readerBody{10, func() (io.Reader, error) { return iotest.ErrReader(gone), nil }}}
	r := request{upload: u, acts: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://localhost", nil)
	if err == nil {
		err = r.fill(req, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(req.Body); !errors.Is(err, gone) {
		t.Errorf("read: %v", err)
	}
	if err := r.unanswered(true, io.ErrClosedPipe); !errors.Is(err, gone) || fault.Of(err) != fault.Temporary {
		t.Errorf("%v (%s)", err, fault.Of(err))
	}
}

// zeros is an endless message.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestUploadIsNotHeldInMemory: a message of 64 MB takes a few pieces of memory.
func TestUploadIsNotHeldInMemory(t *testing.T) {
	const size = 64 << 20
	r := createRequest("", "mark", nil, readerBody{size, func() (io.Reader, error) { return io.LimitReader(zeros{}, size), nil }})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := r.fill(req, ""); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, req.Body)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; err != nil || n != req.ContentLength || used > 2<<20 {
		t.Errorf("%d bytes of %d took %d bytes of memory, %v", n, req.ContentLength, used, err)
	}
}

// FuzzDraft: no name makes it panic, and what is taken for one comes back as it was.
func FuzzDraft(f *testing.F) {
	for _, s := range []string{`{"v":1,"mark":"MMM","id":"AAA=","key":"CCC="}`, `{"v":1,"mark":"MMM","id":"AAA="}`, "", "null", "{}", `{"v":2,"mark":"m","id":"i"}`, "AAMkADAwATM", `[1]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		d, err := readDraft(name)
		if err != nil {
			if fault.Of(err) != fault.Permanent {
				t.Fatalf("%q: %v", name, err)
			}
			return
		}
		again, err := d.name()
		if err != nil {
			t.Fatalf("%q is read as %+v: %v", name, d, err)
		}
		if two, err := readDraft(again); err != nil || two != d {
			t.Fatalf("%q is read as %+v, %v", again, two, err)
		}
	})
}

// TestDraftName: an answer without a usable id is no draft's.
func TestDraftName(t *testing.T) {
	for name, d := range map[string]draft{
		"no id": {Version: 1, Mark: "m"}, "no mark": {Version: 1, ID: "i"}, "a long id": {Version: 1, Mark: "m", ID: strings.Repeat("i", maxID+1)},
	} {
		if s, err := d.name(); err == nil {
			t.Errorf("%s: %q", name, s)
		}
	}
	longest := draft{Version: 1, Mark: strings.Repeat(">", maxMark), ID: strings.Repeat("<", maxID), ChangeKey: strings.Repeat("&", maxID)}
	if s, err := longest.name(); err != nil || len(s) > maxName {
		t.Errorf("the longest has %d bytes, %v", len(s), err)
	}
}

var _ mail.Body = readerBody{}
