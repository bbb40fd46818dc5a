package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/sandbox"
)

const robot = "broker@project.example"

// robotKey is the key of the service account, one for all tests: making it takes long.
var robotKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func serviceAccount(t *testing.T) sandbox.ServiceAccount {
	t.Helper()
	key, err := robotKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return sandbox.ServiceAccount{Email: robot, ClientID: "1001", Keys: []sandbox.ServiceKey{{ID: "k1", Key: public}},
		Domains: []string{"shop.example"}, Scopes: []string{"https://mail.google.com/"}}
}

// keyFile is the service account's key.
func keyFile(t *testing.T) string {
	t.Helper()
	b, err := newKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// newKeyFile writes it as Google does.
func newKeyFile() ([]byte, error) {
	key, err := robotKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"type": "service_account", "client_email": robot, "client_id": "1001", "private_key_id": "k1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))})
}

// keyLine is a line out of the middle of the private key, to search for.
func keyLine(t *testing.T) string {
	t.Helper()
	return strings.Split(keyFile(t), `\n`)[10]
}

// A key that was exchanged is taken up without a restart, and ends the freeze of the old one.
func TestHotReloadOfAServiceAccountKey(t *testing.T) {
	s := newSite(t, provider(t, time.Hour), "file:state")
	good := s.read("secrets/robot.json")
	s.write("secrets/robot.json", strings.Replace(good, `"k1"`, `"deleted"`, 1))
	s.start()
	c := s.connect(worker)
	if _, err := ask(c, "robot@shop.example", in); reason(err) != "FailedPrecondition wrong-config CLIENT_ASSERTION_INVALID" {
		t.Fatal(reason(err))
	}
	s.write("secrets/robot.json", good)
	s.mustServe(c, "robot@shop.example")
}

// One mailbox may be asked for without a rule that says tenant-wide: none of these tokens opens another.
func TestAServiceAccountIsNotTenantWide(t *testing.T) {
	s := newSite(t, provider(t, time.Hour), "file:state")
	s.write("policy.yaml", strings.Replace(policy, ", tenant-wide: true", "", 1))
	s.start()
	c := s.connect(worker)
	if _, err := ask(c, "robot@shop.example", in); err != nil {
		t.Error(reason(err))
	}
	if _, err := ask(c, "app@contoso.example", in); reason(err) != "PermissionDenied wrong-config POLICY_DENIED" {
		t.Errorf("app-only: %s", reason(err))
	}
}
