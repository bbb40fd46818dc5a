package inboundtest

import (
	"slices"
	"testing"
	"time"

	"mailporter/workers/internal/inbound"
)

// Peers tests an implementation that several workers share.
func Peers(t *testing.T, fresh func(t *testing.T) (open func(t *testing.T) inbound.Peers)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, inbound.Peers){
		"a worker sees itself":              peersAlone,
		"workers of a group see each other": peersTogether,
		"who leaves is gone at once":        peersLeave,
		"who falls silent is forgotten":     peersLapse,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)(t)) })
	}
}

func mustAnnounce(t *testing.T, p inbound.Peers, group, worker string, ttl time.Duration, want ...string) {
	t.Helper()
	all, err := p.Announce(t.Context(), group, worker, ttl)
	if slices.Sort(all); err != nil || !slices.Equal(all, want) {
		t.Errorf("%s of %s sees %v, %v, want %v", worker, group, all, err, want)
	}
}

func peersAlone(t *testing.T, p inbound.Peers) {
	mustAnnounce(t, p, "IMAP", "a", time.Minute, "a")
	mustAnnounce(t, p, "IMAP", "a", time.Minute, "a")
}

func peersTogether(t *testing.T, p inbound.Peers) {
	mustAnnounce(t, p, "IMAP", "a", time.Minute, "a")
	mustAnnounce(t, p, "POP3", "c", time.Minute, "c")
	mustAnnounce(t, p, "IMAP", "b", time.Minute, "a", "b")
	mustAnnounce(t, p, "IMAP", "a", time.Minute, "a", "b")
}

func peersLeave(t *testing.T, p inbound.Peers) {
	mustAnnounce(t, p, "IMAP", "a", time.Minute, "a")
	mustAnnounce(t, p, "IMAP", "b", time.Minute, "a", "b")
	for range 2 {
		if err := p.Leave(t.Context(), "IMAP", "a"); err != nil {
			t.Fatal(err)
		}
	}
	mustAnnounce(t, p, "IMAP", "b", time.Minute, "b")
}

func peersLapse(t *testing.T, p inbound.Peers) {
	mustAnnounce(t, p, "IMAP", "a", 100*time.Millisecond, "a")
	for range 600 {
		all, err := p.Announce(t.Context(), "IMAP", "b", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 1 {
			return
		}
		time.Sleep(50 * time.Millisecond) // the store has a clock of its own
	}
	t.Error("a worker that fell silent is still seen")
}
