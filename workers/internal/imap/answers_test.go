package imap

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// heard is what the library gets of what a server says.
func heard(t *testing.T, said string) string {
	t.Helper()
	return heardThrough(t, said, maxLine)
}

// heardThrough has a buffer of that size, in bytes.
func heardThrough(t *testing.T, said string, size int) string {
	t.Helper()
	b, err := io.ReadAll(&answers{in: bufio.NewReaderSize(iotest.HalfReader(strings.NewReader(said)), size)})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnswersThatNobodyNeeds(t *testing.T) {
	for name, said := range map[string]string{
		"of unknown kind":        "* XYZZY foo \"bar\"\r\n",
		"with a literal":         "* XYZZY {12}\r\n* SEARCH 1\r\n \"x\"\r\n",
		"with several literals":  "* 7 XYZZY {3}\r\n\r\n* {2+}\r\n{} rest of the line, longer than the buffer {x}\r\n",
		"an unreadable name":     "* LIST (\\HasNoChildren) \"/\" \"R&D\"\r\n",
		"an unreadable atom":     "* list () NIL R&D\r\n",
		"of other names' kind":   "* LSUB () \"/\" x\r\n",
		"what a server enabled":  "* VANISHED (EARLIER) 300:310,405\r\n",
		"a name that is ASCII":   "* LIST () \"/\" \"&AGE-\"\r\n",
		"a sequence cut in half": "* LIST () \"/\" \"&AGEA-\"\r\n",
		"two in a row":           "* LIST () \"/\" \"&AOQ-&AOQ-\"\r\n",
		"flags":                  "* 2 FETCH (FLAGS (\\Seen $Junk) UID 3)\r\n",
		"flags, nothing else":    "* 2 FETCH (FLAGS ())\r\n",
		"flags behind the UID":   "* 2 fetch (uid 3 modseq (12) flags (\\Seen))\r\n",
		"half a surrogate":       "* LIST () \"/\" \"&2D0-\"\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			const before, behind = "* OK hi\r\n", "T1 OK done\r\n"
			if got := heard(t, before+said+behind); got != before+behind {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestAnswersThatPass(t *testing.T) {
	for name, said := range map[string]string{
		"a message":             "* 1 FETCH (UID 7 BODY[] {21}\r\n* XYZZY INTERNALDATE  UID 7)\r\nT1 OK done\r\n",
		"a message of nothing":  "* 1 FETCH (UID 7 BODY[] {0}\r\n)\r\nT1 OK done\r\n",
		"literals in a row":     "* 1 FETCH (BODY[] {3}\r\n\r\n* BODY[1] {9}\r\n* VANISHE FLAGS ())\r\n",
		"a quoted message":      "* 1 FETCH (UID 7 BODY[] \"INTERNALDATE \\\"x\\\" IMAP4rev1 IMAP4rev2\")\r\n",
		"flags and the message": "* 2 FETCH (FLAGS (\\Seen) UID 3 BODY[] {0}\r\n)\r\n",
		"flags and the size":    "* 2 FETCH (UID 3 FLAGS (\\Seen) RFC822.SIZE 7)\r\n",
		"the UID alone":         "* 2 FETCH (UID 3)\r\n",
		"a day of one digit":    "* 1 FETCH (INTERNALDATE \" 1-Mar-2026 12:00:00 +0000\")\r\n",
		"a bare LF":             "* OK hi\n* SEARCH 7\n",
		"names in UTF-7":        "* LIST () \"/\" \"Entw&APw-rfe\"\r\n* LIST () NIL R&-D\r\n* LIST () \"/\" \"&2D3eAA-\"\r\n",
		"names in UTF-8":        "* LIST () \"/\" \"Entw\u00fcrfe\"\r\n",
		"a name in a literal":   "* LIST () \"/\" {3}\r\nR&D\r\n",
		"quotes in a name":      "* LIST () \"\\\\\" \"a\\\"b\"\r\n",
		"a line that ends here": "* OK hi\r\n* BYE",
		"a challenge":           "+ eyJ4IjoxfQ==\r\n+ \r\n+\r\n",
		"braces that are none":  "* OK {x} {12} in words\r\n* OK {}\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{32, maxLine} { // lines that do not fit go on as they are
				if got := heardThrough(t, said, size); got != said {
					t.Errorf("%q\nsaid %q", got, said)
				}
			}
		})
	}
}

func TestDatesThatAreNone(t *testing.T) {
	for _, date := range []string{"", "00-Jan-1900 00:00:00 +0000", "yesterday"} {
		const head, tail = "* 1 FETCH (BODY[HEADER] {2}\r\nab INTERNALDATE ", " UID 7)\r\nT1 OK done\r\n"
		if got := heard(t, head+`"`+date+`"`+tail); got != head+unknownDate+tail {
			t.Errorf("%q", got)
		}
	}
}

// FuzzAnswers: what is in a literal is passed on byte for byte, whatever it is, and nothing is heard that was not said but a date.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("* XYZZY {3}\r\n"), "* LIST () \"/\" \"R&D\"\r\n")
	f.Add([]byte("}\r\n{3}\r\n"), "{")
	f.Fuzz(func(t *testing.T, literal []byte, line string) {
		var said bytes.Buffer
		said.WriteString("* 1 FETCH (UID 7 BODY[] {" + strconv.Itoa(len(literal)) + "}\r\n")
		said.Write(literal)
		said.WriteString(")\r\nT1 OK done\r\n")
		if got := heard(t, said.String()); got != said.String() {
			t.Errorf("%q", got)
		}
		_ = heard(t, line)
	})
}
