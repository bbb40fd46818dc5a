// Package bounce writes what Exchange writes to a sender about recipients that it accepted and did not find.
package bounce

import (
	"fmt"
	"strings"
)

// Report is a delivery report (RFC 3464) to the sender about recipients that do not exist.
func Report(sender string, unknown []string) []byte {
	status := ""
	for _, a := range unknown {
		status += "\r\nFinal-Recipient: rfc822;" + a + "\r\nAction: failed\r\nStatus: 5.1.10\r\nDiagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound\r\n"
	}
	return fmt.Appendf(nil, "From: <postmaster@sandbox.example>\r\nTo: <%s>\r\nSubject: Undeliverable\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nYour message could not be delivered to: %s\r\n"+
		"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns;sandbox.example\r\n%s--b--\r\n", sender, strings.Join(unknown, ", "), status)
}
