package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mailporter/broker/internal/store/seal"
	"mailporter/kit/redistest"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

var grants = map[string]string{"client_credentials": "app@contoso.example", "password": "ropc@contoso.example",
	"refresh_token at Entra": "entra@contoso.example", "refresh_token at Google": "orders@shop.example", "service account at Google": "robot@shop.example"}

func TestEveryGrant(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	s.start()
	c := s.connect(worker)
	for name, mailbox := range grants {
		t.Run(name, func(t *testing.T) {
			resp, err := ask(c, strings.ToUpper(mailbox), in)
			if err != nil {
				t.Fatal(reason(err))
			}
			got := resp.GetAccessToken()
			sum := sha256.Sum256([]byte(got.GetValue()))
			if got.GetValue() == "" || got.GetSaslUser() != mailbox || string(got.GetFingerprint()) != string(sum[:]) || got.GetUsableFor().AsDuration() < 50*time.Minute {
				t.Errorf("user %q, usable for %v", got.GetSaslUser(), got.GetUsableFor().AsDuration())
			}
			again, err := ask(c, mailbox, in)
			if err != nil || again.GetAccessToken().GetGeneration() != got.GetGeneration() {
				t.Errorf("the second call got another token: %v", err)
			}
		})
	}
	if _, err := ask(c, "app2@contoso.example", in); err != nil {
		t.Error(err)
	}
	if n := sb.TokenRequests().Total; n != len(grants) {
		t.Errorf("%d token requests for %d credentials", n, len(grants))
	}
	resp, err := ask(c, "basic@contoso.example", out)
	if err != nil || resp.GetPassword().GetValue() != basicPass {
		t.Errorf("basic: %v", err)
	}
}

func TestManyColdCallersCostOneRequest(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	s.start()
	c := s.connect(worker)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := ask(c, "app@contoso.example", in); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := sb.TokenRequests().Total; n != 1 {
		t.Fatalf("%d token requests", n)
	}
}

// requests is how many of them reach the token endpoint: an unknown tenant is found out about at its discovery document.
var failures = map[string]struct {
	mailbox, want string
	requests      int
}{
	"wrong secret":       {"wrong@contoso.example", "FailedPrecondition wrong-config CLIENT_SECRET_INVALID", 1},
	"expired secret":     {"expired@contoso.example", "FailedPrecondition needs-admin CLIENT_SECRET_EXPIRED", 1},
	"unknown tenant":     {"lost@contoso.example", "FailedPrecondition wrong-config TENANT_NOT_FOUND", 0},
	"MFA":                {"mfa@contoso.example", "FailedPrecondition needs-user MFA_REQUIRED", 1},
	"no public client":   {"private@contoso.example", "FailedPrecondition wrong-config PUBLIC_CLIENT_NOT_ALLOWED", 1},
	"wrong password":     {"typo@contoso.example", "FailedPrecondition needs-user PASSWORD_REJECTED", 1},
	"revoked at Google":  {"revoked@shop.example", "FailedPrecondition needs-user REAUTHORIZATION_REQUIRED", 1},
	"unknown mailbox":    {"nobody@contoso.example", "PermissionDenied wrong-config POLICY_DENIED", 0},
	"forbidden mailbox":  {"other@fabrikam.example", "PermissionDenied wrong-config POLICY_DENIED", 0},
	"no such side of it": {"basic@contoso.example", "PermissionDenied wrong-config POLICY_DENIED", 0},
}

func TestFailuresAreNamedAndFrozen(t *testing.T) {
	for name, tc := range failures {
		t.Run(name, func(t *testing.T) {
			sb := provider(t, time.Hour)
			s := newSite(t, sb, "file:state")
			s.start()
			c := s.connect(worker)
			first := ""
			for range 3 {
				_, err := ask(c, tc.mailbox, in)
				if got := reason(err); got != tc.want {
					t.Fatalf("got %s, want %s: %v", got, tc.want, err)
				}
				if first == "" {
					first = status.Convert(err).Proto().String()
				} else if got := status.Convert(err).Proto().String(); got != first {
					t.Errorf("the answer changed:\n%s\n%s", first, got)
				}
			}
			s.end()
			s.start() // frozen over a restart, too
			if _, err := ask(s.connect(worker), tc.mailbox, in); reason(err) != tc.want {
				t.Errorf("after a restart: %v", err)
			}
			if n := sb.TokenRequests().Total; n != tc.requests {
				t.Errorf("%d token requests, want %d", n, tc.requests)
			}
		})
	}
}

func TestNoClientCertificate(t *testing.T) {
	s := newSite(t, provider(t, time.Hour), "file:state")
	s.start()
	if _, err := ask(s.connect(""), "app@contoso.example", in); status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
	if _, err := ask(s.connect("spiffe://mail.example/stranger"), "app@contoso.example", in); status.Code(err) != codes.PermissionDenied {
		t.Fatal(err)
	}
}

// A corrected secret ends the freeze without a restart, and a broken file changes nothing.
func TestHotReload(t *testing.T) {
	s := newSite(t, provider(t, time.Hour), "file:state")
	s.start()
	c := s.connect(worker)
	if _, err := ask(c, "wrong@contoso.example", in); status.Code(err) != codes.FailedPrecondition {
		t.Fatal(err)
	}
	s.write("mailboxes.d/more.yaml", "mailboxes: [{address: nonsense}]")
	s.out.wait(t, "configuration refused, the old one stays", "")
	if _, err := ask(c, "app@contoso.example", in); err != nil {
		t.Fatalf("after a bad file: %v", err)
	}
	s.write("mailboxes.d/more.yaml", "mailboxes: []")
	s.write("secrets/wrong", appSecret)
	s.mustServe(c, "wrong@contoso.example")
}

// TestHotReloadOfAuthorities: a host that is allowed later is asked without a restart.
func TestHotReloadOfAuthorities(t *testing.T) {
	s := newSite(t, provider(t, time.Hour), "file:state")
	settings, boxes := s.read("broker.yaml"), s.read("mailboxes.d/all.yaml")
	before, _, _ := strings.Cut(settings, "allowed-authorities")
	s.write("broker.yaml", before)
	s.write("mailboxes.d/all.yaml", "mailboxes: []")
	s.start()
	s.write("broker.yaml", settings)
	s.write("mailboxes.d/all.yaml", boxes)
	s.mustServe(s.connect(worker), "app@contoso.example")
}

func TestRejectedTokenIsReplacedOnce(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	s.start()
	c := s.connect(worker)
	resp, err := ask(c, "app@contoso.example", in)
	if err != nil {
		t.Fatal(err)
	}
	old := resp.GetAccessToken()
	report := &brokerv1.ReportRejectionRequest{Selector: &brokerv1.Selector{Mailbox: "app@contoso.example", Direction: in}, Fingerprint: old.GetFingerprint(),
		Kind: brokerv1.RejectionKind_REJECTION_KIND_SASL, Server: "localhost:993"}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	answer, err := c.ReportRejection(ctx, report)
	if err != nil || answer.GetOutcome() != brokerv1.RejectionOutcome_REJECTION_OUTCOME_REPLACING {
		t.Fatalf("%v, %v", answer, err)
	}
	fresh, err := c.AcquireToken(ctx, &brokerv1.AcquireTokenRequest{Selector: report.GetSelector(), NewerThanGeneration: old.GetGeneration()})
	if err != nil || fresh.GetAccessToken().GetGeneration() <= old.GetGeneration() {
		t.Fatalf("no newer token: %v", err)
	}
	answer, err = c.ReportRejection(ctx, report)
	if err != nil || answer.GetOutcome() != brokerv1.RejectionOutcome_REJECTION_OUTCOME_ALREADY_REPLACED {
		t.Fatalf("%v, %v", answer, err)
	}
	if n := sb.TokenRequests().Total; n != 2 {
		t.Fatalf("%d token requests", n)
	}
}

// Nothing that is secret may be found anywhere but in the answers: not in logs, audit, metrics, errors or the store.
func TestNoSecretGetsOut(t *testing.T) {
	redis := redistest.Start(t)
	for name, store := range map[string]string{"file": "file:state", "redis": redis.URL()} {
		t.Run(name, func(t *testing.T) {
			sb := provider(t, time.Hour)
			s := newSite(t, sb, store)
			if err := seal.Make(filepath.Join(s.dir, "secrets/keyset.json")); err != nil {
				t.Fatal(err)
			}
			s.start()
			secrets, printed := exercise(t, s)
			s.end()
			found := s.files()
			found["log"], found["errors, metrics"], found["redis"] = []byte(s.out.String()), []byte(printed), redis.Files()
			for where, b := range found {
				for _, secret := range secrets {
					if strings.Contains(string(b), secret) {
						t.Errorf("%s holds a secret: %.12s…", where, secret)
					}
				}
			}
			if !strings.Contains(string(found["audit.jsonl"]), `"decision":"allow"`) || len(found["log"]) == 0 {
				t.Error("the search looked at nothing")
			}
		})
	}
}

// exercise asks for everything that works and everything that does not. It returns every secret that there is now, and
// what callers and scrapers were told besides tokens.
func exercise(t *testing.T, s *site) (secrets []string, printed string) {
	t.Helper()
	secrets = []string{"MARKER", keyLine(t)}
	c := s.connect(worker)
	for _, mailbox := range grants {
		resp, err := ask(c, mailbox, in)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, resp.GetAccessToken().GetValue())
		resp.GetAccessToken().Value = ""
		printed += resp.String()
	}
	for _, tc := range failures {
		_, err := ask(c, tc.mailbox, in)
		printed += fmt.Sprint(err, status.Convert(err).Proto())
	}
	if _, err := ask(c, "basic@contoso.example", out); err != nil {
		t.Fatal(err)
	}
	return secrets, printed + s.metrics()
}

func TestRefreshTokensSurviveRedis(t *testing.T) {
	redis, sb := redistest.Start(t), provider(t, time.Hour)
	s := newSite(t, sb, redis.URL())
	if err := seal.Make(filepath.Join(s.dir, "secrets/keyset.json")); err != nil {
		t.Fatal(err)
	}
	s.start()
	c := s.connect(worker)
	first, err := ask(c, "entra@contoso.example", in)
	if err != nil {
		t.Fatal(err)
	}
	redis.Kill()
	if _, err := ask(c, "app@contoso.example", in); err != nil {
		t.Errorf("a dead redis must not stop grants that do not rotate: %v", err)
	}
	if got, err := ask(c, "entra@contoso.example", in); err != nil || got.GetAccessToken().GetGeneration() != first.GetAccessToken().GetGeneration() {
		t.Errorf("a token that is still good is served from memory: %v", err)
	}
	redis.Restart()
	s.end()
	s.start()
	again, err := ask(s.connect(worker), "entra@contoso.example", in)
	if err != nil || again.GetAccessToken().GetValue() != first.GetAccessToken().GetValue() {
		t.Fatalf("another broker with the same redis must hand out the same token: %v", err)
	}
	if n := sb.TokenRequests().Grant["refresh_token"]; n != 1 {
		t.Fatalf("%d refreshes", n)
	}
}

func TestAdminPages(t *testing.T) {
	s := newSite(t, provider(t, time.Hour), "file:state")
	s.start()
	if _, err := ask(s.connect(worker), "app@contoso.example", in); err != nil {
		t.Fatal(err)
	}
	page := s.metrics()
	for _, want := range []string{`broker_calls_total{code="OK",method="AcquireToken"} 1`, "broker_mints_total{", "broker_call_seconds_count"} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not in the metrics", want)
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: %s", resp.Status)
	}
}
