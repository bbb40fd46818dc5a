package keeper_test

import (
	"crypto/x509"
	"testing"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

// certified has two certificates that end one and two months from now.
func certified() *token.Credential {
	c := appOnly()
	c.Secrets = nil
	for i, name := range []string{"first", "second"} {
		leaf := &x509.Certificate{Raw: []byte(name), NotAfter: time.Now().AddDate(0, i+1, 0)}
		c.Certificates = append(c.Certificates, token.NewCertificate(leaf, nil))
	}
	return c
}

func TestTheNextCertificateIsTriedAndRemembered(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.answer = func(_ int, c token.Credential, _ string) error {
			if string(c.Certificates[0].Leaf().Raw) == "first" {
				return refuse(remedy.ClientCertificateUnknown)
			}
			return nil
		}
		c, k := certified(), h.broker()
		if due := k.Status(t.Context(), c, scope).Due.At; !due.Equal(c.Certificates[0].NotAfter()) {
			t.Errorf("due %s before the provider has refused one", due)
		}
		h.must(k, wish(c))
		h.want(2)
		time.Sleep(2 * time.Hour)
		h.must(k, wish(c))
		h.want(3)
		if due := k.Status(t.Context(), c, scope).Due.At; !due.Equal(c.Certificates[1].NotAfter()) {
			t.Errorf("due %s, which is not the end of the one that works", due)
		}
	})
}
