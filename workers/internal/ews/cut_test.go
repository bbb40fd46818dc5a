package ews_test

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/workers/internal/ews"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

var everyByte = flag.Bool("every-byte", false, "cut the link at every byte, not at every 211th")

// link is a TCP link to the server that breaks once, after so many bytes in one direction.
type link struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu    sync.Mutex
	stall chan struct{} // not nil: it does not break, it stands still until this is closed
	left  [2]int        // bytes until it breaks: to the server, and from it; negative = it holds
	total [2]int        // bytes that went over it
}

const (
	toServer = iota
	fromServer
)

func newLink(t *testing.T, server string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{listener: l, server: server, left: [2]int{-1, -1}}
	k.running.Go(k.accept)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		k.running.Wait()
	})
	return k
}

// portOf is the port of host:port.
func portOf(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (k *link) accept() {
	for {
		near, err := k.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", k.server)
		if err != nil {
			_ = near.Close()
			continue
		}
		k.running.Go(func() { k.pass(far, near, toServer) })
		k.running.Go(func() { k.pass(near, far, fromServer) })
	}
}

// pass moves bytes until one side ends or the link breaks; then both sides know.
func (k *link) pass(dst, src net.Conn, direction int) {
	defer dst.Close()
	defer src.Close()
	b := make([]byte, 4096)
	for {
		n, err := src.Read(b)
		may := k.spend(direction, n)
		_, werr := dst.Write(b[:may])
		if may < n && k.stall != nil {
			<-k.stall
		}
		if err != nil || werr != nil || may < n {
			return
		}
	}
}

// spend is how many of n bytes still pass.
func (k *link) spend(direction, n int) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.total[direction] += n
	left := &k.left[direction]
	switch {
	case *left < 0:
	case n > *left:
		n, *left = *left, -1 // once
	default:
		*left -= n
	}
	return n
}

func (k *link) breakAfter(direction, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left, k.total = [2]int{-1, -1}, [2]int{}
	k.left[direction] = n
}

// went is how many bytes went over it each way.
func (k *link) went() [2]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.total
}

// deliver does what the Sender does: it looks before it sends again.
func deliver(t *testing.T, tr *ews.Transport, m mail.Body) {
	t.Helper()
	draft := ""
	for range 10 {
		if draft != "" {
			fate, err := tr.Look(t.Context(), draft)
			if err == nil && fate == outbound.Gone {
				return
			}
			if err != nil || fate != outbound.Waiting {
				t.Fatalf("look: %v, %v", fate, err)
			}
		}
		var err error
		if draft == "" {
			draft, err = tr.Draft(t.Context(), to(sales), m)
		}
		if err == nil {
			err = tr.SendDraft(t.Context(), draft)
		}
		if err == nil {
			return
		}
		if k := fault.Of(err); k != fault.Temporary && k != fault.InDoubt {
			t.Fatal(err)
		}
	}
	t.Fatal("it was never sent")
}

// TestALinkThatBreaks: wherever in either step the link breaks, the message is sent once and nothing is left behind.
func TestALinkThatBreaks(t *testing.T) {
	w := newOffice(t)
	s := w.outgoing(t)
	k := newLink(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Endpoint.Port)))
	s.Endpoint.Port = portOf(t, k.listener.Addr().String())
	sent, stride := 0, 211
	if *everyByte {
		stride = 1
	}
	run := func(direction, n int) {
		k.breakAfter(direction, n)
		tr := w.transport(t, s)
		deliver(t, tr, note(fmt.Sprintf("Message-ID: <%d@x.example>\r\n", sent)))
		sent++
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}
	run(toServer, -1) // whole: how long it is
	for direction, total := range k.went() {
		for n := 0; n <= total; n += stride {
			run(direction, n)
		}
	}
	w.stand(t, 0, sent, sent)
	t.Logf("%d messages over links that broke", sent)
}

// TestALinkThatStandsStill: a server that stops taking a message is given up.
func TestALinkThatStandsStill(t *testing.T) {
	w := newOffice(t)
	s := w.outgoing(t)
	k := newLink(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Endpoint.Port)))
	k.stall = make(chan struct{})
	t.Cleanup(func() { close(k.stall) })
	s.Endpoint.Port, s.Endpoint.ProtocolTimeout = portOf(t, k.listener.Addr().String()), time.Second
	k.breakAfter(toServer, 100_000)
	tr := w.transport(t, s)
	m := append(note(""), bytes.Repeat([]byte("0123456789\r\n"), 4<<20)...) // more than the system's buffers hold
	if _, err := tr.Draft(t.Context(), to(sales), m); err == nil || fault.Of(err) != fault.Temporary || !strings.Contains(err.Error(), "silent") {
		t.Errorf("%v (%s)", err, fault.Of(err))
	}
	w.stand(t, 0, 0, 0)
}
