package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"mailporter/kit/config"
)

// TLSFiles names PEM files. Certificate may hold a chain, the own certificate first; CA may hold many, and the peer's
// certificate must descend from one of them.
type TLSFiles struct {
	Certificate string
	Key         string
	CA          string
}

// TLSProblem is one file of TLSFiles that cannot be used.
type TLSProblem struct {
	Option  string // which one: certificate, key or ca
	File    string
	Problem string
	Remedy  string
}

// Error names the file and what is wrong with it.
func (p TLSProblem) Error() string { return p.File + " " + p.Problem }

// ReadTLS reads the options certificate, key and caOption (ca, client-ca) of m, and complains about what is missing or
// cannot be used.
func ReadTLS(m *config.Map, caOption string) TLSFiles {
	for _, option := range []string{"certificate", "key", caOption} {
		m.Require(option, "name a PEM file")
	}
	var f TLSFiles
	for option, into := range map[string]*string{"certificate": &f.Certificate, "key": &f.Key, caOption: &f.CA} {
		if m.Has(option) {
			*into = m.Path(option, "")
		}
	}
	m.Done()
	for _, p := range f.Check() {
		if p.Option == "ca" {
			p.Option = caOption
		}
		if p.File != "" { // what is missing was said
			m.Complain(p.Option, p.Error(), p.Remedy)
		}
	}
	return f
}

// Check says what is wrong with the files as they are now.
func (f TLSFiles) Check() []TLSProblem {
	_, problems := f.load(time.Now())
	return problems
}

// material is what TLSFiles hold at one moment.
type material struct {
	pair tls.Certificate
	pool *x509.CertPool
}

// load reads the files. The material is usable if there are no problems.
func (f TLSFiles) load(now time.Time) (*material, []TLSProblem) {
	m := &material{}
	problems := f.loadPair(m, now)
	pool, err := readPool(f.CA)
	if err != nil {
		problems = append(problems, TLSProblem{"ca", f.CA, err.Error(), "name a PEM file with at least one CA certificate"})
	}
	m.pool = pool
	return m, problems
}

// loadPair looks at the certificate first, so that a key that does not match is the key's problem alone.
func (f TLSFiles) loadPair(m *material, now time.Time) []TLSProblem {
	leaf, certPEM, err := readCertificate(f.Certificate, now)
	if err != nil {
		return []TLSProblem{{"certificate", f.Certificate, err.Error(), "have it issued anew, and name its PEM file"}}
	}
	keyPEM, err := readPEM(f.Key)
	if err != nil {
		return []TLSProblem{{"key", f.Key, err.Error(), "name the PEM file of the certificate's private key"}}
	}
	m.pair, err = tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		// The library's text is about types and headers; it has no bytes of the key, but nothing to mend it by either.
		return []TLSProblem{{"key", f.Key, "is no private key that matches " + f.Certificate, "name the key that the certificate was issued for"}}
	}
	m.pair.Leaf = leaf
	return nil
}

const stamp = "2006-01-02 15:04 MST"

// readCertificate reads the first certificate of a file, which must be valid at now.
func readCertificate(path string, now time.Time) (*x509.Certificate, []byte, error) {
	text, err := readPEM(path)
	if err != nil {
		return nil, nil, err
	}
	certs, err := certificates(text)
	switch {
	case err != nil:
		return nil, nil, err
	case len(certs) == 0:
		return nil, nil, errors.New("has no CERTIFICATE block")
	case now.After(certs[0].NotAfter):
		return nil, nil, fmt.Errorf("expired at %s", certs[0].NotAfter.Format(stamp))
	case now.Before(certs[0].NotBefore):
		return nil, nil, fmt.Errorf("is not valid before %s", certs[0].NotBefore.Format(stamp))
	}
	return certs[0], text, nil
}

func readPool(path string) (*x509.CertPool, error) {
	text, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	certs, err := certificates(text)
	if err == nil && len(certs) == 0 {
		err = errors.New("has no CERTIFICATE block")
	}
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, nil
}

// maxPEM bounds a file, in bytes: the CA bundle of a whole operating system has a quarter of that.
const maxPEM = 1 << 20

func readPEM(path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("is not named")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", withoutPath(err))
	}
	if info.Size() > maxPEM {
		return nil, fmt.Errorf("is larger than %d bytes", maxPEM)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", withoutPath(err))
	}
	if block, _ := pem.Decode(b); block == nil {
		return nil, errors.New("is not PEM")
	}
	return b, nil
}

// withoutPath drops the path from an error that is going to stand behind it.
func withoutPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// certificates parses all CERTIFICATE blocks and steps over others.
func certificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("has a certificate that cannot be parsed: %w", err)
		}
		all = append(all, c)
	}
	return all, nil
}
