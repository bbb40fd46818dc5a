package program

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/setup"
	"mailporter/workers/internal/sink/maildir"
)

// sinks are the places to deliver to, by the names that deliver-to may have.
type sinks map[string]inbound.Sink

func openSinks(all map[string]setup.Sink) (sinks, error) {
	opened := sinks{}
	for name, s := range all {
		m, err := maildir.New(s.Maildir)
		if err != nil {
			return nil, fmt.Errorf("sink %s: %w", name, err)
		}
		opened[name] = m
	}
	return opened, nil
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
