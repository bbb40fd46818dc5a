package directory

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"mailporter/broker/internal/token"
	"mailporter/kit/config"
	"mailporter/kit/secret"
)

// serviceKey names the option that holds the key file of a Google service account.
const serviceKey = "service-account-key"

// robot is a key file's content that was understood.
type robot struct {
	email string
	key   token.Robot
	uri   string // token_uri, or empty
}

// readServiceAccount reads the key of a service account, which takes part in place of a client id and its secrets. The
// subject of its tokens is the mailbox.
func (l *loader) readServiceAccount(m *config.Map, s *Section, c *token.Credential) {
	for _, option := range []string{"secrets", "secret", "certificate", "certificates", "federated-token-file"} {
		if m.Has(option) {
			m.Complain(option, "does not go with a service account", "leave it out: the key is all that is needed")
		}
	}
	c.User = s.Endpoint.User
	ref := m.Secret(serviceKey)
	text := l.fetch(m, serviceKey, ref)
	if text.Empty() {
		l.missing(m, serviceKey, "the grant service_account needs the key of a service account", "write service-account-key: {file: PATH of the JSON key file}")
		return
	}
	r, err := l.robot(text)
	if err == nil {
		err = r.suits(c.Authority, l.settings.Authorities)
	}
	if err != nil {
		m.Complain(serviceKey, fmt.Sprintf("%s %v", ref, err), "make a key of type JSON for the service account (gcloud iam service-accounts keys create) and name its file here")
		return
	}
	if id := m.Text("client-id", r.email); id != r.email && id != r.key.Number {
		m.Complain("client-id", fmt.Sprintf("%q is not that of the service account", id), "leave it out: the key names its account")
	}
	c.ClientID, c.Robot = r.email, r.key
}

// robot understands each key once: ten thousand mailboxes of one domain have the same.
func (l *loader) robot(text secret.String) (robot, error) {
	name := text.Fingerprint()
	if r, ok := l.robots[name]; ok {
		return r, nil
	}
	r, err := parseKeyFile([]byte(text.Reveal()))
	if err == nil {
		l.robots[name] = r
	}
	return r, err
}

// keyFile is Google's JSON key file.
type keyFile struct {
	Type     string `json:"type"`
	KeyID    string `json:"private_key_id"`
	Key      string `json:"private_key"`
	Email    string `json:"client_email"`
	ClientID string `json:"client_id"`
	TokenURI string `json:"token_uri"`
	Universe string `json:"universe_domain"`
}

// parseKeyFile reads a key file. Its errors hold nothing of what is secret in it.
func parseKeyFile(b []byte) (robot, error) {
	var f keyFile
	if err := json.Unmarshal(b, &f); err != nil {
		return robot{}, notJSON(b, err)
	}
	switch {
	case f.Type != "service_account":
		return robot{}, fmt.Errorf("is a file of type %.40q, not the key of a service account", f.Type)
	case !isAddress(f.Email):
		return robot{}, errors.New("names no client_email")
	case f.KeyID == "":
		return robot{}, errors.New("names no private_key_id")
	case f.Universe != "" && f.Universe != "googleapis.com":
		return robot{}, fmt.Errorf("is of universe_domain %.80q, which has no Gmail", f.Universe)
	}
	if err := checkPrivateKey(f.Key); err != nil {
		return robot{}, err
	}
	return robot{f.Email, token.Robot{Number: f.ClientID, KeyID: f.KeyID, Key: secret.New(f.Key)}, f.TokenURI}, nil
}

// notJSON says where a file stops being JSON: the decoder's own text would quote it.
func notJSON(b []byte, err error) error {
	at := int64(0)
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.As(err, &wrong):
		at = wrong.Offset
	}
	line := 1 + bytes.Count(b[:min(at, int64(len(b)))], []byte("\n"))
	return fmt.Errorf("is no JSON key file (line %d)", line)
}

// checkPrivateKey takes RSA alone, in either form of PEM, and not behind a password.
func checkPrivateKey(text string) error {
	block, _ := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return errors.New("holds no private_key in PEM")
	case strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
		return errors.New("holds a private_key that is encrypted")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	if _, isRSA := key.(*rsa.PrivateKey); err != nil || !isRSA {
		return errors.New("holds a private_key that is no RSA key")
	}
	return nil
}

// suits refuses a key file that sends assertions elsewhere. Its token_uri is never used: authority is.
func (r robot) suits(authority string, allowed []string) error {
	if r.uri == "" || r.uri == authority {
		return nil
	}
	u, err := url.Parse(r.uri)
	if err != nil || u.Scheme != "https" || u.User != nil {
		return errors.New("names a token_uri that is not https")
	}
	switch {
	case authority == googleToken && isGoogle(strings.ToLower(u.Hostname())):
		return nil // older files name older endpoints of Google
	case !isGoogle(strings.ToLower(u.Hostname())) && !isAllowed(u, allowed):
		return fmt.Errorf("names the token_uri of %s, which is neither Google's nor allowed", hostOf(u))
	}
	return fmt.Errorf("names the token_uri of %s, and tenant-authority is another", hostOf(u))
}
