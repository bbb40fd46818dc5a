package policy

import (
	"strings"

	"mailporter/kit/identity"
)

// matchIdentity compares an identity with a pattern in which * stands for any characters within one segment. Identities are
// of three kinds, and a pattern matches those of its own alone: URIs, whose segments end at /, service accounts, whose
// segments end at :, and names, whose segments end at a dot. So spiffe://mail.example/* is no spiffe://mail.example/a/b,
// system:serviceaccount:mail:* no account of another namespace, *.mail.example no a.b.mail.example, and * no URI.
func matchIdentity(pattern, identity string) bool {
	end := segmentEnd(pattern)
	return identity != "" && match(pattern, identity, end) && end == segmentEnd(identity)
}

// segmentEnd tells an identity's kind.
func segmentEnd(s string) byte {
	switch {
	case strings.HasPrefix(s, identity.ServiceAccounts):
		return ':'
	case strings.Contains(s, "://"):
		return '/'
	}
	return '.'
}

// matchMailbox compares an address with a pattern in which * stands for any characters but @. A lone * is every mailbox.
func matchMailbox(pattern, address string) bool {
	return pattern == "*" || match(pattern, address, '@')
}

// match is the usual wildcard match with one step back: a star takes as little as it can, and more when that fails.
func match(pattern, s string, end byte) bool {
	p := 0
	for p < len(pattern) && p < len(s) && pattern[p] == s[p] && pattern[p] != '*' {
		p++ // most patterns part from s here, and that before anything else is looked at
	}
	i := p
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0 && s[mark] != end:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// MatchText compares a text with a pattern in which * stands for any characters.
func MatchText(pattern, s string) bool { return match(pattern, s, 0) }
