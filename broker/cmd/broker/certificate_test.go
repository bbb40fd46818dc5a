package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"mailporter/sandbox"
)

// certify writes an RSA client certificate and its key under secrets/, and returns the certificate as PEM.
func (s *site) certify(name string, life time.Duration) string {
	s.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	s.write("secrets/"+name+".pem", text)
	s.write("secrets/"+name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return text
}

func TestTheSecondCertificateServes(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	s.certify("unknown", 90*24*time.Hour)
	known := s.certify("known", 90*24*time.Hour)
	if !sb.Directory().UpdateApp(tenant, "service", func(a *sandbox.App) { a.Secrets, a.Certificates = nil, []string{known} }) {
		t.Fatal("no such application")
	}
	const secrets = "client-id: service, secrets: [{file: ../secrets/app}]"
	const certificates = "client-id: service, certificates: [{certificate: ../secrets/unknown.pem, key: ../secrets/unknown.key}, {certificate: ../secrets/known.pem, key: ../secrets/known.key}]"
	var kept []string // without the mailboxes that have secrets of their own: an application has one kind
	for line := range strings.Lines(s.read("mailboxes.d/all.yaml")) {
		if !strings.Contains(line, "address:") || !strings.Contains(line, "secrets: [") {
			kept = append(kept, strings.Replace(line, secrets, certificates, 1))
		}
	}
	s.write("mailboxes.d/all.yaml", strings.Join(kept, ""))
	s.start()
	if _, err := ask(s.connect(worker), "app@contoso.example", in); err != nil {
		t.Fatal(reason(err))
	}
	if n := sb.TokenRequests().Total; n != 2 {
		t.Errorf("%d requests, want one for each certificate", n)
	}
	if strings.Contains(s.out.String(), "PRIVATE KEY") {
		t.Error("a key was printed")
	}
}
