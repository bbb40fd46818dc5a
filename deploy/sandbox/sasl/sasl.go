// Package sasl holds the server side of the SASL mechanisms that mail providers offer: XOAUTH2, OAUTHBEARER (RFC 7628),
// PLAIN (RFC 4616) and LOGIN. The IMAP and SMTP servers of the sandbox hand in what checks a credential.
package sasl

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	gosasl "github.com/emersion/go-sasl"
)

// Mechanism names.
const (
	XOAUTH2     = "XOAUTH2"
	OAuthBearer = "OAUTHBEARER"
	Plain       = "PLAIN"
	Login       = "LOGIN"
)

// ErrMalformed is what a response gets that does not follow its mechanism.
var ErrMalformed = errors.New("malformed SASL response")

// A Bearer is what XOAUTH2 and OAUTHBEARER carry.
type Bearer struct {
	// User is the mailbox to open.
	User  string
	Token string
}

// ParseXOAUTH2 reads "user=" user ^A "auth=Bearer " token ^A ^A.
func ParseXOAUTH2(b []byte) (Bearer, error) {
	rest, ok := bytes.CutSuffix(b, []byte("\x01\x01"))
	if !ok {
		return Bearer{}, ErrMalformed
	}
	var out Bearer
	for field := range strings.SplitSeq(string(rest), "\x01") {
		key, value, _ := strings.Cut(field, "=")
		switch strings.ToLower(key) {
		case "user":
			out.User = value
		case "auth":
			if out.Token, ok = bearer(value); !ok {
				return Bearer{}, ErrMalformed
			}
		}
	}
	return out.whole()
}

// ParseOAuthBearer reads a GS2 header "n,a=" user "," and then key=value pairs, each ended by ^A (RFC 7628 section 3.1).
func ParseOAuthBearer(b []byte) (Bearer, error) {
	head, rest, ok := strings.Cut(string(b), "\x01")
	gs2 := strings.Split(head, ",")
	if !ok || len(gs2) != 3 || gs2[0] != "n" || gs2[2] != "" || !strings.HasSuffix(rest, "\x01\x01") {
		return Bearer{}, ErrMalformed
	}
	user, ok := strings.CutPrefix(gs2[1], "a=")
	if !ok {
		return Bearer{}, ErrMalformed
	}
	// RFC 5801 section 4: comma and equals sign are written as =2C and =3D.
	out := Bearer{User: strings.NewReplacer("=2C", ",", "=3D", "=").Replace(user)}
	for field := range strings.SplitSeq(rest, "\x01") {
		if value, ok := strings.CutPrefix(field, "auth="); ok {
			out.Token, _ = bearer(value)
		}
	}
	return out.whole()
}

func bearer(s string) (string, bool) {
	kind, token, _ := strings.Cut(s, " ")
	return token, strings.EqualFold(kind, "Bearer") && token != ""
}

func (b Bearer) whole() (Bearer, error) {
	if b.User == "" || b.Token == "" {
		return Bearer{}, ErrMalformed
	}
	return b, nil
}

// ParsePlain reads [authzid] NUL authcid NUL password.
func ParsePlain(b []byte) (user, password string, err error) {
	parts := strings.Split(string(b), "\x00")
	if len(parts) != 3 || parts[1] == "" {
		return "", "", ErrMalformed
	}
	if parts[0] != "" && !strings.EqualFold(parts[0], parts[1]) {
		return "", "", ErrMalformed
	}
	return parts[1], parts[2], nil
}

// A Verdict is how a server ends a refused login.
type Verdict struct {
	// Challenge is sent first, if it is not empty; whatever the client answers, Err comes next.
	Challenge string
	Err       error
}

// Token is the server side of XOAUTH2 or OAUTHBEARER. check returns nil or how to refuse.
func Token(parse func([]byte) (Bearer, error), malformed error, check func(Bearer) *Verdict) gosasl.Server {
	var refused *Verdict
	return next(func(response []byte) ([]byte, bool, error) {
		switch {
		case refused != nil:
			return nil, false, refused.Err
		case response == nil:
			return nil, false, nil // not []byte{}: that would go out as "="
		}
		b, err := parse(response)
		if err != nil {
			return nil, false, malformed
		}
		if refused = check(b); refused == nil {
			return nil, true, nil
		}
		if refused.Challenge == "" {
			return nil, false, refused.Err
		}
		return []byte(refused.Challenge), false, nil
	})
}

// PlainServer is the server side of PLAIN.
func PlainServer(malformed error, check func(user, password string) error) gosasl.Server {
	return next(func(response []byte) ([]byte, bool, error) {
		if response == nil {
			return nil, false, nil
		}
		user, password, err := ParsePlain(response)
		if err != nil {
			return nil, false, malformed
		}
		err = check(user, password)
		return nil, err == nil, err
	})
}

// LoginServer is the server side of LOGIN, which asks for user and password one after the other.
func LoginServer(check func(user, password string) error) gosasl.Server {
	var user string
	asked := 0
	return next(func(response []byte) ([]byte, bool, error) {
		if response == nil && asked == 0 {
			asked = 1
			return []byte("Username:"), false, nil
		}
		if asked < 2 {
			user, asked = string(response), 2
			return []byte("Password:"), false, nil
		}
		err := check(user, string(response))
		return nil, err == nil, err
	})
}

type next func([]byte) ([]byte, bool, error)

func (f next) Next(response []byte) ([]byte, bool, error) { return f(response) }

// Format writes a bearer without its token.
func (b Bearer) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "bearer of %s", b.User) }
