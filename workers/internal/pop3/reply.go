package pop3

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// reply is a status line: RFC 1939 section 3.
type reply struct {
	challenge bool   // "+ ": the server waits for more, RFC 5034 section 4
	text      string // behind the indicator; of a challenge, base64
}

// refused is a -ERR.
type refused struct {
	code string // response code in capitals, without brackets: SYS/TEMP. RFC 2449 section 8; empty = none
	text string // the rest, as it came
}

func (r *refused) Error() string {
	if r.code == "" {
		return "-ERR " + printable(r.text)
	}
	return "-ERR [" + printable(r.code) + "] " + printable(r.text)
}

// maxLine bounds a line, CRLF included, in bytes. RFC 2449 section 4 allows 512; challenges are longer.
const maxLine = 8 << 10

var (
	errLongLine = errors.New("the server sent a line without end")
	errNoReply  = errors.New("the server does not speak POP3")
)

// readLine reads a line without its end. It is valid until the next read. A line that is cut short is io.ErrUnexpectedEOF.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > maxLine:
		return nil, errLongLine
	case err == io.EOF:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// readReply reads a status line; -ERR is a *refused.
func readReply(r *bufio.Reader) (reply, error) {
	line, err := readLine(r)
	if err != nil {
		return reply{}, err
	}
	return parseReply(string(line))
}

func parseReply(line string) (reply, error) {
	indicator, text, _ := strings.Cut(line, " ")
	switch strings.ToUpper(indicator) {
	case "+OK":
		return reply{text: text}, nil
	case "+":
		return reply{challenge: true, text: text}, nil
	case "-ERR":
		return reply{}, parseRefused(text)
	}
	return reply{}, fmt.Errorf("%w: %q", errNoReply, printable(line))
}

// parseRefused splits the response code off: "[IN-USE] locked".
func parseRefused(text string) *refused {
	rest, bracketed := strings.CutPrefix(text, "[")
	code, after, closed := strings.Cut(rest, "]")
	if !bracketed || !closed || strings.Contains(code, " ") {
		return &refused{text: text}
	}
	return &refused{code: strings.ToUpper(code), text: strings.TrimPrefix(after, " ")}
}

// eachLine reads the lines of a multi-line answer, at most so many, up to the final dot. What each gets is valid until it
// returns.
func eachLine(r *bufio.Reader, most int, each func(line []byte) error) error {
	for range most + 1 {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		if len(line) > 0 && line[0] == '.' { // RFC 1939 section 3: byte-stuffed, or the end
			if line = line[1:]; len(line) == 0 {
				return nil
			}
		}
		if err := each(line); err != nil {
			return err
		}
	}
	return fmt.Errorf("the server's answer has more than %d lines", most)
}

// capabilities are what CAPA lists: RFC 2449 section 5. Keys are tags in capitals, values their arguments; nil: the server
// does not know CAPA.
type capabilities map[string][]string

// maxCapabilities bounds their number.
const maxCapabilities = 256

func readCapabilities(r *bufio.Reader) (capabilities, error) {
	caps := capabilities{}
	err := eachLine(r, maxCapabilities, func(line []byte) error {
		if words := strings.Fields(string(line)); len(words) > 0 {
			caps[strings.ToUpper(words[0])] = words[1:]
		}
		return nil
	})
	return caps, err
}

func (c capabilities) has(tag string) bool {
	_, ok := c[tag]
	return ok
}

// offers says whether a SASL mechanism is listed.
func (c capabilities) offers(mechanism string) bool {
	for _, m := range c["SASL"] {
		if strings.EqualFold(m, mechanism) {
			return true
		}
	}
	return false
}

// loginDelay is the least time between two logins, 0 if the server names none: RFC 2449 section 6.5.
func (c capabilities) loginDelay() time.Duration {
	args := c["LOGIN-DELAY"]
	if len(args) == 0 {
		return 0
	}
	seconds, err := strconv.Atoi(args[0])
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, time.Hour)
}

// splitListing reads "number rest" of UIDL and LIST: RFC 1939 sections 5 and 7.
func splitListing(line []byte) (number int, rest []byte, err error) {
	digits, rest, _ := bytes.Cut(line, []byte(" "))
	number, err = strconv.Atoi(string(digits))
	if err != nil || number < 1 || number > maxNumber {
		return 0, nil, fmt.Errorf("the server's listing has no message number: %q", printable(string(line)))
	}
	return number, bytes.TrimLeft(rest, " "), nil
}

// maxNumber bounds message numbers and the lines of a listing, and so what it takes of memory.
const maxNumber = 1 << 20

// maxUIDL bounds a UIDL, in bytes. RFC 1939 section 7 says 70; some servers do not mind.
const maxUIDL = 255

// nameless is the UIDL of a message to which the server gives none. It stands behind a sign that stand-ins alone begin with.
const nameless = standIn + "none"

// standIn begins what stands in for a UIDL that is none.
const standIn = "%"

// parseUIDL reads a line of UIDL. One message whose UIDL is not what RFC 1939 section 7 allows must not hide the others: what has
// other characters in it, or is too long, names its message all the same, by its hash; nothing at all is nameless.
func parseUIDL(line []byte) (number int, uidl string, err error) {
	number, rest, err := splitListing(line)
	if err != nil {
		return 0, "", err
	}
	uidl = string(bytes.TrimRight(rest, " "))
	outside := func(r rune) bool { return r < 0x21 || r > 0x7e }
	switch {
	case uidl == "":
		return number, nameless, nil
	case len(uidl) > maxUIDL || strings.ContainsFunc(uidl, outside):
		return number, fmt.Sprintf("%s%x", standIn, sha256.Sum256([]byte(uidl))), nil
	}
	return number, uidl, nil
}

// parseSize reads a line of LIST. What follows the size may be anything: RFC 1939 section 5.
func parseSize(line []byte) (number int, size int64, err error) {
	number, rest, err := splitListing(line)
	if err != nil {
		return 0, 0, err
	}
	octets, _, _ := bytes.Cut(rest, []byte(" "))
	size, err = strconv.ParseInt(string(octets), 10, 64)
	if err != nil || size < 0 {
		return 0, 0, fmt.Errorf("the server's LIST has no size of message %d: %q", number, printable(string(line)))
	}
	return number, size, nil
}

// printable makes one short line of what a server said.
func printable(s string) string {
	if len(s) > 256 {
		s = s[:256]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
