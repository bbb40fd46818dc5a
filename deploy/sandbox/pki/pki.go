// Package pki is the sandbox's certificate authority: made at the start, or kept in a folder so that clients that trust it
// go on trusting it after a restart.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// life is long enough for any test; nobody renews a sandbox's certificates.
const life = 10 * 365 * 24 * time.Hour

// An Authority signs the sandbox's server certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Open loads the authority from ca.pem and ca-key.pem in dir, or makes it and saves it there; an empty dir keeps nothing.
func Open(dir string) (*Authority, error) {
	if dir == "" {
		return create()
	}
	a, err := load(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	if a, err = create(); err != nil {
		return nil, err
	}
	return a, a.save(dir)
}

func load(dir string) (*Authority, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		return nil, fmt.Errorf("load certificate authority: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("load certificate authority: key is a %T, not an ECDSA one", pair.PrivateKey)
	}
	return &Authority{cert: pair.Leaf, key: key}, nil
}

func create() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate("Mailporter sandbox CA")
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert: cert, key: key}, err
}

func newTemplate(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Mailporter sandbox"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
	}, nil
}

func (a *Authority) save(dir string) error {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return errors.Join(
		os.MkdirAll(dir, 0o700),
		// The key first: a certificate without its key would be taken for a whole authority at the next start.
		os.WriteFile(filepath.Join(dir, "ca-key.pem"), key, 0o600),
		os.WriteFile(filepath.Join(dir, "ca.pem"), a.PEM(), 0o644),
	)
}

// PEM is the certificate that clients must trust.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Server returns a TLS configuration with a fresh certificate for the given names and addresses. TLS 1.2 is the least, as
// the real providers have it.
func (a *Authority) Server(hosts ...string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(hosts[0])
	if err != nil {
		return nil, err
	}
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}, nil
}
