package service

import (
	"testing"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/token"
)

// TestImpersonate: EWS must name the mailbox with a token of the application's own, and must not with a user's.
func TestImpersonate(t *testing.T) {
	for name, tc := range map[string]struct {
		protocol directory.Protocol
		grant    token.Kind
		want     bool
	}{
		"application over EWS":  {directory.EWS, token.ClientCredentials, true},
		"user over EWS":         {directory.EWS, token.Password, false},
		"consent over EWS":      {directory.EWS, token.RefreshToken, false},
		"application over IMAP": {directory.IMAP, token.ClientCredentials, false},
		"password over EWS":     {directory.EWS, token.Basic, false},
	} {
		s := &directory.Section{Mailbox: "a@contoso.com", Direction: directory.Inbound, Protocol: tc.protocol, Grant: tc.grant, Fetch: &directory.Fetch{}}
		if tc.grant != token.Basic {
			s.Credential = &token.Credential{Grant: tc.grant}
		}
		if got := settingsOf(s, "").GetEndpoint().GetImpersonate(); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
