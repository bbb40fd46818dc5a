package smtp

import (
	"errors"
	"fmt"
	"strings"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// fits refuses what the server would have to refuse or, worse, to alter: before anything was sent.
func (x *transaction) fits() error {
	switch most := x.maxSize(); {
	case most > 0 && x.body.Size() > most:
		return &fault.Error{
			Kind: fault.Permanent, Reason: "MESSAGE_TOO_LARGE", Err: fmt.Errorf("the message has %d bytes, the server takes %d", x.body.Size(), most),
			Remedy: "send less, or raise the limit on the server",
		}
	case x.envelope.EightBit && !x.offers("8BITMIME"):
		return &fault.Error{
			Kind: fault.Permanent, Reason: "EIGHT_BIT_NOT_OFFERED", Err: errors.New("the message was declared 8BITMIME, which the server does not offer"),
			Remedy: "encode it as quoted-printable or base64",
		}
	case x.utf8() && !x.offers("SMTPUTF8"):
		return &fault.Error{
			Kind: fault.Permanent, Reason: "UTF8_NOT_OFFERED", Err: errors.New("the message needs SMTPUTF8, which the server does not offer"),
			Remedy: "use ASCII addresses",
		}
	}
	return x.speakable()
}

// speakable refuses addresses that would end their command early.
func (x *transaction) speakable() error {
	all := []string{x.envelope.From, x.envelope.ID}
	for _, to := range x.envelope.Recipients {
		all = append(all, to.Address, to.Notify, to.Original)
	}
	for _, s := range all {
		if strings.ContainsAny(s, "\r\n\x00") {
			return fault.Newf(fault.Permanent, "the envelope holds a control character")
		}
	}
	return nil
}

func (x *transaction) utf8() bool {
	need := x.envelope.UTF8 || !ascii(x.envelope.From)
	for _, to := range x.envelope.Recipients {
		need = need || !ascii(to.Address)
	}
	return need
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 0x7e }) < 0
}

func (x *transaction) mailLine() string {
	e := x.envelope
	line := "MAIL FROM:<" + e.From + ">"
	if x.offers("SIZE") {
		line += fmt.Sprintf(" SIZE=%d", x.body.Size())
	}
	if e.EightBit {
		line += " BODY=8BITMIME"
	}
	if x.utf8() {
		line += " SMTPUTF8"
	}
	if x.offers("DSN") {
		line += option("RET", e.Return) + option("ENVID", e.ID)
	}
	return line
}

func (x *transaction) rcptLine(to mail.Recipient) string {
	line := "RCPT TO:<" + to.Address + ">"
	if x.offers("DSN") {
		line += option("NOTIFY", to.Notify) + option("ORCPT", to.Original)
	}
	return line
}

func option(name, value string) string {
	if value == "" {
		return ""
	}
	return " " + name + "=" + value
}
