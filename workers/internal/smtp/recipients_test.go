package smtp_test

import (
	"errors"
	"slices"
	"testing"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/outbound"
)

func refused(r outbound.Receipt) (all []string) {
	for _, f := range r.Refused {
		if !errors.Is(f.Err, outbound.ErrNextTurn) || fault.Of(f.Err) != fault.Temporary {
			continue
		}
		all = append(all, f.Address)
	}
	return all
}

// Whoever is refused because others came first is left for another transaction, and the next one asks for no more than
// the server took: refusals count as errors, and too many of them end the connection.
func TestTooManyRecipients(t *testing.T) {
	const a, b, c, d = "a@x.example", "b@x.example", "c@x.example", "d@x.example"
	rcpt := step{"RCPT", "250 ok"}
	tail := []step{{"DATA", "354 go"}, {"message", "250 done"}}
	second := with([]step{{"MAIL", "250 ok"}, rcpt, rcpt}, tail)
	for name, script := range map[string][]step{
		"one by one":       with(opened(), []step{{"MAIL", "250 ok"}, rcpt, rcpt, {"RCPT", "452 too many recipients"}}, tail, second),
		"a code alone":     with(opened(), []step{{"MAIL", "250 ok"}, rcpt, rcpt, {"RCPT", "452 4.5.3 enough"}}, tail, second),
		"old servers":      with(opened(), []step{{"MAIL", "250 ok"}, rcpt, rcpt, {"RCPT", "552 Too many recipients"}}, tail, second),
		"the server says":  with(opened("LIMITS MAILMAX=10 RCPTMAX=2"), second, second),
		"all at once":      with(opened("PIPELINING"), []step{{"MAIL", ""}, {"RCPT", ""}, {"RCPT", ""}, {"RCPT", ""}, {"RCPT", "250 ok\r\n250 ok\r\n250 ok\r\n452 4.5.3 enough\r\n452 4.5.3 enough"}}, tail, second),
		"limits, nonsense": with(opened("LIMITS RCPTMAX=x"), []step{{"MAIL", "250 ok"}, rcpt, rcpt, {"RCPT", "452 4.5.3 enough"}}, tail, second),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, script)
			tr := s.transport()
			for range 2 {
				r, err := tr.Send(t.Context(), to(a, b, c, d), hello)
				if err != nil || !slices.Equal(refused(r), []string{c, d}) {
					t.Fatalf("%v, %v after %q", r, err, s.all())
				}
			}
		})
	}
}

// A server that ends the connection over too many recipients was offered too many once.
func TestTooManyRecipientsEndTheConnection(t *testing.T) {
	first := with(opened("PIPELINING"), []step{{"MAIL", ""}, {"RCPT", ""}, {"RCPT", ""}, {"RCPT", "250 ok\r\n250 ok\r\n452 4.5.3 enough\r\n421 4.7.0 too many errors"}})
	s := serve(t, first, with(opened("PIPELINING"), []step{{"MAIL", ""}, {"RCPT", "250 ok\r\n250 ok"}, {"DATA", "354 go"}, {"message", "250 done"}}))
	tr := s.transport()
	if _, err := tr.Send(t.Context(), to(sales, office, support), hello); fault.Of(err) != fault.Temporary || err == nil {
		t.Fatal(err)
	}
	r, err := tr.Send(t.Context(), to(sales, office, support), hello)
	if err != nil || !slices.Equal(refused(r), []string{office, support}) {
		t.Errorf("%v, %v after %q", r, err, s.all())
	}
}

// A refusal of the very first recipient is about something else, and bounds nothing.
func TestFirstOfTooManyRecipients(t *testing.T) {
	s := serve(t, with(opened(), []step{{"MAIL", "250 ok"}, {"RCPT", "452 4.5.3 enough"}, {"RCPT", "250 ok"}, {"DATA", "354 go"}, {"message", "250 done"}}))
	r, err := s.transport().Send(t.Context(), to(sales, office), hello)
	if err != nil || len(r.Refused) != 1 || errors.Is(r.Refused[0].Err, outbound.ErrNextTurn) {
		t.Errorf("%v, %v", r, err)
	}
}
