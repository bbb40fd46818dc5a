package sandbox_test

import (
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"mailporter/sandbox"
	"mailporter/sandbox/idp"
)

// BenchmarkSubmit is what one mailbox can submit over its three connections into a store on the disk.
func BenchmarkSubmit(b *testing.B) {
	c := contoso()
	c.Data = b.TempDir()
	sb, err := sandbox.Start(c)
	if err != nil {
		b.Fatal(err)
	}
	defer sb.Close()
	token, _, err := sb.Issuer().Access(idp.Claims{
		Tenant: tenantID, Client: service, Audience: idp.Outlook365, Roles: []string{"SMTP.SendAsApp"},
	})
	if err != nil {
		b.Fatal(err)
	}
	raw := "Subject: x\r\n\r\n" + strings.Repeat("x\r\n", 3<<10)
	work := make(chan struct{})
	done := make(chan error, 3)
	for range 3 {
		client, err := smtp.DialStartTLS(sb.SMTPAddr(), trusting(sb.CAPEM()))
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		if err := client.Auth(&bearer{user: support, token: token}); err != nil {
			b.Fatal(err)
		}
		go func() {
			var failed error
			for range work {
				if err := send(client, support, raw, sales); err != nil {
					failed = err
				}
			}
			done <- failed
		}()
	}
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	for range 3 {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}
