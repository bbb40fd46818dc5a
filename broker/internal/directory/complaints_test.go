package directory

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestComplaintsAboutMailboxes(t *testing.T) {
	const oauth = "type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, directory-id: d, client-id: c, password: {file: ../pass}"
	for name, tc := range map[string]struct{ section, options, want string }{
		"no type":               {"pop-client", "server: s", "pop-client.type: is missing"},
		"wrong type":            {"pop-client", "type: SMTP", `"SMTP" is not allowed; use one of: POP3, IMAP, EWS, GRAPH`},
		"unknown option":        {"pop-client", "cycletime: 00:00:01, " + oauth, `did you mean "cycle-time"?`},
		"option of other side":  {"smtp-client", "server-type: SMTP, server: s, folder-path: A", "folder-path: is no known option here"},
		"margin 0":              {"pop-client", `token-expiry-margin-time: "00:00:00", ` + oauth, "out of range"},
		"margin 1 h":            {"pop-client", `token-expiry-margin-time: "01:00:00", ` + oauth, "out of range"},
		"large margin":          {"pop-client", `token-expiry-margin-time: "00:58:00", ` + oauth, "warning: mailboxes[0].pop-client.token-expiry-margin-time: leaves less than five minutes"},
		"margin no token fits":  {"pop-client", `token-expiry-margin-time: "00:59:59", tenant-authority: google, ` + oauth, "no token of Google lives longer"},
		"no client-id":          {"pop-client", "type: GRAPH, directory-id: d, password: {file: ../pass}", "client-id: is missing"},
		"no directory-id":       {"pop-client", "type: GRAPH, client-id: d, password: {file: ../pass}", "directory-id: is missing"},
		"directory with slash":  {"pop-client", "type: GRAPH, client-id: d, directory-id: ../x, password: {file: ../pass}", "is no directory id"},
		"unknown application":   {"pop-client", "type: GRAPH, application: nope", `there is no application "nope"`},
		"foreign authority":     {"pop-client", "tenant-authority: 'https://login.micros0ft.com', " + oauth, "login.micros0ft.com is neither Microsoft's nor Google's nor allowed"},
		"http authority":        {"pop-client", "tenant-authority: 'http://login.microsoftonline.com', " + oauth, "is not https://host"},
		"closed authority":      {"pop-client", "tenant-authority: login.microsoftonline.de, " + oauth, "cloud was closed"},
		"foreign google":        {"pop-client", "tenant-authority: 'https://google.evil.com', " + oauth, "google.evil.com is neither"},
		"port of google":        {"pop-client", "tenant-authority: 'https://localhost:9999/google', " + oauth, "localhost:9999 is neither"},
		"Google and GRAPH":      {"pop-client", "type: GRAPH, tenant-authority: google, client-id: c, password: {file: ../pass}", "Google does not speak GRAPH"},
		"Google and password":   {"pop-client", "tenant-authority: google, grant-type: password, " + oauth, "password is not offered by Google"},
		"no secret":             {"pop-client", "type: GRAPH, client-id: c, directory-id: d", "needs the application's secret"},
		"no password":           {"pop-client", "type: IMAP, server: s", "basic authentication needs the mailbox's password"},
		"no refresh token":      {"pop-client", "type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, grant-type: refresh_token, client-id: c, directory-id: d", "needs the refresh token"},
		"unreadable secret":     {"pop-client", "type: IMAP, server: s, password: {file: ../none}", "no such file"},
		"unset variable":        {"pop-client", "type: IMAP, server: s, password: {env: MAILPORTER_TEST_NONE}", "MAILPORTER_TEST_NONE is not set"},
		"literal secret":        {"pop-client", "type: IMAP, server: s, password: hunter2", "warning: mailboxes[0].pop-client.password: a secret stands in the file itself"},
		"unknown secret name":   {"pop-client", "tenant-authority: google, secret: other, " + oauth, "there is no section secret-other"},
		"no server":             {"pop-client", "type: IMAP, password: {file: ../pass}", "pop-client.server: is missing"},
		"server with port":      {"pop-client", "type: IMAP, server: 'h:993', password: {file: ../pass}", "is no host name"},
		"plain text":            {"pop-client", "type: IMAP, server: mail.example, pop-connection-security: none, password: {file: ../pass}", "in the clear"},
		"EWS start-tls":         {"pop-client", "type: EWS, server: h, pop-connection-security: start-tls, password: {file: ../pass}", "EWS is HTTPS"},
		"both dispositions":     {"pop-client", "disposition: keep, leave-msg-on-server: true, " + oauth, "are both given"},
		"move without folder":   {"pop-client", "disposition: 'move:', " + oauth, `"move:" is not allowed`},
		"disposition":           {"pop-client", "disposition: archive, " + oauth, `"archive" is not allowed`},
		"POP3 mark-read":        {"pop-client", "type: POP3, server: h, disposition: mark-read, password: {file: ../pass}", "POP3 has no flags"},
		"POP3 move":             {"pop-client", "type: POP3, server: h, disposition: 'move:Done', password: {file: ../pass}", "POP3 has no flags and no folders; use keep or delete"},
		"POP3 folders":          {"pop-client", "type: POP3, server: h, folder-path: [INBOX, Sent], password: {file: ../pass}", "folder-path: POP3 has no folders"},
		"POP3 junk, read":       {"pop-client", "type: POP3, server: h, junk: read, password: {file: ../pass}", "junk: POP3 does not show the junk folder; use ignore"},
		"POP3 junk, count":      {"pop-client", "type: POP3, server: h, junk: count, password: {file: ../pass}", "junk: POP3 does not show the junk folder; use ignore"},
		"POP3 failed items":     {"pop-client", "type: POP3, server: h, failed-items-folder-name: Bad, password: {file: ../pass}", "failed-items-folder-name: POP3 cannot move messages"},
		"POP3 folder":           {"pop-client", "type: POP3, server: h, folder-path: Sent, password: {file: ../pass}", "POP3 has no folders"},
		"POP3 two lines":        {"pop-client", "type: POP3, mail.pop3.auth.mechanisms: XOAUTH2, directory-id: d, client-id: c, password: {file: ../pass}", "two lines only"},
		"other mechanism":       {"pop-client", "mail.pop3.auth.mechanisms: XOAUTH2, " + oauth, "has no effect: the section speaks IMAP"},
		"XOAUTH2 switched off":  {"smtp-client", "server-type: SMTP, mail.smtp.auth.mechanisms: XOAUTH2, enable-authentication: false, directory-id: d, client-id: c, password: {file: ../pass}", "false does not go with XOAUTH2"},
		"sender alias":          {"smtp-client", "server-type: SMTP, server: s, sender-aliases: [nobody]", `"nobody" is no address`},
		"nowhere to look":       {"smtp-client", "server-type: SMTP, server: s, sent-items: auto", "sent-items: has no effect: the mailbox has no pop-client of type IMAP, EWS or GRAPH"},
		"looks by itself":       {"smtp-client", "server-type: GRAPH, sent-items: auto, client-id: c, directory-id: d, password: {file: ../pass}", "has no effect with GRAPH"},
		"scope of a new cloud":  {"pop-client", "tenant-authority: login.sovcloud-identity.fr, server: h, " + oauth, "has no default for this cloud"},
		"server of a new cloud": {"pop-client", "tenant-authority: login.sovcloud-identity.fr, scope: s, " + oauth, "has no default for IMAP at this provider"},
	} {
		t.Run(name, func(t *testing.T) {
			_, complaints := newSite(t).load(one(tc.section, tc.options))
			if !strings.Contains(complaints.Error(), tc.want) {
				t.Fatalf("want %q in:\n%v", tc.want, complaints)
			}
			for _, c := range complaints {
				if c.Line == 0 || c.Column == 0 || c.Remedy == "" || c.Option == "" || filepath.Base(c.File) != "a.yaml" {
					t.Errorf("no place or no remedy: %s", c)
				}
				if strings.Contains(c.String(), "hunter2") || strings.Contains(c.String(), "mailbox-password") {
					t.Errorf("a secret in a complaint")
				}
			}
		})
	}
}

// TestPOP3AmongDefaults: what defaults have for mailboxes of other protocols, a POP3 mailbox can take back.
func TestPOP3AmongDefaults(t *testing.T) {
	const defaults = "defaults: {pop-client: {failed-items-folder-name: Bad, junk: count, disposition: 'move:Done', folder-path: [INBOX, Sent]}}\n"
	for name, tc := range map[string]struct {
		own  string
		hard int
	}{
		"left in place": {"", 4},
		"taken back":    {`, failed-items-folder-name: "", junk: ignore, disposition: delete, folder-path: INBOX`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			box := "mailboxes: [{address: a@x.org, pop-client: {type: POP3, server: h, password: {file: ../pass}" + tc.own + "}}]"
			_, complaints := newSite(t).load(defaults + box)
			if tc.hard == 0 && complaints.Err() != nil || tc.hard > 0 && strings.Count(complaints.Error(), ": POP3 ") != tc.hard {
				t.Errorf("want %d complaints:\n%v", tc.hard, complaints)
			}
		})
	}
}

func TestComplaintsAboutFiles(t *testing.T) {
	box := "{address: a@x.org, pop-client: {type: IMAP, server: s, password: {file: ../pass}}}"
	for name, tc := range map[string]struct{ text, want string }{
		"twice":            {"mailboxes: [" + box + ", " + strings.Replace(box, "a@x.org", "A@X.ORG", 1) + "]", "A@X.ORG is configured twice, first at "},
		"bad address":      {"mailboxes: [{address: nobody, pop-client: {type: IMAP, server: s, password: {file: ../pass}}}]", `"nobody" is no address`},
		"no address":       {"mailboxes: [{pop-client: {type: IMAP, server: s, password: {file: ../pass}}}]", "address: is missing"},
		"no side":          {"mailboxes: [{address: a@x.org}]", "are both missing"},
		"unused app":       {"applications: {x: {clientid: a}}", `applications.x.clientid: is no known option here; did you mean "client-id"?`},
		"defaults":         {"defaults: {pop-client: {nonsense-option: a}}", "defaults.pop-client.nonsense-option: is no known option"},
		"top level":        {"mailbox: []", `did you mean "mailboxes"?`},
		"not YAML":         {"mailboxes: [", "is not YAML"},
		"shared but wrong": {"defaults: {pop-client: {cycle-time: soon}}\nmailboxes: [" + box + ", " + strings.Replace(box, "a@", "b@", 1) + "]", `"soon" is not a time`},
	} {
		t.Run(name, func(t *testing.T) {
			_, complaints := newSite(t).load(tc.text)
			if strings.Count(complaints.Error(), tc.want) != 1 {
				t.Fatalf("want %q once in:\n%v", tc.want, complaints)
			}
		})
	}
}

func TestComplaintsAboutTheProcess(t *testing.T) {
	const rest = "\nmailboxes: [mailboxes.d/*.yaml]\npolicy: policy.yaml"
	for name, tc := range map[string]struct{ text, want string }{
		"no mailboxes":       {"policy: policy.yaml", "mailboxes: is missing"},
		"no policy":          {"mailboxes: [mailboxes.d/*.yaml]", "everything is denied"},
		"glob for nothing":   {"policy: policy.yaml\nmailboxes: [none/*.yaml]", "matches no file"},
		"policy is missing":  {"policy: nope.yaml\nmailboxes: [mailboxes.d/*.yaml]", "nope.yaml: cannot be read"},
		"listen":             {"listen: here" + rest, `"here" is not host:port`},
		"half of TLS":        {"tls: {certificate: a.pem}" + rest, "tls.key: is missing"},
		"store":              {"store: mysql://x" + rest, "is no store"},
		"redis, no keyset":   {"store: redis://h:1/0" + rest, "replicas must share one"},
		"audit":              {"audit: {path: x}" + rest, "audit.file: is missing"},
		"audit sync":         {"audit: {file: x, sync: often}" + rest, "audit.sync: \"often\" is neither true nor false"},
		"audit word":         {"audit: syslog" + rest, `"syslog" is not allowed`},
		"proxy":              {"proxy: {identity: 'ftp://x'}" + rest, "is no proxy"},
		"proxy with secret":  {"proxy: {mail: 'http://u:hunter2@x'}" + rest, "is no proxy"},
		"authority with URL": {"allowed-authorities: ['https://x']" + rest, "is no host"},
		"unknown":            {"lissten: a" + rest, `did you mean "listen"?`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.write("broker.yaml", tc.text)
			_, complaints := s.load("mailboxes: []")
			if !strings.Contains(complaints.Error(), tc.want) || strings.Contains(complaints.Error(), "hunter2") {
				t.Fatalf("want %q in:\n%v", tc.want, complaints)
			}
		})
	}
	if _, complaints := Load(filepath.Join(t.TempDir(), "none.yaml"), nil); complaints.Err() == nil {
		t.Fatal("a missing file is no complaint")
	}
}

func FuzzAuthority(f *testing.F) {
	for _, s := range []string{microsoftDefault, "google", "https://accounts.google.com/x", "https://localhost:8443/google", "login.example.test:443",
		"https://evil/google.com", "https://google@evil", "https://login.microsoftonline.com@evil", "//evil", "https://evil?google", "https://evil#google"} {
		f.Add(s)
	}
	allowed := []string{"login.example.test", "localhost:8443"}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAuthority(s, allowed)
		if err != nil {
			return
		}
		rest, https := strings.CutPrefix(a.url, "https://")
		host, _, _ := strings.Cut(rest, "/")
		_, known := clouds[host]
		if !https || !known && a.url != googleToken && host != "login.example.test" && host != "login.example.test:443" && host != "localhost:8443" {
			t.Fatalf("%q leads to %q", s, a.url)
		}
	})
}
