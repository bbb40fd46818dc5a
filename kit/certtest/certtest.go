// Package certtest makes certificate authorities and certificates for tests, trials and demonstrations. Keys are never
// protected and nothing is ever revoked: not for production.
//
//	ca, err := certtest.NewCA("trial CA")
//	pair, err := ca.Issue(certtest.Options{CommonName: "broker", IP: []net.IP{net.IPv4(127, 0, 0, 1)}})
//	err = pair.WriteFiles(dir, "broker") // broker.pem, broker-key.pem
//	err = ca.WriteFile(dir, "ca.pem")
//
// All times are relative to time.Now, so that certificates made inside a testing/synctest bubble are valid in its year.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// CA is a certificate authority with its private key.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Options says what to put into a certificate. It is good for clients and servers alike.
type Options struct {
	CommonName string
	DNS        []string
	URI        string // SPIFFE: spiffe://mail.example/imap-worker
	IP         []net.IP
	NotAfter   time.Time // zero = in 30 days
	NotBefore  time.Time // zero = an hour ago
}

// Pair is a certificate and its key, each as PEM.
type Pair struct {
	Certificate []byte
	Key         []byte
}

// NewCA makes an authority that is valid for ten years.
func NewCA(name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return &CA{cert, key}, err
}

// serial numbers are random: two authorities of one name must not collide.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return new(big.Int).SetBytes(b)
}

// Issue makes a certificate and its key.
func (ca *CA) Issue(o Options) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make key: %w", err)
	}
	template, err := o.template()
	if err != nil {
		return Pair{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode key: %w", err)
	}
	return Pair{Certificate: block("CERTIFICATE", der), Key: block("PRIVATE KEY", keyDER)}, nil
}

func (o Options) template() (*x509.Certificate, error) {
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: o.CommonName},
		DNSNames:     o.DNS,
		IPAddresses:  o.IP,
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(0, 0, 30),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if !o.NotBefore.IsZero() {
		t.NotBefore = o.NotBefore
	}
	if !o.NotAfter.IsZero() {
		t.NotAfter = o.NotAfter
	}
	if o.URI != "" {
		u, err := url.Parse(o.URI)
		if err != nil {
			return nil, fmt.Errorf("issue certificate: %w", err)
		}
		t.URIs = []*url.URL{u}
	}
	return t, nil
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// PEM is the authority's certificate.
func (ca *CA) PEM() []byte { return block("CERTIFICATE", ca.cert.Raw) }

// Pool holds the authority's certificate alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// WriteFile writes the authority's certificate to dir/name and returns that path.
func (ca *CA) WriteFile(dir, name string) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, ca.PEM(), 0o644)
}

// TLS is the pair for crypto/tls.
func (p Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.Certificate, p.Key) }

// WriteFiles writes dir/name.pem and dir/name-key.pem, the key for its owner's eyes only, and returns both paths.
func (p Pair) WriteFiles(dir, name string) (certificate, key string, err error) {
	certificate, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	if err := os.WriteFile(key, p.Key, 0o600); err != nil {
		return "", "", err
	}
	return certificate, key, os.WriteFile(certificate, p.Certificate, 0o644)
}
