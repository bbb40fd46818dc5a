package redis

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

const (
	mailboxes = prefix + "mailboxes"
	// chunk is how much of a message one field holds, in bytes: Redis does nothing else while it moves one.
	chunk = 512 << 10
	// maxBody bounds a message, in bytes: Redis keeps it all in memory. Exchange Online takes 150 MB at most.
	maxBody = 256 << 20
	// orphanLife is how long a body without its job is kept: the time between its first chunk and the script that adds it.
	orphanLife = time.Hour
	// requestMemory is how long the id of a submission is remembered.
	requestMemory = 7 * 24 * time.Hour
)

type outbox struct{ *Store }

// box is a mailbox's outbox, by the tag of the mailbox.
type box string

func boxOf(mailbox string) box { return box(tag(mailbox)) }

// prefix begins its keys.
func (b box) prefix() string { return prefix + "{m:" + string(b) + "}:" }

func (b box) keys() []string {
	p := b.prefix()
	return []string{p + "due", p + "claimed", p + "all"}
}

func boxPrefix(mailbox string) string { return boxOf(mailbox).prefix() }

func boxKeys(mailbox string) []string { return boxOf(mailbox).keys() }

func bodyKey(mailbox, id string) string { return boxPrefix(mailbox) + "body:" + id }

var (
	errNobody = fault.Newf(fault.Permanent, "the message has no recipients")
	errTooBig = fault.Newf(fault.Permanent, "the message has more than %d bytes: redis does not keep larger ones", maxBody)
	errHoles  = errors.New("some of the message's bytes are lost; redis was restarted, or it took too long")
)

// Add implements outbound.Outbox. The bytes come first, in chunks, and lapse by themselves; the message exists once the
// script has run.
func (s outbox) Add(ctx context.Context, m outbound.Submission) (string, error) {
	if len(m.Envelope.Recipients) == 0 {
		return "", errNobody
	}
	id := newID(m.Mailbox)
	size, chunks, err := s.storeBody(ctx, bodyKey(m.Mailbox, id), m.Body)
	if err != nil {
		s.dropBody(m.Mailbox, id)
		return "", err
	}
	added, err := s.addJob(ctx, m, id, size, chunks)
	if err != nil {
		// It may be there: the submitter hears no and tries again. If it is not, its bytes lapse.
		return "", fmt.Errorf("add message: %w", err)
	}
	if added != id {
		s.dropBody(m.Mailbox, id)
		return added, nil
	}
	s.signal()
	return id, nil
}

// addJob makes a job of bytes that are there and returns its id: an older one's if the request is known.
func (s outbox) addJob(ctx context.Context, m outbound.Submission, id string, size int64, chunks int) (string, error) {
	addresses := make([]string, len(m.Envelope.Recipients))
	for i, r := range m.Envelope.Recipients {
		addresses[i] = r.Address
	}
	list, err := json.Marshal(addresses)
	if err != nil {
		return "", err
	}
	envelope, err := json.Marshal(m.Envelope)
	if err != nil {
		return "", err
	}
	// First: a mailbox without jobs does no harm, a job without its mailbox would not be listed.
	if err := s.client.SAdd(ctx, mailboxes, m.Mailbox).Err(); err != nil {
		return "", err
	}
	var added string
	err = ifReplicated(ctx, false, func(ctx context.Context) (err error) {
		added, err = addJob.Run(ctx, s.client, boxKeys(m.Mailbox), boxPrefix(m.Mailbox), id, m.Request, int(requestMemory.Seconds()),
			envelope, size, chunks, m.Mailbox, list).Text()
		if err == nil && added == "" {
			err = errHoles
		}
		return err
	})
	return added, err
}

// buffers hold a chunk each, and have grown to what they had to hold: most messages are far smaller.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// storeBody writes the message's bytes as fields 0, 1, 2... of a hash, at least one.
func (s *Store) storeBody(ctx context.Context, key string, r io.Reader) (size int64, chunks int, err error) {
	buffer := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buffer)
	for {
		buffer.Reset()
		n, err := io.CopyN(buffer, r, chunk)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, fmt.Errorf("read message: %w", err)
		}
		if size += n; size > maxBody {
			return 0, 0, errTooBig
		}
		if n > 0 || chunks == 0 {
			if err := s.writeChunk(ctx, key, chunks, buffer.Bytes()); err != nil {
				return 0, 0, err
			}
			chunks++
		}
		if err != nil {
			return size, chunks, nil
		}
	}
}

func (s *Store) writeChunk(ctx context.Context, key string, i int, b []byte) error {
	pipe := s.client.TxPipeline()
	pipe.HSet(ctx, key, strconv.Itoa(i), b)
	pipe.Expire(ctx, key, orphanLife)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("store message: %w", err)
	}
	return nil
}

// dropBody deletes bytes that belong to no job. What it cannot delete lapses by itself.
func (s *Store) dropBody(mailbox, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = s.client.Unlink(ctx, bodyKey(mailbox, id)).Err()
}

// Open implements outbound.Outbox.
func (s outbox) Open(ctx context.Context, j outbound.Job) (io.ReadCloser, error) {
	key := bodyKey(j.Mailbox, j.ID)
	pipe := s.client.Pipeline()
	chunks, first := pipe.HLen(ctx, key), pipe.HGet(ctx, key, "0") // most messages have no other
	_, err := pipe.Exec(ctx)
	switch {
	case chunks.Err() == nil && chunks.Val() == 0:
		return nil, fmt.Errorf("open message %s: its bytes are not there", j.ID)
	case err != nil:
		return nil, fmt.Errorf("open message %s: %w", j.ID, err)
	}
	head, err := first.Bytes()
	return &body{ctx: ctx, store: s.Store, key: key, next: 1, chunks: int(chunks.Val()), rest: head}, err
}

// body reads a message chunk by chunk.
type body struct {
	ctx    context.Context // of Open: a reader has no other way to be told
	store  *Store
	key    string
	next   int
	chunks int
	rest   []byte
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.next == b.chunks {
			return 0, io.EOF
		}
		some, err := b.store.client.HGet(b.ctx, b.key, strconv.Itoa(b.next)).Bytes()
		if err != nil {
			return 0, fmt.Errorf("read message: %w", err)
		}
		b.rest, b.next = some, b.next+1
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (b *body) Close() error { return nil }

// Changed implements outbound.Outbox.
func (s outbox) Changed() <-chan struct{} { return s.changed }

func (s *Store) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// recipient is one of a job's as the scripts keep it.
type recipient struct {
	Address string         `json:"a"`
	State   outbound.State `json:"s"`
	Reason  string         `json:"r"`
	Changed string         `json:"c"`
}

func (r recipient) open() bool { return r.State != outbound.Sent && r.State != outbound.Dead }

// openOnes leaves the envelope's recipients that are neither sent nor dead.
func openOnes(e mail.Envelope, states []recipient) []mail.Recipient {
	var left []mail.Recipient
	for i, r := range states {
		if r.open() && i < len(e.Recipients) {
			left = append(left, e.Recipients[i])
		}
	}
	return left
}
