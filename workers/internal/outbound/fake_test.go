package outbound_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

const (
	support = "support@contoso.example"
	sales   = "sales@contoso.example"
	ann     = "ann@elsewhere.example"
	bob     = "bob@elsewhere.example"
)

var quiet = slog.New(slog.DiscardHandler)

// far is the server of all mailboxes: it takes mail as it is told to.
type far struct {
	mu      sync.Mutex
	answer  func(ctx context.Context, mailbox string, e mail.Envelope) (outbound.Receipt, error) // nil: takes everything
	took    map[string]int                                                                       // times that a recipient got the mail
	offers  int
	running map[string]int
	peak    map[string]int
	closed  int
}

func newFar() *far {
	return &far{took: map[string]int{}, running: map[string]int{}, peak: map[string]int{}}
}

func (f *far) says(answer func(context.Context, string, mail.Envelope) (outbound.Receipt, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// fails answers with err from now on; nil takes everything.
func (f *far) fails(err error) {
	f.says(func(context.Context, string, mail.Envelope) (outbound.Receipt, error) { return outbound.Receipt{}, err })
}

func (f *far) counts() (offers int, took map[string]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	took = map[string]int{}
	for k, v := range f.took {
		took[k] = v
	}
	return f.offers, took
}

type transport struct {
	far     *far
	mailbox string
}

// Send implements outbound.Transport. What is in doubt was taken.
func (t transport) Send(ctx context.Context, e mail.Envelope, b mail.Body) (outbound.Receipt, error) {
	f := t.far
	f.mu.Lock()
	f.offers++
	f.running[t.mailbox]++
	f.peak[t.mailbox] = max(f.peak[t.mailbox], f.running[t.mailbox])
	answer := f.answer
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.running[t.mailbox]--
		f.mu.Unlock()
	}()
	r, err := b.Open()
	if err != nil {
		return outbound.Receipt{}, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return outbound.Receipt{}, err
	}
	receipt, err := outbound.Receipt{}, error(nil)
	if answer != nil {
		receipt, err = answer(ctx, t.mailbox, e)
	}
	f.note(e, receipt, err)
	return receipt, err
}

func (f *far) note(e mail.Envelope, r outbound.Receipt, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && fault.Of(err) != fault.InDoubt {
		return
	}
	refused := map[string]bool{}
	for _, x := range r.Refused {
		refused[x.Address] = true
	}
	for _, to := range e.Recipients {
		if !refused[to.Address] {
			f.took[to.Address]++
		}
	}
}

func (t transport) Close() error {
	t.far.mu.Lock()
	defer t.far.mu.Unlock()
	t.far.closed++
	return nil
}

// bench is a Sender that runs.
type bench struct {
	*outbound.Sender
	box  *outboundtest.Memory
	far  *far
	stop func() // tells it to stop and waits until it has
}

func settings(mailbox string, pool int) tokenclient.Settings {
	return tokenclient.Settings{
		Mailbox: mailbox, Direction: tokenclient.Outbound, Protocol: tokenclient.SMTP,
		Outbound: tokenclient.OutboundSettings{PoolSize: pool, OnUnknown: tokenclient.RetryUnknown},
	}
}

// run starts a Sender over a store that may be there already.
func run(t *testing.T, box *outboundtest.Memory, f *far, all ...tokenclient.Settings) *bench {
	t.Helper()
	return start(t, &outbound.Sender{Protocol: "SMTP", Outbox: box, Log: quiet, Board: &outbound.Board{}}, box, f, all...)
}

// start lets a Sender run.
func start(t *testing.T, s *outbound.Sender, box *outboundtest.Memory, f *far, all ...tokenclient.Settings) *bench {
	t.Helper()
	s.Transport = func(s tokenclient.Settings) (outbound.Transport, error) { return transport{f, s.Mailbox}, nil }
	s.Set(all)
	return &bench{s, box, f, send(t, s)}
}

// send lets a Sender send until stop is called, or the test ends.
func send(t *testing.T, s *outbound.Sender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func submit(t *testing.T, box *outboundtest.Memory, mailbox string, to ...string) {
	t.Helper()
	e := mail.Envelope{From: mailbox}
	for _, a := range to {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: a})
	}
	if _, err := box.Add(t.Context(), outbound.Submission{Mailbox: mailbox, Envelope: e, Body: strings.NewReader("Subject: x\r\n\r\n")}); err != nil {
		t.Fatal(err)
	}
}

// status is the one message that is left.
func status(t *testing.T, box *outboundtest.Memory) outbound.Status {
	t.Helper()
	all, err := box.List(t.Context(), "", 100)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d messages left, want 1; %v", len(all), err)
	}
	return all[0]
}

func empty(t *testing.T, box *outboundtest.Memory) {
	t.Helper()
	if all, err := box.List(t.Context(), "", 100); err != nil || len(all) != 0 {
		t.Fatalf("left in the outbox: %+v, %v", all, err)
	}
}

// inBubble runs a test on virtual time.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// after lets virtual time pass and everything settle.
func after(d time.Duration) {
	time.Sleep(d) // virtual: see inBubble
	synctest.Wait()
}

func reply(kind fault.Kind, text string) error { return fault.New(kind, errors.New(text)) }
