package outbound_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// clingy is a transport whose server takes a minute to say goodbye.
type clingy struct{ transport }

func (c clingy) Close() error {
	time.Sleep(time.Minute) // virtual
	return c.transport.Close()
}

// TestGoodbyesHoldNobodyUp: a server that does not answer to QUIT keeps neither new settings nor other mail waiting; who stops
// waits for it.
func TestGoodbyesHoldNobodyUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, f := &outboundtest.Memory{}, newFar()
		s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Log: quiet, Transport: func(s tokenclient.Settings) (outbound.Transport, error) {
			return clingy{transport{f, s.Mailbox}}, nil
		}}
		s.Set([]tokenclient.Settings{settings(support, 1), settings(sales, 1)})
		stop := send(t, s)
		after(0)
		began := time.Now()
		s.Set([]tokenclient.Settings{settings(support, 2), settings(sales, 1)})
		submit(t, box, support, ann)
		submit(t, box, sales, bob)
		after(time.Second)
		empty(t, box)
		if took := time.Since(began); took != time.Second {
			t.Errorf("new settings took %v", took)
		}
		stop()
		if f.closed != 3 {
			t.Errorf("%d transports closed, want 3", f.closed)
		}
	})
}

// TestWhoIsGoneIsForgotten: a mailbox that is taken away while a message of it is being sent does not come back to the pages
// with its end.
func TestWhoIsGoneIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, f, reg := &outboundtest.Memory{}, newFar(), prometheus.NewRegistry()
		f.says(func(context.Context, string, mail.Envelope) (outbound.Receipt, error) {
			time.Sleep(time.Minute) // virtual
			return outbound.Receipt{}, nil
		})
		s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Log: quiet, Board: &outbound.Board{}, Metrics: outbound.NewMetrics(reg, box)}
		b := start(t, s, box, f, settings(support, 1))
		submit(t, box, support, ann)
		after(time.Second)
		b.Set(nil)
		after(2 * time.Minute)
		empty(t, box)
		if all := s.Board.List(); len(all) != 0 {
			t.Errorf("still listed: %+v", all)
		}
		if n, err := testutil.GatherAndCount(reg, "outbound_last_success_seconds"); err != nil || n != 0 {
			t.Errorf("%d gauges of it are left, %v", n, err)
		}
	})
}

// TestTheStatusPageNamesNoCorrespondents: servers do, in their replies.
func TestTheStatusPageNamesNoCorrespondents(t *testing.T) {
	for name, err := range map[string]error{
		"a refusal":  reply(fault.Permanent, "550 5.1.1 <"+ann+"> no such user; sent by "+support),
		"a throttle": &fault.Error{Kind: fault.Throttled, After: time.Hour, Err: errors.New("452 4.5.3 too many messages to " + ann + " from " + support)},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				box, f := &outboundtest.Memory{}, newFar()
				f.fails(err)
				b := run(t, box, f, settings(support, 1))
				submit(t, box, support, ann)
				after(time.Second)
				w := httptest.NewRecorder()
				b.Board.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/mailboxes", nil))
				if page := w.Body.String(); strings.Contains(page, ann) || strings.Count(page, "[address]") == 0 || !strings.Contains(page, "from "+support) && !strings.Contains(page, "by "+support) {
					t.Error(page)
				}
			})
		})
	}
}
