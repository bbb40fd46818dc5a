package sink

import (
	"testing"

	"mailporter/workers/internal/mail"
)

// TestID: no two deliveries share a name, however their parts are cut, and it stays as it is: what was delivered under it
// must be found again by later versions.
func TestID(t *testing.T) {
	seen := map[string]string{}
	for what, id := range map[string]string{
		"plain":            ID(mail.Folder{Mailbox: "a@x", Name: "INBOX"}, "k"),
		"another key":      ID(mail.Folder{Mailbox: "a@x", Name: "INBOX"}, "k2"),
		"another folder":   ID(mail.Folder{Mailbox: "a@x", Name: "Junk"}, "k"),
		"another mailbox":  ID(mail.Folder{Mailbox: "b@x", Name: "INBOX"}, "k"),
		"cut elsewhere":    ID(mail.Folder{Mailbox: "a@xINBOX", Name: ""}, "k"),
		"nothing at all":   ID(mail.Folder{}, ""),
		"digits of length": ID(mail.Folder{Mailbox: "", Name: "1:k"}, ""),
	} {
		if len(id) != 40 || seen[id] != "" {
			t.Errorf("%s: %q is also that of %q", what, id, seen[id])
		}
		seen[id] = what
	}
	if got := ID(mail.Folder{Mailbox: "a@x", Name: "INBOX"}, "k"); got != "d8c6c12f69f679d42aa389d8e67ef7a9f8636e63" {
		t.Errorf("the name of a delivery became %s", got)
	}
}
