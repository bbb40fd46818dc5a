package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"

	outboxv1 "mailporter/gen/mailporter/outbox/v1"
)

const (
	maxChunk   = 1 << 20 // bytes
	maxRequest = 128     // characters of a request_id
)

// Submit implements outboxv1.OutboxServiceServer.
func (s *Server) Submit(stream grpc.ClientStreamingServer[outboxv1.SubmitRequest, outboxv1.SubmitResponse]) error {
	ctx := stream.Context()
	by, err := s.caller(ctx)
	if err != nil {
		return err
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return later("BUSY", fmt.Sprintf("%d submissions are coming in already", cap(s.slots)), "try again, with the same request_id", patience)
	}
	parts := &parts{recv: stream.Recv, idle: s.config.Idle}
	header, err := parts.header()
	if err != nil {
		return err
	}
	m, err := s.admit(by, header)
	if err != nil {
		return err
	}
	m.Body = s.config.Guard(parts)
	answer, err := s.take(ctx, m)
	if err != nil {
		return err
	}
	return stream.SendAndClose(answer)
}

// take moves a message into the Outbox.
func (s *Server) take(ctx context.Context, m outbound.Submission) (*outboxv1.SubmitResponse, error) {
	// Only Add makes sure that a message is durable, known or not, so it is asked all the same.
	before, err := s.outbox.Requested(ctx, m.Mailbox, m.Request)
	if err != nil {
		return nil, s.fromOutbox(ctx, "look for a request", err)
	}
	id, err := s.outbox.Add(ctx, m)
	if err != nil {
		return nil, s.fromOutbox(ctx, "add a message", err)
	}
	return &outboxv1.SubmitResponse{Id: id, Mailbox: m.Mailbox, Known: id == before}, nil
}

// admit makes a submission of its header, if the caller may submit it.
func (s *Server) admit(by intake.Submitter, h *outboxv1.SubmissionHeader) (m outbound.Submission, err error) {
	if !isRequest(h.GetRequestId()) {
		return m, invalid("REQUEST_ID_INVALID", "request_id is 1 to 128 visible ASCII characters", "give every message a name of its own, for example a UUID")
	}
	if size := h.GetSizeBytes(); size > s.config.MaxSize {
		return m, refuse(codes.ResourceExhausted, string(intake.TooLarge), fmt.Sprintf("At most %d bytes", s.config.MaxSize), "")
	}
	// Request ids hold no blanks: no two pairs of a caller and an id make one name.
	m.Request = "grpc " + by.Name + " " + h.GetRequestId()
	m.Envelope = envelope(h.GetEnvelope())
	if err := s.config.Check(&m.Envelope); err != nil {
		return m, fromRefusal(intake.AsRefusal(err))
	}
	if m.Mailbox, err = s.mailbox(by, h.GetMailbox(), m.Envelope.From); err != nil {
		return m, fromRefusal(intake.AsRefusal(err))
	}
	return m, nil
}

func (s *Server) mailbox(by intake.Submitter, named, from string) (string, error) {
	if named != "" {
		return s.config.Named(s.senders, by, named, from)
	}
	return s.config.Mailbox(s.senders, by, from)
}

func isRequest(s string) bool {
	return s != "" && len(s) <= maxRequest && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func envelope(e *outboxv1.Envelope) mail.Envelope {
	out := mail.Envelope{
		From: e.GetSender(), Return: strings.ToUpper(e.GetRet()), ID: e.GetEnvid(), UTF8: e.GetSmtputf8(), EightBit: e.GetBody_8BitMime(),
	}
	for _, to := range e.GetRecipients() {
		out.Recipients = append(out.Recipients, mail.Recipient{Address: to.GetAddress(), Notify: strings.ToUpper(to.GetNotify()), Original: to.GetOriginal()})
	}
	return out
}

// parts reads a submission: the header, and then, as an io.Reader, the message.
type parts struct {
	recv func() (*outboxv1.SubmitRequest, error)
	idle time.Duration
	want int64 // bytes in all; 0 = unknown
	got  int64
	rest []byte
}

// next is the next part, or io.EOF. A caller that is silent for too long is given up: when the call ends, recv does too.
func (p *parts) next() (*outboxv1.SubmitRequest, error) {
	type received struct {
		part *outboxv1.SubmitRequest
		err  error
	}
	came := make(chan received, 1)
	go func() {
		part, err := p.recv()
		came <- received{part, err}
	}()
	silence := time.NewTimer(p.idle)
	defer silence.Stop()
	select {
	case r := <-came:
		return r.part, r.err
	case <-silence.C:
		return nil, refuse(codes.DeadlineExceeded, "SILENT", fmt.Sprintf("nothing came for %v", p.idle), "submit it again, with the same request_id")
	}
}

func (p *parts) header() (*outboxv1.SubmissionHeader, error) {
	part, err := p.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	h := part.GetHeader()
	if h == nil {
		return nil, invalid("HEADER_MISSING", "a submission begins with its header", "")
	}
	p.want = h.GetSizeBytes()
	return h, nil
}

// Read implements io.Reader.
func (p *parts) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		part, err := p.next()
		switch {
		case errors.Is(err, io.EOF):
			return 0, p.end()
		case err != nil:
			return 0, err
		case part.GetHeader() != nil:
			return 0, invalid("HEADER_TWICE", "a submission has one header", "submit each message in a call of its own")
		}
		if p.rest = part.GetChunk(); len(p.rest) > maxChunk {
			return 0, invalid("CHUNK_TOO_LARGE", fmt.Sprintf("a chunk has at most %d bytes", maxChunk), "send smaller ones")
		}
	}
	n := copy(b, p.rest)
	p.rest, p.got = p.rest[n:], p.got+int64(n)
	return n, nil
}

// end is io.EOF if everything came that was announced.
func (p *parts) end() error {
	if p.want > 0 && p.got != p.want {
		return invalid("SIZE_DIFFERS", fmt.Sprintf("%d bytes came where size_bytes says %d", p.got, p.want), "submit it whole, with the same request_id")
	}
	return io.EOF
}
