package sandbox_test

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mailporter/sandbox"
)

const (
	robot      = "broker@project.iam.gserviceaccount.example"
	gmailScope = "https://mail.google.com/"
)

// delegate registers the holder's key for a service account that may act for Gmail's users.
func delegate(t *testing.T, c *sandbox.Config, h holder) {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(h.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	c.Google.ServiceAccounts = []sandbox.ServiceAccount{
		{Email: robot, ClientID: "1001", Keys: []sandbox.ServiceKey{{ID: "key-1", Key: public}}, Domains: []string{"gmail.example"}, Scopes: []string{gmailScope}},
		{Email: "off@project.example", Disabled: true},
	}
}

// ask is a service account's assertion but for the changes; a nil change takes a claim away.
func (h holder) ask(t *testing.T, sb *sandbox.Sandbox, kid string, changes map[string]any) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{"iss": robot, "sub": gmailUser, "scope": gmailScope, "aud": sb.GoogleAuthority() + "/token",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for k, v := range changes {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = kid
	text, err := token.SignedString(h.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestServiceAccountsAreVerified(t *testing.T) {
	c, known, stranger := contoso(), newHolder(t, time.Hour), newHolder(t, time.Hour)
	delegate(t, &c, known)
	sb := start(t, c)
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	with := func(changes map[string]any) string { return known.ask(t, sb, "key-1", changes) }
	for name, tc := range map[string]struct {
		assertion, error, text string
		status                 int
	}{
		"granted":           {with(nil), "", "", 200},
		"in its own name":   {with(map[string]any{"sub": nil}), "", "", 200},
		"no assertion":      {"", "invalid_request", "Missing required parameter", 400},
		"no JWT":            {"nonsense", "invalid_grant", "Invalid JWT", 400},
		"unknown account":   {with(map[string]any{"iss": "nobody@project.example"}), "invalid_grant", "account not found", 400},
		"disabled account":  {with(map[string]any{"iss": "off@project.example"}), "disabled_client", "disabled", 401},
		"forged":            {stranger.ask(t, sb, "key-1", nil), "invalid_grant", "Invalid JWT Signature.", 400},
		"deleted key":       {known.ask(t, sb, "key-0", nil), "invalid_grant", "Invalid JWT Signature.", 400},
		"other audience":    {with(map[string]any{"aud": "https://evil.example/token"}), "invalid_grant", "audience", 400},
		"too long":          {with(map[string]any{"exp": at(62 * time.Minute)}), "invalid_grant", "short-lived token", 400},
		"over":              {with(map[string]any{"iat": at(-2 * time.Hour), "exp": at(-time.Hour)}), "invalid_grant", "short-lived token", 400},
		"from the future":   {with(map[string]any{"iat": at(time.Hour), "exp": at(2 * time.Hour)}), "invalid_grant", "short-lived token", 400},
		"without iat":       {with(map[string]any{"iat": nil}), "invalid_grant", "short-lived token", 400},
		"no scope":          {with(map[string]any{"scope": ""}), "invalid_scope", "Invalid OAuth scope", 400},
		"scope not granted": {with(map[string]any{"scope": gmailScope + " https://www.googleapis.com/auth/drive"}), "unauthorized_client", "using this method", 401},
		"foreign user":      {with(map[string]any{"sub": "a@elsewhere.example"}), "unauthorized_client", "using this method", 401},
		"unknown user":      {with(map[string]any{"sub": "nobody@gmail.example"}), "invalid_grant", "Invalid email or User ID", 400},
	} {
		t.Run(name, func(t *testing.T) {
			a := post(t, sb, sb.GoogleAuthority()+"/token", form("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", tc.assertion))
			if a.status != tc.status || a.Error != tc.error || !strings.Contains(a.Text, tc.text) || (tc.error == "") != strings.HasPrefix(a.Access, "ya29.") || a.Refresh != "" {
				t.Fatalf("got %d %s", a.status, a.raw)
			}
		})
	}
	if n := sb.TokenRequests(); n.Client[robot] == 0 || n.User["nobody@gmail.example"] != 1 {
		t.Errorf("requests are not counted by account and subject: %v", n)
	}
}

func TestDelegationIsWithdrawnWhileItRuns(t *testing.T) {
	c, h := contoso(), newHolder(t, time.Hour)
	delegate(t, &c, h)
	sb := start(t, c)
	if !sb.Directory().UpdateServiceAccount(robot, func(a *sandbox.ServiceAccount) { a.Scopes = nil }) {
		t.Fatal("no such account")
	}
	a := post(t, sb, sb.GoogleAuthority()+"/token", form("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", h.ask(t, sb, "key-1", nil)))
	if a.Error != "unauthorized_client" {
		t.Error(a.raw)
	}
}

func TestAnUnreadableServiceKeyIsAComplaint(t *testing.T) {
	c := contoso()
	c.Google.ServiceAccounts = []sandbox.ServiceAccount{{Email: robot, Keys: []sandbox.ServiceKey{{ID: "k", Key: "/nowhere/key.pem"}}}}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "keys[0] of "+robot) {
		t.Errorf("taken: %v", err)
	}
}
