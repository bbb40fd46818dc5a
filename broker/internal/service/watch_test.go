package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/keeper/keepertest"
	"mailporter/broker/internal/remedy"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func TestWatchTokens(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		s := l.watch(inbound("SUPPORT@contoso.com"), outbound("support@contoso.com"), outbound("relay@contoso.com"), inbound("secret@fabrikam.com"), inbound("nobody@contoso.com"))
		synctest.Wait()
		if s.count() != 0 {
			t.Error("the first set did not wait for the provider")
		}
		time.Sleep(time.Second)
		s.says("token 1; password of Support@contoso.com; NO_LOGIN; POLICY_DENIED; POLICY_DENIED")
		all := s.all[0].GetEntries()
		got, fingerprint := all[0].GetAccessToken(), secret.New("MARKER-1").Fingerprint()
		if all[0].GetSelector().GetMailbox() != "SUPPORT@contoso.com" || got.GetSaslUser() != "Support@contoso.com" || string(got.GetFingerprint()) != string(fingerprint[:]) ||
			got.GetValidFor().AsDuration()-got.GetUsableFor().AsDuration() != 10*time.Second || got.GetMechanism() != brokerv1.Mechanism_MECHANISM_XOAUTH2 {
			t.Errorf("the token is not that of AcquireToken: %v", all[0].GetSelector())
		}
		if !proto.Equal(all[3].GetFailure(), all[4].GetFailure()) || all[3].GetFailure().GetCode() != int32(codes.PermissionDenied) ||
			all[3].GetFailure().GetFailureClass() != brokerv1.FailureClass_FAILURE_CLASS_WRONG_CONFIG || all[3].GetFailure().GetRemedy() == "" {
			t.Errorf("forbidden %v, unknown %v", all[3], all[4])
		}
		if n := strings.Count(l.audit.String(), `"method":"WatchTokens"`); n != 5 {
			t.Errorf("%d audit lines:\n%s", n, l.audit.String())
		}
		for _, part := range []string{`"rule":"default deny"`, `"rule":"unknown mailbox"`, fingerprint.String(), `"rule":"policy.yaml:3"`} {
			if !strings.Contains(l.audit.String(), part) {
				t.Errorf("the audit has no %s:\n%s", part, l.audit.String())
			}
		}
		time.Sleep(20 * time.Minute)
		if n := s.count(); n != 1 {
			t.Errorf("%d sets, and nothing changed", n)
		}
	})
}

// While a stream watches a token it is renewed, and the set goes out soon after; only what is new is written down.
func TestWatchTokensRenewal(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.provider.life = 20 * time.Minute // renewed after 13.5 to 15 minutes
		s := l.watch(inbound("support@contoso.com"), outbound("support@contoso.com"))
		time.Sleep(time.Second)
		s.says("token 1; password of Support@contoso.com")
		lines := strings.Count(l.audit.String(), "\n")
		time.Sleep(16 * time.Minute)
		s.says("token 2; password of Support@contoso.com")
		if n := strings.Count(l.audit.String(), "\n") - lines; n != 1 {
			t.Errorf("%d audit lines for one new token", n)
		}
		if s.count() != 2 {
			t.Errorf("%d sets", s.count())
		}
	})
}

func TestWatchTokensRefused(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		s := l.watch(inbound("support@contoso.com"), outbound("support@contoso.com"))
		time.Sleep(time.Second)
		l.report(inbound("support@contoso.com"), "MARKER-1")
		time.Sleep(3 * time.Second)
		s.says("token 2; password of Support@contoso.com")
		l.report(outbound("support@contoso.com"), "MARKER-pass")
		s.says("token 2; PASSWORD_REJECTED")
		time.Sleep(firstWait + time.Second)
		s.says("token 2; password of Support@contoso.com")
	})
}

func (l *lab) report(sel *brokerv1.Selector, value string) {
	l.t.Helper()
	sum := secret.New(value).Fingerprint()
	_, err := brokerv1.NewTokenServiceClient(l.conn).ReportRejection(l.t.Context(), &brokerv1.ReportRejectionRequest{Selector: sel, Fingerprint: sum[:],
		Kind: brokerv1.RejectionKind_REJECTION_KIND_SASL, Server: "mail.example:993"})
	if err != nil {
		l.t.Fatal(err)
	}
}

// What a reload withdraws is withdrawn at once, and what it allows comes; a stream survives both.
func TestWatchTokensReload(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		s := l.watch(inbound("support@contoso.com"), outbound("support@contoso.com"))
		time.Sleep(time.Second)
		l.write("policy.yaml", strings.Replace(labPolicy, "*@contoso", "*@other", 1))
		l.reload()
		s.says("POLICY_DENIED; POLICY_DENIED")
		minted := l.provider.minted
		time.Sleep(2 * time.Hour)
		if l.provider.minted != minted {
			t.Error("a token is renewed for somebody who may not have it")
		}
		l.write("policy.yaml", strings.Replace(labPolicy, ", password]", "]", 1))
		s = l.watch(inbound("support@contoso.com"), outbound("support@contoso.com")) // the first one's life is over
		time.Sleep(time.Second)
		s.says("POLICY_DENIED; POLICY_DENIED")
		l.reload()
		s.says("TOKEN_PENDING; POLICY_DENIED")
		time.Sleep(2 * time.Second)
		s.says(fmt.Sprintf("token %d; POLICY_DENIED", minted+1))
		l.write("app", "MARKER-another") // another secret is another credential
		l.reload()
		time.Sleep(3 * time.Second)
		s.says(fmt.Sprintf("token %d; POLICY_DENIED", minted+2))
	})
}

// Without the audit nothing new leaves, and no line is missing for what left before.
func TestWatchTokensWithoutAudit(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.provider.life = 20 * time.Minute
		s := l.watch(inbound("support@contoso.com"), outbound("support@contoso.com"), inbound("nobody@contoso.com"))
		time.Sleep(time.Second)
		l.audit.fail(errors.New("no space left on device"))
		time.Sleep(16 * time.Minute)
		s.says("AUDIT_UNAVAILABLE; password of Support@contoso.com; POLICY_DENIED")
		if !strings.Contains(l.log.String(), "no space left") {
			t.Error("nobody was told")
		}
		count := s.count()
		time.Sleep(time.Minute)
		if s.count() != count {
			t.Error("the same failure was sent again and again")
		}
		l.audit.fail(nil)
		time.Sleep(6 * time.Second)
		s.says("token 2; password of Support@contoso.com; POLICY_DENIED")
		if fingerprint := secret.New("MARKER-2").Fingerprint(); !strings.Contains(l.audit.String(), fingerprint.String()) {
			t.Error("a token left without a line")
		}
	})
}

func TestWatchTokensThroughAnOutage(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.provider.life = 10 * time.Minute
		s := l.watch(inbound("support@contoso.com"))
		time.Sleep(time.Second)
		l.provider.set(func(p *provider) {
			p.fault = &remedy.Fault{Class: remedy.Transient, Reason: remedy.Unavailable, Remedy: "Wait."}
		})
		time.Sleep(6 * time.Minute)
		s.says("token 1, warned")
		time.Sleep(5 * time.Minute)
		s.says("IDP_UNAVAILABLE")
		l.provider.set(func(p *provider) { p.fault, p.life = nil, time.Hour })
		time.Sleep(7 * time.Minute)
		s.says("token 2")
		if s.count() != 4 {
			t.Errorf("%d sets", s.count())
		}
	})
}

// A reload on the way to the first set does not send it half done.
func TestWatchTokensReloadAtOnce(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		s := l.watch(inbound("support@contoso.com"))
		synctest.Wait()
		l.reload()
		time.Sleep(time.Second)
		s.says("token 1")
		if s.count() != 1 {
			t.Errorf("%d sets", s.count())
		}
	})
}

// A provider that takes its time holds back the first set for a while, not for ever.
func TestWatchTokensSlowProvider(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.provider.takes = 8 * time.Second
		s := l.watch(inbound("support@contoso.com"), outbound("support@contoso.com"))
		time.Sleep(firstSet)
		s.says("TOKEN_PENDING; password of Support@contoso.com")
		time.Sleep(6 * time.Second)
		s.says("token 1; password of Support@contoso.com")
	})
}

func TestWatchTokensEnds(t *testing.T) {
	t.Run("after its life", func(t *testing.T) {
		inLab(t, func(t *testing.T, l *lab) {
			start, s := time.Now(), l.watch(inbound("support@contoso.com"))
			<-s.ended
			if life := time.Since(start); !errors.Is(s.err, io.EOF) || life < streamLife*3/4 || life > streamLife {
				t.Errorf("ended after %v with %v", life, s.err)
			}
		})
	})
	t.Run("when the server drains", func(t *testing.T) {
		inLab(t, func(t *testing.T, l *lab) {
			s := l.watch(inbound("support@contoso.com"))
			time.Sleep(time.Second)
			start := time.Now()
			l.stop()
			<-s.ended
			if took := time.Since(start); !errors.Is(s.err, io.EOF) || took > 0 {
				t.Errorf("ended after %v with %v", took, s.err)
			}
		})
	})
	t.Run("with its caller, and with it the renewals", func(t *testing.T) {
		inLab(t, func(t *testing.T, l *lab) {
			s := l.watch(inbound("support@contoso.com"))
			time.Sleep(time.Second)
			s.cancel()
			<-s.ended
			time.Sleep(24 * time.Hour)
			if l.provider.minted != 1 {
				t.Errorf("%d tokens for nobody", l.provider.minted)
			}
		})
	})
}

func TestWatchTokensBadRequests(t *testing.T) {
	many := make([]*brokerv1.Selector, mostSelectors+1)
	for i := range many {
		many[i] = inbound(fmt.Sprintf("box%d@contoso.com", i))
	}
	for name, tc := range map[string]struct {
		selectors []*brokerv1.Selector
		reason    string
	}{
		"none":         {nil, "SELECTORS_INVALID"},
		"too many":     {many, "SELECTORS_INVALID"},
		"no direction": {[]*brokerv1.Selector{inbound("a@contoso.com"), {Mailbox: "b@contoso.com"}}, "DIRECTION_MISSING"},
		"twice":        {[]*brokerv1.Selector{inbound("a@contoso.com"), outbound("a@contoso.com"), inbound("A@Contoso.com")}, "SELECTOR_DUPLICATE"},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				s := l.watch(tc.selectors...)
				<-s.ended
				details(t, s.err, codes.InvalidArgument, tc.reason)
				if l.audit.String() != "" {
					t.Error("written down although nothing was decided")
				}
			})
		})
	}
	inLab(t, func(t *testing.T, l *lab) {
		s := l.watch(many[1:]...)
		time.Sleep(time.Second)
		s.says(strings.TrimSuffix(strings.Repeat("POLICY_DENIED; ", mostSelectors), "; "))
	})
}

// Opening streams takes from the rate; what is pushed on them does not.
func TestWatchTokensRate(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.provider.life = 5 * time.Minute
		l.write("policy.yaml", strings.Replace(labPolicy, "true}", "true, rate: 1/h}", 1))
		l.reload()
		s := l.watch(inbound("support@contoso.com"), outbound("support@contoso.com"))
		time.Sleep(10 * time.Minute)
		if s.count() < 3 {
			t.Errorf("%d sets in two lives of a token", s.count())
		}
		second := l.watch(inbound("support@contoso.com"))
		<-second.ended
		details(t, second.err, codes.ResourceExhausted, "CALLER_RATE_LIMITED")
		if !strings.Contains(l.audit.String(), "CALLER_RATE_LIMITED") {
			t.Error("not written down")
		}
	})
}

// A renewal that thousands of mailboxes on hundreds of streams watch is one request to the provider and one set for each
// stream, spread over time.
func TestWatchTokensOfMany(t *testing.T) {
	const streams, selectors = 100, 50
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, manyMailboxes(selectors))
		all := make([]*sets, streams)
		for i := range all {
			all[i] = l.watch(manySelectors(selectors)...)
		}
		time.Sleep(time.Minute)
		if l.provider.minted != 1 {
			t.Errorf("%d tokens minted", l.provider.minted)
		}
		l.report(inbound("box0@contoso.com"), "MARKER-1")
		time.Sleep(time.Minute)
		if l.provider.minted != 2 {
			t.Errorf("%d tokens minted", l.provider.minted)
		}
		for _, s := range all {
			if s.count() != 2 {
				t.Fatalf("%d sets, want the first and the new token's", s.count())
			}
			s.says(strings.TrimSuffix(strings.Repeat("token 2; ", selectors), "; "))
		}
		if n := strings.Count(l.audit.String(), "WatchTokens"); n != 2*streams*selectors {
			t.Errorf("%d audit lines", n)
		}
	})
}

func manyMailboxes(n int) string {
	var b strings.Builder
	b.WriteString("applications:\n  contoso: {directory-id: d, client-id: c, secrets: [{file: ../app}]}\nmailboxes:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {address: box%d@contoso.com, application: contoso, pop-client: {type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, grant-type: client_credentials}}\n", i)
	}
	return b.String()
}

func manySelectors(n int) []*brokerv1.Selector {
	all := make([]*brokerv1.Selector, n)
	for i := range all {
		all[i] = inbound(fmt.Sprintf("box%d@contoso.com", i))
	}
	return all
}

// Over mutual TLS and sockets: the identity of the certificate decides, a revoked right ends at once, and a broker that
// stops lets its streams go at once.
func TestWatchTokensOverMutualTLS(t *testing.T) {
	b := newBroker(t)
	b.keeper.looks = newKeeper(t, &provider{life: time.Hour}, keepertest.NewMemory().Broker())
	for identity, want := range map[string]string{worker: "", "spiffe://mail.example/narrow": "POLICY_DENIED", operator: "POLICY_DENIED"} {
		stream, err := brokerv1.NewTokenServiceClient(b.as(identity)).WatchTokens(b.ctx(), &brokerv1.WatchTokensRequest{Selectors: []*brokerv1.Selector{inbound("support@contoso.com")}})
		if err != nil {
			t.Fatal(err)
		}
		set, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got := set.GetEntries()[0]; got.GetFailure().GetReason() != want || (got.GetAccessToken().GetValue() != "") != (want == "") {
			t.Errorf("%s: %s, want %q", identity, got.GetFailure().GetReason(), want)
		}
		if identity != worker {
			continue
		}
		b.write("policy.yaml", strings.Replace(policyFile, "token, settings, report, password", "settings", 1))
		if err := b.server.Directory.Reload().Err(); err != nil {
			t.Fatal(err)
		}
		if set, err = stream.Recv(); err != nil || set.GetEntries()[0].GetFailure().GetReason() != "POLICY_DENIED" {
			t.Fatalf("after the right was revoked: %v", err)
		}
		defer func() {
			b.stop()
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("the broker stopped: %v", err)
			}
		}()
	}
}

var _ Tokens = (*keeper.Keeper)(nil)

// A reader that is slow finds the tokens of the moment, and nothing of what it missed.
func TestWatchTokensSlowReader(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.provider.life = 6 * time.Minute // renewed every minute
		server := New(Config{Tokens: l.keeper, Directory: l.files, Audit: audit.To(l.audit), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), callerKey{}, &caller{identity: insecure}))
		w := newWatching(ctx, server, []*brokerv1.Selector{inbound("support@contoso.com")})
		defer w.stop()
		w.decide()
		reads, ended := make(chan *brokerv1.WatchTokensResponse), make(chan error)
		go func() {
			ended <- w.serve(func(set *brokerv1.WatchTokensResponse) error { reads <- set; return nil })
		}()
		<-reads
		time.Sleep(2 * time.Minute)
		<-reads // sent before this reader fell asleep
		time.Sleep(10 * time.Minute)
		<-reads
		time.Sleep(time.Second)
		set := <-reads
		if value := set.GetEntries()[0].GetAccessToken().GetValue(); value != fmt.Sprintf("MARKER-%d", l.provider.minted) {
			t.Errorf("not the newest of %d tokens", l.provider.minted)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// BenchmarkWatchTokens is one renewal of a token that a thousand streams of a hundred mailboxes each watch: the work of
// all sets, without the network.
func BenchmarkWatchTokens(b *testing.B) {
	const streams, selectors = 1000, 100
	l := newLab(b, manyMailboxes(selectors))
	l.provider.set(func(p *provider) { p.takes = 0 })
	server := New(Config{Tokens: l.keeper, Directory: l.files, Audit: audit.To(io.Discard), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	all := make([]*watching, streams)
	for i := range all {
		all[i] = newWatching(context.WithValue(b.Context(), callerKey{}, &caller{identity: insecure}), server, manySelectors(selectors))
		all[i].decide()
	}
	for _, w := range all[0].tokens {
		for {
			if _, err := w.Now(); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, w := range all {
			for _, e := range w.entries {
				e.said = said{} // as after a renewal
			}
			if _, news, err := w.build(); err != nil || !news {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*streams*selectors), "ns/entry")
	for _, w := range all {
		w.stop()
	}
}
