package setup

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"mailporter/kit/config"
	"mailporter/kit/daemon"
)

func readIntake(root *config.Map) SMTPIntake {
	m := root.Map("intake")
	for _, later := range []string{"grpc", "folder"} {
		if m.Has(later) {
			m.Complain(later, "is a way in that this version does not have", "hand mail in by smtp")
		}
	}
	if !m.Has("smtp") {
		m.Complain("smtp", "is missing: there would be no way in", "write intake: {smtp: {listen: 127.0.0.1:2525}}")
	}
	in := readSMTP(m.Map("smtp"))
	m.Done()
	return in
}

func readSMTP(m *config.Map) SMTPIntake {
	in := SMTPIntake{
		Listen:            m.Address("listen", "127.0.0.1:2525"),
		Hostname:          m.Text("hostname", hostname()),
		ImplicitTLS:       m.Bool("implicit-tls", false),
		Allow:             readAllow(m),
		MaximumSize:       m.Size("maximum-size", defaultSize),
		NullSender:        m.Text("null-sender", ""),
		MaximumRecipients: m.Int("maximum-recipients", defaultRecipients, 1, 100000),
	}
	if tls := m.Map("tls"); tls.Present() {
		in.TLS = readServerTLS(tls)
	} else if in.ImplicitTLS {
		m.Complain("implicit-tls", "needs a certificate", "write tls: {certificate: FILE, key: FILE}")
	}
	in.Users = readUsers(m)
	if len(in.Users) > 0 && in.TLS.Certificate == "" {
		m.Complain("users", "would send their passwords in the clear", "write tls: {certificate: FILE, key: FILE}")
	}
	m.Done()
	return in
}

func readUsers(m *config.Map) []User {
	var all []User
	for _, u := range m.Maps("users") {
		user := User{Name: u.Require("user", "name the user"), Password: u.Secret("password")}
		if user.Password.IsZero() {
			u.Complain("password", "is missing", "write {file: PATH} or {env: NAME}")
		} else if _, err := user.Password.Read(); err != nil {
			u.Complain("password", err.Error(), secretRemedy)
		}
		if slices.ContainsFunc(all, func(other User) bool { return other.Name == user.Name }) {
			u.Complain("user", fmt.Sprintf("%q is given twice", user.Name), "keep one of them")
		}
		u.Done()
		all = append(all, user)
	}
	return all
}

// readServerTLS is daemon.ReadTLS with a client-ca that may be absent: then no client certificates are asked for.
func readServerTLS(m *config.Map) daemon.TLSFiles {
	if m.Has("client-ca") {
		return daemon.ReadTLS(m, "client-ca")
	}
	f := daemon.TLSFiles{Certificate: m.Path("certificate", ""), Key: m.Path("key", "")}
	m.Require("certificate", "name a PEM file")
	m.Require("key", "name a PEM file")
	m.Done()
	for _, p := range f.Check() {
		if p.Option != "ca" && p.File != "" {
			m.Complain(p.Option, p.Error(), p.Remedy)
		}
	}
	return f
}

func readAllow(m *config.Map) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range m.Texts("allow") {
		p, err := netip.ParsePrefix(s)
		if ip, ierr := netip.ParseAddr(s); ierr == nil {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			m.Complain("allow", fmt.Sprintf("%q is no address range", s), "write 10.1.0.0/16 or a single address")
			continue
		}
		if p.Bits() == 0 {
			m.Warn("allow", s+" lets everybody who reaches the listener send as any mailbox", "name the ranges of your own programs")
		}
		all = append(all, p.Masked())
	}
	return all
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}
