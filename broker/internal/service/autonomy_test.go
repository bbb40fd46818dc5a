package service

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/kit/tokenclient"
)

// stated is what the decisions promise: for how long at least a worker goes on with the tokens that it holds, whenever the
// broker goes away. "Minutes of autonomy" in DESIGN.md has the arithmetic.
var stated = map[string]struct{ life, renewIn, margin, autonomy time.Duration }{
	"an hour":                      {life: time.Hour, margin: 10 * time.Second, autonomy: 10 * time.Minute},
	"an hour, margin 5 min":        {life: time.Hour, margin: 5 * time.Minute, autonomy: 5 * time.Minute},
	"an hour, margin 20 min":       {life: time.Hour, margin: 20 * time.Minute, autonomy: 19*time.Minute + 45*time.Second},
	"80 minutes":                   {life: 80 * time.Minute, margin: 10 * time.Second, autonomy: 13*time.Minute + 30*time.Second},
	"20 minutes":                   {life: 20 * time.Minute, margin: 10 * time.Second, autonomy: 4*time.Minute + 30*time.Second},
	"6 hours, refresh_in 3 hours":  {life: 6 * time.Hour, renewIn: 3 * time.Hour, margin: 10 * time.Second, autonomy: 2*time.Hour + 30*time.Minute},
	"an hour, refresh_in too late": {life: time.Hour, renewIn: 59 * time.Minute, margin: 10 * time.Second, autonomy: 4*time.Minute + 30*time.Second},
}

const (
	autonomousBoxes   = 40 // each with an application of its own, so that their tokens are of different ages
	autonomousOutages = 8
	answers           = 5 * time.Second // of the provider
)

// TestAutonomy ends the broker at any moment and at the worst ones, and has a worker use the tokens of all its mailboxes
// until the time that was promised is over.
func TestAutonomy(t *testing.T) {
	for name, tc := range stated {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, autonomousMailboxes(tc.margin))
				l.provider.set(func(p *provider) { p.life, p.renewIn, p.takes = tc.life, tc.renewIn, answers })
				w := newAutonomousWorker(t, l)
				random := rand.New(rand.NewPCG(7, uint64(tc.autonomy)))
				for outage := range autonomousOutages {
					w.work(time.Minute + time.Duration(random.Int64N(int64(2*tc.life))))
					if outage%2 == 0 {
						w.work(time.Until(w.weakest()) + time.Duration(random.Int64N(int64(answers+pushSpread))))
					}
					l.vanish()
					for range 4 {
						time.Sleep(tc.autonomy/4 - time.Millisecond)
						w.use(0)
					}
					l.start()
				}
			})
		})
	}
}

// autonomousWorker is what a worker has of the broker.
type autonomousWorker struct {
	t      *testing.T
	tokens *tokenclient.Cache
}

func newAutonomousWorker(t *testing.T, l *lab) *autonomousWorker {
	client, err := tokenclient.Dial(tokenclient.Config{Address: "passthrough:///lab", Insecure: true, Dialer: l.dial}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &autonomousWorker{t, tokenclient.NewCache(client)}
	t.Cleanup(func() {
		w.tokens.Close()
		client.Close()
	})
	return w
}

// work uses the tokens for a while, three times an hour.
func (w *autonomousWorker) work(d time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		w.use(5 * time.Minute)
		time.Sleep(min(20*time.Minute, time.Until(end)))
	}
}

// use acquires a token for every mailbox. wait is how long the broker may take; 0: what is not in memory is missing.
func (w *autonomousWorker) use(wait time.Duration) (all []tokenclient.Token) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), wait+time.Millisecond)
	defer cancel()
	for i := range autonomousBoxes {
		a := tokenclient.Ask{Mailbox: fmt.Sprintf("box%d@contoso.com", i), Direction: tokenclient.Inbound}
		tok, err := w.tokens.Acquire(ctx, a)
		if err != nil {
			w.t.Fatalf("at %s: %v", time.Now().Format(time.TimeOnly), err)
		}
		if !tok.Usable(time.Now()) {
			w.t.Fatalf("at %s: %v is inside its margin", time.Now().Format(time.TimeOnly), tok)
		}
		all = append(all, tok)
	}
	return all
}

// weakest is the next moment at which the worker has least in hand: one of its tokens is about to be renewed, as late as
// any.
func (w *autonomousWorker) weakest() time.Time {
	w.t.Helper()
	return slices.MinFunc(w.use(5*time.Minute), func(a, b tokenclient.Token) int {
		return cmp.Compare(a.Expires.Sub(a.Renews), b.Expires.Sub(b.Renews))
	}).Renews
}

func autonomousMailboxes(margin time.Duration) string {
	var apps, boxes strings.Builder
	for i := range autonomousBoxes {
		fmt.Fprintf(&apps, "  app%d: {directory-id: d, client-id: c%d, secrets: [{file: ../app}]}\n", i, i)
		fmt.Fprintf(&boxes, "  - {address: box%d@contoso.com, application: app%d, pop-client: {type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, "+
			"grant-type: client_credentials, token-expiry-margin-time: %q}}\n", i, i, time.Time{}.Add(margin).Format(time.TimeOnly))
	}
	return "applications:\n" + apps.String() + "mailboxes:\n" + boxes.String()
}
