package microsoft_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mailporter/broker/internal/grant/microsoft"
	"mailporter/broker/internal/keeper/keepertest"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
	"mailporter/sandbox"
)

// rsaKeys are two keys for all tests: making them takes long.
var rsaKeys = sync.OnceValues(func() (keys [2]*rsa.PrivateKey, err error) {
	for i := range keys {
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			break
		}
	}
	return keys, err
})

// signer is a self-signed client certificate; its PEM form is what gets registered.
func signer(t *testing.T) (token.Certificate, string) { return signerWith(t, 0) }

// stranger is another one.
func stranger(t *testing.T) token.Certificate {
	c, _ := signerWith(t, 1)
	return c
}

func signerWith(t *testing.T, i int) (token.Certificate, string) {
	t.Helper()
	keys, err := rsaKeys()
	if err != nil {
		t.Fatal(err)
	}
	key := keys[i]
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return token.NewCertificate(leaf, key), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func register(t *testing.T, sb *sandbox.Sandbox, client string, change func(*sandbox.App)) {
	t.Helper()
	if !sb.Directory().UpdateApp(tenant, client, func(a *sandbox.App) { a.Secrets = nil; change(a) }) {
		t.Fatal("no such application")
	}
}

// certified is a provider whose application has a certificate, with a credential that has it and one that has another.
func certified(t *testing.T, client string, c token.Credential, scope token.Audience) (*sandbox.Sandbox, *microsoft.Grant, keepertest.Provider) {
	sb, g := start(t)
	known, text := signer(t)
	register(t, sb, client, func(a *sandbox.App) { a.Certificates = []string{text} })
	c.ClientID, c.Certificates = client, []token.Certificate{known}
	p := provider(sb, g, c, scope)
	p.Bad["CLIENT_CERTIFICATE_UNKNOWN"] = but(p.Credential, func(c *token.Credential) {
		c.Certificates = []token.Certificate{stranger(t)}
	})
	return sb, g, p
}

func TestClientCredentialsWithACertificate(t *testing.T) {
	keepertest.Grant(t, func(t *testing.T) keepertest.Provider {
		_, _, p := certified(t, service, token.Credential{Grant: token.ClientCredentials}, appScope)
		return p
	})
}

func TestPasswordWithACertificate(t *testing.T) {
	keepertest.Grant(t, func(t *testing.T) keepertest.Provider {
		_, _, p := certified(t, web, token.Credential{Grant: token.Password, User: user, Password: secret.New(password)}, imapScope)
		return p
	})
}

func TestRefreshTokenWithACertificate(t *testing.T) {
	keepertest.Grant(t, func(t *testing.T) keepertest.Provider {
		sb, _, p := certified(t, web, token.Credential{Grant: token.RefreshToken, User: user}, imapScope)
		p.Refresh = secret.New(sb.IssueRefreshToken(tenant, web, user, imapScope))
		p.Credential.Refresh = p.Refresh
		return p
	})
}

// issuer signs assertions that the sandbox trusts.
type issuer struct {
	key  *rsa.PrivateKey
	path string
}

func (i issuer) write(t *testing.T, subject string, life time.Duration) {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iss": "https://cluster.example", "sub": subject,
		"aud": []string{"api://AzureADTokenExchange"}, "exp": time.Now().Add(life).Unix()}).SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(i.path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFederatedTokenIsReadAtEveryRequest(t *testing.T) {
	for client, kind := range map[string]token.Kind{service: token.ClientCredentials, web: token.Password} {
		t.Run(string(kind), func(t *testing.T) {
			sb, g := start(t)
			cert, _ := signer(t)
			i := issuer{cert.Reveal(), filepath.Join(t.TempDir(), "token")}
			der, err := x509.MarshalPKIXPublicKey(i.key.Public())
			if err != nil {
				t.Fatal(err)
			}
			register(t, sb, client, func(a *sandbox.App) {
				a.Federated = []sandbox.Federated{{Issuer: "https://cluster.example", Subject: "broker", Audience: "api://AzureADTokenExchange",
					Key: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}}
			})
			scope := map[token.Kind]token.Audience{token.ClientCredentials: appScope, token.Password: imapScope}[kind]
			p := provider(sb, g, token.Credential{Grant: kind, ClientID: client, FederatedFile: i.path, User: user, Password: secret.New(password)}, scope)
			mint := func(reason string, class remedy.Class) {
				t.Helper()
				_, err := g.Mint(t.Context(), p.Credential, secret.String{}, p.Audience)
				f, ok := err.(*remedy.Fault)
				if reason == "" && err != nil || reason != "" && (!ok || f.Reason != reason || f.Class != class) {
					t.Fatalf("want %q: %v", reason, err)
				}
			}
			mint(remedy.FederatedTokenUnreadable, remedy.Transient)
			i.write(t, "broker", time.Hour)
			mint("", "")
			i.write(t, "broker", -time.Hour)
			mint(remedy.ClientAssertionOutdated, remedy.Transient)
			i.write(t, "stranger", time.Hour)
			mint("FEDERATED_CREDENTIAL_UNKNOWN", remedy.WrongConfig)
			i.write(t, "broker", time.Hour)
			mint("", "")
		})
	}
}

func TestCertificatesDoNotPrint(t *testing.T) {
	c, _ := signer(t)
	text := fmt.Sprintf("%v %+v %#v", c, token.Credential{Certificates: []token.Certificate{c}}, c)
	if strings.Contains(text, c.Reveal().D.String()) || strings.Count(text, "[certificate]") != 3 {
		t.Error("a certificate printed more than its placeholder")
	}
}
