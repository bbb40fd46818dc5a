package esmtp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Reply is a server's answer to a command: RFC 5321 section 4.2. It is the error of a command that the server refused.
type Reply struct {
	Code     int    // 100 to 599
	Enhanced [3]int // RFC 3463; zero if the server sent none
	Lines    []string
}

// Error is the reply on one line: 550 5.1.1 no such user.
func (r Reply) Error() string { return fmt.Sprintf("%d %s", r.Code, r.Text()) }

// Text is the reply without its code; what looks like a credential is cut out, should a server echo one.
func (r Reply) Text() string { return Clean(strings.Join(r.Lines, " ")) }

// Status is the reply's code of RFC 3463, 5.1.1, or the class alone if the server sent none: 5.0.0.
func (r Reply) Status() string {
	if r.Enhanced == [3]int{} {
		return fmt.Sprintf("%d.0.0", r.Code/100)
	}
	return fmt.Sprintf("%d.%d.%d", r.Enhanced[0], r.Enhanced[1], r.Enhanced[2])
}

// Positive says whether the server agreed, or wants to hear more.
func (r Reply) Positive() bool { return r.Code < 400 }

// Bounds on a reply: RFC 5321 section 4.5.3.1.5 gives a line 512 bytes, real servers take more.
const (
	MaxLine  = 4096
	maxLines = 200
)

// ErrSyntax says that what came is no SMTP reply.
var ErrSyntax = errors.New("the server's answer is no SMTP reply")

// ReadReply reads one reply of one or many lines.
func ReadReply(r *bufio.Reader) (Reply, error) {
	var reply Reply
	for range maxLines {
		line, err := readLine(r)
		if err != nil {
			return Reply{}, err
		}
		code, more, text, err := parseLine(line)
		if err != nil {
			return Reply{}, err
		}
		if reply.Code != 0 && reply.Code != code {
			return Reply{}, fmt.Errorf("%w: code %d after %d", ErrSyntax, code, reply.Code)
		}
		reply.Code = code
		reply.Lines = append(reply.Lines, text)
		if !more {
			reply.Enhanced = firstEnhanced(reply)
			return reply, nil
		}
	}
	return Reply{}, fmt.Errorf("%w: more than %d lines", ErrSyntax, maxLines)
}

// readLine reads to the end of a line, which is not part of it. Some servers end lines with LF alone.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", fmt.Errorf("%w: a line of more than %d bytes", ErrSyntax, MaxLine)
	case err == io.EOF:
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// parseLine takes "250-text" apart; "250" alone is a whole last line.
func parseLine(line string) (code int, more bool, text string, err error) {
	if len(line) < 3 {
		return 0, false, "", fmt.Errorf("%w: %d bytes", ErrSyntax, len(line))
	}
	code, err = strconv.Atoi(line[:3])
	if err != nil || code < 100 || code > 599 || strings.ContainsAny(line[:3], "+-") {
		return 0, false, "", fmt.Errorf("%w: it starts with %q", ErrSyntax, line[:3])
	}
	if len(line) == 3 {
		return code, false, "", nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, "", fmt.Errorf("%w: %q after the code", ErrSyntax, line[3])
	}
	return code, line[3] == '-', line[4:], nil
}

// firstEnhanced is the reply's enhanced code. RFC 2034 section 4 wants it on every line; some servers have it on the last
// one only.
func firstEnhanced(r Reply) [3]int {
	for _, line := range r.Lines {
		if e := enhancedCode(line); e[0] == r.Code/100 {
			return e
		}
	}
	return [3]int{}
}

// enhancedCode is the status code of RFC 3463 at the start of text, or zero.
func enhancedCode(text string) (e [3]int) {
	word, _, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 {
		return e
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n > 999 {
			return [3]int{}
		}
		e[i] = int(n)
	}
	return e
}

// blob is what may be part of a token; the longest words that replies have otherwise, host names, stay below 64.
var blob = regexp.MustCompile(`[A-Za-z0-9+/_=.~-]{64,}`)

// Clean makes one printable line of a server's words, without what may be a credential.
func Clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.TrimSpace(blob.ReplaceAllLiteralString(s, "[secret]"))
}
