package outbound_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// office is an admin server over an outbox.
type office struct {
	*http.ServeMux
	box *outboundtest.Memory
}

func newOffice() office {
	o := office{http.NewServeMux(), &outboundtest.Memory{}}
	outbound.Operate(o.Handle, o.box, &outbound.Board{})
	return o
}

// ask sends a request as brokerctl does, changed by with.
func (o office) ask(method, path string, with func(*http.Request)) (int, string) {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:4711", "127.0.0.1:9092"
	r.Header.Set(outbound.OperatorHeader, "test")
	if with != nil {
		with(r)
	}
	w := httptest.NewRecorder()
	o.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func (o office) settle(t *testing.T, v outbound.Verdict) {
	t.Helper()
	jobs, err := o.box.Claim(t.Context(), []string{support}, 9, 1, time.Minute)
	if err != nil || len(jobs) != 1 {
		t.Fatalf("%v, %v", jobs, err)
	}
	if err := o.box.Settle(t.Context(), jobs[0], v); err != nil {
		t.Fatal(err)
	}
}

func TestOperate(t *testing.T) {
	o := newOffice()
	submit(t, o.box, support, ann, bob)
	o.settle(t, outbound.Verdict{Sent: []string{ann}, Dead: []outbound.Failure{{Address: bob, Reason: "550 no such user"}}})
	var one struct {
		ID         string `json:"id"`
		Mailbox    string `json:"mailbox"`
		Recipients []struct{ Address, State, Reason string }
	}
	code, body := o.ask("GET", "/outbox/1", nil)
	if err := json.Unmarshal([]byte(body), &one); err != nil || code != 200 || one.ID != "1" || one.Mailbox != support || len(one.Recipients) != 2 ||
		one.Recipients[1].State != "dead" || one.Recipients[1].Reason != "550 no such user" {
		t.Errorf("%d %s", code, body)
	}
	if code, body := o.ask("POST", "/outbox/1/retry", nil); code != http.StatusNoContent || o.box.States()[outbound.Queued] != 1 {
		t.Errorf("%d %s", code, body)
	}
	if code, body := o.ask("DELETE", "/outbox/1", nil); code != http.StatusNoContent {
		t.Errorf("%d %s", code, body)
	}
	empty(t, o.box)
	for _, r := range [][2]string{{"GET", "/outbox/1"}, {"POST", "/outbox/1/retry"}, {"DELETE", "/outbox/1"}} {
		if code, body := o.ask(r[0], r[1], nil); code != http.StatusNotFound || !strings.Contains(body, "no such message") {
			t.Errorf("%v: %d %s", r, code, body)
		}
	}
}

func TestOperateLeavesAloneWhatIsBeingSent(t *testing.T) {
	o := newOffice()
	submit(t, o.box, support, ann)
	if _, err := o.box.Claim(t.Context(), []string{support}, 9, 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	if code, body := o.ask("DELETE", "/outbox/1", nil); code != http.StatusConflict || !strings.Contains(body, "being sent") {
		t.Errorf("%d %s", code, body)
	}
}

// TestOnlyOperatorsChange: neither another machine nor a page in somebody's browser drops mail, or sees who writes to whom.
func TestOnlyOperatorsChange(t *testing.T) {
	o := newOffice()
	submit(t, o.box, support, ann)
	for name, c := range map[string]struct {
		with func(*http.Request)
		sees bool
	}{
		"brokerctl":                    {nil, true},
		"another machine":              {func(r *http.Request) { r.RemoteAddr = "192.0.2.7:4711" }, false},
		"a browser":                    {func(r *http.Request) { r.Header.Del(outbound.OperatorHeader) }, true},
		"a site whose name leads here": {func(r *http.Request) { r.Host = "rebound.example:9092" }, false},
		"a name, IPv6":                 {func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:4711", "rebound.example" }, false},
		"nobody":                       {func(r *http.Request) { r.RemoteAddr = "" }, false},
	} {
		for _, page := range []string{"/outbox", "/outbox/1"} {
			if code, body := o.ask("GET", page, c.with); (code == http.StatusOK) != c.sees || strings.Contains(body, ann) != c.sees {
				t.Errorf("%s, %s: %d %s", name, page, code, body)
			}
		}
		if c.with == nil {
			continue
		}
		for _, r := range [][2]string{{"POST", "/outbox/1/retry"}, {"DELETE", "/outbox/1"}} {
			if code, body := o.ask(r[0], r[1], c.with); code != http.StatusForbidden || !strings.Contains(body, "brokerctl") {
				t.Errorf("%s, %v: %d %s", name, r, code, body)
			}
		}
	}
	if o.box.States()[outbound.Queued] != 1 {
		t.Error("the message is gone")
	}
}

// TestAddressesOfTheOffice: localhost and addresses of either kind, with a port or without.
func TestAddressesOfTheOffice(t *testing.T) {
	o := newOffice()
	for host, want := range map[string]int{
		"127.0.0.1:9092": 200, "127.0.0.1": 200, "[::1]:9092": 200, "[::1]": 200, "localhost:9092": 200, "LOCALHOST": 200,
		"": 403, "localhost.example:9092": 403, "127.0.0.1.example": 403, "worker": 403,
	} {
		if code, _ := o.ask("GET", "/outbox", func(r *http.Request) { r.Host = host }); code != want {
			t.Errorf("%q: %d, want %d", host, code, want)
		}
	}
}

// TestListingByPages follows the links from page to page.
func TestListingByPages(t *testing.T) {
	o := newOffice()
	for range 5 {
		submit(t, o.box, support, ann)
	}
	submit(t, o.box, sales, ann)
	var ids []string
	pages := 0
	for link := "?max=2&mailbox=" + support; link != ""; pages++ {
		r := httptest.NewRequest("GET", "http://127.0.0.1/outbox"+link, nil)
		r.RemoteAddr = "127.0.0.1:4711"
		w := httptest.NewRecorder()
		o.ServeHTTP(w, r)
		var page []struct{ ID string }
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
			t.Fatalf("%d, %v: %s", w.Code, err, w.Body)
		}
		for _, m := range page {
			ids = append(ids, m.ID)
		}
		link, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">; rel=\"next\"")
	}
	if got := strings.Join(ids, " "); got != "1 2 3 4 5" || pages != 3 {
		t.Errorf("%s on %d pages", got, pages)
	}
	if code, body := o.ask("GET", "/outbox?after=x", nil); code != 400 || !strings.Contains(body, "begin again") {
		t.Errorf("%d %s", code, body)
	}
}

// TestListingSaysWhatMailWaitsFor: a message that nobody offered yet waits for its mailbox.
func TestListingSaysWhatMailWaitsFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box := &outboundtest.Memory{}
		s := worker(t, box, &outboundtest.Counter{}, &provider{})
		mux := http.NewServeMux()
		outbound.Operate(mux.Handle, box, s.Board)
		for range perMinute + 10 {
			submit(t, box, support, ann)
		}
		after(30 * time.Second)
		_, page := office{mux, box}.ask("GET", "/outbox", nil)
		var all []map[string]any
		if err := json.Unmarshal([]byte(page), &all); err != nil || len(all) != 10 {
			t.Fatalf("%d messages, %v", len(all), err)
		}
		for _, m := range all {
			if m["waits_for"] != "30 messages in a minute are used up" || m["waits_until"] == nil {
				t.Errorf("%v", m)
			}
		}
	})
}
