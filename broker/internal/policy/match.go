package policy

import "strings"

// matchIdentity compares an identity with a pattern in which * stands for any characters within one segment. Segments end
// at / in URIs (spiffe://mail.example/imap-worker) and at . in DNS names: spiffe://mail.example/* is no
// spiffe://mail.example/a/b, and *.mail.example is no a.b.mail.example.
func matchIdentity(pattern, identity string) bool {
	if identity == "" {
		return false
	}
	end := byte('.')
	if strings.Contains(pattern, "://") {
		end = '/'
	}
	return match(pattern, identity, end)
}

// matchMailbox compares an address with a pattern in which * stands for any characters but @. A lone * is every mailbox.
func matchMailbox(pattern, address string) bool {
	return pattern == "*" || match(pattern, address, '@')
}

// match is the usual wildcard match with one step back: a star takes as little as it can, and more when that fails.
func match(pattern, s string, end byte) bool {
	p, i := 0, 0
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
