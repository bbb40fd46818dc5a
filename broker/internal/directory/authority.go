package directory

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"mailporter/broker/internal/token"
)

// cloud is one of Microsoft's clouds.
type cloud struct {
	mail  string // resource of the mail API; empty = not known, scope must be given
	graph string // host of Graph, and its resource
	imap  string // default host of IMAP, POP3 and EWS
	smtp  string
}

const (
	microsoftDefault = "https://login.microsoftonline.com"
	googleToken      = "https://oauth2.googleapis.com/token"
	googleScope      = "https://mail.google.com/"
)

// clouds are Microsoft's authorities by host. The US Government's authority serves GCC High and DoD; the defaults are GCC
// High's.
var clouds = func() map[string]cloud {
	global := cloud{"https://outlook.office.com", "graph.microsoft.com", "outlook.office365.com", "smtp.office365.com"}
	government := cloud{"https://outlook.office365.us", "graph.microsoft.us", "outlook.office365.us", "smtp.office365.us"}
	china := cloud{"https://partner.outlook.cn", "microsoftgraph.chinacloudapi.cn", "partner.outlook.cn", "smtp.partner.outlook.cn"}
	return map[string]cloud{
		"login.microsoftonline.com": global, "login.windows.net": global, "login.microsoft.com": global, "sts.windows.net": global,
		"login.microsoftonline.us": government, "login.usgovcloudapi.net": government,
		"login.partner.microsoftonline.cn": china, "login.chinacloudapi.cn": china,
		"login.sovcloud-identity.fr": {graph: "graph.svc.sovcloud.fr"},
		"login.sovcloud-identity.de": {graph: "graph.svc.sovcloud.de"},
		"login.sovcloud-identity.sg": {graph: "graph.svc.sovcloud.sg"},
	}
}()

// authority is a validated tenant-authority.
type authority struct {
	provider token.Provider
	url      string // Microsoft: https://host[:port]; Google: the token endpoint
	cloud    cloud
}

// parseAuthority validates tenant-authority. A typo must not post a secret elsewhere, so only Microsoft's clouds, Google
// and what the configuration allows will do. Any text that contains "google" is Google.
func parseAuthority(s string, allowed []string) (authority, error) {
	if strings.Contains(strings.ToLower(s), "google") {
		return googleAuthority(s, allowed)
	}
	u, err := authorityURL(s)
	if err != nil {
		return authority{}, err
	}
	host := hostOf(u)
	if host == "login.microsoftonline.de" {
		return authority{}, fmt.Errorf("the old German cloud was closed")
	}
	c, known := clouds[host]
	if !known {
		if !isAllowed(u, allowed) {
			return authority{}, notAllowed(host)
		}
		c = clouds["login.microsoftonline.com"]
	}
	return authority{token.Microsoft, "https://" + host, c}, nil
}

// googleAuthority: a host of Google's, or no URL at all, means Google's own token endpoint. Another https URL that
// contains google is a stand-in for it: its tokens are at that URL + /token.
func googleAuthority(s string, allowed []string) (authority, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return authority{provider: token.Google, url: googleToken}, nil
	}
	if u.Scheme != "https" || u.User != nil {
		return authority{}, fmt.Errorf("%q is not an https URL without user", s)
	}
	if isGoogle(strings.ToLower(u.Hostname())) {
		return authority{provider: token.Google, url: googleToken}, nil
	}
	if !isAllowed(u, allowed) {
		return authority{}, notAllowed(hostOf(u))
	}
	return authority{provider: token.Google, url: "https://" + hostOf(u) + strings.TrimRight(u.Path, "/") + "/token"}, nil
}

func isGoogle(host string) bool {
	return host == "google.com" || strings.HasSuffix(host, ".google.com") || strings.HasSuffix(host, ".googleapis.com")
}

func authorityURL(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("%q is not https://host", s)
	}
	return u, nil
}

// hostOf is host or host:port in lower case; url.URL.Host keeps the colon of an empty port.
func hostOf(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Host), ":") }

func notAllowed(host string) error {
	return fmt.Errorf("%s is neither Microsoft's nor Google's nor allowed", host)
}

// isAllowed compares with the entries of allowed-authorities: host means port 443, host:port that port.
func isAllowed(u *url.URL, allowed []string) bool {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" || port == "443" {
		if slices.Contains(allowed, host) {
			return true
		}
		port = "443"
	}
	return slices.Contains(allowed, net.JoinHostPort(host, port))
}
