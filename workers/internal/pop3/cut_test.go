package pop3_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/pop3d"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/pop3"
	"mailporter/workers/internal/providertest"
)

// shears stands between a client and a server and cuts one connection after so many bytes of one direction.
type shears struct {
	target  string
	down    bool         // the bytes from the server count; otherwise those to it
	left    atomic.Int64 // until the cut; negative = never again
	passed  atomic.Int64 // in all, of the direction that counts
	running sync.WaitGroup
}

// start listens until the test ends.
func (s *shears) start(t *testing.T) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); s.running.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

func (s *shears) serve(client net.Conn) {
	server, err := net.Dial("tcp", s.target)
	if err != nil {
		_ = client.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { s.pass(client, server, s.down) })
	both.Go(func() { s.pass(server, client, !s.down) })
	both.Wait()
}

// pass copies one direction until it ends or is cut.
func (s *shears) pass(to, from net.Conn, counts bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		part, cut := buf[:n], false
		if counts {
			part, cut = s.allow(part)
		}
		if _, werr := to.Write(part); werr != nil || err != nil || cut {
			return
		}
	}
}

// allow is what may pass of p, and whether the cut comes behind it.
func (s *shears) allow(p []byte) ([]byte, bool) {
	s.passed.Add(int64(len(p)))
	for {
		left := s.left.Load()
		switch {
		case left < 0:
			return p, false
		case int64(len(p)) < left:
			if s.left.CompareAndSwap(left, left-int64(len(p))) {
				return p, false
			}
		default:
			if s.left.CompareAndSwap(left, -1) {
				return p[:left], true
			}
		}
	}
}

// patiently tries again while the mailbox is locked by a session that broke off.
func patiently(try func() error) error {
	for deadline := time.Now().Add(time.Minute); ; {
		err := try()
		var e *fault.Error
		if !errors.As(err, &e) || e.Reason != "IN_USE" || time.Now().After(deadline) {
			return err
		}
		<-time.After(time.Millisecond)
	}
}

// fetch reads and settles everything as a Mover does: after an error it begins again. It fails the test if a message came
// in part, or if Settle said yes to what it did not do.
func (w *world) fetch(t *testing.T, src *pop3.Source, want [][]byte) (attempts int) {
	t.Helper()
	got := map[string][]byte{}
	for attempts = 1; ; attempts++ {
		err := w.pass(t, src, got)
		if err == nil {
			break
		}
		if attempts > 1000 || fault.Of(err) != fault.Temporary {
			t.Fatalf("attempt %d: %v (%s)", attempts, err, fault.Of(err))
		}
	}
	var all [][]byte
	for _, b := range got {
		all = append(all, b)
	}
	slices.SortFunc(all, bytes.Compare)
	slices.SortFunc(want, bytes.Compare)
	if !slices.EqualFunc(all, want, bytes.Equal) {
		t.Fatalf("%d messages, want %d, byte for byte", len(all), len(want))
	}
	return attempts
}

// pass is one attempt: what was read is in got, by key.
func (w *world) pass(t *testing.T, src *pop3.Source, got map[string][]byte) error {
	t.Helper()
	var all []string
	err := patiently(func() error {
		p, err := src.List(t.Context(), nil, 10)
		all = providertest.IDs(p)
		for _, it := range p.Items {
			if err != nil {
				break
			}
			got[it.Key], err = readOnce(t, src, it.ID, got[it.Key])
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := patiently(func() error { return src.Settle(t.Context(), all) }); err != nil {
		return err
	}
	if left := w.messages(t); len(left) > 0 {
		t.Fatalf("settled, but %d messages are still there", len(left))
	}
	return nil
}

// readOnce reads a message, or leaves what was there before.
func readOnce(t *testing.T, src *pop3.Source, id string, before []byte) ([]byte, error) {
	r, err := src.Open(t.Context(), id)
	if err != nil {
		return before, err
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return before, err
	}
	return b, nil
}

// TestCutAtEveryByte: wherever a session breaks, in either direction, every message arrives whole and is deleted once it has.
func TestCutAtEveryByte(t *testing.T) {
	for _, mailbox := range []string{support, gmail} {
		for name, down := range map[string]bool{"from the server": true, "to the server": false} {
			t.Run(mailbox+", "+name, func(t *testing.T) {
				w := newWorldWith(t, func(c *sandbox.Config) { c.POP3Security = pop3d.Clear })
				w.Mailbox = mailbox
				s := w.settings(t)
				s.Endpoint.TwoLine = true
				if mailbox == support { // a token would be most of what is sent
					w.Broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return pass, time.Time{}, nil })
					s.Endpoint.Mechanism = tokenclient.Basic
				}
				cut := &shears{target: fmt.Sprintf("127.0.0.1:%d", s.Endpoint.Port), down: down}
				s.Endpoint.Server, s.Endpoint.Port, s.Endpoint.Security = "127.0.0.1", cut.start(t), tokenclient.PlainText
				s.Inbound.After = tokenclient.Delete
				w.sweep(t, w.source(t, s), cut)
			})
		}
	}
}

// sweep cuts after each byte of a whole fetch in turn.
func (w *world) sweep(t *testing.T, src *pop3.Source, cut *shears) {
	want := [][]byte{[]byte("Subject: a\r\n\r\n.\r\n..dot\r\n"), []byte("Subject: b\r\n\r\nb\r\n")}
	fetch := func(at int64) (attempts int) {
		for _, raw := range want {
			w.deliver(t, raw)
		}
		cut.left.Store(at)
		return w.fetch(t, src, slices.Clone(want))
	}
	fetch(-1) // to learn how long it is
	whole := cut.passed.Load()
	var broken int64
	for at := range whole {
		if fetch(at) > 1 {
			broken++
		}
	}
	if broken < whole*9/10 { // the cut behind the answer to QUIT harms nobody
		t.Errorf("%d of %d cuts were felt", broken, whole)
	}
}
