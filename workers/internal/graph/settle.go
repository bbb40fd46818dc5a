package graph

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// Settle implements inbound.Source.
func (s *Source) Settle(ctx context.Context, ids []string) error {
	in := s.config.Settings.Inbound
	switch {
	case len(ids) == 0:
		return nil
	case in.After == tokenclient.MarkRead:
		return s.each(ctx, ids, s.markRead)
	case in.After == tokenclient.Delete:
		return s.each(ctx, ids, s.remove)
	case in.After == tokenclient.Move:
		return s.moveAll(ctx, ids, in.AfterFolder)
	}
	return nil
}

// each does something with every message, as many at a time as Exchange lets. A message that left is done with.
func (s *Source) each(ctx context.Context, ids []string, do func(context.Context, string) error) error {
	s.ahead.Stop() // its requests would be in the way
	slots := make(chan struct{}, parallel)
	errs := make([]error, len(ids))
	var running sync.WaitGroup
	for i, id := range ids {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			if err := do(ctx, id); fault.Of(err) != fault.Gone || isNoFolder(err) {
				errs[i] = err
			}
		})
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err // the others will show again if they matter
		}
	}
	return nil
}

func (s *Source) markRead(ctx context.Context, id string) error {
	return s.read(ctx, request{what: "mark a message", method: http.MethodPatch, url: s.url("", "messages", id), body: map[string]bool{"isRead": true}}, nil)
}

// remove deletes a message past Deleted Items: it can be recovered for as long as the tenant keeps recoverable items.
func (s *Source) remove(ctx context.Context, id string) error {
	return s.read(ctx, request{what: "delete a message", method: http.MethodDelete, url: s.url("", "messages", id)}, nil)
}

// moveAll moves messages to a folder, which is made if it is missing.
func (s *Source) moveAll(ctx context.Context, ids []string, path string) error {
	to, err := s.ensure(ctx, path)
	if err != nil {
		return err
	}
	err = s.each(ctx, ids, func(ctx context.Context, id string) error {
		body := map[string]string{"destinationId": to}
		return s.read(ctx, request{what: "move a message", method: http.MethodPost, url: s.url("", "messages", id, "move"), body: body}, nil)
	})
	if isNoFolder(err) {
		clear(s.folders) // somebody removed it: it is made again next time
	}
	return err
}

// SetAside implements inbound.SetterAside.
func (s *Source) SetAside(ctx context.Context, id string) (bool, error) {
	to := s.config.Settings.Inbound.FailedFolder
	if to == "" {
		return false, nil
	}
	err := s.moveAll(ctx, []string{id}, to)
	return err == nil, err
}

func hasReason(err error, reason string) bool {
	var e *fault.Error
	return errors.As(err, &e) && e.Reason == reason
}

func isNoFolder(err error) bool { return hasReason(err, noSuchFolder) }
func isConflict(err error) bool { return hasReason(err, folderExists) }
