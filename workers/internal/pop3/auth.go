package pop3

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/sasl"
)

// loginError is a login that the server refused.
type loginError struct {
	err       error        // what the server said, or the connection
	challenge sasl.Refusal // what it said before that
	oneLine   bool         // the token stood on the line of AUTH
}

func (e *loginError) Error() string {
	if why := e.challenge.String(); why != "" {
		return fmt.Sprintf("%v (%s)", e.err, why)
	}
	return e.err.Error()
}

func (e *loginError) Unwrap() error { return e.err }

var mechanisms = map[tokenclient.Mechanism]sasl.Mechanism{
	tokenclient.XOAUTH2: sasl.XOAUTH2, tokenclient.OAUTHBEARER: sasl.OAuthBearer, tokenclient.Basic: sasl.Plain,
}

// login shows the credential. The connection is of no use after an error.
//
// Whether a token stands on the line of AUTH or on one of its own is configured: Exchange takes the latter alone. RFC 5034
// section 4 allows 255 octets on the former, which no token keeps to, and which the servers that want it so do not mind.
// Mechanisms that CAPA does not list are tried all the same: Exchange's list is not always whole.
func (s *session) login(e tokenclient.Endpoint, tok tokenclient.Token) error {
	c := sasl.Credential{User: tok.User, Value: tok.Value, Host: e.Server, Port: e.Port}
	exchange, err := sasl.New(mechanisms[tok.Mechanism], c)
	if err != nil {
		return err
	}
	if tok.IsPassword() && (s.caps.has("USER") || !s.caps.offers(string(sasl.Plain))) {
		return s.password(c)
	}
	if e.TwoLine || tok.IsPassword() {
		exchange.Split()
	}
	return s.authenticate(exchange)
}

// password logs in with USER and PASS.
func (s *session) password(c sasl.Credential) error {
	for _, line := range []string{"USER " + c.User, "PASS " + c.Value.Reveal()} {
		if _, err := s.command(line); err != nil {
			return &loginError{err: err}
		}
	}
	return nil
}

// authenticate runs AUTH to its end: RFC 5034 section 4.
func (s *session) authenticate(exchange *sasl.Client) error {
	mechanism, initial, err := exchange.Start()
	if err != nil {
		return err
	}
	line := "AUTH " + mechanism
	if initial != nil {
		line += " " + base64.StdEncoding.EncodeToString(initial)
	}
	for {
		r, err := s.command(line)
		if err != nil {
			return &loginError{err, exchange.Refusal(), initial != nil}
		}
		if !r.challenge {
			return accepted(exchange)
		}
		if line, err = answer(exchange, r.text); err != nil {
			return err
		}
	}
}

// accepted is an error if the server says yes after it said why it refuses.
func accepted(exchange *sasl.Client) error {
	if exchange.Refusal() != (sasl.Refusal{}) {
		return errors.New("the server refused the token and then let it in")
	}
	return nil
}

// answer is the line that answers a challenge. What is no base64 is a text for people: servers put one behind the first +.
func answer(exchange *sasl.Client, challenge string) (string, error) {
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(challenge))
	if err != nil {
		decoded = []byte(challenge)
	}
	response, err := exchange.Next(decoded)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(response), nil
}
