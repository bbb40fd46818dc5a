package pop3d

import "mailporter/sandbox/sasl"

// A Provider is whose manners a server has.
type Provider int

// The two providers.
const (
	Exchange Provider = iota
	Gmail
)

// profile is what a provider says, and when.
type profile struct {
	greeting   string
	mechanisms []string
	capa       []string // besides SASL, USER and STLS
	oneLine    bool     // AUTH may carry the initial response
	welcome    string   // after a login with a token
	refused    string   // a bad token
	password   string   // a bad password
	challenge  string   // sent before a bad token is refused
	disabled   string   // the mailbox has no POP3
	goodbye    string
	expires    bool // a session ends with its token
}

var profiles = [...]profile{
	Exchange: {
		greeting: "+OK The Microsoft Exchange POP3 service is ready.", mechanisms: []string{sasl.Plain, sasl.XOAUTH2},
		capa:    []string{"TOP", "UIDL"},
		welcome: "+OK User successfully authenticated.", refused: "-ERR Authentication failure: unknown user name or bad password.",
		password: "-ERR Logon failure: unknown user name or bad password.", disabled: "-ERR Authentication failure: unknown user name or bad password.",
		goodbye: "+OK Microsoft Exchange Server POP3 server signing off.", expires: true,
	},
	Gmail: {
		greeting: "+OK Gpop ready for requests", mechanisms: []string{sasl.Plain, sasl.XOAUTH2, sasl.OAuthBearer},
		capa: []string{"RESP-CODES", "EXPIRE 0", "LOGIN-DELAY 300", "TOP", "UIDL", "PIPELINING"}, oneLine: true,
		welcome: "+OK Welcome.", refused: "-ERR [AUTH] Username and password not accepted.", password: "-ERR [AUTH] Username and password not accepted.",
		challenge: `{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`,
		disabled:  "-ERR [SYS/PERM] Your account is not enabled for POP access. Please visit your Gmail settings page and enable your account for POP access.",
		goodbye:   "+OK Farewell.",
	},
}

// profileOf is the provider's, as configured.
func profileOf(c Config) profile {
	p := profiles[c.Provider]
	p.oneLine = p.oneLine || c.OneLine
	return p
}

// expired is what Exchange Online says when the token of a session ends.
const expired = "-ERR Session invalidated - AccessTokenExpired"
