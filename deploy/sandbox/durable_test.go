package sandbox_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mailporter/sandbox"
)

// childEnv makes the test binary a sandbox over the folder that it names, until it is killed.
const childEnv = "SANDBOX_TEST_CHILD"

func TestKilledChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		return // the parent is TestAcknowledgedMailSurvivesKill
	}
	c := contoso()
	c.Data = dir
	sb, err := sandbox.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nready %s %s\n", sb.SMTPAddr(), appToken(t, sb, service))
	select {}
}

// child starts a sandbox in a process of its own and returns its submission address, a token and how to kill it.
func child(t *testing.T, dir string) (addr, token string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // "killed" is what it says
	})
	t.Cleanup(kill)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "ready %s %s", &addr, &token); err == nil {
			return addr, token, kill
		}
	}
	t.Fatalf("child said nothing: %v", lines.Err())
	return "", "", nil
}

func TestAcknowledgedMailSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	addr, token, kill := child(t, dir)
	ca, err := os.ReadFile(dir + "/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	const senders, enough = 3, 40
	var acknowledged sync.Map
	var count atomic.Int64
	var wg sync.WaitGroup
	for s := range senders {
		c := submissionClient(t, addr, ca, token)
		wg.Go(func() {
			for i := 0; ; i++ {
				raw := fmt.Sprintf("Subject: %d-%d\r\n\r\n%s\r\n", s, i, strings.Repeat("x", i*100))
				if send(c, support, raw, sales) != nil {
					return // killed
				}
				acknowledged.Store(raw, true)
				if count.Add(1) == enough {
					go kill() // in the middle of the others' messages
				}
			}
		})
	}
	wg.Wait()
	kill() // waits: its connections end before its locks do

	c := contoso()
	c.Data = dir
	sb := start(t, c)
	stored := map[string]int{}
	for _, raw := range fetchAll(t, openIMAP(t, sb, sales, token, nil), "INBOX") {
		stored[string(raw)]++
	}
	acknowledged.Range(func(raw, _ any) bool {
		if stored[raw.(string)] != 1 {
			t.Errorf("an acknowledged message is there %d times", stored[raw.(string)])
		}
		return true
	})
	if n := int64(len(stored)); n < enough || n > count.Load()+senders {
		t.Errorf("%d stored, %d acknowledged", n, count.Load())
	}
}

func submissionClient(t *testing.T, addr string, ca []byte, token string) *smtp.Client {
	t.Helper()
	c, err := smtp.DialStartTLS(strings.Replace(addr, "127.0.0.1", "localhost", 1), trusting(ca))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Auth(&bearer{user: support, token: token}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRestartKeepsEverything(t *testing.T) {
	c := contoso()
	c.Data = t.TempDir()
	first, err := sandbox.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	app, google := appToken(t, first, service), googleToken(t, first)
	refresh := first.IssueRefreshToken(tenantID, webApp, support, imapScope)
	revoked := first.IssueRefreshToken(tenantID, webApp, sales, imapScope)
	if err := first.Issuer().RevokeUser(tenantID, sales); err != nil {
		t.Fatal(err)
	}
	put(t, first, support, letter(1), letter(2), letter(3))
	store := first.Store()
	if _, err := store.Expunge(support, "INBOX", []uint32{2}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Move(support, "INBOX", []uint32{3}, "Archive"); err != nil {
		t.Fatal(err)
	}
	before, err := store.Folder(support, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	ca := first.CAPEM()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := start(t, c)
	if string(second.CAPEM()) != string(ca) {
		t.Error("another certificate authority")
	}
	after, err := second.Store().Folder(support, "INBOX")
	if err != nil || after.UIDValidity != before.UIDValidity || after.UIDNext != before.UIDNext ||
		len(after.Messages) != 1 || after.Messages[0].ID != before.Messages[0].ID {
		t.Errorf("inbox: %+v, %v; was %+v", after, err, before)
	}
	openIMAP(t, second, support, app, nil)
	if info := post(t, second, second.GoogleAuthority()+"/tokeninfo", form("access_token", google)); info.status != http.StatusOK {
		t.Errorf("google token: %s", info.raw)
	}
	use := func(token string) answer {
		return post(t, second, entra(second, tenantID), form("grant_type", "refresh_token", "client_id", webApp, "client_secret", secret,
			"refresh_token", token, "scope", imapScope))
	}
	if a := use(refresh); a.Access == "" {
		t.Errorf("refresh token: %s", a.raw)
	}
	if a := use(revoked); a.status != 400 || a.Codes[0] != 50173 {
		t.Errorf("revoked refresh token: %s", a.raw)
	}
}

func TestTokensOfAnotherSandboxAreRefused(t *testing.T) {
	one, other := start(t, contoso()), start(t, contoso())
	if got := textOf(dialIMAP(t, other, other.IMAPAddr(), nil).Authenticate(&bearer{user: support, token: appToken(t, one, service)})); got != "AUTHENTICATE failed." {
		t.Errorf("got %q", got)
	}
}

func TestStartFails(t *testing.T) {
	busy := start(t, contoso())
	dir := t.TempDir()
	kept := contoso()
	kept.Data = dir
	start(t, kept)
	tests := []struct {
		name   string
		change func(*sandbox.Config)
		want   string
	}{
		{"port in use", func(c *sandbox.Config) {
			_, err := fmt.Sscanf(strings.TrimPrefix(busy.AdminURL(), "http://127.0.0.1:"), "%d", &c.Ports.IMAP)
			if err != nil {
				t.Fatal(err)
			}
		}, "ports.imap"},
		{"folder in use", func(c *sandbox.Config) { c.Data = dir }, "in use by another process"},
		{"not loopback", func(c *sandbox.Config) { c.Host = "0.0.0.0" }, "loopback"},
		{"user of no domain", func(c *sandbox.Config) { c.Tenants[0].Users[0].Address = "a@b.example" }, "not in a domain"},
		{"user twice", func(c *sandbox.Config) { c.Google.Users[1].Address = gmailUser }, "twice"},
		{"refresh_in after the end", func(c *sandbox.Config) { c.RefreshIn = 2 * time.Hour }, "within token-life"},
		{"half a second", func(c *sandbox.Config) { c.TokenLife = 1500e6 }, "whole seconds"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := contoso()
			test.change(&c)
			_, err := sandbox.Start(c)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
