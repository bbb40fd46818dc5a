package setup

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"mailporter/kit/config"
	"mailporter/kit/redisurl"
	"mailporter/kit/secret"
	"mailporter/workers/internal/sink/lmtp"
	"mailporter/workers/internal/sink/maildir"
	"mailporter/workers/internal/sink/stream"
	"mailporter/workers/internal/sink/webhook"
	"mailporter/workers/internal/wire"
)

// Sink is one place that mail is delivered to: one of its fields is set.
type Sink struct {
	Maildir string // path; maildir.Placeholder in it stands for the mailbox's address
	LMTP    *lmtp.Config
	Webhook *webhook.Config
	Stream  *stream.Config
}

// surroundings is what a sink takes from the rest of the file.
type surroundings struct {
	roots *x509.CertPool
	state State
}

// kinds of sinks, by the option that names where mail goes.
var kinds = map[string]func(*config.Map, surroundings) Sink{
	"maildir":      readMaildir,
	"lmtp":         readLMTP,
	"webhook":      readWebhook,
	"redis-stream": readStream,
}

func readSinks(root *config.Map, around surroundings) map[string]Sink {
	sinks := map[string]Sink{}
	for _, named := range root.Named("sinks") {
		sinks[named.Name] = readSink(named.Map, around)
	}
	if _, ok := sinks["default"]; !ok {
		root.Complain("sinks", "has no sink of the name default", "write sinks: {default: {maildir: PATH}}")
	}
	return sinks
}

func readSink(m *config.Map, around surroundings) (s Sink) {
	var found []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		if m.Has(kind) {
			found = append(found, kind)
		}
	}
	switch len(found) {
	case 1:
		s = kinds[found[0]](m, around)
	case 0:
		m.Know(slices.Collect(maps.Keys(kinds)))
		m.Complain("maildir", "is missing", "write {maildir: PATH}, {lmtp: HOST:PORT}, {webhook: URL} or {redis-stream: NAME}")
	default:
		m.Know(found)
		m.Complain(found[1], "contradicts "+found[0], "keep one: a sink delivers to one place")
	}
	m.Done()
	return s
}

func readMaildir(m *config.Map, _ surroundings) Sink {
	s := Sink{Maildir: m.Path("maildir", "")}
	fixed, _, _ := strings.Cut(s.Maildir, maildir.Placeholder)
	writable(m, "maildir", fixed)
	return s
}

// securities are the words for how a connection is protected, as the broker's files have them.
var securities = map[string]wire.Security{"none": wire.Plain, "start-tls": wire.StartTLS, "ssl-tls": wire.TLS}

func readLMTP(m *config.Map, around surroundings) Sink {
	c := &lmtp.Config{
		Address: m.Text("lmtp", ""), Recipient: m.Text("recipient", lmtp.Placeholder), Hostname: hostname(), Roots: around.roots,
		Connections: m.Int("connections", 8, 1, 100), Timeout: m.Clock("timeout", 5*time.Minute, time.Second, time.Hour),
	}
	if err := lmtp.Check(c.Address); err != nil {
		m.Complain("lmtp", err.Error(), "name the LMTP server: 127.0.0.1:24 or unix:/run/dovecot/lmtp")
	}
	if err := lmtp.CheckRecipient(c.Recipient); err != nil {
		m.Complain("recipient", err.Error(), "correct it")
	}
	c.Security = readSecurity(m, c.Address)
	return Sink{LMTP: c}
}

// readSecurity: without a word from the user TLS is wanted wherever others could listen.
func readSecurity(m *config.Map, address string) wire.Security {
	host, _, err := net.SplitHostPort(address)
	local := err != nil || loopback(host) || strings.HasPrefix(address, "unix:")
	fallback := "start-tls"
	if local {
		fallback = "none"
	}
	word := m.Text("security", fallback)
	s, known := securities[word]
	switch {
	case !known:
		m.Complain("security", fmt.Sprintf("%q is none of none, start-tls, ssl-tls", word), "write one of them")
	case s == wire.Plain && !local:
		m.Complain("security", "would send mail in the clear to "+host, "write start-tls or ssl-tls")
	}
	return s
}

func readWebhook(m *config.Map, around surroundings) Sink {
	c := &webhook.Config{
		URL: m.Text("webhook", ""), Key: readSecret(m, "hmac-key"), Authorization: readSecret(m, "authorization"), Roots: around.roots,
		Timeout: m.Clock("timeout", 30*time.Second, time.Second, 10*time.Minute), Proxy: m.Text("proxy", ""),
	}
	if err := webhook.Check(c.URL); err != nil {
		m.Complain("webhook", err.Error(), "write https://HOST/PATH")
	}
	switch {
	case !m.Has("hmac-key") && c.Authorization.Empty():
		m.Warn("webhook", "the receiver cannot tell these posts from forged ones", "write hmac-key: {file: PATH}, and let the receiver verify Webhook-Signature")
	case !c.Key.Empty():
		if err := webhook.CheckKey(c.Key); err != nil {
			m.Complain("hmac-key", err.Error(), "make one: openssl rand -base64 32")
		}
	}
	return Sink{Webhook: c}
}

func readStream(m *config.Map, around surroundings) Sink {
	c := &stream.Config{
		Stream: m.Text("redis-stream", ""), TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: around.roots},
		MaxSize: m.Size("maximum-size", 0), MaxLength: int64(m.Int("maximum-length", 0, 0, 1<<30)),
	}
	if err := stream.Check(c.Stream); err != nil {
		m.Complain("redis-stream", err.Error(), "name the stream's key")
	}
	c.URL, c.Password = around.state.Redis, around.state.Password
	if c.URL == "" || m.Has("redis") {
		c.URL, c.Password = m.Require("redis", "write redis://HOST:6379/0"), readSecret(m, "redis-password")
		checkRedis(m, c.URL)
	}
	return Sink{Stream: c}
}

func checkRedis(m *config.Map, address string) {
	if address == "" {
		return // said already
	}
	o, err := redisurl.Parse(address, nil)
	switch {
	case err != nil:
		m.Complain("redis", err.Error(), "correct the address")
	case o.Password != "":
		m.Warn("redis", "a password stands in the address", "take it out and write redis-password: {file: PATH}")
	}
}

// readSecret is the secret that an option refers to; empty if there is none.
func readSecret(m *config.Map, key string) secret.String {
	ref := m.Secret(key)
	if ref.IsZero() {
		return secret.String{}
	}
	s, err := ref.Read()
	if err != nil {
		m.Complain(key, err.Error(), secretRemedy)
	}
	return s
}
