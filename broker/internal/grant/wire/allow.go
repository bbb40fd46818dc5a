package wire

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

// Allowed says whether a host of a URL (host or host:port) is among names: host means port 443, host:port that port.
func Allowed(host string, names []string) bool {
	host = strings.ToLower(host)
	bare, port, err := net.SplitHostPort(host)
	if err != nil {
		bare, port = host, "443"
	}
	return slices.ContainsFunc(names, func(n string) bool {
		n = strings.ToLower(n)
		return n == net.JoinHostPort(bare, port) || port == "443" && n == bare
	})
}

// Host is the host of an https URL without user, or empty.
func Host(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.User != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}

// NotAllowed is the fault of an authority that is not on the list. The configuration is checked before; this is the second
// lock on the door through which secrets leave.
func NotAllowed(about remedy.About) *remedy.Fault {
	return &remedy.Fault{
		Class: remedy.WrongConfig, Reason: remedy.AuthorityNotAllowed,
		Remedy: "Whoever configures the broker must correct tenant-authority, or name its host under allowed-authorities.",
		Detail: about.Authority,
	}
}

// notAllowedHost is NotAllowed for a host that the provider, not the configuration, named: a federation server for example.
func notAllowedHost(about remedy.About, host string) *remedy.Fault {
	if host == Host(about.Authority) {
		return NotAllowed(about)
	}
	return &remedy.Fault{
		Class: remedy.WrongConfig, Reason: remedy.AuthorityNotAllowed, Detail: host,
		Remedy: "Whoever configures the broker must name " + host + " under allowed-authorities, if it belongs to the sign-in of " + about.User + " and speaks https; nothing was sent there.",
	}
}

// NotServed is the fault of a grant that a provider's package cannot make.
func NotServed(g token.Kind) *remedy.Fault {
	return &remedy.Fault{
		Class: remedy.WrongConfig, Reason: remedy.GrantNotServed, Detail: string(g),
		Remedy: "Whoever configures the broker must choose another grant-type for this authority.",
	}
}
