package ews

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"mailporter/workers/internal/mail"
)

// upload is a message that goes into a request as base64, a piece at a time: as a string a message of 35 MB would take
// 47 MB, and again as much in the envelope.
type upload struct {
	message mail.Body

	mu  sync.Mutex
	err error // what reading the message failed with
}

// size is the length in the request, in bytes.
func (u *upload) size() int64 {
	if u == nil {
		return 0
	}
	return (u.message.Size() + 2) / 3 * 4
}

// failure is why the message could not be read, or nil. The request may still be running.
func (u *upload) failure() error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

func (u *upload) fail(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
	return err
}

func (u *upload) open() (io.ReadCloser, error) {
	if u == nil {
		return io.NopCloser(strings.NewReader("")), nil
	}
	content, err := u.message.Open()
	if err != nil {
		return nil, err
	}
	return &encoder{upload: u, content: content}, nil
}

// fill gives a request its body. The body can be made anew: net/http does so when the connection turns out to be dead before
// anything was written, and only then.
func (r request) fill(req *http.Request, impersonate string) error {
	head, tail := opening(impersonate)+r.body, r.after+closing
	req.ContentLength = int64(len(head)) + r.upload.size() + int64(len(tail))
	req.GetBody = func() (io.ReadCloser, error) {
		content, err := r.upload.open()
		if err != nil {
			return nil, err
		}
		return around{io.MultiReader(strings.NewReader(head), content, strings.NewReader(tail)), content}, nil
	}
	var err error
	req.Body, err = req.GetBody()
	return err
}

// around is the content with what stands before and behind it.
type around struct {
	io.Reader
	io.Closer
}

// paced bounds the silence of a server that does not take what is sent to it: net/http begins to wait for an answer when all
// is sent, and has no bound before that.
type paced struct {
	io.ReadCloser
	silence time.Duration
	cancel  context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer // nil until the first Read, which comes when there is a connection
	over  bool
}

// Read lends the server so much more time.
func (p *paced) Read(b []byte) (int, error) {
	p.lend()
	return p.ReadCloser.Read(b)
}

func (p *paced) lend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.over:
	case p.timer == nil:
		p.timer = time.AfterFunc(p.silence, func() { p.cancel(errNotTaken) })
	default:
		p.timer.Reset(p.silence)
	}
}

// stop ends it: an answer came, or an error.
func (p *paced) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over = true; p.timer != nil {
		p.timer.Stop()
	}
}

var errNotTaken = errors.New("the server fell silent in the middle of a request")

// silent is errNotTaken if that ended ctx.
func silent(ctx context.Context) error {
	if cause := context.Cause(ctx); cause == errNotTaken {
		return cause
	}
	return nil
}

// piece is how much of a message is encoded at a time, in bytes: a multiple of three, which needs no padding.
const piece = 24 << 10

// encoder reads a message as base64.
type encoder struct {
	upload  *upload
	content io.ReadCloser
	raw     [piece]byte
	text    [piece / 3 * 4]byte
	left    []byte // of text: not read yet
	end     bool
}

// Read encodes the next piece once the last one is used up.
func (e *encoder) Read(p []byte) (int, error) {
	if len(e.left) == 0 && !e.end {
		if err := e.encode(); err != nil {
			return 0, e.upload.fail(err)
		}
	}
	if len(e.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, e.left)
	e.left = e.left[n:]
	return n, nil
}

func (e *encoder) encode() error {
	n, err := io.ReadFull(e.content, e.raw[:])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		e.end, err = true, nil
	}
	if err != nil {
		return err
	}
	e.left = e.text[:base64.StdEncoding.EncodedLen(n)]
	base64.StdEncoding.Encode(e.left, e.raw[:n])
	return nil
}

// Close ends the reading of the message.
func (e *encoder) Close() error { return e.content.Close() }
