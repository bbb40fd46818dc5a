package sasl

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"mailporter/kit/secret"
)

func credential(user, value string) Credential {
	return Credential{User: user, Value: secret.New(value), Host: "imap.example", Port: 993}
}

func newClient(t *testing.T, m Mechanism, c Credential) *Client {
	t.Helper()
	client, err := New(m, c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestInitialResponse(t *testing.T) {
	tests := []struct {
		name, user, value string
		mechanism         Mechanism
		want              string
	}{
		{"xoauth2", "a@b.c", "T", XOAUTH2, "user=a@b.c\x01auth=Bearer T\x01\x01"},
		{"oauthbearer", "a@b.c", "T", OAuthBearer, "n,a=a@b.c,\x01host=imap.example\x01port=993\x01auth=Bearer T\x01\x01"},
		{"oauthbearer escapes", "a,b=c@d", "T", OAuthBearer, "n,a=a=2Cb=3Dc@d,\x01host=imap.example\x01port=993\x01auth=Bearer T\x01\x01"},
		{"plain", "a@b.c", "pass word", Plain, "\x00a@b.c\x00pass word"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name, initial, err := newClient(t, test.mechanism, credential(test.user, test.value)).Start()
			if err != nil || name != string(test.mechanism) || string(initial) != test.want {
				t.Errorf("Start() = %q, %q, %v, want %q", name, initial, err, test.want)
			}
			split := newClient(t, test.mechanism, credential(test.user, test.value)).Split()
			if _, initial, _ := split.Start(); initial != nil {
				t.Errorf("split: Start() sent %q", initial)
			}
			if got, err := split.Next(nil); err != nil || string(got) != test.want {
				t.Errorf("split: Next() = %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestXOAUTH2OnTheWire(t *testing.T) {
	_, initial, _ := newClient(t, XOAUTH2, credential("a@b.c", "T")).Start()
	if got := base64.StdEncoding.EncodeToString(initial); got != "dXNlcj1hQGIuYwFhdXRoPUJlYXJlciBUAQE=" {
		t.Error(got)
	}
}

func TestErrorChallengeIsAnsweredOnce(t *testing.T) {
	const challenge = `{"status":"401","schemes":"Bearer","scope":"https://mail.google.com/"}`
	for m, answer := range map[Mechanism]string{XOAUTH2: "", OAuthBearer: "\x01"} {
		c := newClient(t, m, credential("a@b.c", "T"))
		if _, _, err := c.Start(); err != nil {
			t.Fatal(err)
		}
		got, err := c.Next([]byte(challenge))
		if err != nil || got == nil || string(got) != answer {
			t.Errorf("%s: answered %q (nil %t), %v, want %q", m, got, got == nil, err, answer)
		}
		if want := "status 401, scope https://mail.google.com/"; c.Refusal().String() != want {
			t.Errorf("%s: refusal %q, want %q", m, c.Refusal(), want)
		}
		if _, err := c.Next([]byte(challenge)); !errors.Is(err, ErrUnexpected) {
			t.Errorf("%s: second challenge: %v", m, err)
		}
	}
}

func TestPlainKnowsNoSecondChallenge(t *testing.T) {
	c := newClient(t, Plain, credential("u", "p"))
	if _, _, err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(nil); !errors.Is(err, ErrUnexpected) {
		t.Errorf("Next() = %v, want ErrUnexpected", err)
	}
}

func TestLoginGoesByOrder(t *testing.T) {
	c := newClient(t, Login, credential("user", "pass"))
	if _, initial, _ := c.Start(); initial != nil {
		t.Errorf("LOGIN has no initial response, got %q", initial)
	}
	for i, want := range []string{"user", "pass"} {
		if got, err := c.Next([]byte("Benutzername:")); err != nil || string(got) != want {
			t.Errorf("answer %d = %q, %v, want %q", i, got, err, want)
		}
	}
	if _, err := c.Next(nil); !errors.Is(err, ErrUnexpected) {
		t.Errorf("third challenge: %v", err)
	}
}

func TestCredentialsThatCannotBeCarried(t *testing.T) {
	for _, c := range []Credential{credential("a\x01auth=Bearer x", "T"), credential("a", "T\r\nNOOP"), credential("a\x00b", "p")} {
		if _, err := New(XOAUTH2, c); err == nil || strings.Contains(err.Error(), "NOOP") {
			t.Errorf("New(%q) = %v, want an error that does not show the credential", c.User, err)
		}
	}
	if _, err := New("CRAM-MD5", credential("a", "b")); err == nil {
		t.Error("an unknown mechanism was taken")
	}
}

func TestRefusalHidesAnEchoedToken(t *testing.T) {
	for _, challenge := range []string{"token TOPSECRET is bad", `{"status":"TOPSECRET","scope":"TOPSECRET"}`} {
		if r := readRefusal([]byte(challenge), secret.New("TOPSECRET")); strings.Contains(r.String(), "TOPSECRET") {
			t.Errorf("%s: %s", challenge, r)
		}
	}
}

func FuzzReadRefusal(f *testing.F) {
	f.Add([]byte(`{"status":"invalid_token","scope":"example_scope","openid-configuration":"https://example.com/.well-known/openid-configuration"}`))
	f.Add([]byte(`{"status":400}`))
	f.Add([]byte("\xff\x00\r\n* OK"))
	f.Fuzz(func(t *testing.T, challenge []byte) {
		s := readRefusal(challenge, secret.New("marker")).String()
		if strings.ContainsAny(s, "\r\n\x00") || len(s) > 4*maxText || strings.Contains(s, "marker") {
			t.Errorf("%q", s)
		}
	})
}
