package sasl

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"mailporter/kit/secret"
)

// Mechanism is a name as it stands on the wire.
type Mechanism string

// The mechanisms.
const (
	XOAUTH2     Mechanism = "XOAUTH2"
	OAuthBearer Mechanism = "OAUTHBEARER"
	Plain       Mechanism = "PLAIN"
	Login       Mechanism = "LOGIN"
)

// Credential is what a login shows.
type Credential struct {
	User  string        // the mailbox to open; for a shared mailbox its own address
	Value secret.String // access token or password
	Host  string        // the server as dialled; OAUTHBEARER names it
	Port  int
}

// Client is one login. It is not safe for use by several goroutines.
type Client struct {
	mechanism  Mechanism
	credential Credential
	split      bool
	step       int
	refusal    Refusal
}

var _ gosasl.Client = (*Client)(nil)

// errCannotCarry: 0x01 ends a field of the bearer mechanisms and NUL one of PLAIN; a credential with one in it would say
// something else than was meant.
var errCannotCarry = errors.New("user or credential holds a control character")

// New prepares a login. The error is about a credential that the mechanism cannot carry.
func New(m Mechanism, c Credential) (*Client, error) {
	if !slices.Contains([]Mechanism{XOAUTH2, OAuthBearer, Plain, Login}, m) {
		return nil, fmt.Errorf("no such mechanism: %q", m)
	}
	if strings.ContainsAny(c.User, "\x00\x01\r\n") || strings.ContainsAny(c.Value.Reveal(), "\x00\x01\r\n") {
		return nil, errCannotCarry
	}
	return &Client{mechanism: m, credential: c}, nil
}

// Split sends the mechanism alone first and the credential when the server asks for it. Tokens of 1.5 to 4 KB exceed the
// command lines of SMTP and POP3 servers; Exchange's POP3 takes nothing else.
func (c *Client) Split() *Client {
	c.split = true
	return c
}

// Start implements gosasl.Client: the mechanism and the initial response, nil if there is none.
func (c *Client) Start() (mechanism string, initial []byte, err error) {
	if c.split || c.mechanism == Login {
		return string(c.mechanism), nil, nil
	}
	c.step = 1
	return string(c.mechanism), c.response(), nil
}

// ErrUnexpected says that the server asked for more than the mechanism has.
var ErrUnexpected = errors.New("the server sent a challenge that the mechanism does not know")

// Next implements gosasl.Client: it answers a challenge. The answer is never nil, because go-smtp takes nil for success.
func (c *Client) Next(challenge []byte) ([]byte, error) {
	c.step++
	switch {
	case c.mechanism == Login:
		return c.login(challenge)
	case c.step == 1:
		return c.response(), nil // whatever text came with 334 or +
	case c.step == 2 && c.mechanism == XOAUTH2:
		c.refusal = readRefusal(challenge, c.credential.Value)
		return []byte{}, nil // an empty line, and the server's no follows
	case c.step == 2 && c.mechanism == OAuthBearer:
		c.refusal = readRefusal(challenge, c.credential.Value)
		return []byte{0x01}, nil // RFC 7628 section 3.2.3
	}
	return nil, ErrUnexpected
}

// login answers "Username:" and "Password:"; servers word them as they like, so only the order counts.
func (c *Client) login([]byte) ([]byte, error) {
	switch c.step {
	case 1:
		return []byte(c.credential.User), nil
	case 2:
		return []byte(c.credential.Value.Reveal()), nil
	}
	return nil, ErrUnexpected
}

func (c *Client) response() []byte {
	user, value := c.credential.User, c.credential.Value.Reveal()
	switch c.mechanism {
	case XOAUTH2:
		return []byte("user=" + user + "\x01auth=Bearer " + value + "\x01\x01")
	case OAuthBearer:
		return []byte("n,a=" + saslName.Replace(user) + ",\x01host=" + c.credential.Host +
			"\x01port=" + strconv.Itoa(c.credential.Port) + "\x01auth=Bearer " + value + "\x01\x01")
	}
	return []byte("\x00" + user + "\x00" + value) // PLAIN, RFC 4616 section 2
}

// saslName is RFC 5801 section 4: a comma or an equals sign would end the field.
var saslName = strings.NewReplacer("=", "=3D", ",", "=2C")

// Refusal is what the server said in its challenge; zero if it sent none.
func (c *Client) Refusal() Refusal { return c.refusal }
