package imapd

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/emersion/go-imap/v2"

	"mailporter/sandbox/sasl"
)

// A Provider is whose manners a server has.
type Provider int

// The two providers.
const (
	Exchange Provider = iota
	Gmail
)

// profile is what a provider says, and when.
type profile struct {
	greeting string
	// before and after are the capabilities before and after login.
	before, after string
	mechanisms    []string
	// id answers ID (RFC 2971).
	id string
	// failed refuses a login.
	failed *imap.Error
	// tooMany refuses the login that is one too many.
	tooMany *imap.Error
	// expires ends sessions together with their token.
	expires bool
}

var exchange = profile{
	greeting:   "The Microsoft Exchange IMAP4 service is ready.",
	before:     "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
	after:      "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
	mechanisms: []string{sasl.Plain, sasl.XOAUTH2},
	id:         `* ID ("name" "Microsoft.Exchange.Imap4.Imap4Server" "version" "15.20")` + "\r\n",
	failed:     &imap.Error{Type: imap.StatusResponseTypeNo, Text: "AUTHENTICATE failed."},
	tooMany: &imap.Error{
		Type: imap.StatusResponseTypeBad, Text: "Request is throttled. Suggested Backoff Time: 1000 milliseconds",
	},
	expires: true,
}

// The real Gmail also offers XLIST, X-GM-EXT-1, COMPRESS, CONDSTORE and more. What is not there is not announced.
var gmail = profile{
	greeting:   "Gimap ready for requests",
	before:     "IMAP4rev1 UNSELECT IDLE NAMESPACE ID CHILDREN SASL-IR AUTH=XOAUTH2 AUTH=PLAIN AUTH=OAUTHBEARER",
	after:      "IMAP4rev1 UNSELECT IDLE NAMESPACE ID CHILDREN UIDPLUS MOVE LITERAL- SPECIAL-USE APPENDLIMIT=35651584",
	mechanisms: []string{sasl.XOAUTH2, sasl.Plain, sasl.OAuthBearer},
	id:         `* ID ("name" "GImap" "vendor" "Google, Inc." "support-url" "http://support.google.com/mail")` + "\r\n",
	failed: &imap.Error{
		Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeAuthenticationFailed, Text: "Invalid credentials (Failure)",
	},
	tooMany: &imap.Error{
		Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeAlert, Text: "Too many simultaneous connections. (Failure)",
	},
}

func (p Provider) profile() *profile {
	if p == Gmail {
		return &gmail
	}
	return &exchange
}

// serverCaps is what go-imap must let through; what clients are told stands in the profile.
func serverCaps() imap.CapSet {
	return imap.CapSet{
		imap.CapIMAP4rev1: {}, imap.CapNamespace: {}, imap.CapUIDPlus: {}, imap.CapMove: {}, imap.CapChildren: {},
		imap.CapSpecialUse: {}, imap.CapLiteralPlus: {},
	}
}

// rewrite puts the provider's words into the lines in which go-imap announces capabilities.
func (p *profile) rewrite(line []byte, how outgoing, starttls bool) []byte {
	caps := p.before
	if how.loggedIn {
		caps = p.after
	} else if starttls {
		caps = withoutAuth(caps) + " STARTTLS LOGINDISABLED"
	}
	switch {
	case bytes.HasPrefix(line, []byte("* CAPABILITY ")):
		return fmt.Appendf(nil, "* CAPABILITY %s\r\n", caps)
	case bytes.HasPrefix(line, []byte("* OK [CAPABILITY ")):
		return fmt.Appendf(nil, "* OK %s\r\n", p.greeting)
	}
	tag, rest, _ := bytes.Cut(line, []byte(" "))
	if !bytes.HasPrefix(rest, []byte("OK [CAPABILITY ")) {
		return line
	}
	if p == &gmail {
		return fmt.Appendf(nil, "* CAPABILITY %s\r\n%s OK %s authenticated (Success)\r\n", caps, tag, how.mailbox)
	}
	return fmt.Appendf(nil, "%s OK %s completed.\r\n", tag, how.verb)
}

func withoutAuth(caps string) string {
	var out []string
	for _, c := range strings.Fields(caps) {
		if !strings.HasPrefix(c, "AUTH=") {
			out = append(out, c)
		}
	}
	return strings.Join(out, " ")
}
