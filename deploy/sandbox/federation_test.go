package sandbox_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mailporter/sandbox"
)

const (
	federatedUser = "agent@fed.contoso.example"
	cloud         = "urn:federation:MicrosoftOnline"
)

func federation(saml2 bool) sandbox.Config {
	c := contoso()
	t := &c.Tenants[0]
	t.Domains = append(t.Domains, "fed.contoso.example")
	t.Federated = []sandbox.FederatedDomain{{Domain: "fed.contoso.example", SAML2: saml2}}
	t.Users = append(t.Users, sandbox.User{Address: federatedUser, Password: "pw"})
	return c
}

// get fetches a document.
func get(t *testing.T, sb *sandbox.Sandbox, at string) string {
	t.Helper()
	resp, err := httpClient(t, sb).Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", at, resp.Status, err)
	}
	return string(b)
}

// signIn asks the federation server for an assertion and returns what it says.
func signIn(t *testing.T, sb *sandbox.Sandbox, at, user, password, audience string, life time.Duration) (int, string) {
	t.Helper()
	body := fmt.Sprintf(`<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:wsa="http://www.w3.org/2005/08/addressing"><s:Header><wsa:To>%s</wsa:To>
<o:Security xmlns:o="wsse"><o:Timestamp><o:Expires>%s</o:Expires></o:Timestamp><o:UsernameToken><o:Username>%s</o:Username><o:Password>%s</o:Password></o:UsernameToken></o:Security>
</s:Header><s:Body><t:RequestSecurityToken xmlns:t="trust"><p:AppliesTo xmlns:p="policy"><wsa:EndpointReference><wsa:Address>%s</wsa:Address></wsa:EndpointReference></p:AppliesTo>
</t:RequestSecurityToken></s:Body></s:Envelope>`, at, time.Now().Add(life).UTC().Format(time.RFC3339), user, password, audience)
	resp, err := httpClient(t, sb).Post(at, "application/soap+xml", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestFederatedSignIn(t *testing.T) {
	for grant, saml2 := range map[string]bool{"saml1_1-bearer": false, "saml2-bearer": true} {
		t.Run(grant, func(t *testing.T) {
			sb := start(t, federation(saml2))
			var realm map[string]string
			if err := json.Unmarshal([]byte(get(t, sb, sb.Authority()+"/common/UserRealm/"+federatedUser+"?api-version=1.0")), &realm); err != nil || realm["account_type"] != "Federated" {
				t.Fatalf("%v %v", realm, err)
			}
			endpoint := sb.Federation() + "/adfs/services/trust/13/usernamemixed"
			if !strings.Contains(get(t, sb, realm["federation_metadata_url"]), endpoint) {
				t.Fatal("the metadata do not name the endpoint")
			}
			_, said := signIn(t, sb, endpoint, federatedUser, "pw", cloud, time.Minute)
			from, to := strings.Index(said, "<saml:Assertion"), strings.Index(said, "</trust:RequestedSecurityToken>")
			if from < 0 || to < 0 {
				t.Fatal(said)
			}
			redeem := func(grant, assertion string) answer {
				return post(t, sb, entra(sb, tenantID), form("grant_type", "urn:ietf:params:oauth:grant-type:"+grant, "client_id", public, "scope", imapScope,
					"assertion", base64.StdEncoding.EncodeToString([]byte(assertion))))
			}
			if a := redeem(grant, said[from:to]); a.Access == "" || !strings.Contains(a.Scope, "IMAP.AccessAsUser.All") {
				t.Error(a.raw)
			}
			if a := redeem(map[bool]string{true: "saml1_1-bearer", false: "saml2-bearer"}[saml2], said[from:to]); len(a.Codes) != 1 || a.Codes[0] != 50013 {
				t.Errorf("redeemed as another version: %s", a.raw)
			}
			if a := redeem(grant, strings.Replace(said[from:to], "<saml:Sealed>", "<saml:Sealed>x", 1)); len(a.Codes) != 1 || a.Codes[0] != 50013 {
				t.Errorf("forged: %s", a.raw)
			}
		})
	}
}

func TestTheFederationServerRefuses(t *testing.T) {
	sb := start(t, federation(false))
	endpoint := sb.Federation() + "/adfs/services/trust/13/usernamemixed"
	for name, tc := range map[string]struct {
		user, password, audience string
		life                     time.Duration
		want                     string
	}{
		"wrong password":   {federatedUser, "no", cloud, time.Minute, "FailedAuthentication"},
		"unknown user":     {"nobody@fed.contoso.example", "pw", cloud, time.Minute, "FailedAuthentication"},
		"user of Entra":    {sales, "pw", cloud, time.Minute, "FailedAuthentication"},
		"another audience": {federatedUser, "pw", "urn:other", time.Minute, "InvalidScope"},
		"too late":         {federatedUser, "pw", cloud, -time.Minute, "InvalidRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			if status, text := signIn(t, sb, endpoint, tc.user, tc.password, tc.audience, tc.life); status != http.StatusInternalServerError || !strings.Contains(text, ":"+tc.want+"<") {
				t.Errorf("%d %s", status, text)
			}
		})
	}
	if a := post(t, sb, entra(sb, tenantID), form("grant_type", "password", "client_id", public, "username", federatedUser, "password", "pw", "scope", imapScope)); len(a.Codes) != 1 || a.Codes[0] != 50126 {
		t.Errorf("Entra itself: %s", a.raw)
	}
}

func TestAFederatedDomainMustBeATenants(t *testing.T) {
	c := federation(false)
	c.Tenants[0].Federated[0].Domain = "elsewhere.example"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "elsewhere.example") {
		t.Error(err)
	}
}
