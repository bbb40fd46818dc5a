package outboundtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/outbound"
)

// SentServer is the far side of a SentFinder: a mailbox whose provider keeps what was sent.
type SentServer struct {
	// Open makes a SentFinder for the folder of sent mail; the suite closes it.
	Open func(t *testing.T) outbound.SentFinder
	// Keep puts a copy of a message among the sent mail, or into the inbox, at a time.
	Keep func(t *testing.T, inbox bool, raw []byte, at time.Time)
	// RefuseTokens refuses the next n tokens; all if n is negative.
	RefuseTokens func(t *testing.T, n int)
	// Cut breaks the link in the next look, before its answer.
	Cut func(t *testing.T)
	// Secrets are what must not be printed.
	Secrets func() []string
}

// SentFinder tests an implementation; fresh starts a server for each case.
func SentFinder(t *testing.T, fresh func(t *testing.T) *SentServer) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, *SentServer, outbound.SentFinder)
	}{
		{"a copy is found", copyFound},
		{"an old copy is none", copyOld},
		{"an id is found as it is", copyOdd},
		{"similar ids", copySimilar},
		{"what only came in", copyElsewhere},
		{"many looks side by side", copiesSideBySide},
		{"a refused token is replaced", copyTokenReplaced},
		{"tokens refused for ever", copyTokensRefused},
		{"the link breaks", copyCut},
		{"a cancelled context", copyCancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fresh(t)
			f := s.Open(t)
			c.run(t, s, f)
			if err := f.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// now is what mail servers tell: whole seconds.
func now() time.Time { return time.Now().Truncate(time.Second) }

// keep puts a message with this id among the sent mail.
func (s *SentServer) keep(t *testing.T, id string, at time.Time) {
	t.Helper()
	s.Keep(t, false, []byte("From: <a@b.example>\r\nMessage-ID: "+id+"\r\nSubject: x\r\n\r\nHello.\r\n"), at)
}

func (s *SentServer) find(t *testing.T, f outbound.SentFinder, id string, since time.Time, want bool) {
	t.Helper()
	if found, err := f.FindSent(t.Context(), id, since); err != nil || found != want {
		t.Errorf("%s since %s: %t, %v; want %t", id, since.UTC().Format(time.TimeOnly), found, err, want)
	}
}

// mustFail wants a look that fails with this kind and shows no secret.
func (s *SentServer) mustFail(ctx context.Context, t *testing.T, f outbound.SentFinder, kind fault.Kind) {
	t.Helper()
	found, err := f.FindSent(ctx, "<1@contoso.example>", now())
	if err == nil || found || fault.Of(err) != kind {
		t.Errorf("%t, %v of kind %v; want %v", found, err, fault.Of(err), kind)
	}
	for _, secret := range s.Secrets() {
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, secret) {
			t.Errorf("a secret shows in %.200q", text)
		}
	}
}

func copyFound(t *testing.T, s *SentServer, f outbound.SentFinder) {
	const id = "<1@contoso.example>"
	s.find(t, f, id, time.Time{}, false)
	at := now()
	s.keep(t, id, at)
	s.find(t, f, id, at, true)
	s.find(t, f, id, at.Add(-2*time.Minute), true)
	s.find(t, f, id, time.Time{}, true)
	s.find(t, f, "<2@contoso.example>", time.Time{}, false)
}

func copyOld(t *testing.T, s *SentServer, f outbound.SentFinder) {
	const id = "<1@contoso.example>"
	at := now()
	for _, age := range []time.Duration{time.Minute, 72 * time.Hour, 24 * time.Hour} {
		s.keep(t, id, at.Add(-age))
	}
	s.find(t, f, id, at.Add(-30*time.Second), false)
	s.find(t, f, id, at.Add(-time.Minute), true)
	s.keep(t, id, at)
	s.find(t, f, id, at.Add(-30*time.Second), true)
}

// copyOdd: what has a meaning in a query is but a part of an id.
func copyOdd(t *testing.T, s *SentServer, f outbound.SentFinder) {
	odd := []string{
		`<it's@contoso.example>`, `<''@contoso.example>`, `<"quo\"ted"@contoso.example>`, `<100%25&a=b+c#d?e/f@contoso.example>`, `<a*b%c@[10.0.0.1]>`,
		`<{12}@contoso.example>`, `<&lt;&amp;@contoso.example>`, `<` + strings.Repeat("long", 200) + `@contoso.example>`,
	}
	at := now()
	for _, id := range odd {
		s.find(t, f, id, at, false)
		s.keep(t, id, at)
		s.find(t, f, id, at, true)
	}
}

func copySimilar(t *testing.T, s *SentServer, f outbound.SentFinder) {
	at := now()
	for _, id := range []string{"<11@contoso.example>", "<1@contoso.example.net>", "<1@CONTOSO.example>", "(<1@contoso.example>) <2@contoso.example>"} {
		s.keep(t, id, at)
	}
	s.find(t, f, "<1@contoso.example>", at, false)
}

func copyElsewhere(t *testing.T, s *SentServer, f outbound.SentFinder) {
	at := now()
	s.Keep(t, true, []byte("Message-ID: <1@contoso.example>\r\n\r\nmy own mail, to myself\r\n"), at)
	s.find(t, f, "<1@contoso.example>", at, false)
}

func copiesSideBySide(t *testing.T, s *SentServer, f outbound.SentFinder) {
	at := now()
	s.keep(t, "<1@contoso.example>", at)
	var looks sync.WaitGroup
	for n := range 6 {
		looks.Go(func() { s.find(t, f, fmt.Sprintf("<%d@contoso.example>", n), at, n == 1) })
	}
	looks.Wait()
}

func copyTokenReplaced(t *testing.T, s *SentServer, f outbound.SentFinder) {
	at := now()
	s.keep(t, "<1@contoso.example>", at)
	s.RefuseTokens(t, 1)
	s.find(t, f, "<1@contoso.example>", at, true)
}

func copyTokensRefused(t *testing.T, s *SentServer, f outbound.SentFinder) {
	s.RefuseTokens(t, -1)
	s.mustFail(t.Context(), t, f, fault.Auth)
}

func copyCut(t *testing.T, s *SentServer, f outbound.SentFinder) {
	at := now()
	s.keep(t, "<1@contoso.example>", at)
	s.Cut(t)
	s.mustFail(t.Context(), t, f, fault.Temporary)
	s.find(t, f, "<1@contoso.example>", at, true)
}

func copyCancelled(t *testing.T, s *SentServer, f outbound.SentFinder) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.mustFail(ctx, t, f, fault.Temporary)
}
