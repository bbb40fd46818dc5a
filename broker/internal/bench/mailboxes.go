package main

import (
	"bytes"
	"fmt"
)

// address is that of the i-th mailbox.
func address(i int) string { return fmt.Sprintf("mailbox-%06d@contoso.example", i) }

// shared is what the mailboxes have in common.
const shared = `applications:
  contoso: {directory-id: %s, client-id: %s, secrets: [{file: %s}], grant-type: client_credentials, tenant-authority: "https://localhost:%d"}
defaults:
  pop-client: {type: IMAP, server: localhost, mail.imap.auth.mechanisms: XOAUTH2}
  smtp-client: {server-type: SMTP, server: localhost, mail.smtp.auth.mechanisms: XOAUTH2}
`

// writeMailboxes writes n mailboxes with both sides, all of one application, into files of at most perFile under folder,
// and returns the glob of the files.
func (st *stage) writeMailboxes(folder string, n, perFile int) (string, error) {
	for first := 0; first < n; first += perFile {
		var b bytes.Buffer
		if first == 0 {
			fmt.Fprintf(&b, shared, tenant, client, st.path("secrets/app"), st.identity)
		}
		b.WriteString("mailboxes:\n")
		for i := first; i < min(n, first+perFile); i++ {
			fmt.Fprintf(&b, "  - {address: %s, application: contoso, pop-client: {cycle-time: \"00:00:30\", disposition: delete}, smtp-client: {}}\n", address(i))
		}
		if err := st.write(fmt.Sprintf("%s/%03d.yaml", folder, first/perFile), b.Bytes()); err != nil {
			return "", err
		}
	}
	return st.path(folder + "/*.yaml"), nil
}
