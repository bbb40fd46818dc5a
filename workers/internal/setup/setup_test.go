package setup

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/certtest"
	"mailporter/kit/config"
	"mailporter/kit/daemon"
	"mailporter/kit/redistest"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// marker stands in every secret; no complaint may show it.
const marker = "MARKER-hunter2"

// folder makes a folder with certificates and secrets, as a worker file names them.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	ca, err := certtest.NewCA("test CA")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(certtest.Options{DNS: []string{"worker"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := pair.WriteFiles(dir, "worker"); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.WriteFile(dir, "ca.pem"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"secret": marker + "\n", "no.pem": "no certificate", "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t testing.TB, dir, text string, kind Kind) (Config, config.Complaints) {
	t.Helper()
	path := filepath.Join(dir, "worker.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path, kind)
}

const (
	broker   = `broker: {address: "dns:///broker.example:9443", tls: {certificate: worker.pem, key: worker-key.pem, ca: ca.pem}}` + "\n"
	fetching = broker + "state: file:state\n" + "sinks: {default: {maildir: in}}\n"
	sending  = broker + "state: file:state\n" + "intake: {smtp: {}}\n"
)

func mustLoad(t *testing.T, dir, text string, kind Kind) Config {
	t.Helper()
	c, found := load(t, dir, text, kind)
	if len(found) > 0 {
		t.Fatal(found)
	}
	return c
}

func TestInbound(t *testing.T) {
	dir := folder(t)
	c := mustLoad(t, dir, `
broker: {address: "127.0.0.1:9443", tls: {certificate: worker.pem, key: worker-key.pem, ca: ca.pem}}
state: file:state
admin: 127.0.0.1:9091
trusted-ca: [ca.pem]
sinks: {default: {maildir: "mail/{mailbox}"}, helpdesk: {maildir: /tmp/helpdesk}}
`, Inbound)
	if c.Broker.Address != "127.0.0.1:9443" || c.Broker.TLS.CA != filepath.Join(dir, "ca.pem") || c.Broker.Insecure {
		t.Errorf("broker %+v", c.Broker)
	}
	if c.State.Folder != filepath.Join(dir, "state") || c.State.Redis != "" || c.Admin != "127.0.0.1:9091" || c.Roots == nil {
		t.Errorf("%+v", c)
	}
	want := map[string]Sink{"default": {Maildir: filepath.Join(dir, "mail/{mailbox}")}, "helpdesk": {Maildir: "/tmp/helpdesk"}}
	if !reflect.DeepEqual(c.Sinks, want) {
		t.Errorf("sinks %+v", c.Sinks)
	}
	if _, err := os.Stat(c.State.Folder); !os.IsNotExist(err) {
		t.Error("reading the file made the folder")
	}
}

func TestTokenInPlaceOfACertificate(t *testing.T) {
	dir := folder(t)
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, dir, "broker: {address: 'b:1', token-file: token, tls: {ca: ca.pem}}\nstate: file:s\nsinks: {default: {maildir: in}}", Inbound)
	if c.Broker.TokenFile != filepath.Join(dir, "token") || c.Broker.TLS != (daemon.TLSFiles{CA: filepath.Join(dir, "ca.pem")}) {
		t.Fatalf("broker %+v", c.Broker)
	}
}

// TestSinks: every kind, with what a file may leave out.
func TestSinks(t *testing.T) {
	dir := folder(t)
	key := strings.Repeat("k", 32)
	if err := os.WriteFile(filepath.Join(dir, "hmac"), []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, dir, broker+`
state: redis://shared:6379/1
state-password: {file: secret}
sinks:
  default: {lmtp: "127.0.0.1:24"}
  dovecot: {lmtp: "dovecot.example:24", recipient: all@x.example, connections: 3}
  socket: {lmtp: "unix:/run/lmtp"}
  helpdesk: {webhook: "https://helpdesk.example/in", hmac-key: {file: hmac}, authorization: {file: secret}, timeout: "00:01:00"}
  queue: {redis-stream: mail, maximum-size: 1M, maximum-length: 1000}
  elsewhere: {redis-stream: mail, redis: "redis://other:6379", redis-password: {file: hmac}}
`, Inbound)
	if l := c.Sinks["default"].LMTP; l.Security != wire.Plain || l.Recipient != "{mailbox}" || l.Connections != 8 {
		t.Errorf("default %+v", l)
	}
	if l := c.Sinks["dovecot"].LMTP; l.Security != wire.StartTLS || l.Recipient != "all@x.example" || l.Connections != 3 || l.Roots == nil {
		t.Errorf("dovecot %+v", l)
	}
	if l := c.Sinks["socket"].LMTP; l.Security != wire.Plain || l.Address != "unix:/run/lmtp" {
		t.Errorf("socket %+v", l)
	}
	if w := c.Sinks["helpdesk"].Webhook; w.Key.Reveal() != key || w.Authorization.Reveal() != marker || w.Timeout != time.Minute {
		t.Errorf("helpdesk %+v", w)
	}
	if s := c.Sinks["queue"].Stream; s.URL != "redis://shared:6379/1" || s.Password.Reveal() != marker || s.MaxSize != 1<<20 || s.MaxLength != 1000 {
		t.Errorf("queue %+v", s)
	}
	if s := c.Sinks["elsewhere"].Stream; s.URL != "redis://other:6379" || s.Password.Reveal() != key {
		t.Errorf("elsewhere %+v", s)
	}
}

func TestOutbound(t *testing.T) {
	dir := folder(t)
	c := mustLoad(t, dir, broker+`
state: redis+sentinel://a:1,b:2/3?master=m
state-password: {file: secret}
retry: {give-up: "48:00:00"}
intake:
  smtp:
    listen: 127.0.0.1:2525
    hostname: relay.example
    tls: {certificate: worker.pem, key: worker-key.pem, client-ca: ca.pem}
    implicit-tls: true
    allow: [10.1.2.3/16, "::1"]
    users: [{user: app, password: {file: secret}, senders: ["*@contoso.example", a@old.example]}]
    clients: [{identity: "spiffe://mail.example/crm"}, {identity: scanner, senders: scanner@contoso.example}]
    maximum-size: 25M
    maximum-recipients: 50
    null-sender: bounces@contoso.example
`, Outbound)
	if c.State.Redis != "redis+sentinel://a:1,b:2/3?master=m" || c.State.Password.Reveal() != marker || c.Retry.GiveUp != 48*time.Hour {
		t.Errorf("%+v", c)
	}
	in := c.Intake.SMTP[0]
	if in.Listen != "127.0.0.1:2525" || c.Intake.Hostname != "relay.example" || !in.ImplicitTLS || in.Rules.MaxSize != 25<<20 || in.Rules.MaxRecipients != 50 || in.Rules.NullSender != "bounces@contoso.example" {
		t.Errorf("intake %+v", in)
	}
	if in.TLS.Certificate == "" || in.TLS.Key == "" || in.TLS.CA != filepath.Join(dir, "ca.pem") {
		t.Errorf("TLS %+v", in.TLS)
	}
	if want := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128")}; !reflect.DeepEqual(in.Allow, want) {
		t.Errorf("allow %v", in.Allow)
	}
	if len(in.Users) != 1 || in.Users[0].Name != "app" || len(in.Users[0].Senders) != 2 {
		t.Errorf("users %v", in.Users)
	}
	if want := (intake.Clients{{Name: "spiffe://mail.example/crm"}, {Name: "scanner", Senders: []string{"scanner@contoso.example"}}}); !reflect.DeepEqual(in.Clients, want) {
		t.Errorf("clients %v", in.Clients)
	}
	if c.Intake.GRPC != nil || c.Intake.Folder != nil || !c.Sends() || c.Fetches() {
		t.Errorf("%+v", c.Intake)
	}
}

// TestDoors: each of the ways in alone, and all of them.
func TestDoors(t *testing.T) {
	dir := folder(t)
	rules := intake.Rules{}.WithDefaults()
	for name, tc := range map[string]struct {
		text string
		want Intake
	}{
		"grpc":    {"{grpc: {tls: {certificate: worker.pem, key: worker-key.pem, client-ca: ca.pem}, clients: [{identity: crm}], maximum-size: 1M}}", Intake{GRPC: &GRPCIntake{Rules: intake.Rules{MaxSize: 1 << 20}.WithDefaults(), Listen: "127.0.0.1:9444", Clients: intake.Clients{{Name: "crm"}}, TLS: daemon.TLSFiles{Certificate: filepath.Join(dir, "worker.pem"), Key: filepath.Join(dir, "worker-key.pem"), CA: filepath.Join(dir, "ca.pem")}}}},
		"a trial": {"{grpc: {listen: 'localhost:1', insecure: true}}", Intake{GRPC: &GRPCIntake{Rules: rules, Listen: "localhost:1"}}},
		"folder":  {"{folder: drop}", Intake{Folder: &FolderIntake{Rules: rules, Path: filepath.Join(dir, "drop"), Poll: time.Second}}},
		"more of it": {"{folder: {path: drop, poll: '00:00:05', senders: a@b, null-sender: c@d}}", Intake{Folder: &FolderIntake{Rules: intake.Rules{NullSender: "c@d"}.WithDefaults(),
			Path: filepath.Join(dir, "drop"), Poll: 5 * time.Second, Senders: []string{"a@b"}}}},
		"text": {"{smtp: {mend-line-ends: true}}", Intake{SMTP: []SMTPIntake{{Rules: rules, Listen: "127.0.0.1:2525", MendLineEnds: true}}}},
		"two listeners": {"{smtp: [{listen: '127.0.0.1:25'}, {listen: '127.0.0.1:587', mend-line-ends: true}]}", Intake{SMTP: []SMTPIntake{
			{Rules: rules, Listen: "127.0.0.1:25"}, {Rules: rules, Listen: "127.0.0.1:587", MendLineEnds: true}}}},
		"nobody without login": {"{smtp: {allow: []}}", Intake{SMTP: []SMTPIntake{{Rules: rules, Listen: "127.0.0.1:2525", Allow: []netip.Prefix{}}}}},
		"all":                  {"{smtp: {}, grpc: {insecure: true}, folder: /tmp/drop}", Intake{SMTP: []SMTPIntake{{Rules: rules, Listen: "127.0.0.1:2525"}}, GRPC: &GRPCIntake{Rules: rules, Listen: "127.0.0.1:9444"}, Folder: &FolderIntake{Rules: rules, Path: "/tmp/drop", Poll: time.Second}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustLoad(t, dir, broker+"state: file:state\nintake: "+tc.text+"\n", Outbound)
			tc.want.Hostname = hostname()
			if !reflect.DeepEqual(c.Intake, tc.want) || !c.Sends() {
				t.Errorf("%+v %+v %+v", c.Intake.SMTP, c.Intake.GRPC, c.Intake.Folder)
			}
		})
	}
}

// TestReports: nobody is told without the section.
func TestReports(t *testing.T) {
	const name = "Mail Delivery System"
	for text, want := range map[string]Reports{
		"":                                    {},
		"reports: {to: none}":                 {Name: name, DelayAfter: 4 * time.Hour},
		"reports: {to: sender}":               {Wanted: true, Name: name, DelayAfter: 4 * time.Hour},
		"reports: {to: postmaster@x.example}": {Wanted: true, Name: name, Address: "postmaster@x.example", DelayAfter: 4 * time.Hour},
		"reports: {to: sender, through: post@x.example}":             {Wanted: true, Name: name, Through: "post@x.example", DelayAfter: 4 * time.Hour},
		"reports: {to: sender, delay-after: '00:00:00', name: Post}": {Wanted: true, Name: "Post"},
	} {
		if c := mustLoad(t, folder(t), sending+text, Outbound); c.Reports != want {
			t.Errorf("%q: %+v, want %+v", text, c.Reports, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, folder(t), sending, Outbound)
	in := c.Intake.SMTP[0]
	if in.Listen != "127.0.0.1:2525" || c.Intake.Hostname == "" || in.Allow != nil || in.Rules.MaxSize != defaultSize ||
		in.Rules.MaxRecipients != defaultRecipients || in.TLS.Certificate != "" || c.Retry.GiveUp != defaultGiveUp || c.Admin != "" {
		t.Errorf("%+v", c)
	}
}

func TestLocalTrial(t *testing.T) {
	for _, address := range []string{"127.0.0.1:9443", "[::1]:9443", "localhost:9443", "dns:///localhost:9443"} {
		c := mustLoad(t, folder(t), "broker: {address: '"+address+"', insecure: true}\nstate: file:s\nsinks: {default: {maildir: in}}", Inbound)
		if !c.Broker.Insecure || c.Broker.Address != address {
			t.Errorf("%+v", c.Broker)
		}
	}
}

// TestOpens opens both engines as a file names them.
func TestOpens(t *testing.T) {
	server := redistest.Start(t, "--requirepass", marker)
	for name, state := range map[string]string{
		"file":  "state: file:state",
		"redis": "state: redis://" + server.Addr() + "/1\nstate-password: {file: secret}",
	} {
		t.Run(name, func(t *testing.T) {
			c := mustLoad(t, folder(t), broker+state+"\nsinks: {default: {maildir: in}}", Inbound)
			s, err := c.State.Open(t.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Ping(); err != nil {
				t.Fatal(err)
			}
			l, err := s.Checkpoints().Lease(t.Context(), mail.Folder{Mailbox: "a", Name: "INBOX"}, time.Minute)
			if err != nil || l.Release(t.Context()) != nil {
				t.Fatal(err)
			}
			if all, err := s.Quarantine().List(t.Context(), "", 9); err != nil || len(all) != 0 {
				t.Fatal(all, err)
			}
			if all, err := s.Outbox().List(t.Context(), "", 9); err != nil || len(all) != 0 {
				t.Fatal(all, err)
			}
		})
	}
}

// TestNoStoreAtAll: an engine that cannot be opened is an error and a nil Store, not a Store around nothing.
func TestNoStoreAtAll(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "taken")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range []State{{Folder: taken}, {Redis: "redis://:" + marker + "@/x"}} {
		store, err := s.Open(t.Context(), slog.New(slog.DiscardHandler))
		if err == nil || store != nil || strings.Contains(err.Error(), marker) {
			t.Errorf("%v, %v", store, err)
		}
	}
}
