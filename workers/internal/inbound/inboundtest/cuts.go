package inboundtest

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
)

// DistantServer is a SourceServer that a Source can reach over a line.
type DistantServer struct {
	SourceServer
	Address string         // host:port, where TLS is spoken from the first byte, by a server named localhost
	Roots   *x509.CertPool // whom to trust for it
	// Reach makes a Source like Open that goes to localhost at another port and trusts roots alone. It can set messages
	// aside.
	Reach func(t *testing.T, after tokenclient.After, port int, roots *x509.CertPool) inbound.Source
	// Failed is what was set aside.
	Failed func(t *testing.T) [][]byte
}

// cutsEnv says after how many bytes of a session Cuts breaks the line per way, or "all", which takes minutes for IMAP and
// hours for what speaks HTTP. Which ones, chance decides.
const cutsEnv = "MAILPORTER_CUTS"

const cutsTried = 12

// Cuts tests that a line which breaks at any byte of a session, either way, loses no message and doubles none: a Mover
// reads a folder with a small, a larger and a too large message to its end over such a line. fresh makes an empty folder.
func Cuts(t *testing.T, fresh func(t *testing.T) DistantServer) {
	t.Helper()
	for name, after := range map[string]tokenclient.After{
		"keep": tokenclient.Keep, "mark-read": tokenclient.MarkRead, "move": tokenclient.Move, "delete": tokenclient.Delete,
	} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t)
			c := cutting{DistantServer: s, after: after, lines: newExchange(t, s.Address, s.Roots)}
			said := c.session(t, fromServer, whole)
			for _, w := range []way{fromServer, fromClient} {
				for _, at := range positions(t, said[w]) {
					t.Run(fmt.Sprintf("%s at %d of %d", w, at, said[w]), func(t *testing.T) { c.session(t, w, at) })
				}
			}
		})
	}
}

// positions are the bytes of n after which the line breaks.
func positions(t *testing.T, n int) (all []int) {
	t.Helper()
	step := 1
	if tries := cmp.Or(os.Getenv(cutsEnv), strconv.Itoa(cutsTried)); tries != "all" {
		many, err := strconv.Atoi(tries)
		if err != nil || many < 1 {
			t.Fatalf("%s=%s: give a number, or all", cutsEnv, tries)
		}
		step = max(1, n/many)
	}
	for at := rand.N(step); at < n; at += step {
		all = append(all, at)
	}
	return all
}

// cutting is a folder that is read again and again.
type cutting struct {
	DistantServer
	after tokenclient.After
	lines *exchange
}

// tooLarge is the size from which a message of a session is quarantined, in bytes.
const tooLarge = 4000

// session fills the folder, reads it over a line that breaks once, and looks whether everything is where it belongs. It
// returns how many bytes were said each way.
func (c cutting) session(t *testing.T, w way, at int) (said [2]int) {
	t.Helper()
	good, bad := [][]byte{message(1), fmt.Appendf(message(2), "%01000d\r\n", 0)}, fmt.Appendf(message(3), "%0*d\r\n", tooLarge, 0)
	for _, raw := range append(good, bad) {
		c.Deliver(t, raw)
	}
	asideBefore := len(c.Failed(t))
	l := c.lines.line(t, w, at)
	state, sink := &State{}, &keyed{}
	moveAll(t, state, sink, c.Reach(t, c.after, l.port(), c.lines.roots), inbound.Rules{MaxSize: tooLarge})
	if at != whole && !l.snapped() && at < l.said(w) {
		t.Errorf("%d bytes %s, and the line did not break", l.said(w), w)
	}
	mustEqual(t, "delivered", sink.bodies(), good)
	c.mustBeSettled(t, good)
	if aside := c.Failed(t)[asideBefore:]; len(aside) != 1 || string(aside[0]) != string(bad) {
		t.Errorf("%d messages were set aside, want the large one", len(aside))
	}
	noted, err := state.List(t.Context(), "", 10)
	if err != nil || len(noted) != 1 || noted[0].Reason == "" {
		t.Errorf("noted in the quarantine: %+v, %v, want the large one with a reason", noted, err)
	}
	return [2]int{l.said(fromServer), l.said(fromClient)}
}

// mustBeSettled looks into the folder, and empties it.
func (c cutting) mustBeSettled(t *testing.T, good [][]byte) {
	t.Helper()
	left := c.Holds(t)
	if c.after == tokenclient.Move || c.after == tokenclient.Delete {
		good = nil
	}
	mustEqual(t, "left in the folder", left, good)
	for _, raw := range left {
		c.Remove(t, raw)
	}
}

// moveAll lets a Mover read a folder until it was read to its end.
func moveAll(t *testing.T, state *State, sink inbound.Sink, src inbound.Source, rules inbound.Rules) {
	t.Helper()
	var board inbound.Board
	rules.Cycle = time.Hour
	m := inbound.Mover{
		Folder: inbox, Protocol: "any", Source: src, Sink: sink, Checkpoints: state, Quarantine: state,
		Rules: rules, Options: inbound.Options{FirstWait: time.Millisecond},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Status: board.Folder(inbox, "any"),
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var run sync.WaitGroup
	run.Go(func() { m.Run(ctx) })
	late := time.After(time.Minute)
	for board.List()[0].LastSuccess.IsZero() {
		select {
		case <-time.After(time.Millisecond):
		case <-late:
			t.Fatalf("the folder was never read to its end: %+v", board.List()[0].Failure)
		}
	}
	stop()
	run.Wait()
}
