package sandbox_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mailporter/sandbox"
	"mailporter/sandbox/idp"
)

func TestEntraRefusals(t *testing.T) {
	sb := start(t, contoso())
	cc := func(pairs ...string) url.Values {
		return form(append([]string{"grant_type", "client_credentials", "client_id", service, "client_secret", secret, "scope", appOnly}, pairs...)...)
	}
	ropc := func(pairs ...string) url.Values {
		return form(append([]string{"grant_type", "password", "client_id", public, "username", support, "password", "pw", "scope", imapScope}, pairs...)...)
	}
	refresh := func(pairs ...string) url.Values {
		return form(append([]string{"grant_type", "refresh_token", "client_id", webApp, "client_secret", secret, "refresh_token", "seed-entra", "scope", imapScope}, pairs...)...)
	}
	without := func(v url.Values, name string) url.Values { v.Del(name); return v }
	tests := []struct {
		name, tenant string
		form         url.Values
		status       int
		code         int
		error, sub   string
	}{
		{"wrong secret", tenantID, cc("client_secret", "wrong"), 401, 7000215, "invalid_client", ""},
		{"expired secret", tenantID, cc("client_secret", "old"), 401, 7000222, "invalid_client", ""},
		{"no credential", tenantID, without(cc(), "client_secret"), 401, 7000218, "invalid_client", ""},
		{"password at an app that is no public client", tenantID, ropc("client_id", webApp), 401, 7000218, "invalid_client", ""},
		{"secret of a public client", tenantID, ropc("client_secret", secret), 401, 700025, "invalid_client", ""},
		{"certificate that nobody registered", tenantID, without(cc("client_assertion", "a.b.c"), "client_secret"), 401, 700027, "invalid_client", ""},
		{"unknown tenant", "00000000-1111-4222-8333-444444444444", cc(), 400, 90002, "invalid_request", ""},
		{"unknown domain as tenant", "nowhere.example", cc(), 400, 90002, "invalid_request", ""},
		{"malformed tenant", "not_a_tenant", cc(), 400, 900023, "invalid_request", ""},
		{"app of another tenant", tenantID, cc("client_id", "nobody"), 400, 700016, "unauthorized_client", ""},
		{"disabled app", tenantID, cc("client_id", "disabled-app"), 400, 7000112, "unauthorized_client", ""},
		{"no grant type", tenantID, without(cc(), "grant_type"), 400, 900144, "invalid_request", ""},
		{"no client id", tenantID, without(cc(), "client_id"), 400, 900144, "invalid_request", ""},
		{"no scope", tenantID, without(cc(), "scope"), 400, 900144, "invalid_request", ""},
		{"no user name", tenantID, without(ropc(), "username"), 400, 900144, "invalid_request", ""},
		{"no refresh token", tenantID, without(refresh(), "refresh_token"), 400, 900144, "invalid_request", ""},
		{"unsupported grant", tenantID, cc("grant_type", "implicit"), 400, 70003, "unsupported_grant_type", ""},
		{"app-only at common", "common", cc(), 400, 9001023, "invalid_request", ""},
		{"app-only at organizations", "organizations", cc(), 400, 50059, "invalid_request", ""},
		{"password at common", "common", ropc(), 400, 9001023, "invalid_request", ""},
		{"password at consumers", "consumers", ropc(), 400, 9001023, "invalid_request", ""},
		{"user of no tenant at organizations", "organizations", ropc("username", "a@nowhere.example"), 400, 50059, "invalid_request", ""},
		{"app-only with a delegated scope", tenantID, cc("scope", imapScope), 400, 70011, "invalid_scope", ""},
		{"scope that is none", tenantID, cc("scope", "nonsense"), 400, 70011, "invalid_scope", ""},
		{"two resources", tenantID, cc("scope", appOnly+" https://graph.microsoft.com/.default"), 400, 700022, "invalid_request", ""},
		{"unknown resource", tenantID, cc("scope", "https://mail.example/.default"), 400, 500011, "invalid_resource", ""},
		{"wrong password", tenantID, ropc("password", "no"), 400, 50126, "invalid_grant", ""},
		{"unknown user", tenantID, ropc("username", "nobody@contoso.example"), 400, 50034, "invalid_grant", ""},
		{"user without a password", tenantID, ropc("username", shared), 400, 50056, "invalid_grant", ""},
		{"mfa", tenantID, ropc("username", "mfa@contoso.example"), 400, 50076, "invalid_grant", "basic_action"},
		{"locked", tenantID, ropc("username", "locked@contoso.example"), 400, 50053, "invalid_grant", ""},
		{"disabled user", tenantID, ropc("username", "disabled@contoso.example"), 400, 50057, "invalid_grant", ""},
		{"expired password", tenantID, ropc("username", "stale@contoso.example"), 400, 50055, "invalid_grant", "user_password_expired"},
		{"unconsented", tenantID, ropc("scope", "https://graph.microsoft.com/Mail.Read"), 400, 65001, "invalid_grant", "consent_required"},
		{"nothing consented", tenantID, ropc("scope", "https://graph.microsoft.com/.default"), 400, 65001, "invalid_grant", "consent_required"},
		{"unknown refresh token", tenantID, refresh("refresh_token", "1.AXk"), 400, 70000, "invalid_grant", "bad_token"},
		{"refresh token of another client", tenantID, without(refresh("client_id", public), "client_secret"), 400, 70000, "invalid_grant", "bad_token"},
		{"refresh token of google", tenantID, refresh("refresh_token", "seed-google"), 400, 70000, "invalid_grant", "bad_token"},
		{"inactive refresh token", tenantID, refresh("refresh_token", "seed-entra-expired"), 400, 700082, "invalid_grant", "token_expired"},
		{"revoked refresh token", tenantID, refresh("refresh_token", "seed-entra-revoked"), 400, 50173, "invalid_grant", "bad_token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := post(t, sb, entra(sb, test.tenant), test.form)
			if a.status != test.status || a.Error != test.error || a.Sub != test.sub || !slices.Equal(a.Codes, []int{test.code}) {
				t.Errorf("got %d %s %s %v, want %d %s %s %d", a.status, a.Error, a.Sub, a.Codes, test.status, test.error, test.sub, test.code)
			}
			lines := strings.Split(a.Text, "\r\n")
			if len(lines) != 4 || !strings.HasPrefix(lines[0], fmt.Sprintf("AADSTS%d: ", test.code)) ||
				lines[1] != "Trace ID: "+a.Trace || lines[2] != "Correlation ID: "+a.Corr || !strings.HasPrefix(lines[3], "Timestamp: 2") {
				t.Errorf("description %q", a.Text)
			}
			if strings.Contains(a.raw, "%!") || strings.Contains(a.raw, "pw") && strings.Contains(a.raw, secret) {
				t.Errorf("body %s", a.raw)
			}
			if (a.Claims != "") != (test.sub == "basic_action") {
				t.Errorf("claims %q", a.Claims)
			}
		})
	}
	counts := sb.TokenRequests()
	if counts.Total != len(tests) || counts.Refused != len(tests) || counts.Code[50126] != 1 {
		t.Errorf("counted %+v after %d requests", counts, len(tests))
	}
}

func TestEntraGrants(t *testing.T) {
	c := contoso()
	c.RefreshIn = 30 * time.Minute
	sb := start(t, c)
	tests := []struct {
		name, tenant  string
		form          url.Values
		roles         []string
		scp           string
		offline, idTk bool
	}{
		{
			name: "client_credentials", tenant: tenantID, roles: []string{"IMAP.AccessAsApp", "SMTP.SendAsApp"},
			form: form("grant_type", "client_credentials", "client_id", service, "client_secret", secret, "scope", appOnly),
		},
		{
			name: "client_credentials as MSAL asks for it", tenant: tenantID, roles: []string{"IMAP.AccessAsApp", "SMTP.SendAsApp"},
			form: form("grant_type", "client_credentials", "client_id", service, "client_secret", secret,
				"scope", appOnly+" openid offline_access profile", "client_info", "1"),
		},
		{
			name: "tenant named by its domain", tenant: "contoso.example", roles: []string{"IMAP.AccessAsApp", "SMTP.SendAsApp"},
			form: form("grant_type", "client_credentials", "client_id", service, "client_secret", secret, "scope", appOnly),
		},
		{
			name: "app without a permission gets an empty token", tenant: tenantID,
			form: form("grant_type", "client_credentials", "client_id", "no-rights", "client_secret", secret, "scope", appOnly),
		},
		{
			name: "graph roles for graph", tenant: tenantID, roles: []string{"Mail.ReadWrite"},
			form: form("grant_type", "client_credentials", "client_id", service, "client_secret", secret, "scope", "https://graph.microsoft.com/.default"),
		},
		{
			name: "password", tenant: tenantID, scp: "IMAP.AccessAsUser.All",
			form: form("grant_type", "password", "client_id", public, "username", support, "password", "pw", "scope", imapScope),
		},
		{
			name: "password at organizations, all consented scopes", tenant: "organizations", offline: true, idTk: true,
			scp: "IMAP.AccessAsUser.All SMTP.Send",
			form: form("grant_type", "password", "client_id", public, "username", support, "password", "pw",
				"scope", "https://outlook.office.com/.default offline_access openid profile"),
		},
		{
			name: "refresh_token", tenant: tenantID, scp: "SMTP.Send", offline: true,
			form: form("grant_type", "refresh_token", "client_id", webApp, "client_secret", secret, "refresh_token", "seed-entra", "scope", smtpScope),
		},
		{
			name: "refresh_token without a scope", tenant: "common", scp: "IMAP.AccessAsUser.All", offline: true,
			form: form("grant_type", "refresh_token", "client_id", webApp, "client_secret", secret, "refresh_token", "seed-entra"),
		},
		{
			name: "refresh_token for two resources: the first", tenant: tenantID, scp: "SMTP.Send", offline: true,
			form: form("grant_type", "refresh_token", "client_id", webApp, "client_secret", secret, "refresh_token", "seed-entra",
				"scope", smtpScope+" https://graph.microsoft.com/Mail.Send"),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := post(t, sb, entra(sb, test.tenant), test.form)
			if a.status != http.StatusOK || a.Expires != 3600 || a.In != 1800 {
				t.Fatalf("got %d %s", a.status, a.raw)
			}
			if (a.Refresh != "") != test.offline || (a.ID != "") != test.idTk {
				t.Errorf("refresh token %t, id token %t; want %t, %t", a.Refresh != "", a.ID != "", test.offline, test.idTk)
			}
			if n := len(a.Access); n < 1400 || n > 2500 {
				t.Errorf("token of %d bytes; real ones have 1.5 to 2 kB", n)
			}
			claims := payload(t, a.Access)
			if got := fmt.Sprint(claims["roles"]); got != fmt.Sprint(anys(test.roles)) {
				t.Errorf("roles %s, want %v", got, test.roles)
			}
			if got, _ := claims["scp"].(string); got != test.scp {
				t.Errorf("scp %q, want %q", got, test.scp)
			}
			if claims["tid"] != tenantID || claims["iss"] != "https://sts.windows.net/"+tenantID+"/" {
				t.Errorf("claims %v", claims)
			}
		})
	}
}

func anys(list []string) any {
	if list == nil {
		return nil
	}
	return list
}

func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestBasicClientAuthenticationIsTaken(t *testing.T) {
	sb := start(t, contoso())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, entra(sb, tenantID),
		strings.NewReader(form("grant_type", "client_credentials", "scope", appOnly).Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("client-request-id", "my-id")
	req.Header.Set("return-client-request-id", "true")
	req.SetBasicAuth(url.QueryEscape(service), url.QueryEscape(secret))
	resp, err := httpClient(t, sb).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	a := readAnswer(t, resp)
	if a.Access == "" || a.header.Get("client-request-id") != "my-id" || a.header.Get("x-ms-request-id") == "" {
		t.Errorf("got %d %v %s", a.status, a.header, a.Error)
	}
}

func TestTenWrongPasswordsLockTheAccount(t *testing.T) {
	sb := start(t, contoso())
	try := func(password string) answer {
		return post(t, sb, entra(sb, tenantID), form("grant_type", "password", "client_id", public, "username", sales, "password", password, "scope", imapScope))
	}
	for range 10 {
		if a := try("guess"); a.Codes[0] != 50126 {
			t.Fatalf("got %s", a.raw)
		}
	}
	if a := try("pw"); a.status != 400 || a.Codes[0] != 50053 {
		t.Errorf("the right password after ten wrong ones: %s", a.raw)
	}
	sb.Directory().UpdateUser(sales, func(u *sandbox.User) { u.Password = "new" })
	if a := try("new"); a.Access == "" {
		t.Errorf("after the administrator unlocked it: %s", a.raw)
	}
}

func TestRefreshTokenRotation(t *testing.T) {
	use := func(t *testing.T, sb *sandbox.Sandbox, token string) answer {
		return post(t, sb, entra(sb, tenantID), form("grant_type", "refresh_token", "client_id", webApp, "client_secret", secret,
			"refresh_token", token, "scope", imapScope))
	}
	t.Run("soft: the old one stays valid", func(t *testing.T) {
		sb := start(t, contoso())
		first := sb.IssueRefreshToken(tenantID, webApp, support, imapScope)
		second := use(t, sb, first).Refresh
		if second == "" || second == first {
			t.Fatalf("no new refresh token")
		}
		for _, token := range []string{first, second} {
			if a := use(t, sb, token); a.Access == "" {
				t.Errorf("refused: %s", a.raw)
			}
		}
	})
	t.Run("single use: a second use voids the family", func(t *testing.T) {
		c := contoso()
		c.SingleUseRefreshTokens = true
		sb := start(t, c)
		first := sb.IssueRefreshToken(tenantID, webApp, support, imapScope)
		second := use(t, sb, first).Refresh
		if a := use(t, sb, first); a.status != 400 || a.Codes[0] != 50173 {
			t.Errorf("old token: %s", a.raw)
		}
		if a := use(t, sb, second); a.status != 400 || a.Codes[0] != 50173 {
			t.Errorf("new token of a voided family: %s", a.raw)
		}
	})
	t.Run("a changed password ends it", func(t *testing.T) {
		sb := start(t, contoso())
		token := sb.IssueRefreshToken(tenantID, webApp, support, imapScope)
		if err := sb.Issuer().RevokeUser(tenantID, support); err != nil {
			t.Fatal(err)
		}
		if a := use(t, sb, token); a.status != 400 || a.Codes[0] != 50173 {
			t.Errorf("got %s", a.raw)
		}
		if a := use(t, sb, sb.IssueRefreshToken(tenantID, webApp, support, imapScope)); a.Access == "" {
			t.Errorf("a new consent: %s", a.raw)
		}
	})
}

func TestIdenticalRequestsAreALoop(t *testing.T) {
	c := contoso()
	c.Limits.IdenticalTokenRequests = 2
	sb := start(t, c)
	v := form("grant_type", "client_credentials", "client_id", service, "client_secret", secret, "scope", appOnly)
	for range 2 {
		if a := post(t, sb, entra(sb, tenantID), v); a.Access == "" {
			t.Fatalf("got %s", a.raw)
		}
	}
	if a := post(t, sb, entra(sb, tenantID), v); a.status != 400 || a.Codes[0] != 50196 {
		t.Errorf("got %s", a.raw)
	}
}

func TestGoogle(t *testing.T) {
	sb := start(t, contoso())
	base := []string{"grant_type", "refresh_token", "client_id", gClient, "client_secret", gSecret, "refresh_token", "seed-google"}
	with := func(pairs ...string) url.Values { return form(append(slices.Clone(base), pairs...)...) }
	tests := []struct {
		name   string
		form   url.Values
		status int
		error  string
		text   string
	}{
		{"granted", with(), 200, "", ""},
		{"unknown client", with("client_id", "nobody"), 401, "invalid_client", "The OAuth client was not found."},
		{"disabled client", with("client_id", "off"), 401, "disabled_client", "The OAuth client was disabled."},
		{"wrong secret", with("client_secret", "no"), 401, "invalid_client", "Unauthorized"},
		{"no secret", with("client_secret", ""), 400, "invalid_request", "client_secret is missing."},
		{"no client", with("client_id", ""), 400, "invalid_request", "Could not determine client ID from request."},
		{"no refresh token", with("refresh_token", ""), 400, "invalid_request", "Missing required parameter: refresh_token"},
		{"malformed refresh token", with("refresh_token", "1//0x"), 400, "invalid_grant", "Bad Request"},
		{"refresh token of entra", with("refresh_token", "seed-entra"), 400, "invalid_grant", "Bad Request"},
		{"revoked refresh token", with("refresh_token", "seed-google-revoked"), 400, "invalid_grant", "Token has been expired or revoked."},
		{"wrong grant", with("grant_type", "password"), 400, "unsupported_grant_type", "Invalid grant_type: password"},
		{"no grant", with("grant_type", ""), 400, "unsupported_grant_type", "Invalid grant_type: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := post(t, sb, sb.GoogleAuthority()+"/token", test.form)
			if a.status != test.status || a.Error != test.error || a.Text != test.text {
				t.Fatalf("got %d %s %q", a.status, a.Error, a.Text)
			}
			if test.error == "" && (!strings.HasPrefix(a.Access, "ya29.") || a.Refresh != "" || a.Scope != "https://mail.google.com/" || a.Expires != 3600) {
				t.Errorf("granted %s", a.raw)
			}
		})
	}
}

func TestGoogleTokenInfoAndRevoke(t *testing.T) {
	sb := start(t, contoso())
	token := googleToken(t, sb)
	info := post(t, sb, sb.GoogleAuthority()+"/tokeninfo", form("access_token", token))
	if info.status != 200 || !strings.Contains(info.raw, gmailUser) {
		t.Errorf("tokeninfo: %d %s", info.status, info.raw)
	}
	for _, want := range []int{200, 400} {
		if a := post(t, sb, sb.GoogleAuthority()+"/revoke", form("token", token)); a.status != want {
			t.Errorf("revoke: %d, want %d", a.status, want)
		}
	}
	if a := post(t, sb, sb.GoogleAuthority()+"/revoke", form("token", "seed-google")); a.status != 200 {
		t.Errorf("revoke a refresh token: %d %s", a.status, a.raw)
	}
	again := post(t, sb, sb.GoogleAuthority()+"/token", form("grant_type", "refresh_token", "client_id", gClient, "client_secret", gSecret, "refresh_token", "seed-google"))
	if again.Error != "invalid_grant" {
		t.Errorf("after the revocation: %s", again.raw)
	}
}

func TestDiscovery(t *testing.T) {
	sb := start(t, contoso())
	get := func(path string) (int, map[string]any) {
		resp, err := httpClient(t, sb).Get(sb.Authority() + path)
		if err != nil {
			t.Fatal(err)
		}
		a := readAnswer(t, resp)
		var v map[string]any
		if err := json.Unmarshal([]byte(a.raw), &v); err != nil {
			t.Fatalf("%v in %s", err, a.raw)
		}
		return a.status, v
	}
	host := strings.TrimPrefix(sb.Authority(), "https://")
	tests := []struct {
		name, path string
		status     int
		field      string
		want       string
	}{
		{"metadata", "/" + tenantID + "/v2.0/.well-known/openid-configuration", 200, "token_endpoint", entra(sb, tenantID)},
		{"issuer", "/contoso.example/v2.0/.well-known/openid-configuration", 200, "issuer", sb.Authority() + "/" + tenantID + "/v2.0"},
		{"metadata of common", "/common/v2.0/.well-known/openid-configuration", 200, "issuer", sb.Authority() + "/{tenantid}/v2.0"},
		{"metadata of nobody", "/nowhere.example/v2.0/.well-known/openid-configuration", 400, "error", "invalid_request"},
		{"instance", "/common/discovery/instance?api-version=1.1&authorization_endpoint=" + url.QueryEscape(sb.Authority()+"/common/oauth2/v2.0/authorize"), 200,
			"tenant_discovery_endpoint", sb.Authority() + "/common/v2.0/.well-known/openid-configuration"},
		{"other instance", "/common/discovery/instance?authorization_endpoint=https://evil.example/", 400, "error", "invalid_instance"},
		{"realm", "/common/UserRealm/" + url.PathEscape(support) + "?api-version=1.0", 200, "account_type", "Managed"},
		{"realm of a stranger", "/common/UserRealm/a@nowhere.example?api-version=1.0", 200, "account_type", "Unknown"},
		{"cloud", "/common/UserRealm/a@nowhere.example?api-version=1.0", 200, "cloud_instance_name", host},
		{"google", "/google/.well-known/openid-configuration", 200, "token_endpoint", sb.GoogleAuthority() + "/token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, v := get(test.path)
			if status != test.status || v[test.field] != test.want {
				t.Errorf("got %d %v, want %d %s", status, v[test.field], test.status, test.want)
			}
		})
	}
	_, keys := get("/" + tenantID + "/discovery/v2.0/keys")
	if fmt.Sprint(keys["keys"]) == "" || !strings.Contains(fmt.Sprint(keys), "RSA") {
		t.Errorf("keys %v", keys)
	}
}

func TestTokensEndToTheSecond(t *testing.T) {
	c := contoso()
	c.TokenLife = time.Second
	sb := start(t, c)
	token := appToken(t, sb, service)
	claims, err := sb.Issuer().Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(claims.Expires); left <= 0 || left > 2*time.Second {
		t.Errorf("token of one second ends in %s", left)
	}
	ctx, cancel := context.WithDeadline(t.Context(), claims.Expires)
	defer cancel()
	<-ctx.Done()
	if _, err := sb.Issuer().Verify(token); err != idp.ErrExpired {
		t.Errorf("after its end: %v", err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	sb := start(t, contoso())
	config := tlsConfig(sb)
	config.MaxVersion = tls.VersionTLS11
	for _, addr := range []string{strings.TrimPrefix(sb.Authority(), "https://"), sb.IMAPAddr(), sb.GmailSMTPAddr()} {
		if c, err := tls.Dial("tcp", addr, config); err == nil {
			t.Errorf("%s takes TLS 1.1", addr)
			_ = c.Close()
		}
	}
}

func TestGetAtTheTokenEndpoint(t *testing.T) {
	sb := start(t, contoso())
	resp, err := httpClient(t, sb).Get(entra(sb, tenantID))
	if err != nil {
		t.Fatal(err)
	}
	if a := readAnswer(t, resp); a.status != 400 || a.Codes[0] != 900561 {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}

func TestASecretIsRotatedWhileItRuns(t *testing.T) {
	sb := start(t, contoso())
	ask := func(value string) int {
		return post(t, sb, entra(sb, tenantID), form("grant_type", "client_credentials", "client_id", service, "client_secret", value, "scope", appOnly)).status
	}
	done := make(chan struct{})
	go func() { // somebody asks all the while
		defer close(done)
		for range 20 {
			sb.Directory().MayOpen(idp.Claims{Tenant: tenantID, Client: service}, support)
			_, _ = sb.Directory().User(support)
		}
	}()
	if !sb.Directory().UpdateApp(tenantID, service, func(a *sandbox.App) { a.Secrets[0].Value = "new" }) {
		t.Fatal("no such application")
	}
	<-done
	if old, fresh := ask(secret), ask("new"); old != 401 || fresh != 200 {
		t.Errorf("old secret %d, new one %d", old, fresh)
	}
	if sb.Directory().UpdateApp(tenantID, "nobody", nil) || sb.Directory().UpdateUser("nobody@contoso.example", nil) {
		t.Error("changed what does not exist")
	}
}
