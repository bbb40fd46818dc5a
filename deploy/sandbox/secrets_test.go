package sandbox_test

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"mailporter/sandbox/fault"
)

// record is a log that can be searched.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

// TestNoSecretIsLogged logs everything there is, does everything that could tempt a server to print what it got, and
// searches.
func TestNoSecretIsLogged(t *testing.T) {
	const password = "MARKER-password"
	var log record
	c := contoso()
	c.Tenants[0].Users[0].Password = password
	c.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	sb := start(t, c)
	token := appToken(t, sb, service)
	refresh := sb.IssueRefreshToken(tenantID, webApp, support, imapScope)
	post(t, sb, entra(sb, tenantID), form("grant_type", "refresh_token", "client_id", webApp, "client_secret", "MARKER-secret", "refresh_token", refresh))
	post(t, sb, entra(sb, tenantID), form("grant_type", "password", "client_id", public, "username", support, "password", "MARKER-wrong", "scope", imapScope))

	w := dialWire(t, sb, sb.IMAPAddr())
	for _, line := range []string{
		"a LOGIN " + support + " MARKER-wrong", "b LOGIN " + support + " (" + password, "c AUTHENTICATE XOAUTH2 " + token,
		"d AUTHENTICATE XOAUTH2 " + xoauth2(sales, token[:len(token)-4]),
	} {
		w.send(line)
		w.want(line[:1] + " ")
	}
	w.send("e " + token) // no command at all: the server hangs up
	w.want("* BYE")
	for _, auth := range []gosasl.Client{
		gosasl.NewPlainClient("", support, "MARKER-wrong"), &bearer{user: sales, token: token[:len(token)-4]}, &bearer{user: support, token: token},
	} {
		_ = dialSMTP(t, sb).Auth(auth) // good or bad: what matters is the log
	}
	sb.Faults().Add(fault.Rule{Target: fault.IMAP, Step: "authenticate", Action: fault.Reset})
	_ = dialIMAP(t, sb, sb.IMAPAddr(), nil).Authenticate(&bearer{user: support, token: token})
	_, stats := call(t, sb, "GET", "/stats", "")
	if err := sb.Close(); err != nil {
		t.Fatal(err)
	}
	for name, marker := range map[string]string{
		"password or secret": "MARKER", "token": token[:len(token)-8], "refresh token": refresh, "client secret": secret,
		"encoded token": base64.StdEncoding.EncodeToString([]byte(token))[:40],
	} {
		if strings.Contains(log.String()+stats, marker) {
			t.Errorf("a %s was printed:\n%s", name, log.String())
		}
	}
}
