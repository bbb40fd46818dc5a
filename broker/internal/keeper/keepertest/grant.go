// Package keepertest holds the suites that every Grant, Cache and Credentials must pass, and in-memory ones that do, for
// tests of what stands on the Keeper.
package keepertest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// Provider is a Grant with a provider behind it that the suite can ask to misbehave.
type Provider struct {
	Grant      keeper.Grant
	Credential token.Credential // mints
	Refresh    secret.String    // the refresh token to use, if the grant uses one
	Audience   token.Audience
	Life       time.Duration // of the provider's tokens
	// Bad are credentials that the provider refuses, by the reason to expect.
	Bad map[string]token.Credential
	// Requests counts the token requests that reached the provider.
	Requests func() int
	// Reply makes the next token request end with this answer.
	Reply func(a Answer)
	// Cut makes the next token request's answer end after so many bytes of its body.
	Cut func(bytes int)
	// Trickle makes the next token request's answer come a byte at a time, header and all, after so many bytes at once.
	Trickle func(bytes int)
	// Stall makes the next token request never be answered.
	Stall func()
	// LoseAnswer makes the next token request succeed and its answer get lost.
	LoseAnswer func()
}

// Answer is an answer of a token endpoint.
type Answer struct {
	Status int
	Header map[string]string
	Body   string
}

// Marker is a text that Reply bodies contain and that must not come out of an error.
const Marker = "MARKER-9c41"

// Grant is the suite of a Grant. open makes a fresh one.
func Grant(t *testing.T, open func(t *testing.T) Provider) {
	for name, check := range map[string]func(*testing.T, Provider){
		"mints":                          grantMints,
		"counts the life from sending":   grantCountsFromSending,
		"classifies refusals":            grantClassifies,
		"obeys Retry-After":              grantRetryAfter,
		"survives odd answers":           grantOddAnswers,
		"follows no redirect":            grantRedirects,
		"takes no more than it must":     grantLargeAnswers,
		"waits for no slow answer":       grantSlowAnswers,
		"leaves at the caller's time":    grantDeadline,
		"does not repeat a lost request": grantLostAnswer,
		"mints side by side":             grantConcurrent,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

func (p Provider) mint(ctx context.Context) (keeper.Minted, error) {
	return p.Grant.Mint(ctx, p.Credential, p.Refresh, p.Audience)
}

// fault is the *remedy.Fault in err; it also holds that no secret is in the text.
func (p Provider) fault(t *testing.T, err error) *remedy.Fault {
	t.Helper()
	var f *remedy.Fault
	if !errors.As(err, &f) {
		t.Fatalf("want a fault, got %v", err)
	}
	text := fmt.Sprintf("%v %+v %+v", err, err, *f)
	secrets := []secret.String{secret.New(Marker), p.Refresh, p.Credential.Password, p.Credential.Robot.Key}
	for _, s := range append(secrets, p.Credential.Secrets...) {
		if !s.Empty() && strings.Contains(text, s.Reveal()) {
			t.Errorf("a secret is in the error: %s", f.Reason)
		}
	}
	if f.Remedy == "" || f.Class == "" {
		t.Errorf("fault without class or remedy: %+v", *f)
	}
	return f
}

func grantMints(t *testing.T, p Provider) {
	before := p.Requests()
	m, err := p.mint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Token.Zero() || m.Token.Life() != p.Life || m.Token.Generation != 0 {
		t.Errorf("life %s, generation %d", m.Token.Life(), m.Token.Generation)
	}
	if n := p.Requests() - before; n != 1 {
		t.Errorf("%d token requests for one token", n)
	}
	again, err := p.mint(t.Context())
	if err != nil || again.Token.Value.Equal(m.Token.Value) {
		t.Errorf("the second Mint did not go to the provider: %v", err)
	}
}

func grantCountsFromSending(t *testing.T, p Provider) {
	before := time.Now()
	m, err := p.mint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Token.Sent.Before(before) || m.Token.Sent.After(time.Now()) || !m.Token.Expires.Equal(m.Token.Sent.Add(p.Life)) {
		t.Errorf("sent %s, expires %s", m.Token.Sent, m.Token.Expires)
	}
}

func grantClassifies(t *testing.T, p Provider) {
	for reason, c := range p.Bad {
		before := p.Requests()
		_, err := p.Grant.Mint(t.Context(), c, c.Refresh, p.Audience)
		if f := p.fault(t, err); f.Reason != reason || !f.Class.Freezes() {
			t.Errorf("%s: got %s %s %v", reason, f.Class, f.Reason, f.Codes)
		}
		if n := p.Requests() - before; n > 1 {
			t.Errorf("%s: %d token requests", reason, n)
		}
	}
}

func grantRetryAfter(t *testing.T, p Provider) {
	p.Reply(Answer{429, map[string]string{"Retry-After": "37"}, `{"error":"temporarily_unavailable","error_description":"` + Marker + `"}`})
	_, err := p.mint(t.Context())
	if f := p.fault(t, err); f.Class != remedy.Throttled || f.After != 37*time.Second {
		t.Errorf("%s after %s", f.Class, f.After)
	}
	if _, err := p.mint(t.Context()); err != nil {
		t.Errorf("one refusal stuck: %v", err)
	}
}

func grantOddAnswers(t *testing.T, p Provider) {
	for name, tc := range map[string]struct {
		status int
		body   string
	}{
		"html":             {502, "<html>" + Marker + "</html>"},
		"html with 200":    {200, "<html>" + Marker + "</html>"},
		"no life":          {200, `{"access_token":"` + Marker + `","token_type":"Bearer"}`},
		"odd life":         {200, `{"access_token":"` + Marker + `","token_type":"Bearer","expires_in":"soon"}`},
		"negative life":    {200, `{"access_token":"` + Marker + `","token_type":"Bearer","expires_in":-5}`},
		"no token":         {200, `{"expires_in":3600,"x":"` + Marker + `"}`},
		"token with break": {200, `{"access_token":"` + Marker + `\r\nRCPT","token_type":"Bearer","expires_in":3600}`},
		"another type":     {200, `{"access_token":"` + Marker + `","token_type":"mac","expires_in":3600}`},
		"too large":        {200, `{"access_token":"` + strings.Repeat(Marker, 10_000) + `","token_type":"Bearer","expires_in":3600}`},
		"empty":            {200, ""},
		"nothing":          {204, ""},
		"a list":           {200, "[]"},
		"half of it":       {200, `{"access_token":"` + Marker},
	} {
		p.Reply(Answer{tc.status, nil, tc.body})
		_, err := p.mint(t.Context())
		if f := p.fault(t, err); f.Class != remedy.Transient {
			t.Errorf("%s: %s %s", name, f.Class, f.Reason)
		}
	}
	for name, body := range map[string]string{
		"life as text":     `{"access_token":"t","token_type":"bearer","expires_in":"3600","refresh_in":"1800"}`,
		"life as fraction": `{"access_token":"t","token_type":"Bearer","expires_in":3600.0,"refresh_in":1800}`,
	} {
		p.Reply(Answer{200, nil, body})
		m, err := p.mint(t.Context())
		if err != nil || m.Token.Life() != time.Hour || m.Token.RenewIn != 30*time.Minute {
			t.Errorf("%s: %v, life %s, refresh_in %s", name, err, m.Token.Life(), m.Token.RenewIn)
		}
	}
}

// grantRedirects: a redirect would post the secret elsewhere. Nothing may even be dialled.
func grantRedirects(t *testing.T, p Provider) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var dialled atomic.Int32
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			c.Close()
		}
	}()
	for _, status := range []int{301, 302, 303, 307, 308} {
		p.Reply(Answer{status, map[string]string{"Location": "https://" + l.Addr().String() + "/token"}, Marker})
		_, err := p.mint(t.Context())
		if f := p.fault(t, err); f.Class != remedy.Transient || f.Reason != remedy.Redirected {
			t.Errorf("%d: %s %s", status, f.Class, f.Reason)
		}
	}
	l.Close()
	<-over
	if n := dialled.Load(); n != 0 {
		t.Errorf("%d connections to where the redirects led", n)
	}
}

// zipBomb is 256 MiB of an answer in 256 KiB: one member over and over (RFC 1952 section 2.2 allows many).
func zipBomb() string {
	var member bytes.Buffer
	w := gzip.NewWriter(&member)
	_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20)) // a Buffer takes everything
	_ = w.Close()
	return strings.Repeat(member.String(), 256)
}

func grantLargeAnswers(t *testing.T, p Provider) {
	const most = 64 << 20 // bytes that may be allocated meanwhile, the sandbox's own included
	bomb := zipBomb()
	for name, a := range map[string]Answer{
		"body":     {200, nil, `{"access_token":"` + strings.Repeat(Marker, 100_000) + `","token_type":"Bearer","expires_in":3600}`},
		"of error": {400, nil, `{"error":"invalid_grant","error_description":"` + strings.Repeat(Marker, 100_000) + `"}`},
		"header":   {200, map[string]string{"X-Large": strings.Repeat(Marker, 100_000)}, `{"access_token":"t","token_type":"Bearer","expires_in":3600}`},
		"unzipped": {200, map[string]string{"Content-Encoding": "gzip"}, bomb},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p.Reply(a)
		_, err := p.mint(t.Context())
		runtime.ReadMemStats(&after)
		if f := p.fault(t, err); f.Class != remedy.Transient {
			t.Errorf("%s: %s %s", name, f.Class, f.Reason)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > most {
			t.Errorf("%s: %d bytes were allocated", name, n)
		}
	}
	if _, err := p.mint(t.Context()); err != nil {
		t.Errorf("a large answer stuck: %v", err)
	}
}

// grantSlowAnswers: an answer that makes headway but never ends must not hold a caller longer than one that does not.
func grantSlowAnswers(t *testing.T, p Provider) {
	if _, err := p.mint(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Cut(40)
	_, err := p.mint(t.Context())
	if f := p.fault(t, err); f.Class != remedy.Transient {
		t.Errorf("cut off: %s %s", f.Class, f.Reason)
	}
	for name, bytes := range map[string]int{"header": 20, "body": 400} {
		p.Trickle(bytes)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := p.mint(ctx)
		cancel()
		if f := p.fault(t, err); f.Class != remedy.Transient || f.Detail != "no answer in time" {
			t.Errorf("%s: %s %s %s", name, f.Class, f.Reason, f.Detail)
		}
	}
}

func grantDeadline(t *testing.T, p Provider) {
	if _, err := p.mint(t.Context()); err != nil { // what a library asks for once is out of the way
		t.Fatal(err)
	}
	p.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := p.mint(ctx)
	if f := p.fault(t, err); f.Class != remedy.Transient {
		t.Errorf("%s %s", f.Class, f.Reason)
	}
}

func grantLostAnswer(t *testing.T, p Provider) {
	if _, err := p.mint(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := p.Requests()
	p.LoseAnswer()
	_, err := p.mint(t.Context())
	if f := p.fault(t, err); f.Class != remedy.Transient {
		t.Errorf("%s %s", f.Class, f.Reason)
	}
	if n := p.Requests() - before; n != 1 {
		t.Errorf("%d token requests: a refresh token must not be used twice by a transport", n)
	}
}

func grantConcurrent(t *testing.T, p Provider) {
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := p.mint(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
