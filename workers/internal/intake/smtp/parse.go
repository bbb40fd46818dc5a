package smtp

import (
	"errors"
	"strings"

	"mailporter/workers/internal/intake"
)

// parameters are what follows the path in MAIL and RCPT, names in capitals: RFC 5321 section 4.1.2.
type parameters map[string]string

var (
	errPath       = errors.New("the address must stand in angle brackets: <user@example.com>")
	errAddress    = errors.New("an address has the form user@example.com")
	errParameters = errors.New("a parameter is malformed")
)

// parsePath reads "<path> PARAMETERS" after FROM: or TO:. The address comes back as it stands, quotes included; empty is
// the null sender. A source route is dropped: RFC 5321 section 4.1.1.3.
func parsePath(s string) (address string, p parameters, err error) {
	s = strings.TrimLeft(s, " ")
	if !strings.HasPrefix(s, "<") {
		return parseBare(s)
	}
	end := pathEnd(s)
	if end < 0 {
		return "", nil, errPath
	}
	address = s[1:end]
	if strings.HasPrefix(address, "@") {
		_, address, _ = strings.Cut(address, ":")
		if address == "" {
			return "", nil, errAddress
		}
	}
	if address != "" && !intake.IsAddress(address) {
		return "", nil, errAddress
	}
	p, err = parseParameters(s[end+1:])
	return address, p, err
}

// parseBare reads an address without angle brackets, as some devices send it and other servers take it. It ends at the first
// blank.
func parseBare(s string) (address string, p parameters, err error) {
	address, _, _ = strings.Cut(s, " ")
	if !intake.IsAddress(address) {
		return "", nil, errPath
	}
	p, err = parseParameters(s[len(address):])
	return address, p, err
}

// pathEnd is where the > that ends the path stands; one within quotes does not count.
func pathEnd(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

func parseParameters(s string) (parameters, error) {
	p := parameters{}
	if s != "" && s[0] != ' ' {
		return nil, errParameters
	}
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' }) {
		name, value, _ := strings.Cut(word, "=")
		name = strings.ToUpper(name)
		if _, twice := p[name]; twice || !isKeyword(name) || strings.ContainsFunc(value, control) {
			return nil, errParameters
		}
		p[name] = value
	}
	return p, nil
}

// isKeyword is esmtp-keyword of RFC 5321 section 4.1.2, in capitals.
func isKeyword(s string) bool {
	return s != "" && s[0] != '-' && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// parseCommand takes a line apart: verb in capitals, and the rest.
func parseCommand(line string) (verb, rest string) {
	verb, rest, _ = strings.Cut(line, " ")
	return strings.ToUpper(verb), strings.TrimSpace(rest)
}

// cutFold is strings.CutPrefix without regard to case.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
