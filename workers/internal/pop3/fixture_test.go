package pop3_test

import (
	"errors"
	"io"
	"testing"

	"go.uber.org/goleak"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/pop3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const support = "support@contoso.example"

// page lists everything.
func page(t *testing.T, s *pop3.Source, after inbound.Cursor) inbound.Page {
	t.Helper()
	p, err := s.List(t.Context(), after, 100)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return p
}

func ids(p inbound.Page) (all []string) {
	for _, it := range p.Items {
		all = append(all, it.ID)
	}
	return all
}

func read(t *testing.T, s *pop3.Source, id string) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read: %v", err)
	}
	return b
}

// withLineEnd is a message as POP3 carries it: RFC 1939 section 3 ends it with a line end.
func withLineEnd(raw []byte) []byte {
	if n := len(raw); n == 0 || n >= 2 && string(raw[n-2:]) == "\r\n" {
		return raw
	}
	return append(raw[:len(raw):len(raw)], "\r\n"...)
}
