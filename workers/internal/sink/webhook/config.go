package webhook

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"mailporter/kit/secret"
)

// Config says where to post to.
type Config struct {
	URL           string
	Key           secret.String  // signs; empty = unsigned
	Authorization secret.String  // value of that header, scheme included; empty = none
	Roots         *x509.CertPool // whom to trust; nil = the system's
	Proxy         string         // http:// or socks5:// URL; empty = none
	Timeout       time.Duration  // how long the answer may take once the message is sent; default 30 s
}

const defaultTimeout = 30 * time.Second

// Check says what is wrong with an address to post to. Without TLS only this machine is reached; a password in the
// address would show in logs of others.
func Check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil, u.Host == "", u.Scheme != "https" && u.Scheme != "http":
		return errors.New("is no address of the form https://HOST/PATH") // not err: it repeats the address
	case u.User != nil:
		return errors.New("holds a password; write it under authorization")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("would send mail in the clear to %s; use https", u.Hostname())
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// keyPrefix marks a key in base64, as Standard Webhooks tools make them.
const keyPrefix = "whsec_"

// CheckKey says what is wrong with a signing key.
func CheckKey(key secret.String) error {
	_, err := keyBytes(key)
	return err
}

// leastKey is the least length of a key: an HMAC is as strong as its key. Standard Webhooks asks for 24 to 64 bytes.
const leastKey = 24

// keyBytes are the key's: whsec_ is followed by base64, anything else is the key itself.
func keyBytes(key secret.String) ([]byte, error) {
	raw := []byte(key.Reveal())
	if encoded, ok := strings.CutPrefix(key.Reveal(), keyPrefix); ok {
		var err error
		if raw, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, errors.New("is no base64 after whsec_")
		}
	}
	if len(raw) < leastKey {
		return nil, fmt.Errorf("has %d bytes; at least %d keep a forger out", len(raw), leastKey)
	}
	return raw, nil
}
