package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/service"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// servedSeeds is how many worlds are visited through the service: gRPC and all that stands before a Keeper.
const servedSeeds = 15

// TestEveryAnswerIsAudited lets callers ask the whole broker, in memory: when an answer comes its line is in the audit, and no
// secret is in the audit, the log or an error.
func TestEveryAnswerIsAudited(t *testing.T) {
	config, path := served(t)
	var tokens, calls int
	for seed := range uint64(servedSeeds) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			w.people()
			for n, r := range w.replicas {
				w.serve(r, directory.Open(path, config, slog.New(slog.DiscardHandler)), seed+uint64(n))
			}
			for _, r := range w.replicas {
				k, _ := r.present()
				k.Close()
			}
			time.Sleep(stragglers)
			if w.failed() {
				t.Errorf("seed %d: %s\n%s", seed, w.faults[0], &w.trace)
			}
			tokens, calls = tokens+w.referee.handouts, calls+servedCalls*len(w.replicas)
		})
	}
	if tokens == 0 || tokens == calls {
		t.Errorf("%d tokens for %d calls: the troubles are no test", tokens, calls)
	}
}

// served is a configuration in which the client id says which mailbox of the world is meant.
func served(t *testing.T) (*directory.Config, string) {
	var b strings.Builder
	b.WriteString("mailboxes:\n")
	for _, id := range []string{"strict", "c0", "c1"} {
		for _, a := range []string{"a0", "a1"} {
			fmt.Fprintf(&b, "  - address: %s.%s@contoso.com\n    pop-client: {type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, grant-type: client_credentials, directory-id: d, client-id: %s/%s, secrets: [{file: secret}]}\n", id, a, id, a)
		}
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"broker.yaml": "policy: policy.yaml\nmailboxes: [mailboxes.yaml]\n", "mailboxes.yaml": b.String(), "secret": marker + "-configured",
		"policy.yaml": "rules:\n  - {identity: insecure, mailboxes: [\"*@contoso.com\"], verbs: [token, report], tenant-wide: true}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "broker.yaml")
	c, complaints := directory.Load(path, nil)
	if err := complaints.Err(); err != nil {
		t.Fatal(err)
	}
	return c, path
}

// translated is a Keeper that is asked for the world's credentials in place of the configured ones.
type translated struct {
	*keeper.Keeper
	replica *replica
}

func (k translated) Ask(ctx context.Context, w keeper.Wish) (keeper.Handout, error) {
	id, a, _ := strings.Cut(w.Credential.ClientID, "/")
	for _, m := range k.replica.w.boxes {
		if m.credential == id && string(m.audience) == a {
			return k.Keeper.Ask(ctx, k.replica.wish(m, w.Margin, w.NewerThan))
		}
	}
	return keeper.Handout{}, errAway
}

// serve asks one replica through its service while the provider and the store have their troubles.
func (w *world) serve(r *replica, d *directory.Directory, seed uint64) {
	k, _ := r.present()
	var lines output
	s := service.New(service.Config{Tokens: translated{k, r}, Directory: d, Audit: audit.To(&lines),
		Log: slog.New(slog.NewTextHandler(&w.output, nil)), Metrics: prometheus.NewRegistry()})
	l := bufconn.Listen(1 << 16)
	ctx, stop := context.WithCancel(context.Background())
	w.running.Go(func() { _ = s.Serve(ctx, l, time.Minute) })
	conn, err := grpc.NewClient("passthrough:///broker", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		w.t.Fatal(err)
	}
	w.provider.setStorm(seed%2 == 0)
	w.store.setRough(seed%3 == 0)
	w.callServed(brokerv1.NewTokenServiceClient(conn), &lines)
	if err := conn.Close(); err != nil {
		w.t.Error(err)
	}
	stop()
	w.running.Wait()
	if strings.Contains(lines.String()+w.output.String(), marker) {
		w.fault("a secret was printed")
	}
}

const servedCalls = 40

// callServed asks one call after the other: each answer must have exactly one line by then.
func (w *world) callServed(c brokerv1.TokenServiceClient, lines *output) {
	for n := range servedCalls {
		time.Sleep(between(w.script, time.Second, w.provider.life/4))
		m := pick(w.script, w.boxes...)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		answer, err := c.AcquireToken(ctx, &brokerv1.AcquireTokenRequest{Selector: &brokerv1.Selector{
			Mailbox: m.credential + "." + string(m.audience) + "@contoso.com", Direction: brokerv1.Direction_DIRECTION_INBOUND}})
		cancel()
		all := strings.SplitAfter(lines.String(), "\n")
		if len(all) != n+2 { // the last one is empty
			w.fault("%d audit lines after %d answers", len(all)-1, n+1)
			return
		}
		w.audited(all[n], answer.GetAccessToken(), err)
	}
}

// audited compares an answer with its line.
func (w *world) audited(line string, a *brokerv1.AccessToken, err error) {
	outcome := status.Code(err).String()
	if !strings.Contains(line, `"outcome":"`+outcome+`"`) {
		w.fault("the caller heard %s, the audit says %s", outcome, line)
	}
	if err != nil {
		if strings.Contains(fmt.Sprint(status.Convert(err).Proto()), marker) {
			w.fault("a secret was told")
		}
		return
	}
	w.referee.handouts++
	if !strings.Contains(line, fmt.Sprintf(`"fingerprint":"%x"`, a.GetFingerprint()[:6])) {
		w.fault("the audit names another token: %s", line)
	}
	if left := time.Until(a.GetUsableUntil().AsTime()); left <= 0 {
		w.fault("a token is handed out %s after its last use", -left)
	}
}
