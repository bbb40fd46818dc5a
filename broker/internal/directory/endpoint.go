package directory

import (
	"fmt"
	"net"
	"strings"
	"time"

	"mailporter/broker/internal/token"
	"mailporter/kit/config"
)

// readEndpoint reads where the mail server is: server, port and security each have a default that follows from the
// protocol and the provider.
func (l *loader) readEndpoint(m *config.Map, s *Section) {
	e := &s.Endpoint
	e.Server = l.server(m, s)
	security := securityOption(s.Direction)
	e.Security = Security(m.OneOf(security, "", string(PlainText), string(StartTLS), string(TLS)))
	e.Port = m.Int("port", 0, 1, 65535)
	e.Port, e.Security = complete(s.Protocol, e.Port, e.Security)
	if e.Security == PlainText && !isLoopback(e.Server) {
		m.Complain(security, "none would send mail and credentials in the clear", "use start-tls or ssl-tls; none is for loopback only")
	}
	if (s.Protocol == EWS || s.Protocol == Graph) && e.Security == StartTLS {
		m.Complain(security, fmt.Sprintf("%s is HTTPS and has no start-tls", s.Protocol), "use ssl-tls")
	}
	e.ConnectTimeout = m.Clock("connect-timeout", 30*time.Second, time.Second, 10*time.Minute)
	e.ProtocolTimeout = m.Clock("protocol-timeout", 2*time.Minute, time.Second, time.Hour)
	if s.Protocol == POP3 {
		e.TwoLine = l.twoLine(m, s)
	}
}

func securityOption(d Direction) string {
	if d == Inbound {
		return "pop-connection-security"
	}
	return "smtp-connection-security"
}

const twoLineOption = "mail.pop3.auth.xoauth2.two.line.authentication.format"

func (l *loader) twoLine(m *config.Map, s *Section) bool {
	on := m.Bool(twoLineOption, false)
	if !on && s.Mechanism == XOAUTH2 && s.Credential.Provider == token.Microsoft && clouds[strings.TrimPrefix(s.Credential.Authority, "https://")].mail != "" {
		m.Warn(twoLineOption, "Microsoft 365 takes XOAUTH2 over POP3 on two lines only", twoLineOption+": true")
	}
	return on
}

// server is the configured host or the provider's. Basic authentication says nothing about the provider unless
// tenant-authority does.
func (l *loader) server(m *config.Map, s *Section) string {
	if host := m.Text("server", ""); host != "" {
		if strings.ContainsAny(host, "/ ") || strings.Count(host, ":") == 1 {
			m.Complain("server", fmt.Sprintf("%q is no host name", host), "write the host alone; the port is an option of its own")
		}
		return host
	}
	if s.Credential == nil && !m.Has("tenant-authority") {
		m.Complain("server", "is missing", "write the mail server's host name")
		return ""
	}
	host := defaultServer(s.Protocol, l.authority(m))
	if host == "" {
		m.Complain("server", fmt.Sprintf("has no default for %s at this provider", s.Protocol), "write the mail server's host name")
	}
	return host
}

func defaultServer(p Protocol, a authority) string {
	if a.provider == token.Google {
		return map[Protocol]string{IMAP: "imap.gmail.com", POP3: "pop.gmail.com", SMTP: "smtp.gmail.com"}[p]
	}
	switch p {
	case SMTP:
		return a.cloud.smtp
	case Graph:
		return a.cloud.graph
	}
	return a.cloud.imap
}

// complete fills in port and security from each other. Submission is 587 with STARTTLS (RFC 6409), and 465 is TLS from the
// first byte (RFC 8314); IMAP and POP3 are 993 and 995, where TLS is implicit.
func complete(p Protocol, port int, s Security) (int, Security) {
	type pair struct{ implicit, explicit int }
	ports := map[Protocol]pair{IMAP: {993, 143}, POP3: {995, 110}, SMTP: {465, 587}, EWS: {443, 443}, Graph: {443, 443}}[p]
	if s == "" {
		s = TLS
		if port == ports.explicit && p != EWS && p != Graph || p == SMTP && port != ports.implicit {
			s = StartTLS
		}
	}
	if port == 0 {
		port = ports.explicit
		if s == TLS {
			port = ports.implicit
		}
	}
	return port, s
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
