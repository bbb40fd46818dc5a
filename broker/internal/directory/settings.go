package directory

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"mailporter/kit/config"
	"mailporter/kit/daemon"
)

// readSettings reads broker.yaml.
func (l *loader) readSettings(path string) {
	doc := config.Read(path)
	l.docs = append(l.docs, doc)
	m := doc.Root()
	l.root = m
	s := &l.settings
	s.File = path
	s.Listen = m.Address("listen", "127.0.0.1:9443")
	s.Admin = m.Address("admin", "127.0.0.1:9090")
	readTLS(m.Map("tls"), s)
	s.Kubernetes = readKubernetes(m.Map("kubernetes"))
	s.Store = readStore(m)
	s.StorePassword = l.secret(m, "store-password")
	s.Keyset = readKeyset(m, s.Store)
	s.PolicyFile = readPolicy(m)
	s.Patterns = m.Paths("mailboxes")
	if len(s.Patterns) == 0 {
		m.Complain("mailboxes", "is missing", "write mailboxes: [mailboxes.d/*.yaml]")
	}
	s.AuditFile, s.AuditSync = readAudit(m)
	s.TrustedCA = m.Paths("trusted-ca")
	proxy := m.Map("proxy")
	s.IdentityVia, s.MailVia = readProxy(proxy, "identity"), readProxy(proxy, "mail")
	proxy.Done()
	s.Authorities = readAuthorities(m)
	s.Remedies = m.Path("remedies", "")
	s.DrainTime = m.Clock("drain-time", 20*time.Second, time.Second, 10*time.Minute)
	s.KeepAlive = m.Clock("keep-alive", 24*time.Hour, 0, 30*24*time.Hour)
	m.Done()
}

// readTLS: without tls the broker runs only with -insecure, which its main decides about.
func readTLS(m *config.Map, s *Settings) {
	if m.Present() {
		s.TLS = daemon.ReadTLS(m, "client-ca")
	}
}

// readStore makes the folder of file:DIR absolute and checks the scheme of the others.
func readStore(m *config.Map) string {
	s := m.Text("store", "file:state")
	if dir, ok := strings.CutPrefix(s, "file:"); ok && dir != "" {
		return "file:" + m.Resolve(dir)
	}
	scheme, rest, _ := strings.Cut(s, "://")
	switch scheme {
	case "redis", "rediss", "redis+sentinel", "redis+cluster":
		if rest != "" {
			return s
		}
	}
	// The value may hold a password: the complaint does not repeat it.
	m.Complain("store", "is no store", "write file:DIR or redis://HOST:6379/0 (rediss, redis+sentinel, redis+cluster)")
	return "file:" + m.Resolve("state")
}

func readKeyset(m *config.Map, store string) string {
	if m.Has("keyset") {
		return m.Path("keyset", "")
	}
	dir, isFile := strings.CutPrefix(store, "file:")
	if !isFile {
		m.Complain("keyset", "is missing: replicas must share one", "make one with brokerctl keyset new, and give every broker a copy")
	}
	return filepath.Join(dir, "keyset.json")
}

func readPolicy(m *config.Map) string {
	if !m.Has("policy") {
		m.Warn("policy", "is missing, so everything is denied", "write policy: policy.yaml")
		return ""
	}
	return m.Path("policy", "")
}

// readAudit reads `audit: {file: PATH, sync: true}` or `audit: stdout`.
func readAudit(m *config.Map) (path string, sync bool) {
	if !m.Has("audit") {
		return "", false
	}
	if m.IsText("audit") {
		m.OneOf("audit", "stdout", "stdout")
		return "", false
	}
	sub := m.Map("audit")
	defer sub.Done()
	if !sub.Has("file") {
		sub.Complain("file", "is missing", "write audit: {file: audit.jsonl} or audit: stdout")
		return "", false
	}
	return sub.Path("file", ""), sub.Bool("sync", false)
}

func readProxy(m *config.Map, key string) string {
	s := m.Text(key, "")
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
		m.Complain(key, "is no proxy", "write http://HOST:PORT or socks5://HOST:PORT, without user and password")
		return ""
	}
	return s
}

func readAuthorities(m *config.Map) []string {
	var all []string
	for _, s := range m.Texts("allowed-authorities") {
		host := strings.ToLower(s)
		if host == "" || strings.ContainsAny(host, "/*?#@ ") {
			m.Complain("allowed-authorities", fmt.Sprintf("%q is no host", s), "write host or host:port, without https://")
			continue
		}
		all = append(all, host)
	}
	return all
}
