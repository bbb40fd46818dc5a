package imap

import (
	"fmt"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/sasl"
)

// loginError is a login that the server refused.
type loginError struct {
	err       error        // what the server said, or the connection
	challenge sasl.Refusal // what it said before that
}

func (e *loginError) Error() string {
	if why := e.challenge.String(); why != "" {
		return fmt.Sprintf("%v (%s)", e.err, why)
	}
	return e.err.Error()
}

func (e *loginError) Unwrap() error { return e.err }

// login shows the credential. The connection is of no use after an error.
func login(client *imapclient.Client, e tokenclient.Endpoint, tok tokenclient.Token) error {
	c := sasl.Credential{User: tok.User, Value: tok.Value, Host: e.Server, Port: e.Port}
	mechanism := sasl.XOAUTH2
	switch tok.Mechanism {
	case tokenclient.OAUTHBEARER:
		mechanism = sasl.OAuthBearer
	case tokenclient.Basic:
		caps := client.Caps()
		if !caps.Has(goimap.AuthCap("PLAIN")) {
			return command(client, caps, c)
		}
		mechanism = sasl.Plain
	}
	exchange, err := sasl.New(mechanism, c)
	if err != nil {
		return err
	}
	if err := client.Authenticate(exchange); err != nil {
		return &loginError{err, exchange.Refusal()}
	}
	return nil
}

// command logs in with LOGIN: servers without SASL.
func command(client *imapclient.Client, caps goimap.CapSet, c sasl.Credential) error {
	if caps.Has(goimap.CapLoginDisabled) {
		return errNoPassword
	}
	if err := client.Login(c.User, c.Value.Reveal()).Wait(); err != nil {
		return &loginError{err: err}
	}
	return nil
}
