package main

import (
	"testing"
	"time"
)

// Refresh tokens that nobody asks for are used all the same; a revoked one is tried once.
func TestIdleRefreshTokensAreUsed(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	s.write("broker.yaml", s.read("broker.yaml")+"keep-alive: \"00:00:02\"\n")
	s.start()
	used := func() (google, entra int) {
		r := sb.TokenRequests()
		return r.User["orders@shop.example"], r.User["entra@contoso.example"]
	}
	for late := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if google, entra := used(); google > 0 && entra > 0 {
			break
		}
		if time.Now().After(late) {
			t.Fatal("idle refresh tokens were left to die")
		}
	}
	if n := sb.TokenRequests().Grant["client_credentials"]; n != 0 {
		t.Errorf("%d tokens for credentials that need no use", n)
	}
}
