package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mailporter/workers/internal/esmtp"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// press is a Reporter that remembers what it was told, and reports to support.
type press struct {
	mu      sync.Mutex
	told    []outbound.Notice
	broken  int // how many times it fails yet
	without int // reports without their message
}

// Report implements outbound.Reporter.
func (p *press) Report(n outbound.Notice, original mail.Body) (mail.Envelope, []byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken > 0 {
		p.broken--
		return mail.Envelope{}, nil, errors.New("out of ink")
	}
	if original == nil {
		p.without++
	} else if err := readable(original); err != nil {
		return mail.Envelope{}, nil, err
	}
	p.told = append(p.told, n)
	return mail.Envelope{From: n.Through, Recipients: []mail.Recipient{{Address: support}}}, []byte("Subject: report\r\n\r\n"), nil
}

func readable(b mail.Body) error {
	r, err := b.Open()
	if err != nil {
		return err
	}
	return r.Close()
}

// words is what was told: action, address and status of each recipient.
func (p *press) words() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.told {
		for _, to := range n.Recipients {
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", n.Action, to.Recipient.Address, to.Status)))
		}
	}
	return all
}

// reporting runs a Sender with a press.
func reporting(t *testing.T, box *outboundtest.Memory, f *far, p *press) *bench {
	t.Helper()
	s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Log: quiet, Reporter: p, Options: outbound.Options{DelayAfter: 4 * time.Hour}}
	return start(t, s, box, f, settings(support, 3))
}

func hand(t *testing.T, box *outboundtest.Memory, from string, to ...mail.Recipient) {
	t.Helper()
	s := outbound.Submission{Mailbox: support, Envelope: mail.Envelope{From: from, Recipients: to}, Body: strings.NewReader("Subject: x\r\n\r\n")}
	if _, err := box.Add(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// server answers for each recipient; reports arrive.
func server(receipt outbound.Receipt, err error) func(context.Context, string, mail.Envelope) (outbound.Receipt, error) {
	return func(_ context.Context, _ string, e mail.Envelope) (outbound.Receipt, error) {
		if e.Recipients[0].Address == support {
			return outbound.Receipt{}, nil
		}
		return receipt, err
	}
}

func no(code int, text string) error {
	r := esmtp.Reply{Code: code, Lines: []string{text}}
	kind := fault.Permanent
	if code < 500 {
		kind = fault.Temporary
	}
	if strings.HasPrefix(text, "5.1.1") {
		r.Enhanced = [3]int{5, 1, 1}
	}
	return fault.New(kind, fmt.Errorf("recipient: %w", r))
}

// TestWhoIsTold: NOTIFY and what became of the message.
func TestWhoIsTold(t *testing.T) {
	refused := outbound.Receipt{Refused: []outbound.Refusal{{Address: ann, Err: no(550, "5.1.1 no such user")}}}
	for name, tc := range map[string]struct {
		notify  string
		receipt outbound.Receipt
		err     error
		within  time.Duration // how long it may take
		want    []string
	}{
		"refused, nothing said":    {"", refused, nil, 0, []string{"failed ann 5.1.1"}},
		"refused, FAILURE":         {"FAILURE", refused, nil, 0, []string{"failed ann 5.1.1"}},
		"refused, SUCCESS,DELAY":   {"SUCCESS,DELAY", refused, nil, 0, nil},
		"refused, NEVER":           {"NEVER", refused, nil, 0, nil},
		"refused whole":            {"", outbound.Receipt{}, no(554, "no"), 0, []string{"failed ann 5.0.0"}},
		"refused by us":            {"", outbound.Receipt{}, &fault.Error{Kind: fault.Permanent, Reason: "MESSAGE_TOO_LARGE", Err: errors.New("large")}, 0, []string{"failed ann 5.3.4"}},
		"sent, nothing said":       {"", outbound.Receipt{}, nil, 0, nil},
		"sent, SUCCESS":            {"SUCCESS", outbound.Receipt{}, nil, 0, []string{"relayed ann"}},
		"sent, the server reports": {"SUCCESS", outbound.Receipt{Reports: true}, nil, 0, nil},
		"sent, FAILURE":            {"FAILURE", outbound.Receipt{}, nil, 0, nil},
		"waits, not for long":      {"", outbound.Receipt{}, no(451, "later"), 3 * time.Hour, nil},
		"waits":                    {"", outbound.Receipt{}, no(451, "later"), 20 * time.Hour, []string{"delayed ann 4.0.0"}},
		"waits, FAILURE":           {"FAILURE", outbound.Receipt{}, no(451, "later"), 20 * time.Hour, nil},
		"given up":                 {"", outbound.Receipt{}, no(451, "later"), 130 * time.Hour, []string{"delayed ann 4.0.0", "failed ann 4.0.0"}},
		"given up without a reply": {"FAILURE", outbound.Receipt{}, fault.Newf(fault.Temporary, "cut"), 130 * time.Hour, []string{"failed ann 4.4.7"}},
		"the mailbox waits":        {"", outbound.Receipt{}, fault.Newf(fault.Auth, "frozen"), 20 * time.Hour, nil},
		"in doubt":                 {"SUCCESS,FAILURE,DELAY", outbound.Receipt{}, fault.Newf(fault.InDoubt, "cut"), 20 * time.Hour, nil},
		"in doubt and given up":    {"", outbound.Receipt{}, fault.Newf(fault.InDoubt, "cut"), 130 * time.Hour, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f, p := newFar(), &press{}
				f.says(server(tc.receipt, tc.err))
				b := reporting(t, &outboundtest.Memory{}, f, p)
				hand(t, b.box, support, mail.Recipient{Address: ann, Notify: tc.notify})
				after(tc.within)
				want := slices.Clone(tc.want)
				for i := range want {
					want[i] = strings.Replace(want[i], "ann", ann, 1)
				}
				if got := p.words(); !slices.Equal(got, want) {
					t.Errorf("told %q, want %q", got, want)
				}
				if _, took := f.counts(); took[support] != len(want) {
					t.Errorf("%d reports arrived, want %d", took[support], len(want))
				}
			})
		})
	}
}

// TestOneReportForAll who share a fate, and none for the others.
func TestOneReportForAll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, p := newFar(), &press{}
		f.says(server(outbound.Receipt{Refused: []outbound.Refusal{{Address: ann, Err: no(550, "5.1.1 who")}, {Address: bob, Err: no(550, "no")}}}, nil))
		b := reporting(t, &outboundtest.Memory{}, f, p)
		hand(t, b.box, support, mail.Recipient{Address: ann}, mail.Recipient{Address: "c@x.example"}, mail.Recipient{Address: bob})
		after(0)
		if len(p.told) != 1 || !slices.Equal(p.words(), []string{"failed " + ann + " 5.1.1", "failed " + bob + " 5.0.0"}) {
			t.Errorf("told %q in %d reports", p.words(), len(p.told))
		}
		if r := p.told[0].Recipients[0]; r.Reply != "550 5.1.1 who" || !strings.HasPrefix(r.Reason, "recipient: 550") {
			t.Errorf("%+v", r)
		}
	})
}

// TestNoReportOfAReport: neither what has no return path nor what we report with is reported on.
func TestNoReportOfAReport(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, p := newFar(), &press{}
		f.fails(no(554, "nothing at all"))
		b := reporting(t, &outboundtest.Memory{}, f, p)
		hand(t, b.box, "", mail.Recipient{Address: ann, Notify: "FAILURE"})
		after(time.Hour)
		if len(p.told) != 0 {
			t.Errorf("told %q of mail without a return path", p.words())
		}
		hand(t, b.box, support, mail.Recipient{Address: ann})
		after(time.Hour)
		if len(p.told) != 1 || b.box.States()[outbound.Dead] != 3 {
			t.Errorf("told %q; %v", p.words(), b.box.States())
		}
	})
}

// TestReportedOnceOverACrash: the worker dies between the report and the verdict, and the next one finds the same.
func TestReportedOnceOverACrash(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, p := newFar(), &press{}
		refuses := server(outbound.Receipt{}, no(550, "5.1.1 who"))
		f.says(func(ctx context.Context, mailbox string, e mail.Envelope) (outbound.Receipt, error) {
			if e.Recipients[0].Address == support {
				time.Sleep(time.Second) // the verdict that is lost is the message's: it comes before its report's
			}
			return refuses(ctx, mailbox, e)
		})
		var dead sync.Once
		box := &outboundtest.Memory{}
		hand(t, box, support, mail.Recipient{Address: ann})
		box.Before = func(step string) (err error) {
			if step == "settle" {
				dead.Do(func() { err = outbound.ErrLost }) // nothing is recorded, and the claim lapses
			}
			return err
		}
		reporting(t, box, f, p)
		after(time.Hour)
		if _, took := f.counts(); len(p.told) != 2 || took[support] != 1 {
			t.Errorf("written %d times, arrived %d times; want 2 and 1", len(p.told), took[support])
		}
		if p.told[0].ID() != p.told[1].ID() {
			t.Error("the same notice has two names")
		}
	})
}

// TestVerdictOutlivesItsReport: a report that cannot be stored delays the verdict, and does not stop it.
func TestVerdictOutlivesItsReport(t *testing.T) {
	for name, tc := range map[string]struct {
		broken int
		want   string
	}{
		"for a moment": {2, filed + "outbound_reports_total{action=\"failed\"} 1\n" + untold + "outbound_reports_lost_total 0\n"},
		"for good":     {1 << 30, untold + "outbound_reports_lost_total 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f, p, box, reg := newFar(), &press{broken: tc.broken}, &outboundtest.Memory{}, prometheus.NewRegistry()
				f.says(server(outbound.Receipt{Refused: []outbound.Refusal{{Address: bob, Err: no(550, "no")}}}, nil))
				s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Log: quiet, Reporter: p, Metrics: outbound.NewMetrics(reg, box)}
				start(t, s, box, f, settings(support, 3))
				hand(t, box, support, mail.Recipient{Address: ann}, mail.Recipient{Address: bob})
				after(time.Hour)
				if _, took := f.counts(); took[ann] != 1 || box.States()[outbound.Dead] != 1 {
					t.Errorf("took %v; %v", took, box.States())
				}
				if err := testutil.GatherAndCompare(reg, strings.NewReader(tc.want), "outbound_reports_total", "outbound_reports_lost_total"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// How the metrics of reports begin.
const (
	filed  = "# HELP outbound_reports_total Delivery reports that were filed: failed, delayed, relayed.\n# TYPE outbound_reports_total counter\n"
	untold = "# HELP outbound_reports_lost_total Delivery reports that could not be filed.\n# TYPE outbound_reports_lost_total counter\n"
)

// TestReportedAgainAfterRetry: what an operator tries anew is a new matter.
func TestReportedAgainAfterRetry(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, p := newFar(), &press{}
		f.says(server(outbound.Receipt{}, no(550, "5.1.1 who")))
		b := reporting(t, &outboundtest.Memory{}, f, p)
		hand(t, b.box, support, mail.Recipient{Address: ann})
		after(time.Minute)
		if err := b.box.Retry(t.Context(), status(t, b.box).ID); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if _, took := f.counts(); took[support] != 2 {
			t.Errorf("%d reports, want 2", took[support])
		}
	})
}

// TestDelayIsToldOnce: a worker that took over tells of it again, and the Outbox knows it.
func TestDelayIsToldOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, p, box := newFar(), &press{}, &outboundtest.Memory{}
		f.says(server(outbound.Receipt{}, no(451, "later")))
		hand(t, box, support, mail.Recipient{Address: ann})
		for range 3 {
			b := reporting(t, box, f, p)
			after(20 * time.Hour)
			b.stop()
		}
		if _, took := f.counts(); took[support] != 1 {
			t.Errorf("written %d times, arrived %d times, want 1", len(p.told), took[support])
		}
	})
}

// TestLostBytesAreReported: when the message cannot be read, its sender hears of it all the same.
func TestLostBytesAreReported(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p, box := &press{}, &outboundtest.Memory{Before: func(step string) error {
			if step == "open" {
				return errors.New("the disk is worn out")
			}
			return nil
		}}
		b := reporting(t, box, newFar(), p)
		hand(t, b.box, support, mail.Recipient{Address: ann, Notify: "FAILURE"})
		after(130 * time.Hour)
		if got := p.words(); !slices.Equal(got, []string{"failed " + ann + " 4.4.7"}) || p.without != 1 {
			t.Errorf("told %q, %d without the message", got, p.without)
		}
	})
}

// TestReportsThroughAnotherMailbox: while a mailbox waits as a whole, its senders hear of it through the one that reports go
// through; where nobody sends from that one, reports go as if it were not named.
func TestReportsThroughAnotherMailbox(t *testing.T) {
	frozen, full := fault.Newf(fault.Auth, "frozen"), no(451, "later")
	for name, tc := range map[string]struct {
		through string
		err     error
		want    []string
		from    string // who sends the report
		end     bool   // the report says until when the message is tried
	}{
		"the mailbox waits":          {"Sales@Contoso.Example", frozen, []string{"delayed " + ann}, sales, false},
		"the message waits":          {sales, full, []string{"delayed " + ann + " 4.0.0"}, sales, true},
		"refused":                    {sales, no(550, "5.1.1 who"), []string{"failed " + ann + " 5.1.1"}, sales, true},
		"not served, mailbox waits":  {"nobody@contoso.example", frozen, nil, "", false},
		"not served, message waits":  {"nobody@contoso.example", full, []string{"delayed " + ann + " 4.0.0"}, support, true},
		"the one that waits reports": {support, frozen, nil, "", false},
		"no other one is named":      {"", frozen, nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f, p, box := newFar(), &press{}, &outboundtest.Memory{}
				var mu sync.Mutex
				var from []string
				f.says(func(_ context.Context, mailbox string, e mail.Envelope) (outbound.Receipt, error) {
					if e.Recipients[0].Address == ann {
						return outbound.Receipt{}, tc.err
					}
					mu.Lock()
					defer mu.Unlock()
					from = append(from, mailbox)
					return outbound.Receipt{}, nil
				})
				s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Log: quiet, Reporter: p, ReportsThrough: tc.through, Options: outbound.Options{DelayAfter: 4 * time.Hour}}
				start(t, s, box, f, settings(support, 3), settings(sales, 3))
				hand(t, box, support, mail.Recipient{Address: ann})
				after(20 * time.Hour)
				if got := p.words(); !slices.Equal(got, tc.want) {
					t.Fatalf("told %q, want %q", got, tc.want)
				}
				mu.Lock()
				defer mu.Unlock()
				if len(from) != len(tc.want) || len(from) > 0 && (from[0] != tc.from || p.told[0].Until.IsZero() == tc.end) {
					t.Errorf("sent from %q, want %s; tried until %v", from, tc.from, p.told)
				}
			})
		})
	}
}
