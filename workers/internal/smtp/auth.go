package smtp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/esmtp"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/sasl"
)

// login logs in with tok, whichever way the server offers.
func (c *conn) login(tok tokenclient.Token, host string, port int) error {
	mechanism, err := c.mechanism(tok.Mechanism)
	if err != nil {
		return err
	}
	client, err := sasl.New(mechanism, sasl.Credential{User: tok.User, Value: tok.Value, Host: host, Port: port})
	if err != nil {
		return fault.New(fault.Temporary, err)
	}
	c.wire.Private(true)
	reply, err := c.exchange(client.Split())
	c.wire.Private(false)
	if err != nil {
		return fmt.Errorf("log in: %w", lost(err))
	}
	if reply.Code == 235 {
		return nil
	}
	err = classify(reply, atLogin)
	if r := client.Refusal().String(); r != "" {
		return fmt.Errorf("log in (%s): %w", esmtp.Clean(r), err)
	}
	return fmt.Errorf("log in: %w", err)
}

// mechanism picks what to log in with. A password goes by PLAIN, or by LOGIN, which Exchange prefers.
func (c *conn) mechanism(m tokenclient.Mechanism) (sasl.Mechanism, error) {
	wanted := []sasl.Mechanism{sasl.Mechanism(m.String())}
	if m == tokenclient.Basic {
		wanted = []sasl.Mechanism{sasl.Plain, sasl.Login}
	}
	offered := strings.Fields(strings.ToUpper(c.extensions["AUTH"]))
	for _, w := range wanted {
		if slices.Contains(offered, string(w)) {
			return w, nil
		}
	}
	return "", &fault.Error{
		Kind: fault.Temporary, Reason: "MECHANISM_NOT_OFFERED",
		Err:    fmt.Errorf("log in: the server offers %q, not %s", strings.Join(offered, " "), wanted[0]),
		Remedy: "set mail.smtp.auth.mechanisms to what the server offers, or allow it there",
	}
}

// exchange runs AUTH: RFC 4954 section 4. The mechanism stands alone on its line, the credential on the next.
func (c *conn) exchange(client *sasl.Client) (esmtp.Reply, error) {
	mechanism, _, err := client.Start()
	if err != nil {
		return esmtp.Reply{}, err
	}
	reply, err := c.command("AUTH " + mechanism)
	for err == nil && reply.Code == 334 {
		var answer []byte
		answer, err = client.Next(challenge(reply))
		if errors.Is(err, sasl.ErrUnexpected) {
			return c.command("*") // RFC 4954 section 4: the client gives up
		}
		if err == nil {
			reply, err = c.command(base64.StdEncoding.EncodeToString(answer))
		}
	}
	return reply, err
}

// challenge decodes what came with 334; what is no base64 is only a text.
func challenge(r esmtp.Reply) []byte {
	b, err := base64.StdEncoding.DecodeString(r.Lines[0])
	if err != nil {
		return []byte(r.Lines[0])
	}
	return b
}
