package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"mailporter/sandbox/internal/stage"
)

// patience is how long a worker may take for all its mailboxes.
const patience = 3 * time.Minute

// work lets a worker read its mailboxes once.
func (b *bench) work(ctx context.Context, program, identity string, mailboxes int) (outcome, error) {
	t, err := b.trial()
	if err != nil {
		return outcome{}, err
	}
	w, err := t.employ(ctx, program, identity)
	if err != nil {
		return outcome{}, err
	}
	end, err := b.finished(ctx, mailboxes)
	if err := errors.Join(err, stage.StopAll([]*stage.Program{w})); err != nil {
		return outcome{}, err
	}
	moved, _, err := count(t.Dir)
	return outcome{moved: moved, took: end.Sub(w.Began())}, err
}

// employ starts a worker.
func (t *trial) employ(ctx context.Context, program, identity string) (*stage.Program, error) {
	t.Identity = identity
	// A port of its own each time: between two runs a connection of somebody else may take one that was free before.
	if err := stage.FreePorts(&t.Ports.Worker); err != nil {
		return nil, err
	}
	config, err := t.configure("worker.yaml")
	if err != nil {
		return nil, err
	}
	w, err := stage.Launch(ctx, t.Dir, program, answers(t.Ports.Worker, "/mailboxes"), t.program(program, config)...)
	if err != nil && w != nil {
		err = errors.Join(err, stage.StopAll([]*stage.Program{w}))
	}
	return w, err
}

// standing is what the worker says of one folder.
type standing struct {
	Mailbox     string    `json:"mailbox"`
	LastSuccess time.Time `json:"last_success"`
	Failure     *struct {
		Text string `json:"text"`
	} `json:"failure"`
}

// finished waits until the worker has read every mailbox to its end, and returns when it had read the last one.
func (b *bench) finished(ctx context.Context, mailboxes int) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		all, err := b.standings(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if end, done := last(all, mailboxes); done {
			return end, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("the worker has not read all mailboxes: %w; %s", ctx.Err(), complaint(all))
		}
	}
}

// last is when the last of so many mailboxes was read to its end; false: one was not.
func last(all []standing, mailboxes int) (end time.Time, done bool) {
	for _, s := range all {
		if s.LastSuccess.IsZero() {
			return time.Time{}, false
		}
		if s.LastSuccess.After(end) {
			end = s.LastSuccess
		}
	}
	return end, len(all) == mailboxes
}

// complaint is the first failure, for people.
func complaint(all []standing) string {
	for _, s := range all {
		if s.Failure != nil {
			return s.Mailbox + ": " + s.Failure.Text
		}
	}
	return fmt.Sprintf("it reads %d", len(all))
}

func (b *bench) standings(ctx context.Context) (all []standing, err error) {
	return all, b.ask(ctx, http.MethodGet, b.Ports.Worker, "/mailboxes", nil, &all)
}

// ask sends a request to an admin listener and reads the JSON that it answers with into answer, unless that is nil.
func (b *bench) ask(ctx context.Context, method string, port int, path string, body io.Reader, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}
