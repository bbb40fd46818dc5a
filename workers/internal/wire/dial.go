package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Security says how the connection is protected.
type Security int

// The kinds of protection.
const (
	TLS      Security = iota // from the first byte
	StartTLS                 // plain at first; the caller must call Conn.StartTLS before it sends a credential
	Plain                    // never; loopback only
)

// Options say where to connect to and how.
type Options struct {
	Host           string
	Port           int
	Security       Security
	Roots          *x509.CertPool // whom to trust; nil = the system's. See Roots
	Proxy          string         // http://[user:password@]host:port or socks5://...; empty for none
	ConnectTimeout time.Duration  // longest time until TLS stands; 0 = 30 s
	Trace          Trace          // sees what goes over the wire; nil for none
}

// Address is host:port.
func (o Options) Address() string { return net.JoinHostPort(o.Host, strconv.Itoa(o.Port)) }

const defaultConnectTimeout = 30 * time.Second

// ErrPlainText says that text in the clear would leave the machine.
var ErrPlainText = errors.New("plain text goes to loopback only; use tls or starttls")

// Dial connects. The caller closes what it gets.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = defaultConnectTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	if o.Security == Plain && o.Proxy != "" {
		return nil, fmt.Errorf("connect to %s: %w", o.Address(), ErrPlainText)
	}
	raw, err := o.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.Address(), err)
	}
	c := wrap(raw, o)
	if err := c.secure(ctx); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.Address(), errors.Join(err, raw.Close()))
	}
	return c, nil
}

func (o Options) connect(ctx context.Context) (net.Conn, error) {
	if o.Proxy != "" {
		return throughProxy(ctx, o.Proxy, o.Address())
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", o.Address())
}

// secure does what Options.Security wants before the first byte of the protocol.
func (c *Conn) secure(ctx context.Context) error {
	switch c.options.Security {
	case TLS:
		return c.StartTLS(ctx)
	case StartTLS:
		return nil
	case Plain:
		// The address that was really reached decides, not the name.
		if a, ok := c.raw.RemoteAddr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
			return ErrPlainText
		}
		return nil
	}
	return fmt.Errorf("no such security: %d", c.options.Security)
}

// TLSConfig is how the server is verified: its certificate must be for Host and descend from Roots.
func (o Options) TLSConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.Host, RootCAs: o.Roots}
}

// Roots is the system's pool with the certificates of more added, each a PEM file's content.
func Roots(more ...[]byte) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any: what was configured must do
	}
	for _, pem := range more {
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("no certificate in it; PEM with BEGIN CERTIFICATE is needed")
		}
	}
	return pool, nil
}

// Trace is told what goes over the wire, after TLS: direction is '>' for what is sent, '<' for what comes. While a
// credential is on its way it is told "[n bytes hidden]". It is called from several goroutines and must not keep p.
type Trace func(direction byte, p []byte)

// TraceLines makes a Trace that calls fn with printable text, one call per write or read.
func TraceLines(fn func(direction, text string)) Trace {
	return func(direction byte, p []byte) { fn(string(direction), strings.TrimRight(string(p), "\r\n")) }
}
