// Package audit writes down every decision about a credential, one JSON line each, before the caller gets its answer. If a
// line cannot be written, Write says so and the caller must answer no.
//
// A line tells who asked, for what, what was decided by which rule, and which token left, by its fingerprint. It never holds
// a token, a password or anything that a provider or mail server said.
package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// Entry is one decision.
type Entry struct {
	Time        time.Time `json:"time"`
	Request     string    `json:"request_id"`
	Identity    string    `json:"identity"`
	Peer        string    `json:"peer"`   // host:port
	Method      string    `json:"method"` // AcquireToken
	Mailbox     string    `json:"mailbox,omitempty"`
	Direction   string    `json:"direction,omitempty"`
	Protocol    string    `json:"protocol,omitempty"`
	Grant       string    `json:"grant,omitempty"`
	Decision    string    `json:"decision"`         // allow or deny, by the policy
	Rule        string    `json:"rule"`             // policy.yaml:3, or why none allows it
	TenantWide  bool      `json:"tenant_wide"`      // the token opens more than the mailbox
	Outcome     string    `json:"outcome"`          // OK, or the gRPC code
	Reason      string    `json:"reason,omitempty"` // of a refusal: CLIENT_SECRET_EXPIRED
	Generation  int64     `json:"generation,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"` // first digits of the token's SHA-256
	Expires     string    `json:"expire_time,omitempty"` // RFC 3339
	Source      string    `json:"source,omitempty"`      // memory, cache or provider
	Correlation string    `json:"correlation_id,omitempty"`
	Latency     float64   `json:"latency_seconds"`
}

// The decisions.
const (
	Allow = "allow"
	Deny  = "deny"
)

// Durability is when a line counts as written.
type Durability bool

const (
	Written Durability = false // it is with the operating system: it outlives the broker
	Synced  Durability = true  // it is on the disk: it outlives a power cut, and callers wait for the disk
)

// Log is where entries go. Any number of goroutines may write.
type Log struct {
	path    string // empty = out was given
	durable Durability

	mu   sync.Mutex // guards next
	next *batch     // takes lines until the first of its callers writes it

	io    sync.Mutex // held while writing
	out   io.Writer
	torn  bool   // the last write ended within a line
	spare []byte // the buffer of the batch before
}

// batch is the lines of callers that wait for one write together: a system call each would put them in a queue. The first
// of them writes; the others wait, and never for the lock.
type batch struct {
	lines []byte
	done  chan struct{} // closed once the lines are written, or not
	err   error         // set before
}

func newBatch(buffer []byte) *batch { return &batch{lines: buffer[:0], done: make(chan struct{})} }

// mostSpare bounds the buffer that is kept, in bytes: a stampede's is not.
const mostSpare = 1 << 20

// Open appends to the file at path, which is made with mode 0600.
func Open(path string, d Durability) (*Log, error) {
	f, err := openFile(path, d)
	if err != nil {
		return nil, err
	}
	return &Log{path: path, durable: d, out: f, next: newBatch(nil)}, nil
}

// To writes to w: standard output.
func To(w io.Writer) *Log { return &Log{out: w, next: newBatch(nil)} }

func openFile(path string, d Durability) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open audit: %w", err)
	}
	if d == Synced {
		if err := syncFolder(filepath.Dir(path)); err != nil { // what is in a file that the folder does not know is lost
			return nil, errors.Join(fmt.Errorf("open audit: %w", err), f.Close())
		}
	}
	return f, nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Write returns once the line is written, or synced as well if the Log is so. An error means that nobody may be told the answer.
func (l *Log) Write(e Entry) error {
	line := lines.Get().(*[]byte)
	defer lines.Put(line)
	*line = append(e.appendJSON((*line)[:0]), '\n')

	l.mu.Lock()
	b := l.next
	first := len(b.lines) == 0
	b.lines = append(b.lines, *line...)
	l.mu.Unlock()
	if first {
		l.write(b)
	}
	<-b.done
	return b.err
}

// lines are buffers to encode in, outside of every lock.
var lines = sync.Pool{New: func() any { return new([]byte) }}

// write takes the batch out of the way of new lines and writes it.
func (l *Log) write(b *batch) {
	runtime.Gosched() // callers that are as far as this may join
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	l.next = newBatch(l.spare)
	l.mu.Unlock()
	b.err = l.put(b.lines)
	if l.spare = b.lines; cap(l.spare) > mostSpare {
		l.spare = nil
	}
	close(b.done)
}

// put writes lines. After a write that failed in the middle of a line, the next begins on a new one.
func (l *Log) put(lines []byte) error {
	if l.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	n, err := l.out.Write(lines)
	if n > 0 {
		l.torn = lines[n-1] != '\n'
	}
	if err == nil {
		err = l.sync()
	}
	if err != nil {
		return fmt.Errorf("write audit: %w", err)
	}
	return nil
}

// sync brings what was written to the disk, if that is asked for: once for all lines of a batch.
func (l *Log) sync() error {
	if f, ok := l.out.(interface{ Sync() error }); ok && l.durable == Synced {
		return f.Sync()
	}
	return nil
}

// Reopen opens the file anew: after it was renamed by a log rotation. If that fails the old one stays in use.
func (l *Log) Reopen() error {
	if l.path == "" {
		return nil
	}
	f, err := openFile(l.path, l.durable)
	if err != nil {
		return err
	}
	l.io.Lock()
	defer l.io.Unlock()
	old := l.out
	l.out, l.torn = f, false
	return closeFile(old)
}

// Close ends its use.
func (l *Log) Close() error {
	l.io.Lock()
	defer l.io.Unlock()
	if l.path == "" {
		return nil
	}
	old := l.out
	l.out = closed{}
	return closeFile(old)
}

func closeFile(w io.Writer) error {
	c, ok := w.(io.Closer)
	if !ok {
		return nil
	}
	if err := c.Close(); err != nil {
		return fmt.Errorf("close audit: %w", err)
	}
	return nil
}

// closed refuses everything.
type closed struct{}

var errClosed = errors.New("the audit is closed")

func (closed) Write([]byte) (int, error) { return 0, errClosed }
