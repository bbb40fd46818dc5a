package directory

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"mailporter/broker/internal/token"
)

// certify writes NAME.pem, NAME.key and NAME.pfx (password app-secret), valid between now+from and now+to.
func (s *site) certify(name string, key crypto.Signer, from, to time.Duration) {
	s.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	pfx, err := pkcs12.Modern.Encode(key, leaf, nil, "app-secret")
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	s.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	s.write(name+".pfx", string(pfx))
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const year = 365 * 24 * time.Hour

const graphOf = "type: GRAPH, client-id: c, directory-id: d, "

func TestCertificatesInPlaceOfSecrets(t *testing.T) {
	s := newSite(t)
	s.certify("a", rsaKey(t), -time.Hour, year)
	s.certify("b", rsaKey(t), -time.Hour, year)
	s.write("token", "assertion")
	read := func(options string) *token.Credential {
		t.Helper()
		return s.good(one("pop-client", graphOf+options)).Find("support@contoso.com").Inbound.Credential
	}
	one := read("certificate: ../a.pem, key: ../a.key")
	two := read("certificates: [{certificate: ../a.pem, key: ../a.key}, {pfx: ../b.pfx, password: {file: ../app}}]")
	if len(one.Certificates) != 1 || len(two.Certificates) != 2 || one.Certificates[0].Fingerprint() != two.Certificates[0].Fingerprint() {
		t.Fatalf("%d and %d certificates", len(one.Certificates), len(two.Certificates))
	}
	if one.Version == two.Version || one.ID != two.ID {
		t.Error("another certificate is another version of the same credential")
	}
	federated := read("federated-token-file: ../token")
	s.write("token", "the next assertion")
	if again := read("federated-token-file: ../token"); again.Version != federated.Version || again.FederatedFile == "" || again.Public() {
		t.Error("the content of a federated token is no part of the version")
	}
}

func TestACertificateOutOfItsTimeIsLeftOutOfAList(t *testing.T) {
	s, key := newSite(t), rsaKey(t)
	s.certify("old", key, -2*time.Hour, -time.Hour)
	s.certify("early", key, time.Hour, year)
	s.certify("good", key, -time.Hour, year)
	const list = "certificates: [{certificate: ../old.pem, key: ../old.key}, {pfx: ../early.pfx, password: {file: ../app}}"
	c, complaints := s.load(one("pop-client", graphOf+list+", {certificate: ../good.pem, key: ../good.key}]"))
	text := complaints.Error()
	if complaints.Err() != nil || len(complaints) != 2 || !strings.Contains(text, "certificates[0].certificate: ended at ") || !strings.Contains(text, "certificates[1].pfx: is not valid before ") {
		t.Errorf("want two warnings:\n%s", text)
	}
	if certs := c.Mailboxes[0].Inbound.Credential.Certificates; len(certs) != 1 || certs[0].NotAfter().Before(time.Now().Add(year-time.Hour)) {
		t.Errorf("%d certificates", len(certs))
	}
	if _, complaints := s.load(one("pop-client", graphOf+list+"]")); complaints.Err() == nil {
		t.Error("a list without one good certificate was taken")
	}
}

func TestCertificateFilesAreWatched(t *testing.T) {
	s := newSite(t)
	s.certify("a", rsaKey(t), -time.Hour, year)
	paths := strings.Join(s.good(one("pop-client", graphOf+"certificate: ../a.pem, key: ../a.key")).Paths(), " ")
	if !strings.Contains(paths, "a.pem") || !strings.Contains(paths, "a.key") {
		t.Error(paths)
	}
}

func TestComplaintsAboutCertificates(t *testing.T) {
	s, key := newSite(t), rsaKey(t)
	s.certify("good", key, -time.Hour, year)
	s.certify("other", rsaKey(t), -time.Hour, year)
	s.certify("old", key, -2*time.Hour, -time.Hour)
	s.certify("early", key, time.Hour, year)
	s.certify("soon", key, -time.Hour, 29*24*time.Hour)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.certify("curve", curve, -time.Hour, year)
	for options, want := range map[string]string{
		"certificate: ../none.pem, key: ../good.key":                               "no such file",
		"certificate: ../good.pem":                                                 "both needed",
		"certificate: ../good.pem, key: ../other.key":                              "does not match",
		"certificate: ../curve.pem, key: ../curve.key":                             "is not RSA",
		"certificate: ../old.pem, key: ../old.key":                                 "ended at ",
		"certificate: ../early.pem, key: ../early.key":                             "is not valid before ",
		"certificate: ../soon.pem, key: ../soon.key":                               "warning: mailboxes[0].pop-client.certificate: ends at ",
		"certificates: [{pfx: ../good.pfx, password: {file: ../pass}}]":            "password incorrect",
		"certificates: [{pfx: ../good.pfx, password: {file: ../app}, pin: 1}]":     "no known option",
		"certificate: ../good.pem, key: ../good.key, secrets: [{file: ../app}]":    "beside another kind",
		"certificate: ../good.pem, key: ../good.key, federated-token-file: ../app": "beside another kind",
		"certificate: ../good.pem, key: ../good.key, tenant-authority: google":     "is not taken by this provider",
		"key: ../good.key":              "stands without its certificate",
		"federated-token-file: ../none": "no such file",
	} {
		t.Run(want, func(t *testing.T) {
			_, complaints := s.load(one("pop-client", graphOf+options))
			if !strings.Contains(complaints.Error(), want) || strings.Contains(complaints.Error(), "app-secret") {
				t.Fatalf("want %q in:\n%v", want, complaints)
			}
		})
	}
}
