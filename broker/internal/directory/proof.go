package directory

import (
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"mailporter/broker/internal/token"
	"mailporter/kit/config"
	"mailporter/kit/secret"
)

// endsSoon is when a certificate is worth a warning: time enough to order another one.
const endsSoon = 30 * 24 * time.Hour

// readProofs reads what the application proves itself with beside or in place of secrets. One kind is allowed.
func (l *loader) readProofs(m *config.Map, c *token.Credential) {
	one, many, file := m.Has("certificate"), m.Has("certificates"), m.Has("federated-token-file")
	switch {
	case !one && !many && !file:
		if m.Has("key") {
			m.Complain("key", "stands without its certificate", "write certificate: FILE beside it")
		}
		return
	case c.Provider != token.Microsoft:
		m.Complain(given(m), "is not taken by this provider", "use a client secret")
		return
	case m.Has("secrets") || m.Has("secret") || one && many || file && (one || many):
		m.Complain(given(m), "stands beside another kind of credential", "keep one of secrets, certificate, certificates and federated-token-file")
		return
	}
	switch {
	case file:
		c.FederatedFile = l.federated(m)
	case one:
		if option, err := l.addCertificate(m, c); err != nil {
			complainCertificate(m, option, err)
		}
	default:
		l.addCertificates(m.Maps("certificates"), c)
	}
}

// addCertificates reads a list. One whose time is over or has not come is left out with a warning while another is good: that
// is what a list is for.
func (l *loader) addCertificates(entries []*config.Map, c *token.Credential) {
	options, errs := make([]string, len(entries)), make([]error, len(entries))
	for i, entry := range entries {
		options[i], errs[i] = l.addCertificate(entry, c)
	}
	for i, entry := range entries {
		var off *offTime
		switch {
		case errs[i] == nil:
		case len(c.Certificates) > 0 && errors.As(errs[i], &off):
			entry.Warn(options[i], errs[i].Error()+" and is left out", "take it away, and register another one at the application")
		default:
			complainCertificate(entry, options[i], errs[i])
		}
		entry.Done()
	}
}

func complainCertificate(m *config.Map, option string, err error) {
	m.Complain(option, err.Error(), "give a valid RSA certificate and its private key, both readable, as PEM files or as one PFX file with its password")
}

// offTime is a certificate that is good at another time.
type offTime struct{ problem string }

func (e *offTime) Error() string { return e.problem }

// given is the option to complain about.
func given(m *config.Map) string {
	for _, option := range []string{"federated-token-file", "certificates"} {
		if m.Has(option) {
			return option
		}
	}
	return "certificate"
}

// federated checks that the file can be read now. Its content is no part of the credential: it changes by itself.
func (l *loader) federated(m *config.Map) string {
	const key = "federated-token-file"
	path := m.Path(key, "")
	if _, err := (secret.Ref{File: path}).Read(); err != nil {
		m.Complain(key, err.Error(), "check the path and the permissions, and that something writes the token there")
	}
	return path
}

// addCertificate reads {certificate, key} or {pfx, password}. It returns the option to complain about and the problem.
func (l *loader) addCertificate(m *config.Map, c *token.Credential) (option string, err error) {
	option, read := "certificate", l.fromPEM
	if m.Has("pfx") {
		option, read = "pfx", l.fromPFX
	}
	pair, err := read(m)
	if err != nil {
		return option, err
	}
	cert, err := usable(pair, time.Now())
	if err == nil {
		warnEnd(m, option, cert)
		c.Certificates = append(c.Certificates, cert)
	}
	return option, err
}

func (l *loader) fromPEM(m *config.Map) (tls.Certificate, error) {
	name, key := m.Path("certificate", ""), m.Path("key", "")
	if !m.Has("certificate") || !m.Has("key") {
		return tls.Certificate{}, errors.New("certificate and key are both needed")
	}
	return l.once(func() (tls.Certificate, error) { return tls.LoadX509KeyPair(name, key) }, name, key)
}

func (l *loader) fromPFX(m *config.Map) (tls.Certificate, error) {
	path, password := m.Path("pfx", ""), l.secret(m, "password")
	return l.once(func() (tls.Certificate, error) { return openPFX(path, password) }, path)
}

// once reads a pair once: ten thousand mailboxes of one application name the same files, and checking a key takes long.
func (l *loader) once(read func() (tls.Certificate, error), files ...string) (tls.Certificate, error) {
	name := strings.Join(files, "\x00")
	if pair, ok := l.pairs[name]; ok {
		return pair, nil
	}
	l.proofs = append(l.proofs, files...)
	pair, err := read()
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read the certificate: %w", err)
	}
	l.pairs[name] = pair
	return pair, nil
}

func openPFX(path string, password secret.String) (tls.Certificate, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, leaf, _, err := pkcs12.DecodeChain(b, password.Reveal())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("open %s: %w", path, err)
	}
	return tls.Certificate{Leaf: leaf, PrivateKey: key}, nil
}

// usable is the pair if Entra can take it now.
func usable(pair tls.Certificate, now time.Time) (token.Certificate, error) {
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	switch {
	case !ok:
		return token.Certificate{}, errors.New("is not RSA, and Entra takes nothing else")
	case !key.PublicKey.Equal(crypto.PublicKey(pair.Leaf.PublicKey)):
		return token.Certificate{}, errors.New("does not belong to the private key")
	case now.After(pair.Leaf.NotAfter):
		return token.Certificate{}, &offTime{"ended at " + pair.Leaf.NotAfter.UTC().Format(time.RFC3339)}
	case now.Before(pair.Leaf.NotBefore):
		return token.Certificate{}, &offTime{"is not valid before " + pair.Leaf.NotBefore.UTC().Format(time.RFC3339)}
	}
	return token.NewCertificate(pair.Leaf, key), nil
}

func warnEnd(m *config.Map, option string, c token.Certificate) {
	if time.Until(c.NotAfter()) < endsSoon {
		m.Warn(option, "ends at "+c.NotAfter().UTC().Format(time.RFC3339), "register another one at the application, and list both until then")
	}
}

// proves says that a certificate or a federated token is given. One that is wrong was complained about already.
func proves(m *config.Map) bool {
	return m.Has("certificate") || m.Has("certificates") || m.Has("federated-token-file")
}

// warnSecretEnd is warnEnd for a secret whose reference tells when it ends.
func warnSecretEnd(m *config.Map, option string, at time.Time) {
	if time.Until(at) < endsSoon {
		m.Warn(option, "ends at "+at.Format(time.RFC3339), "make another one, and list both until then")
	}
}
