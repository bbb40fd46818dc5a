package program

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/setup"
	"mailporter/workers/internal/sink/lmtp"
	"mailporter/workers/internal/sink/maildir"
	"mailporter/workers/internal/sink/stream"
	"mailporter/workers/internal/sink/webhook"
)

// sinks are the places to deliver to, by the names that deliver-to may have.
type sinks map[string]inbound.Sink

func openSinks(all map[string]setup.Sink, d inbound.Deliveries) (sinks, error) {
	opened := sinks{}
	for name, s := range all {
		sink, err := openSink(s, d)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("sink %s: %w", name, err), opened.Close())
		}
		opened[name] = sink
	}
	return opened, nil
}

func openSink(s setup.Sink, d inbound.Deliveries) (inbound.Sink, error) {
	switch {
	case s.LMTP != nil:
		return lmtp.New(*s.LMTP, d)
	case s.Webhook != nil:
		return webhook.New(*s.Webhook)
	case s.Stream != nil:
		return stream.New(*s.Stream)
	}
	return maildir.New(s.Maildir)
}

// Close ends the connections of those that have some. No Put may run.
func (s sinks) Close() error {
	var errs []error
	for _, sink := range s {
		if c, ok := sink.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// find is for a mailbox's deliver-to.
func (s sinks) find(name string) (inbound.Sink, error) {
	if name == "" {
		name = "default"
	}
	if sink, ok := s[name]; ok {
		return sink, nil
	}
	names := strings.Join(slices.Sorted(maps.Keys(s)), ", ")
	return nil, fmt.Errorf("deliver-to %q: this worker has no such sink; it has %s", name, names)
}
