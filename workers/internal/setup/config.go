// Package setup reads a worker's file and opens what it names. It is the same file for every worker; a worker that moves
// mail in has no use for an intake, and one that moves mail out none for sinks, so each says what it takes. A worker that
// can do both does what its file has a section for.
package setup

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"mailporter/kit/config"
	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/wire"
)

// Kind says which halves a worker has.
type Kind int

// The halves.
const (
	Inbound  Kind = iota // fetches mail: sinks
	Outbound             // sends mail: intake, retry, reports
	Both                 // fetches if there are sinks, sends if there is an intake
)

// Config is what the file says.
type Config struct {
	Broker tokenclient.Config
	State  State
	Admin  string // listen address of HTTP: /metrics /livez /readyz; empty = none
	Roots  *x509.CertPool
	Sinks  map[string]Sink // by name; one is called default
	Intake Intake
	Retry  Retry

	Reports Reports
}

// Retry says how long a message is tried.
type Retry struct {
	GiveUp time.Duration
}

// The defaults. Five days: RFC 5321 section 4.5.4.1 asks for at least four.
const (
	defaultGiveUp     = 5 * 24 * time.Hour
	defaultSize       = 150 << 20
	defaultRecipients = 1000
)

// Load reads the file and says all that is wrong with it.
func Load(path string, kind Kind) (Config, config.Complaints) {
	doc := config.Read(path)
	c := read(doc.Root(), kind)
	return c, doc.Complaints()
}

func read(root *config.Map, kind Kind) Config {
	c := Config{Broker: readBroker(root.Map("broker")), Admin: root.Address("admin", ""), Roots: readRoots(root)}
	c.State = readState(root, c.Roots)
	sends := kind == Outbound || kind == Both && root.Has("intake")
	fetches := kind == Inbound || kind == Both && (!sends || root.Has("sinks"))
	if fetches {
		c.Sinks = readSinks(root, surroundings{c.Roots, c.State})
	} else {
		refuse(root, "is for workers that fetch mail", "sinks")
	}
	if sends {
		c.Intake = readIntake(root)
		c.Retry = readRetry(root.Map("retry"))
		c.Reports = readReports(root)
	} else {
		refuse(root, "is for workers that send mail", "intake", "retry", "reports")
	}
	root.Done()
	return c
}

// Fetches says whether the file is for a worker that fetches mail.
func (c Config) Fetches() bool { return c.Sinks != nil }

// Sends says whether the file is for a worker that sends mail.
func (c Config) Sends() bool {
	return len(c.Intake.SMTP) > 0 || c.Intake.GRPC != nil || c.Intake.Folder != nil
}

// refuse complains about options of the other half, which would have no effect here.
func refuse(root *config.Map, why string, options ...string) {
	for _, o := range options {
		if root.Has(o) {
			root.Complain(o, why, "remove it from this file")
		}
	}
}

func readRetry(m *config.Map) Retry {
	r := Retry{GiveUp: m.Clock("give-up", defaultGiveUp, time.Minute, 30*24*time.Hour)}
	m.Done()
	return r
}

const addressRemedy = `name the broker: "dns:///broker.example:9443"`

func readBroker(m *config.Map) tokenclient.Config {
	c := tokenclient.Config{Address: m.Require("address", addressRemedy), Insecure: m.Bool("insecure", false), TokenFile: m.Path("token-file", "")}
	host, ok := target(c.Address)
	switch {
	case c.Address != "" && !ok:
		m.Complain("address", fmt.Sprintf("%q is not HOST:PORT", c.Address), addressRemedy)
	case c.Insecure && m.Has("tls"):
		m.Complain("insecure", "contradicts tls", "remove one of them")
	case c.Insecure && c.TokenFile != "":
		m.Complain("token-file", "would travel in the clear", "write tls in place of insecure")
	case c.Insecure && ok && !loopback(host):
		m.Complain("insecure", "would show every token to the network: "+host+" is another machine", "remove it and write tls")
	}
	if !c.Insecure {
		c.TLS = readIdentity(m, c.TokenFile)
	}
	m.Done()
	return c
}

// readIdentity reads tls: the worker's certificate may be left out if a token says who it is.
func readIdentity(m *config.Map, tokenFile string) daemon.TLSFiles {
	files := m.Map("tls")
	if tokenFile == "" {
		return daemon.ReadTLS(files, "ca")
	}
	if err := tokenclient.CheckTokenFile(tokenFile); err != nil {
		m.Warn("token-file", fmt.Sprintf("%s: %v", tokenFile, err), "mount a projected service-account token there before the worker starts")
	}
	if files.Has("certificate") || files.Has("key") {
		return daemon.ReadTLS(files, "ca")
	}
	return daemon.ReadCA(files, "ca")
}

// target takes the host out of host:port, dns:///host:port and dns://server/host:port.
func target(address string) (host string, ok bool) {
	if rest, dns := strings.CutPrefix(address, "dns://"); dns {
		_, address, _ = strings.Cut(rest, "/")
	}
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	return host, err == nil && perr == nil && n > 0 && host != "" && !strings.ContainsAny(host, "/ ")
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// readRoots are the system's certificates and those of trusted-ca.
func readRoots(root *config.Map) *x509.CertPool {
	const remedy = "name PEM files of certificates"
	var pems [][]byte
	for _, path := range root.Paths("trusted-ca") {
		b, err := os.ReadFile(path)
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err // the complaint has the path already
		}
		if err == nil {
			_, err = wire.Roots(b)
		}
		if err != nil {
			root.Complain("trusted-ca", fmt.Sprintf("%s: %v", path, err), remedy)
			continue
		}
		pems = append(pems, b)
	}
	pool, err := wire.Roots(pems...)
	if err != nil {
		root.Complain("trusted-ca", err.Error(), remedy)
	}
	return pool
}
