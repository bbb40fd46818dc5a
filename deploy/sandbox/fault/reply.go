package fault

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseReply reads an SMTP reply such as "432 4.3.2 Concurrent connections limit exceeded". Without an enhanced code the
// second result is all zero.
func ParseReply(s string) (code int, enhanced [3]int, text string, err error) {
	first, rest, _ := strings.Cut(s, " ")
	code, err = strconv.Atoi(first)
	if err != nil || code < 400 || code > 599 || len(first) != 3 {
		return 0, enhanced, "", fmt.Errorf("text %q: a reply of smtp begins with a code of 400 to 599", s)
	}
	second, after, _ := strings.Cut(rest, " ")
	if e, ok := parseEnhanced(second); ok {
		return code, e, after, nil
	}
	return code, enhanced, rest, nil
}

// parseEnhanced reads class.subject.detail (RFC 3463 section 2).
func parseEnhanced(s string) ([3]int, bool) {
	var e [3]int
	parts := strings.Split(s, ".")
	if len(parts) != len(e) {
		return e, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 10)
		if err != nil || n > 999 {
			return [3]int{}, false
		}
		e[i] = int(n)
	}
	return e, e[0] == 4 || e[0] == 5
}
