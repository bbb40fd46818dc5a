package graph

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/slots"
	"mailporter/workers/internal/web"
)

// TransportConfig is what all mailboxes of a worker share. The zero value works.
type TransportConfig struct {
	Roots *x509.CertPool // whom to trust; nil = the system's
	Slots slots.Slots    // as Config's
}

// Transport sends from one mailbox, in two steps. It may be used by many goroutines.
type Transport struct {
	*client
	room chan struct{} // one for each request that may run
}

var (
	_ outbound.Drafter     = (*Transport)(nil)
	_ outbound.DraftFinder = (*Transport)(nil)
	_ outbound.Bounded     = (*Transport)(nil)
)

// NewTransport makes the Transport of a mailbox; it does not connect yet. The error joins all complaints about s.
func NewTransport(c TransportConfig, s tokenclient.Settings, b tokenclient.Broker) (*Transport, error) {
	config := Config{Settings: s, Broker: b, Roots: c.Roots, Slots: c.Slots}.Default()
	err := config.checkOutbound()
	if err == nil {
		var cl *client
		if cl, err = newClient(config); err == nil {
			return &Transport{cl, make(chan struct{}, room(s.Outbound.PoolSize))}, nil
		}
	}
	return nil, fmt.Errorf("mailbox %s: %w", s.Mailbox, err)
}

// room is how many requests of the pool may run at a time: Exchange refuses a fifth.
func room(poolSize int) int {
	if poolSize < 1 {
		return parallel
	}
	return min(poolSize, parallel)
}

// Parallel implements outbound.Bounded: a message has one request at a time.
func (t *Transport) Parallel() int { return parallel }

// checkOutbound joins all complaints about a mailbox that sends.
func (c Config) checkOutbound() error {
	var errs []error
	e := c.Settings.Endpoint
	if e.Server == "" || e.Port < 1 || e.Port > 65535 {
		errs = append(errs, fmt.Errorf("server %q, port %d: name the host of Graph, such as graph.microsoft.com", e.Server, e.Port))
	}
	if e.Security != tokenclient.TLS {
		errs = append(errs, fmt.Errorf("security %s: Graph is reached with ssl-tls only", e.Security))
	}
	if e.Mechanism != tokenclient.Bearer {
		errs = append(errs, fmt.Errorf("mechanism %s: Graph takes access tokens only", e.Mechanism))
	}
	if c.Broker == nil {
		errs = append(errs, errors.New("no broker to ask for tokens"))
	}
	return errors.Join(errs...)
}

// enter waits for room for a request.
func (t *Transport) enter(ctx context.Context) (release func(), err error) {
	select {
	case t.room <- struct{}{}:
		return func() { <-t.room }, nil
	case <-ctx.Done():
		return nil, fault.New(fault.Temporary, context.Cause(ctx))
	}
}

// call makes a request when there is room for it; v gets the answer, nil: it is of no interest.
func (t *Transport) call(ctx context.Context, r request, v any) error {
	release, err := t.enter(ctx)
	if err != nil {
		return err
	}
	defer release()
	if !r.final {
		return person(t.read(ctx, r, v))
	}
	body, err := t.open(ctx, r)
	if err != nil {
		return person(err)
	}
	_ = body.Close() // it was accepted, whatever becomes of the connection
	return nil
}

// Send implements outbound.Transport. Nobody remembers its draft: what is not sent is removed.
func (t *Transport) Send(ctx context.Context, e mail.Envelope, b mail.Body) (outbound.Receipt, error) {
	draft, err := t.Draft(ctx, e, b)
	if err != nil {
		return outbound.Receipt{}, err
	}
	err = t.SendDraft(ctx, draft)
	if k := fault.Of(err); err != nil && k != fault.InDoubt && k != fault.Permanent {
		t.discard(ctx, draft)
	}
	return outbound.Receipt{}, err
}

// SendDraft implements outbound.Drafter.
func (t *Transport) SendDraft(ctx context.Context, draft string) error {
	if draft == "" {
		return fault.Newf(fault.Gone, "send: there is no draft")
	}
	err := t.call(ctx, request{what: "send", method: http.MethodPost, url: t.url("", "messages", draft, "send"), final: true}, nil)
	if err != nil && fault.Of(err) == fault.Permanent {
		t.discard(ctx, draft)
	}
	return err
}

// Look implements outbound.Drafter. An immutable id stays when Exchange moves what it sent to Sent Items.
func (t *Transport) Look(ctx context.Context, draft string) (outbound.Fate, error) {
	if draft == "" {
		return outbound.Vanished, nil
	}
	var found struct{ IsDraft *bool }
	err := t.call(ctx, request{what: "look for the draft", method: http.MethodGet, url: t.url("$select=isDraft", "messages", draft)}, &found)
	switch {
	case err != nil && fault.Of(err) == fault.Gone:
		return outbound.Vanished, nil
	case err != nil:
		return outbound.Vanished, err
	case found.IsDraft == nil:
		return outbound.Vanished, fault.Newf(fault.Temporary, "look for the draft: the answer does not say whether it is one")
	case *found.IsDraft:
		return outbound.Waiting, nil
	}
	return outbound.Gone, nil
}

// patience is how long may be spent on removing a draft that nobody wants.
const patience = 10 * time.Second

// discard removes a draft as well as can be: one that stays behind is never sent.
func (t *Transport) discard(ctx context.Context, draft string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_ = t.call(ctx, request{what: "remove the draft", method: http.MethodDelete, url: t.url("", "messages", draft)}, nil)
}

// Close implements outbound.Transport.
func (t *Transport) Close() error {
	t.http.CloseIdleConnections()
	return nil
}

// actors are the refusals that hold for all mail of the mailbox until a person acts.
var actors = map[string]bool{"ACCESS_DENIED": true, "ACCOUNT_BLOCKED": true, "OVER_QUOTA": true, "NO_MAILBOX": true, "NO_SUCH_USER": true}

// person marks an error that only a person can mend: mail waits for it and is not given up. It also marks that the server is
// away, so that mail waits together.
func person(err error) error {
	if web.IsNotConnected(err) {
		return outbound.Unreachable(err)
	}
	var e *fault.Error
	if errors.As(err, &e) && actors[e.Reason] {
		waiting := *e
		waiting.Kind = fault.Auth
		return &waiting // no refusal of a token: Use has had its say
	}
	return err
}
