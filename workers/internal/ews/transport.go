package ews

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// Transport sends the mail of one mailbox. It is safe for use by many goroutines.
type Transport struct {
	client *client
	owner  string        // whose folders to use; empty = the mailbox that the credential opens
	turns  chan struct{} // one for each request that may run
}

var (
	_ outbound.Drafter = (*Transport)(nil)
	_ outbound.Bounded = (*Transport)(nil)
)

// most is how many requests Exchange takes at a time from one account.
const most = 27

// NewTransport makes a mailbox's Transport; it connects with the first request. The error is about the settings.
func NewTransport(c TransportConfig, s tokenclient.Settings, b tokenclient.Broker) (*Transport, error) {
	s.Endpoint = complete(s)
	if err := checkEndpoint(s, b); err != nil {
		return nil, err
	}
	t := &Transport{turns: make(chan struct{}, min(max(s.Outbound.PoolSize, 1), most))}
	anchor := s.Endpoint.User
	if !s.Endpoint.Impersonate { // who logs in need not be who sends: a shared mailbox has no login of its own
		t.owner, anchor = s.Mailbox, s.Mailbox
	}
	var err error
	if t.client, err = newClient(Config{Settings: s, Broker: b, Roots: c.Roots}, anchor, cap(t.turns)); err != nil {
		return nil, err
	}
	return t, nil
}

// Parallel implements outbound.Bounded: a message has one request at a time.
func (t *Transport) Parallel() int { return most }

// Close implements outbound.Transport.
func (t *Transport) Close() error {
	t.client.http.CloseIdleConnections()
	return nil
}

// call makes a request when its turn comes.
func (t *Transport) call(ctx context.Context, r request) ([]message, error) {
	select {
	case t.turns <- struct{}{}:
		defer func() { <-t.turns }()
	case <-ctx.Done():
		return nil, fault.New(fault.Temporary, fmt.Errorf("%s: %w", r.what, context.Cause(ctx)))
	}
	all, err := t.client.call(ctx, r)
	return all, r.outgoing(err)
}

// one is for requests about one object.
func (t *Transport) one(ctx context.Context, r request) (message, error) {
	all, err := t.call(ctx, r)
	if err != nil {
		return message{}, err
	}
	if err := all[0].fault(); err != nil {
		return message{}, r.outgoing(fmt.Errorf("%s: %w", r.what, err))
	}
	return all[0], nil
}

// Send implements outbound.Transport.
func (t *Transport) Send(ctx context.Context, e mail.Envelope, b mail.Body) (outbound.Receipt, error) {
	name, err := t.Draft(ctx, e, b)
	if err != nil {
		return outbound.Receipt{}, err
	}
	err = t.SendDraft(ctx, name)
	if k := fault.Of(err); err != nil && k != fault.InDoubt && k != fault.Permanent { // removed already if permanent
		t.discard(ctx, name) // nobody remembers it
	}
	return outbound.Receipt{}, err
}

// discard removes a draft as well as can be: one that stays behind is a nuisance and no more.
func (t *Transport) discard(ctx context.Context, name string) {
	if d, err := readDraft(name); err == nil {
		_, _ = t.one(ctx, request{what: "remove the draft", body: deleteBody([]string{d.ID})})
	}
}

// Draft implements outbound.Drafter.
func (t *Transport) Draft(ctx context.Context, e mail.Envelope, b mail.Body) (string, error) {
	bcc, err := unnamed(e, b)
	if err != nil {
		return "", err
	}
	d := draft{Version: version, Mark: rand.Text()}
	m, err := t.one(ctx, createRequest(t.owner, d.Mark, bcc, b))
	switch {
	case fault.Of(err) == fault.InDoubt:
		return t.adopt(ctx, d.Mark, err)
	case err != nil:
		return "", err
	}
	return m.Items.draft(d.Mark).name()
}

// unnamed is whom the message does not name. Exchange sends to everybody whom its header names, and to nobody else.
func unnamed(e mail.Envelope, b mail.Body) (bcc []string, err error) {
	content, err := b.Open()
	if err != nil {
		return nil, fault.New(fault.Temporary, err)
	}
	bcc, err = mail.Unnamed(e, content)
	err = errors.Join(err, content.Close())
	var mismatch *mail.HeaderError
	if errors.As(err, &mismatch) {
		return nil, &fault.Error{Kind: fault.Permanent, Reason: "HEADER_RECIPIENTS", Err: err, Remedy: headerRecipients}
	}
	return bcc, fault.New(fault.Temporary, err)
}

// adopt looks for a draft of which no answer told: it may be there all the same. cause is why there was no answer.
func (t *Transport) adopt(ctx context.Context, mark string, cause error) (string, error) {
	if fate, d, err := t.find(ctx, mark); err == nil && fate == outbound.Waiting {
		return d.name()
	}
	return "", fault.New(fault.Temporary, cause) // a draft is not sent by itself: nothing is in doubt
}

// draft is the first of them, or a zero one.
func (all items) draft(mark string) draft {
	d := draft{Version: version, Mark: mark}
	if len(all.All) > 0 {
		d.ID, d.ChangeKey = all.All[0].ID.ID, all.All[0].ID.ChangeKey
	}
	return d
}

// SendDraft implements outbound.Drafter.
func (t *Transport) SendDraft(ctx context.Context, name string) error {
	d, err := readDraft(name)
	if err != nil {
		return err
	}
	_, err = t.one(ctx, sendRequest(t.owner, d))
	if moved(err) {
		d, err = t.sendAgain(ctx, d, err)
	}
	if err != nil && fault.Of(err) == fault.Permanent {
		_, _ = t.one(ctx, request{what: "remove the draft", body: deleteBody([]string{d.ID})}) // as well as can be
	}
	return err
}

// moved says that the draft is not where, or not as, it was when it was named: sent already, or touched by somebody.
func moved(err error) bool {
	return err != nil && (fault.Of(err) == fault.Gone || hasReason(err, staleReasons...))
}

// sendAgain looks for a draft that moved, and sends it if it still waits. cause is why it could not be sent.
func (t *Transport) sendAgain(ctx context.Context, d draft, cause error) (draft, error) {
	fate, now, err := t.find(ctx, d.Mark)
	switch {
	case err != nil:
		return d, fault.New(fault.InDoubt, errors.Join(cause, err))
	case fate == outbound.Gone:
		return d, nil
	case fate == outbound.Vanished:
		return d, fault.New(fault.InDoubt, fmt.Errorf("the draft is neither among the drafts nor among the sent items: %w", cause))
	}
	_, err = t.one(ctx, sendRequest(t.owner, now))
	return now, err
}

// Look implements outbound.Drafter. A name of another making vanished: it is not to be found here.
func (t *Transport) Look(ctx context.Context, name string) (outbound.Fate, error) {
	d, err := readDraft(name)
	if err != nil {
		return outbound.Vanished, nil //nolint:nilerr // the mailbox had another server-type when the draft was made
	}
	fate, _, err := t.find(ctx, d.Mark)
	return fate, err
}

// find looks for a mark, and for the current id of a draft that waits.
func (t *Transport) find(ctx context.Context, mark string) (outbound.Fate, draft, error) {
	r := findRequest(t.owner, mark)
	all, err := t.call(ctx, r)
	if err == nil && len(all) != searched {
		err = fault.Newf(fault.Temporary, "%s: the answer is about %d folders, not %d", r.what, len(all), searched)
	}
	if err != nil {
		return outbound.Vanished, draft{}, err
	}
	fate, d := outbound.Vanished, draft{}
	for i, m := range all {
		if err := m.fault(); err != nil {
			return outbound.Vanished, draft{}, r.outgoing(fmt.Errorf("%s: %w", r.what, err))
		}
		switch found := m.RootFolder.Items; {
		case len(found.All) == 0:
		case i == 0 && !found.All[0].Submitted: // the drafts
			fate, d = outbound.Waiting, found.draft(mark)
		default: // on its way out, or there already
			return outbound.Gone, draft{}, nil
		}
	}
	return fate, d, nil
}
