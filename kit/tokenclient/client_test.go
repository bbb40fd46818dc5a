package tokenclient_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/kit/certtest"
	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
)

var quiet = slog.New(slog.DiscardHandler)

func TestAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.SetMailboxes(settings(tokenclient.XOAUTH2))
		b.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return "t", time.Now().Add(time.Minute), nil })
		tok, err := b.Client(t).Acquire(t.Context(), support)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		if tok.Value.Reveal() != "t" || tok.User != support.Mailbox || tok.Mechanism != tokenclient.XOAUTH2 || tok.Generation != 1 {
			t.Errorf("%v", tok)
		}
		if tok.Expires.Sub(now) != time.Minute || tok.UsableUntil.Sub(now) != 50*time.Second {
			t.Errorf("expires in %v, usable for %v", tok.Expires.Sub(now), tok.UsableUntil.Sub(now))
		}
		if !tok.Renews.After(now) || !tok.Renews.Before(tok.UsableUntil) {
			t.Errorf("renews in %v", tok.Renews.Sub(now))
		}
		if tok.Fingerprint != tok.Value.Fingerprint() {
			t.Error("fingerprint")
		}
		if !tok.Usable(now) || !tok.Usable(tok.UsableUntil.Add(-1)) || tok.Usable(tok.UsableUntil) {
			t.Error("usable until is the first moment at which it is not")
		}
	})
}

func TestAcquirePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.SetMailboxes(settings(tokenclient.Basic))
		tok, err := b.Client(t).Acquire(t.Context(), support)
		if err != nil {
			t.Fatal(err)
		}
		if !tok.IsPassword() || tok.Value.Reveal() != "token-1" || !tok.Expires.IsZero() || !tok.Usable(time.Now().AddDate(9, 0, 0)) {
			t.Errorf("%v", tok)
		}
	})
}

// A token that would be too short for the caller is renewed; the same question again mints nothing.
func TestAcquireMinValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.SetMailboxes(settings(tokenclient.XOAUTH2))
		c := b.Client(t)
		for i, tc := range []struct {
			after  time.Duration
			min    time.Duration
			minted int
		}{{0, 0, 1}, {30 * time.Minute, 0, 1}, {0, 40 * time.Minute, 2}, {time.Second, 40 * time.Minute, 2}, {time.Hour, 0, 3}} {
			time.Sleep(tc.after)
			a := support
			a.MinValidity = tc.min
			if _, err := c.Acquire(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if b.Minted() != tc.minted {
				t.Fatalf("step %d: %d minted, want %d", i, b.Minted(), tc.minted)
			}
		}
	})
}

func TestAcquireErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		sent  *tokenclient.Error
		human bool
	}{
		"needs admin":  {&tokenclient.Error{Code: "FAILED_PRECONDITION", Reason: "CLIENT_SECRET_EXPIRED", Class: tokenclient.NeedsAdmin, Remedy: "renew the secret"}, true},
		"needs user":   {&tokenclient.Error{Code: "FAILED_PRECONDITION", Reason: "REAUTHORIZATION_REQUIRED", Class: tokenclient.NeedsUser, Remedy: "sign in"}, true},
		"wrong config": {&tokenclient.Error{Code: "INVALID_ARGUMENT", Reason: "MIN_VALIDITY_TOO_LARGE", Class: tokenclient.WrongConfig}, true},
		"throttled":    {&tokenclient.Error{Code: "RESOURCE_EXHAUSTED", Reason: "IDP_THROTTLED", Class: tokenclient.Throttled, Wait: time.Minute}, false},
		"transient":    {&tokenclient.Error{Code: "UNAVAILABLE", Reason: "IDP_UNAVAILABLE", Class: tokenclient.Transient, Wait: 5 * time.Second}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := brokertest.New(t)
				b.SetMailboxes(settings(tokenclient.XOAUTH2))
				tc.sent.Message = "what the provider said"
				b.Fail(support, tc.sent)
				_, err := b.Client(t).Acquire(t.Context(), support)
				var e *tokenclient.Error
				if !errors.As(err, &e) {
					t.Fatalf("%T", err)
				}
				want := *tc.sent
				want.Op, want.Mailbox, want.Direction = "acquire token", support.Mailbox, support.Direction
				if *e != want {
					t.Errorf("%+v\nwant %+v", *e, want)
				}
				if e.NeedsHuman() != tc.human || e.Temporary() == tc.human {
					t.Error("who must act")
				}
				if !errors.Is(err, &tokenclient.Error{Reason: tc.sent.Reason}) || errors.Is(err, &tokenclient.Error{Reason: "OTHER"}) {
					t.Error("errors.Is must go by the reason")
				}
				if b.Minted() != 0 {
					t.Error("minted")
				}
			})
		})
	}
}

func TestAcquireUnknownMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := brokertest.New(t).Client(t).Acquire(t.Context(), support)
		if !errors.Is(err, &tokenclient.Error{Reason: "POLICY_DENIED"}) || !strings.Contains(err.Error(), support.Mailbox) {
			t.Fatal(err)
		}
	})
}

// A call waits for a broker that is away, and no longer than its caller.
func TestAcquireWaitsForTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.SetMailboxes(settings(tokenclient.XOAUTH2))
		c := b.Client(t)
		b.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.Acquire(ctx, support)
		var e *tokenclient.Error
		if !errors.As(err, &e) || e.Reason != tokenclient.ReasonNoAnswer || !e.Temporary() || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("waited %v", waited)
		}
		if !strings.Contains(err.Error(), "the broker is stopped") {
			t.Errorf("does not say why: %v", err)
		}
		time.AfterFunc(7*time.Second, b.Start)
		if _, err := c.Acquire(t.Context(), support); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAcquireCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.Stop()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := b.Client(t).Acquire(ctx, support)
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}

func TestDialRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		config tokenclient.Config
		want   string
	}{
		"plain text to a host":   {tokenclient.Config{Address: "dns:///broker:9443", Insecure: true}, "not on loopback"},
		"plain text to a number": {tokenclient.Config{Address: "192.0.2.1:9443", Insecure: true}, "not on loopback"},
		"no files":               {tokenclient.Config{Address: "broker:9443"}, "certificate"},
		"no host":                {tokenclient.Config{Address: "unix:///run/broker.sock"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tokenclient.Dial(tc.config, quiet)
			if err == nil {
				_ = c.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatal(err)
			}
		})
	}
	for _, address := range []string{"127.0.0.1:9443", "localhost:9443", "[::1]:9443", "dns:///localhost:9443", "passthrough:///127.0.0.1:1"} {
		c, err := tokenclient.Dial(tokenclient.Config{Address: address, Insecure: true}, quiet)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		_ = c.Close()
	}
}

// files issues a certificate and names it and the CA's.
func files(t *testing.T, ca *certtest.CA, o certtest.Options) daemon.TLSFiles {
	t.Helper()
	dir := t.TempDir()
	pair, err := ca.Issue(o)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := pair.WriteFiles(dir, "own")
	if err != nil {
		t.Fatal(err)
	}
	caFile, err := ca.WriteFile(dir, "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	return daemon.TLSFiles{Certificate: cert, Key: key, CA: caFile}
}

func TestMutualTLS(t *testing.T) {
	ca, err := certtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	other, err := certtest.NewCA("other")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := brokertest.New(t)
	b.SetMailboxes(settings(tokenclient.XOAUTH2))
	conf, err := daemon.ServerTLS(ctx, files(t, ca, certtest.Options{CommonName: "broker", DNS: []string{"localhost"}}), quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := b.Listen(t, conf)
	_, port, _ := strings.Cut(address, ":")
	for name, tc := range map[string]struct {
		address string
		files   daemon.TLSFiles
		want    string // in the error; empty = it works
	}{
		"by name":           {"localhost:" + port, files(t, ca, certtest.Options{CommonName: "worker"}), ""},
		"with resolver":     {"dns:///localhost:" + port, files(t, ca, certtest.Options{CommonName: "worker"}), ""},
		"wrong host":        {address, files(t, ca, certtest.Options{CommonName: "worker"}), "127.0.0.1"},
		"foreign authority": {"localhost:" + port, files(t, other, certtest.Options{CommonName: "worker"}), "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tokenclient.Dial(tokenclient.Config{Address: tc.address, TLS: tc.files}, quiet)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err = c.Acquire(ctx, support)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Fatal(err)
			}
		})
	}
}

const marker = "MARKER-8c1e"

// Whatever happens to a token, no text of this package tells it.
func TestNothingPrintsAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		b := brokertest.New(t)
		b.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return marker, time.Now().Add(time.Hour), nil })
		c := b.ClientWithLog(t, slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
		log := slog.New(slog.NewTextHandler(&out, nil))
		for _, m := range []tokenclient.Mechanism{tokenclient.XOAUTH2, tokenclient.Basic} {
			b.Replace(support)
			b.SetMailboxes(settings(m))
			_, tok, err := tokenclient.Use(t.Context(), c, support, func(_ context.Context, tok tokenclient.Token) (int, error) {
				return 0, refused{"NO " + strings.ToLower(m.String())}
			})
			if err == nil || tok.Value.Reveal() != marker {
				t.Fatalf("no token to look for: %v", err)
			}
			holder := struct {
				Tok tokenclient.Token
				tok tokenclient.Token
				ptr *tokenclient.Token
			}{tok, tok, &tok}
			log.Info("m", "token", tok, "holder", holder, "error", err)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				fmt.Fprintf(&out, verb+verb+verb+verb, tok, &tok, holder, err)
			}
			fmt.Fprintf(&out, "%+v", b.Rejections())
		}
		if strings.Contains(out.String(), marker) || strings.Contains(out.String(), fmt.Sprintf("%x", marker)) {
			t.Fatal("the token was printed")
		}
		if !strings.Contains(out.String(), "password of "+support.Mailbox) {
			t.Fatal("nothing was printed in its place")
		}
	})
}
