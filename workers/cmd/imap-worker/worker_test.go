package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/program/programtest"
)

const tenant = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"

var mailboxes = []string{"support@contoso.example", "sales@contoso.example"}

// TestMailArrives is the whole worker: real sockets, tokens of a few seconds, Maildirs on disk.
func TestMailArrives(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var log programtest.Log
	var tokens []string
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		sb := startSandbox(t, 3*time.Second)
		broker := startBroker(t, sb, &tokens)
		dir, admin := configure(t, sb, broker.Listen(t, nil))
		stop := programtest.Start(t, worker.App(), dir, &log)
		var want [][]byte
		for round := range 3 { // each takes longer than a token lives
			want = append(want, deliver(t, sb, round)...)
			programtest.WaitFor(t, fmt.Sprintf("round %d", round), func() bool { return len(arrived(t, dir)) == len(want) })
			mint := broker.Minted()
			programtest.WaitFor(t, "another token", func() bool { return broker.Minted() > mint })
		}
		got := arrived(t, dir)
		slices.SortFunc(got, bytes.Compare)
		slices.SortFunc(want, bytes.Compare)
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Error("the messages are not the ones that were sent, byte for byte")
		}
		mustBeHealthy(t, admin)
		stop()
	})
	for _, token := range tokens {
		if strings.Contains(log.String(), token) {
			t.Error("a token is in the log")
		}
	}
}

// startBroker hands out the sandbox's tokens and notes them.
func startBroker(t *testing.T, sb *sandbox.Sandbox, tokens *[]string) *brokertest.Broker {
	t.Helper()
	broker := brokertest.New(t)
	broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) {
		token, c, err := sb.Issuer().Access(idp.Claims{Tenant: tenant, Client: "app",
			Audience: "https://outlook.office365.com", Roles: []string{"IMAP.AccessAsApp"}})
		*tokens = append(*tokens, token)
		return token, c.Expires, err
	})
	broker.SetMailboxes(settings(t, sb)...)
	return broker
}

func startSandbox(t *testing.T, life time.Duration) *sandbox.Sandbox {
	t.Helper()
	sb, err := sandbox.Start(sandbox.Config{
		TokenLife: life,
		Tenants: []sandbox.Tenant{{
			ID: tenant, Domains: []string{"contoso.example"},
			Apps:  []sandbox.App{{ClientID: "app", Roles: []string{"IMAP.AccessAsApp"}, Mailboxes: []string{"*"}}},
			Users: []sandbox.User{{Address: mailboxes[0]}, {Address: mailboxes[1]}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sb.Close(); err != nil {
			t.Error(err)
		}
	})
	return sb
}

// settings: one mailbox keeps its mail, the other's is deleted.
func settings(t *testing.T, sb *sandbox.Sandbox) (all []tokenclient.Settings) {
	t.Helper()
	_, port, err := net.SplitHostPort(sb.IMAPAddr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for i, mailbox := range mailboxes {
		all = append(all, tokenclient.Settings{
			Mailbox: mailbox, Direction: tokenclient.Inbound, Protocol: tokenclient.IMAP, Margin: time.Second, Version: "1",
			Endpoint: tokenclient.Endpoint{Server: "localhost", Port: n, Security: tokenclient.TLS, User: mailbox,
				Mechanism: tokenclient.XOAUTH2, ConnectTimeout: 10 * time.Second, ProtocolTimeout: 10 * time.Second},
			Inbound: tokenclient.InboundSettings{Folders: []string{"INBOX"}, CycleTime: time.Second, DeliverTo: "default",
				After: []tokenclient.After{tokenclient.Keep, tokenclient.Delete}[i], Junk: tokenclient.JunkCount},
		})
	}
	return all
}

// configure writes the worker's file and returns its folder and the admin address.
func configure(t *testing.T, sb *sandbox.Sandbox, broker string) (dir, admin string) {
	t.Helper()
	dir = t.TempDir()
	admin = programtest.FreeAddress(t)
	text := fmt.Sprintf("broker: {address: %q, insecure: true}\nstate: file:state\nsinks: {default: {maildir: %q}}\nadmin: %q\ntrusted-ca: [ca.pem]\n",
		broker, "mail/{mailbox}", admin)
	for name, content := range map[string][]byte{"worker.yaml": []byte(text), "ca.pem": sb.CAPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, admin
}

func deliver(t *testing.T, sb *sandbox.Sandbox, round int) (all [][]byte) {
	t.Helper()
	for i, mailbox := range mailboxes {
		for n := range 10 {
			raw := fmt.Appendf(nil, "Message-ID: <%d.%d.%d@test.example>\r\n\r\n.dot\r\n\xe4%s\r\n", round, i, n, strings.Repeat("x", n*5000))
			if _, err := sb.Store().Deliver(raw, []mailstore.Target{{Mailbox: mailbox, Folder: "INBOX"}}, nil); err != nil {
				t.Fatal(err)
			}
			all = append(all, raw)
		}
	}
	return all
}

// arrived is what lies in the Maildirs.
func arrived(t *testing.T, dir string) (all [][]byte) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "mail", "*", "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// mustBeHealthy asks the admin listener.
func mustBeHealthy(t *testing.T, admin string) {
	t.Helper()
	if programtest.Page(admin, "/readyz") == "" {
		t.Error("the worker is not ready")
	}
	if metrics := programtest.Page(admin, "/metrics"); !strings.Contains(metrics, `inbound_messages_total{kind="delivered",protocol="IMAP"} 60`) {
		t.Error("the metrics do not count 60 delivered messages")
	}
	var all []inbound.FolderStatus
	if err := json.Unmarshal([]byte(programtest.Page(admin, "/mailboxes")), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Fatalf("%d folders on the status page, want 2", len(all))
	}
	for _, s := range all {
		if s.Failure != nil || s.Delivered != 30 || s.LastSuccess.IsZero() {
			t.Errorf("status: %+v", s)
		}
	}
}
