package keeper_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// TestSecretsThatEnd: the first end counts, unless the provider refused that secret already.
func TestSecretsThatEnd(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		first, second := time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour)
		c := appOnly()
		c.Secrets = []secret.String{secret.New("one"), secret.New("two")}
		c.Ends = []token.End{{What: "client secret", At: second, Proof: c.Secrets[1].Fingerprint()}, {What: "client secret", At: first, Proof: c.Secrets[0].Fingerprint()}}
		k := h.broker()
		w := wish(appOnly())
		w.Credential = c
		if d := k.Status(t.Context(), c, scope).Due; !d.At.Equal(first) || !strings.Contains(d.What, "the client secret of "+c.Label+" ends") {
			t.Errorf("due %+v, want the first", d)
		}
		h.answer = func(_ int, c token.Credential, _ string) error {
			if c.Secrets[0].Reveal() == "one" {
				return &remedy.Fault{Class: remedy.NeedsAdmin, Reason: remedy.ClientSecretExpired, Remedy: "Make another."}
			}
			return nil
		}
		h.must(k, w)
		if d := k.Status(t.Context(), c, scope).Due; !d.At.Equal(second) {
			t.Errorf("due %+v, want the second: the first was refused", d)
		}
	})
}

// TestRefreshTokensThatIdle: one that was not used for two days is due when the provider will have forgotten it.
func TestRefreshTokensThatIdle(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		c := delegated()
		h.must(k, wish(c))
		used := time.Now()
		if d := k.Due(c); !d.At.IsZero() {
			t.Errorf("one in use is due: %+v", d)
		}
		time.Sleep(3 * 24 * time.Hour)
		if d := k.Due(c); d.At.Sub(used).Round(time.Hour) != 90*24*time.Hour || !strings.Contains(d.What, c.User) {
			t.Errorf("due %+v, want 90 days after its last use", d)
		}
		c.Ends = []token.End{{What: "refresh token", At: used.Add(10 * 24 * time.Hour)}}
		if d := k.Due(c); d.At.Sub(used) != 10*24*time.Hour || !strings.Contains(d.What, "signs in again") {
			t.Errorf("due %+v, want what the configuration says", d)
		}
	})
}

// TestFrozenIsDueNow: it has been due since it froze.
func TestFrozenIsDueNow(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		h.answer = func(int, token.Credential, string) error { return revoked() }
		k, c := h.broker(), delegated()
		if _, err := k.Ask(t.Context(), wish(c)); err == nil {
			t.Fatal("a revoked refresh token brought a token")
		}
		time.Sleep(time.Hour)
		if d := k.Due(c); time.Since(d.At) < time.Hour || !strings.Contains(d.What, remedy.ReauthorizationRequired) {
			t.Errorf("due %+v", d)
		}
	})
}

// TestAProjectInTesting: a refresh token of Google's that ends after seven days is told with its cause.
func TestAProjectInTesting(t *testing.T) {
	for lived, want := range map[time.Duration]bool{7 * 24 * time.Hour: true, 30 * 24 * time.Hour: false, time.Hour: false} {
		inHouse(t, func(t *testing.T, h *house) {
			google := delegated()
			google.Provider = token.Google
			k := h.broker()
			h.must(k, wish(google))
			time.Sleep(lived)
			h.answer = func(int, token.Credential, string) error { return revoked() }
			synctest.Wait()
			time.Sleep(2 * time.Hour) // its token is over
			_, err := k.Ask(t.Context(), wish(google))
			if err == nil || strings.Contains(asRemedy(err), "Testing") != want {
				t.Errorf("after %v: %v", lived, err)
			}
		})
	}
}

func asRemedy(err error) string {
	f, ok := err.(*remedy.Fault)
	if !ok {
		return ""
	}
	return f.Remedy
}
