package setup

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"mailporter/kit/config"
	"mailporter/kit/daemon"
	"mailporter/kit/secret"
	"mailporter/workers/internal/intake"
)

// Intake is the ways in; a door that the file does not have is nil. There may be several listeners for SMTP.
type Intake struct {
	Hostname string // our own name, in greetings
	SMTP     []SMTPIntake
	GRPC     *GRPCIntake
	Folder   *FolderIntake
}

// SMTPIntake is a submission listener.
type SMTPIntake struct {
	Rules       intake.Rules
	Listen      string
	TLS         daemon.TLSFiles // Certificate empty = none; CA empty = no client certificates
	ImplicitTLS bool
	Allow       []netip.Prefix // who may submit without login; nil = loopback
	Users       []User
	Clients     intake.Clients

	MendLineEnds bool // give lines that end with LF alone a CR
}

// User may submit after AUTH.
type User struct {
	Name     string
	Password secret.Ref
	Senders  []string // as intake.Submitter has them
}

// GRPCIntake is the listener of the OutboxService.
type GRPCIntake struct {
	Rules   intake.Rules
	Listen  string
	TLS     daemon.TLSFiles // Certificate empty = plain text
	Clients intake.Clients
}

// FolderIntake is a drop folder.
type FolderIntake struct {
	Rules   intake.Rules
	Path    string
	Poll    time.Duration
	Senders []string
}

func readIntake(root *config.Map) Intake {
	m := root.Map("intake")
	in := Intake{Hostname: hostname()}
	if m.Has("smtp") {
		in.Hostname, in.SMTP = readListeners(m)
	}
	if m.Has("grpc") {
		in.GRPC = readGRPC(m.Map("grpc"))
	}
	if m.Has("folder") {
		in.Folder = readFolder(m)
	}
	if !m.Has("smtp") && in.GRPC == nil && in.Folder == nil {
		m.Know([]string{"smtp", "grpc", "folder"})
		m.Complain("smtp", "is missing: there would be no way in", "write intake: {smtp: {listen: 127.0.0.1:2525}}, or grpc, or folder")
	}
	if in.GRPC != nil && listens(in.SMTP, in.GRPC.Listen) {
		m.Complain("grpc", "listens at "+in.GRPC.Listen+", as smtp does", "give one of them another port")
	}
	m.Done()
	return in
}

// readListeners reads smtp: {...}, or smtp: [{...}, ...]. They have one name: what a listener is called, reports are called too.
func readListeners(m *config.Map) (hostName string, all []SMTPIntake) {
	var each []*config.Map
	if m.IsList("smtp") {
		each = m.Maps("smtp")
	} else {
		each = append(each, m.Map("smtp"))
	}
	if len(each) == 0 {
		m.Complain("smtp", "lists no listener", "write some, such as [{listen: 127.0.0.1:2525}], or remove it")
	}
	hostName = hostname()
	for i, one := range each {
		name, in := readSMTP(one, hostName)
		switch {
		case i == 0:
			hostName = name
		case name != hostName:
			one.Complain("hostname", fmt.Sprintf("is not %s, as the first listener has it", hostName), "give it there alone")
		}
		if listens(all, in.Listen) {
			one.Complain("listen", "is "+in.Listen+", as another listener has it", "give one of them another port")
		}
		all = append(all, in)
	}
	return hostName, all
}

func listens(all []SMTPIntake, address string) bool {
	return slices.ContainsFunc(all, func(in SMTPIntake) bool { return in.Listen == address })
}

func readSMTP(m *config.Map, name string) (hostName string, in SMTPIntake) {
	hostName = m.Text("hostname", name)
	in = SMTPIntake{
		Rules:       readRules(m),
		Listen:      m.Address("listen", "127.0.0.1:2525"),
		ImplicitTLS: m.Bool("implicit-tls", false),
		Allow:       readAllow(m),

		MendLineEnds: m.Bool("mend-line-ends", false),
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
	in.Clients = readClients(m)
	if in.Clients != nil && in.TLS.CA == "" {
		m.Complain("clients", "cannot be told from others: no client certificates are asked for", "write tls: {certificate: FILE, key: FILE, client-ca: FILE}")
	}
	m.Done()
	return hostName, in
}

// readGRPC: as at the broker, plain text is for a trial on this machine.
func readGRPC(m *config.Map) *GRPCIntake {
	in := &GRPCIntake{Rules: readRules(m), Listen: m.Address("listen", "127.0.0.1:9444"), Clients: readClients(m)}
	insecure := m.Bool("insecure", false)
	host, _, _ := net.SplitHostPort(in.Listen)
	switch {
	case insecure && m.Has("tls"):
		m.Complain("insecure", "contradicts tls", "remove one of them")
	case insecure && !loopback(host):
		m.Complain("insecure", "would let everybody who reaches "+in.Listen+" send as any mailbox", "remove it and write tls")
	case insecure && in.Clients != nil:
		m.Complain("clients", "cannot be told from others without tls", "write tls in place of insecure")
	case !insecure && !m.Has("tls"):
		m.Complain("tls", "is missing", "write tls: {certificate: PEM, key: PEM, client-ca: PEM}, or insecure: true for a trial on loopback")
	}
	if tls := m.Map("tls"); tls.Present() {
		in.TLS = daemon.ReadTLS(tls, "client-ca")
	}
	m.Done()
	return in
}

// readFolder reads folder: PATH, or folder: {path: PATH, ...}.
func readFolder(parent *config.Map) *FolderIntake {
	in := &FolderIntake{Poll: time.Second}
	if parent.IsText("folder") {
		in.Path = writable(parent, "folder", parent.Path("folder", ""))
		in.Rules = intake.Rules{}.WithDefaults()
		return in
	}
	m := parent.Map("folder")
	in.Rules, in.Senders = readRules(m), readSenders(m)
	in.Poll = m.Clock("poll", in.Poll, time.Second, time.Hour)
	if m.Require("path", "name the folder to drop files in") != "" {
		in.Path = writable(m, "path", m.Path("path", ""))
	}
	m.Done()
	return in
}

// readRules reads what every door asks of a message.
func readRules(m *config.Map) intake.Rules {
	r := intake.Rules{
		MaxSize:       m.Size("maximum-size", defaultSize),
		MaxRecipients: m.Int("maximum-recipients", defaultRecipients, 1, 100000),
		NullSender:    m.Text("null-sender", ""),
	}
	if r.NullSender != "" && !intake.IsAddress(r.NullSender) {
		m.Complain("null-sender", fmt.Sprintf("%q is no mail address", r.NullSender), "name a mailbox")
	}
	return r.WithDefaults()
}

func readUsers(m *config.Map) []User {
	var all []User
	for _, u := range m.Maps("users") {
		user := User{Name: u.Require("user", "name the user"), Password: u.Secret("password"), Senders: readSenders(u)}
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

// readClients reads whose certificate lets them in; nil = all that client-ca vouches for.
func readClients(m *config.Map) intake.Clients {
	var all intake.Clients
	for _, c := range m.Maps("clients") {
		client := intake.Submitter{Name: c.Require("identity", "write the SPIFFE URI, DNS name or common name of the certificate"), Senders: readSenders(c)}
		if slices.ContainsFunc(all, func(other intake.Submitter) bool { return other.Name == client.Name }) {
			c.Complain("identity", fmt.Sprintf("%q is given twice", client.Name), "keep one of them")
		}
		c.Done()
		all = append(all, client)
	}
	if m.Has("clients") && all == nil {
		m.Complain("clients", "names nobody", "name the clients, or remove it: then all that client-ca vouches for may submit")
	}
	return all
}

// readSenders reads as whom a submitter may send; nil = as everybody.
func readSenders(m *config.Map) []string {
	all := m.Texts("senders")
	for _, s := range all {
		domain, whole := strings.CutPrefix(s, "*@")
		if whole && (domain == "" || strings.ContainsAny(domain, "*@ ")) || !whole && (!intake.IsAddress(s) || strings.Contains(s, "*")) {
			m.Complain("senders", fmt.Sprintf("%q is no address and no *@DOMAIN", s), "write a@example.com, or *@example.com for all of a domain")
		}
	}
	if m.Has("senders") && all == nil {
		m.Complain("senders", "names no address", `name some, such as "*@example.com", or remove it: then every mailbox may be used`)
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

// readAllow reads from where mail is taken without login: nil = loopback, an empty list = from nowhere.
func readAllow(m *config.Map) []netip.Prefix {
	var all []netip.Prefix
	if m.Has("allow") {
		all = []netip.Prefix{}
	}
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
