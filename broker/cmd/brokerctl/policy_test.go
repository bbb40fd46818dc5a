package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPolicyTest(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "bad.yaml")
	for path, text := range map[string]string{
		good: "rules:\n  - {identity: worker, mailboxes: [\"*@contoso.com\"], protocols: [IMAP], verbs: [token], tenant-wide: true}\n" +
			"  - {identity: ops, mailboxes: [\"*\"], verbs: [admin]}\n",
		bad: "rules:\n  - {identity: worker, verbs: [tokens]}\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"allowed":      {[]string{good, "--identity", "worker", "--mailbox", "A@Contoso.com", "--protocol", "imap", "--tenant-wide"}, 0, "allowed by policy.yaml:2"},
		"denied":       {[]string{good, "--identity", "worker", "--mailbox", "a@contoso.com", "--protocol", "SMTP"}, 1, "policy.yaml:2  the protocol is none of IMAP"},
		"other verb":   {[]string{good, "--identity", "ops", "--mailbox", "a@contoso.com", "--verb", "admin"}, 0, "allowed by policy.yaml:3"},
		"a bad file":   {[]string{bad, "--identity", "worker", "--mailbox", "a@b.c"}, 1, `"tokens" is not allowed`},
		"no file":      {[]string{filepath.Join(dir, "none"), "--identity", "worker", "--mailbox", "a@b.c"}, 1, "cannot be read"},
		"no identity":  {[]string{good, "--mailbox", "a@b.c"}, 2, "--identity is missing"},
		"no mailbox":   {[]string{good, "--identity", "worker"}, 2, "--mailbox is missing"},
		"bad verb":     {[]string{good, "--identity", "w", "--mailbox", "a@b.c", "--verb", "read"}, 2, "use one of token, password"},
		"bad protocol": {[]string{good, "--identity", "w", "--mailbox", "a@b.c", "--protocol", "NNTP"}, 2, "use one of POP3"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, out := brokerctl(append([]string{"policy", "test"}, tc.args...)...); code != tc.code || !strings.Contains(out, tc.want) {
				t.Fatalf("exit %d, want %d and %q:\n%s", code, tc.code, tc.want, out)
			}
		})
	}
}
