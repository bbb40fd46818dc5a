package pop3

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// Settle implements inbound.Source. Deleting ends the session: only QUIT removes (RFC 1939 section 6).
func (s *Source) Settle(ctx context.Context, ids []string) error {
	if s.config.Settings.Inbound.After != tokenclient.Delete || len(ids) == 0 {
		return nil
	}
	sess, err := s.listed(ctx)
	if err != nil {
		return err
	}
	numbers := sess.drop.removable(ids)
	if len(numbers) == 0 {
		return nil
	}
	defer func() { s.session, s.walk = nil, nil }()
	defer sess.abort()
	left, err := sess.mark(ctx, numbers)
	if err != nil {
		return err
	}
	if err := sess.do(ctx, "QUIT", func() error { _, err := sess.command("QUIT"); return err }); err != nil {
		return err
	}
	sess.awaitClose()
	return left
}

// deleteBatch is how many DELE are sent before their answers are read. Both fit in the buffers of a socket.
const deleteBatch = 64

// mark sends DELE for all. left is about messages that are there and will not be deleted: the others may still be.
func (s *session) mark(ctx context.Context, numbers []int) (left, err error) {
	size := 1
	if s.caps.has("PIPELINING") {
		size = deleteBatch
	}
	err = s.do(ctx, "DELE", func() error {
		if err := s.land(); err != nil {
			return err
		}
		for batch := range slices.Chunk(numbers, size) {
			if err := s.markBatch(batch, &left); err != nil {
				return err
			}
		}
		return nil
	})
	return left, err
}

// markBatch sends some DELE at once.
func (s *session) markBatch(numbers []int, left *error) error {
	commands := make([]string, 0, len(numbers))
	for _, n := range numbers {
		commands = append(commands, fmt.Sprintf("DELE %d", n))
	}
	if err := s.send(commands...); err != nil {
		return err
	}
	said := map[int]*refused{}
	for _, n := range numbers {
		var no *refused
		if _, err := readReply(s.in); errors.As(err, &no) {
			said[n] = no
		} else if err != nil {
			return err
		}
	}
	return s.unmarked(said, left)
}

// unmarked looks whether messages that the server would not delete are gone, as they should be.
func (s *session) unmarked(said map[int]*refused, left *error) error {
	for n, no := range said {
		there, err := s.has(n)
		if err != nil {
			return err
		}
		if there {
			*left = &fault.Error{Kind: fault.Temporary, Reason: "DELETE_REFUSED", Err: fmt.Errorf("DELE: %w", no),
				Remedy: "allow the mailbox's user to delete, or use disposition keep"}
		}
	}
	return nil
}
