package idp

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSplitScope(t *testing.T) {
	tests := []struct {
		scope, resource, permission string
		ok                          bool
	}{
		{"https://outlook.office.com/IMAP.AccessAsUser.All", Outlook, "IMAP.AccessAsUser.All", true},
		{"https://outlook.office365.com/.default", Outlook365, ".default", true},
		{"https://graph.microsoft.com//.default", Graph, ".default", true},
		{"Mail.Send", Graph, "Mail.Send", true},
		{"IMAP.AccessAsUser.All", Graph, "IMAP.AccessAsUser.All", true}, // bare means Graph, and a Graph token opens no IMAP
		{".default", Graph, ".default", true},
		{"nonsense", Graph, "nonsense", false},
		{"https://outlook.office.com/", Outlook, "", false},
		{"//", "", "", false},
		{"https://", "https:", "", false},
	}
	for _, test := range tests {
		t.Run(test.scope, func(t *testing.T) {
			resource, permission, ok := splitScope(test.scope)
			if ok != test.ok || (ok && (resource != test.resource || permission != test.permission)) {
				t.Errorf("got %q %q %t", resource, permission, ok)
			}
		})
	}
}

func FuzzParseScope(f *testing.F) {
	f.Add("https://outlook.office.com/.default offline_access openid")
	f.Add("Mail.Send https://graph.microsoft.com/User.Read")
	f.Fuzz(func(t *testing.T, scope string) {
		r := &request{Request: &http.Request{PostForm: url.Values{"scope": {scope}}}}
		if err := r.parseScope(false); err == nil && (r.resource == "" || len(r.scopes) == 0) {
			t.Errorf("%q: resource %q, scopes %q", scope, r.resource, r.scopes)
		}
	})
}

func issuer(t testing.TB, dir string, life time.Duration) *Issuer {
	t.Helper()
	i, err := NewIssuer(dir, life)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestAccessTokens(t *testing.T) {
	i := issuer(t, "", time.Hour)
	for name, c := range map[string]Claims{
		"app-only":  {Tenant: "t", Client: "c", Audience: Outlook, Roles: []string{"IMAP.AccessAsApp"}},
		"delegated": {Tenant: "t", Client: "c", User: "a@b.c", Audience: Outlook, Scopes: []string{"SMTP.Send"}},
		"google":    {Tenant: GoogleTenant, Client: "c", User: "a@b.c", Scopes: []string{GmailScope}},
	} {
		t.Run(name, func(t *testing.T) {
			token, made, err := i.Access(c)
			if err != nil {
				t.Fatal(err)
			}
			got, err := i.Verify(token)
			if err != nil || got.ID != made.ID || got.User != c.User || got.Client != c.Client || got.Audience != c.Audience ||
				!slices.Equal(got.Roles, c.Roles) || !slices.Equal(got.Scopes, c.Scopes) || !got.Expires.Equal(made.Expires) {
				t.Errorf("got %+v, %v", got, err)
			}
			for at := range token { // every byte is guarded
				if at%97 != 0 {
					continue
				}
				other := token[:at] + string(rune('A'+(token[at]+1)%26)) + token[at+1:]
				if _, err := i.Verify(other); err == nil && other != token {
					t.Fatalf("altered at %d of %d, and taken", at, len(token))
				}
			}
			if err := i.RevokeToken(token); err != nil {
				t.Fatal(err)
			}
			if _, err := i.Verify(token); !errors.Is(err, ErrRevoked) {
				t.Errorf("revoked: %v", err)
			}
		})
	}
}

func TestRefreshTokenIsNoAccessToken(t *testing.T) {
	i := issuer(t, "", time.Hour)
	token, err := i.refresh(grant{Tenant: GoogleTenant, User: "a@b.c"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Verify(googlePrefix + strings.TrimPrefix(token, googleRefresh)); !errors.Is(err, ErrBadToken) {
		t.Errorf("got %v", err)
	}
}

func TestRevokingAUserLeavesLaterTokens(t *testing.T) {
	i := issuer(t, "", time.Hour)
	c := Claims{Tenant: "t", User: "a@b.c", Audience: Outlook}
	before, _, err := i.Access(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.RevokeUser("T", "A@b.c"); err != nil {
		t.Fatal(err)
	}
	after, _, err := i.Access(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Verify(before); !errors.Is(err, ErrRevoked) {
		t.Errorf("before: %v", err)
	}
	if _, err := i.Verify(after); err != nil {
		t.Errorf("after, in the same second: %v", err)
	}
}

func TestKeysAreNotReadableByOthers(t *testing.T) {
	dir := t.TempDir()
	issuer(t, dir, time.Hour)
	info, err := os.Stat(dir + "/identity-keys.json")
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(dir+"/identity-keys.json", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewIssuer(dir, time.Hour); err == nil {
		t.Error("broken keys were taken")
	}
}

func FuzzVerify(f *testing.F) {
	i := issuer(f, "", time.Hour)
	for _, tenant := range []string{"t", GoogleTenant} {
		token, _, err := i.Access(Claims{Tenant: tenant})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(token[:len(token)-1])
	}
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if c, err := i.Verify(token); err == nil {
			t.Errorf("%q was taken for %+v", token, c)
		}
	})
}
