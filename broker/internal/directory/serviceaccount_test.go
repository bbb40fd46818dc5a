package directory

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"testing"

	"mailporter/broker/internal/token"
)

// keyFields is a key file as Google makes it.
func keyFields(t testing.TB, key any, kind string) map[string]string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"type": "service_account", "project_id": "project", "private_key_id": "k1", "client_email": "broker@project.example", "client_id": "1001",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})), "token_uri": "https://oauth2.googleapis.com/token",
	}
}

// keyFile writes NAME with the changes; a value "-" takes a field away.
func (s *site) keyFile(name string, fields map[string]string, changes map[string]string) {
	s.t.Helper()
	fields = maps.Clone(fields)
	maps.Copy(fields, changes)
	maps.DeleteFunc(fields, func(_, v string) bool { return v == "-" })
	b, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(name, string(b))
}

const viaRobot = "type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, service-account-key: {file: ../robot.json}"

func TestServiceAccountKeyIsAllThatIsNeeded(t *testing.T) {
	s := newSite(t)
	fields := keyFields(t, rsaKey(t), "PRIVATE KEY")
	s.keyFile("robot.json", fields, nil)
	section := s.good(one("pop-client", viaRobot)).Find("support@contoso.com").Inbound
	c := section.Credential
	if section.Grant != token.ServiceAccount || section.Audience != googleScope || section.Endpoint.Server != "imap.gmail.com" {
		t.Errorf("grant %s for %s at %s", section.Grant, section.Audience, section.Endpoint.Server)
	}
	if c.Provider != token.Google || c.Authority != googleToken || c.ClientID != "broker@project.example" || c.User != "Support@contoso.com" || c.Robot.Number != "1001" || c.Robot.KeyID != "k1" {
		t.Errorf("%+v", *c)
	}
	if c.TenantWide {
		t.Error("each of its tokens opens one mailbox")
	}
	s.keyFile("robot.json", keyFields(t, rsaKey(t), "PRIVATE KEY"), map[string]string{"private_key_id": "k2"})
	if next := s.good(one("pop-client", viaRobot)).Mailboxes[0].Inbound.Credential; next.Version == c.Version || next.ID != c.ID {
		t.Error("another key is another version of the same credential")
	}
}

func TestOneServiceAccountServesManyMailboxes(t *testing.T) {
	s := newSite(t)
	s.keyFile("robot.json", keyFields(t, rsaKey(t), "PRIVATE KEY"), nil)
	c := s.good(`
defaults: {pop-client: {` + viaRobot + `}}
mailboxes:
  - {address: a@contoso.com, pop-client: {}}
  - {address: b@contoso.com, pop-client: {}}
`)
	a, b := c.Find("a@contoso.com").Inbound.Credential, c.Find("b@contoso.com").Inbound.Credential
	if a.ID == b.ID || a.User != "a@contoso.com" || b.User != "b@contoso.com" || !a.Robot.Key.Equal(b.Robot.Key) {
		t.Errorf("%s and %s", a.Label, b.Label)
	}
	if paths := strings.Join(c.Paths(), " "); !strings.Contains(paths, "robot.json") {
		t.Errorf("the key file is not watched: %s", paths)
	}
}

func TestComplaintsAboutServiceAccounts(t *testing.T) {
	fields := keyFields(t, rsaKey(t), "PRIVATE KEY")
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		changes map[string]string
		options string
		want    string
	}{
		"other type":        {map[string]string{"type": "authorized_user"}, "", `is a file of type "authorized_user"`},
		"no type":           {map[string]string{"type": "-"}, "", `is a file of type ""`},
		"no address":        {map[string]string{"client_email": "-"}, "", "names no client_email"},
		"no key id":         {map[string]string{"private_key_id": ""}, "", "names no private_key_id"},
		"no key":            {map[string]string{"private_key": "-"}, "", "holds no private_key in PEM"},
		"encrypted":         {map[string]string{"private_key": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nTUFSS0VS\n-----END ENCRYPTED PRIVATE KEY-----\n"}, "", "is encrypted"},
		"encrypted, old":    {map[string]string{"private_key": "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nTUFSS0VS\n-----END RSA PRIVATE KEY-----\n"}, "", "is encrypted"},
		"not RSA":           {map[string]string{"private_key": keyFields(t, curve, "PRIVATE KEY")["private_key"]}, "", "is no RSA key"},
		"broken key":        {map[string]string{"private_key": "-----BEGIN PRIVATE KEY-----\nTUFSS0VS\n-----END PRIVATE KEY-----\n"}, "", "is no RSA key"},
		"other universe":    {map[string]string{"universe_domain": "cloud.example"}, "", "which has no Gmail"},
		"foreign token_uri": {map[string]string{"token_uri": "https://evil.example/token"}, "", "token_uri of evil.example, which is neither Google's nor allowed"},
		"plain token_uri":   {map[string]string{"token_uri": "http://oauth2.googleapis.com/token"}, "", "is not https"},
		"other authority":   {map[string]string{"token_uri": "https://localhost:8443/google/token"}, "", "tenant-authority is another"},
		"old token_uri":     {map[string]string{"token_uri": "https://accounts.google.com/o/oauth2/token"}, "", ""},
		"no token_uri":      {map[string]string{"token_uri": "-"}, "", ""},
		"stand-in":          {map[string]string{"token_uri": "https://localhost:8443/google/token"}, "tenant-authority: 'https://localhost:8443/google'", ""},
		"its numeric id":    {nil, "client-id: '1001'", ""},
		"another client id": {nil, "client-id: '1002'", `"1002" is not that of the service account`},
		"and a secret":      {nil, "secrets: [{file: ../app}]", "secrets: does not go with a service account"},
		"and refresh_token": {nil, "grant-type: refresh_token, client-id: c, password: {file: ../app}", "does not go with grant-type refresh_token"},
		"and Microsoft":     {nil, "tenant-authority: 'https://login.microsoftonline.com', directory-id: d, client-id: c, password: {file: ../app}", "is Google's and not taken by Microsoft"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.keyFile("robot.json", fields, tc.changes)
			_, complaints := s.load(one("pop-client", viaRobot+", "+tc.options))
			text := complaints.Error()
			if tc.want == "" && len(complaints) > 0 || !strings.Contains(text, tc.want) {
				t.Fatalf("want %q in:\n%s", tc.want, text)
			}
			if strings.Contains(text, "TUFSS0VS") || strings.Contains(text, "MARKER") {
				t.Error("a key was printed")
			}
		})
	}
}

func TestComplaintsAboutKeyFiles(t *testing.T) {
	s := newSite(t)
	s.write("broken.json", "{\n  \"type\": \"service_account\",\n  \"private_key\": MARKER\n}")
	s.write("empty.json", "")
	for name, tc := range map[string]struct{ options, want string }{
		"missing": {"service-account-key: {file: ../none.json}", "no such file"},
		"no JSON": {"service-account-key: {file: ../broken.json}", "broken.json is no JSON key file (line 3)"},
		"empty":   {"service-account-key: {file: ../empty.json}", "service-account-key: "},
		"no key":  {"tenant-authority: google, grant-type: service_account", "needs the key of a service account"},
	} {
		t.Run(name, func(t *testing.T) {
			_, complaints := s.load(one("pop-client", "type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, "+tc.options))
			if !strings.Contains(complaints.Error(), tc.want) || strings.Contains(complaints.Error(), "MARKER") {
				t.Fatalf("want %q in:\n%v", tc.want, complaints)
			}
			for _, c := range complaints {
				if c.Line == 0 || c.File == "" || c.Remedy == "" {
					t.Errorf("no place or no remedy: %s", c)
				}
			}
		})
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte(`{"type":"service_account","client_email":"a@b.example","private_key_id":"k","private_key":"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"}`))
	f.Add([]byte(`{"type":`))
	f.Add([]byte(`{"type":7}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseKeyFile(b)
		if err == nil && (r.key.Key.Empty() || r.key.KeyID == "" || !isAddress(r.email)) {
			t.Fatalf("taken without its parts: %q", r.email)
		}
		if err == nil {
			_ = r.suits(googleToken, nil)
		}
	})
}
