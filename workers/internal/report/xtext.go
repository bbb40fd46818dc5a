package report

import (
	"regexp"
	"strconv"
	"strings"
)

// xtext decodes what RFC 3461 section 4 encodes, and says whether it is something that fits into a line: ASCII that can be
// seen, or UTF-8, which RFC 6533 section 3 allows in addresses.
func xtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c, i = byte(n), i+2
		}
		b.WriteByte(c)
	}
	decoded := b.String()
	return decoded, line(decoded) == decoded
}

// unicode is a character of an address in ASCII: \x{FC}, RFC 6533 section 3.
var unicode = regexp.MustCompile(`\\x\{([0-9A-Fa-f]{2,6})\}`)

// unicodes puts in the characters that such an address names.
func unicodes(address string) string {
	return unicode.ReplaceAllStringFunc(address, func(s string) string {
		n, err := strconv.ParseUint(s[3:len(s)-1], 16, 32)
		if c := string(rune(n)); err == nil && line(c) == c {
			return c
		}
		return s
	})
}
