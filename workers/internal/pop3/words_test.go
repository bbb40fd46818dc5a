package pop3

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

func reader(s string) *bufio.Reader { return bufio.NewReaderSize(strings.NewReader(s), bufferSize) }

func TestReplies(t *testing.T) {
	for name, tc := range map[string]struct {
		line string
		want reply
		err  string
	}{
		"RFC 1939":            {"+OK 2 320", reply{text: "2 320"}, ""},
		"nothing behind it":   {"+OK", reply{}, ""},
		"small letters":       {"+ok dewey", reply{text: "dewey"}, ""},
		"challenge":           {"+ aGk=", reply{challenge: true, text: "aGk="}, ""},
		"challenge, bare":     {"+", reply{challenge: true}, ""},
		"challenge, a blank":  {"+ ", reply{challenge: true}, ""},
		"no":                  {"-ERR no such message", reply{}, "-ERR no such message"},
		"no, with a code":     {"-ERR [in-use] Do you have another POP session running?", reply{}, "-ERR [IN-USE] Do you have another POP session running?"},
		"no, code in two":     {"-ERR [SYS/TEMP] later", reply{}, "-ERR [SYS/TEMP] later"},
		"no, a bracket":       {"-ERR [see the manual] x", reply{}, "-ERR [see the manual] x"},
		"no, an open bracket": {"-ERR [AUTH", reply{}, "-ERR [AUTH"},
		"another protocol":    {"220 mail ESMTP", reply{}, "does not speak POP3"},
		"nothing":             {"", reply{}, "does not speak POP3"},
		"control characters":  {"-ERR a\x1b[31mb", reply{}, "-ERR a [31mb"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseReply(tc.line)
			if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, tc := range map[string]struct {
		in, want string
		err      error
	}{
		"CRLF":             {"+OK\r\nx", "+OK", nil},
		"LF":               {"+OK\nx", "+OK", nil},
		"cut":              {"+OK", "", io.ErrUnexpectedEOF},
		"nothing":          {"", "", io.ErrUnexpectedEOF},
		"too long":         {long + "\r\n", "", errLongLine},
		"without any end":  {strings.Repeat("x", 2*bufferSize), "", errLongLine},
		"as long as it is": {long[2:] + "\r\n", long[2:], nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readLine(reader(tc.in))
			if string(got) != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("%.20q, %v", got, err)
			}
		})
	}
}

// The example of RFC 2449 section 5, and one more tag.
const capaExample = "TOP\r\nUSER\r\nSASL CRAM-MD5 KERBEROS_V4\r\nUIDL\r\nIMPLEMENTATION Shlemazle-Plotz-v302\r\nLOGIN-DELAY 900\r\n.\r\n"

func TestCapabilities(t *testing.T) {
	caps, err := readCapabilities(reader(capaExample))
	if err != nil {
		t.Fatal(err)
	}
	if !caps.has("UIDL") || caps.has("PIPELINING") || !caps.offers("cram-md5") || caps.offers("XOAUTH2") || caps.loginDelay() != 15*time.Minute {
		t.Errorf("%v", caps)
	}
	for text, want := range map[string]time.Duration{"LOGIN-DELAY": 0, "LOGIN-DELAY x": 0, "LOGIN-DELAY -1": 0, "LOGIN-DELAY 60 USER": time.Minute, "LOGIN-DELAY 999999": time.Hour} {
		caps, err := readCapabilities(reader(text + "\r\n.\r\n"))
		if err != nil || caps.loginDelay() != want {
			t.Errorf("%s: %s, %v", text, caps.loginDelay(), err)
		}
	}
	var endless strings.Builder
	for i := range maxCapabilities + 1 {
		fmt.Fprintf(&endless, "X-%d\r\n", i)
	}
	if _, err := readCapabilities(reader(endless.String())); err == nil {
		t.Error("endless capabilities were read")
	}
}

func TestListings(t *testing.T) {
	for name, tc := range map[string]struct {
		line   string
		number int
		uidl   string
		size   int64
	}{
		"UIDL of RFC 1939":  {"2 QhdPYR:00WBw1Ph7x7", 2, "QhdPYR:00WBw1Ph7x7", -1},
		"LIST of RFC 1939":  {"1 120", 1, "120", 120},
		"LIST and more":     {"1 120 octets", 1, fmt.Sprintf("%%%x", sha256.Sum256([]byte("120 octets"))), 120},
		"blanks":            {"7  120 ", 7, "120", 120},
		"no number":         {"x 120", 0, "", -1},
		"number nought":     {"0 120", 0, "", -1},
		"a huge number":     {"99999999 120", 0, "", -1},
		"no rest":           {"3", 3, nameless, -1},
		"a negative size":   {"3 -1", 3, "-1", -1},
		"a size of decades": {"3 99999999999999999999", 3, "99999999999999999999", -1},
		"eight bits":        {"3 \xe4", 3, fmt.Sprintf("%%%x", sha256.Sum256([]byte("\xe4"))), -1},
		"a blank within":    {"3 4 b ", 3, fmt.Sprintf("%%%x", sha256.Sum256([]byte("4 b"))), 4},
		"a UIDL too long":   {"3 " + strings.Repeat("x", maxUIDL+1), 3, fmt.Sprintf("%%%x", sha256.Sum256([]byte(strings.Repeat("x", maxUIDL+1)))), -1},
	} {
		t.Run(name, func(t *testing.T) {
			number, uidl, err := parseUIDL([]byte(tc.line))
			if uidl != tc.uidl || (err == nil) != (tc.uidl != "") || err == nil && number != tc.number {
				t.Errorf("UIDL: %d, %q, %v", number, uidl, err)
			}
			number, size, err := parseSize([]byte(tc.line))
			if (err == nil) != (tc.size >= 0) || err == nil && (number != tc.number || size != tc.size) {
				t.Errorf("LIST: %d, %d, %v", number, size, err)
			}
		})
	}
}

// stuff is a message as a server sends it: RFC 1939 section 3.
func stuff(raw string) string {
	if raw != "" && !strings.HasSuffix(raw, "\r\n") {
		raw += "\r\n"
	}
	if strings.HasPrefix(raw, ".") {
		raw = "." + raw
	}
	return strings.ReplaceAll(raw, "\r\n.", "\r\n..") + ".\r\n"
}

// hostile are messages that careless readers alter.
var hostile = map[string]string{
	"empty":           "",
	"one line end":    "\r\n",
	"dots everywhere": strings.Repeat(".\r\n..\r\n...\r\n.a\r\n", 50),
	"a dot at first":  ".a\r\n",
	"only a dot":      ".\r\n",
	"NUL":             "a\x00b\r\n\x00\r\n",
	"lone CR":         "a\rb\r.\r\r\n.c\r\n",
	"lone LF":         "a\nb\n.\n.c\n\r\n",
	"LF, dot, CRLF":   "a\n.\r\nb\r\n",
	"CR, dot":         "a\r.\r\nb\r\n",
	"CR CR LF dot":    "a\r\r\n.\r\n",
	"eight bits":      "\x80\xff\xfe\r\n",
	"no last end":     "a\r\nb",
	"a CR at the end": "a\r",
	"a long line":     strings.Repeat("x", 3*bufferSize) + "\r\n.y\r\n",
	"CRs":             strings.Repeat("\r", bufferSize) + "\n.\r\n",
}

func TestDotsComeOut(t *testing.T) {
	for name, raw := range hostile {
		want := raw
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		for how, wrap := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			t.Run(name+", "+how, func(t *testing.T) {
				in := bufio.NewReaderSize(wrap(strings.NewReader(stuff(raw)+"+OK next")), 16)
				got, err := io.ReadAll(&dotReader{r: in})
				if err != nil || string(got) != want {
					t.Fatalf("%.60q, %v, want %.60q", got, err, want)
				}
				if rest, err := io.ReadAll(in); err != nil || string(rest) != "+OK next" {
					t.Errorf("behind it: %q, %v", rest, err)
				}
			})
		}
	}
}

func TestDotReaderFollowsReadersRules(t *testing.T) {
	raw := hostile["dots everywhere"]
	if err := iotest.TestReader(&dotReader{r: reader(stuff(raw))}, []byte(raw)); err != nil {
		t.Error(err)
	}
}

func TestACutAnswerIsNoWholeOne(t *testing.T) {
	for name, raw := range hostile {
		whole := stuff(raw)
		for n := range min(len(whole), 200) {
			if _, err := io.ReadAll(&dotReader{r: reader(whole[:n])}); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s, cut after %d bytes: %v", name, n, err)
			}
		}
	}
}

func cursorOf(t *testing.T, w *walk, limit int) inbound.Cursor {
	t.Helper()
	return w.page(limit).Next
}

func drop(t *testing.T, uidls ...string) *maildrop {
	t.Helper()
	d := newMaildrop()
	for i, u := range uidls {
		d.add(i+1, u)
	}
	return d
}

func freshIDs(t *testing.T, d *maildrop, after inbound.Cursor) (all []string) {
	t.Helper()
	seen, err := readCursor(after)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range newWalk(d, seen).page(100).Items {
		all = append(all, it.ID)
	}
	return all
}

func TestTheCursorForgetsWhatLeft(t *testing.T) {
	at := cursorOf(t, newWalk(drop(t, "a", "b", "c"), nil), 3)
	if got := freshIDs(t, drop(t, "d", "b", "e"), at); !slices.Equal(got, []string{"d", "e"}) {
		t.Errorf("new: %q", got)
	}
	seen, err := readCursor(at)
	if err != nil {
		t.Fatal(err)
	}
	if next := cursorOf(t, newWalk(drop(t, "b"), seen), 10); len(next) != len(cursorHead)+markSize {
		t.Errorf("%d bytes after two of three left", len(next))
	}
}

func TestACursorThatWasGivenAwayStays(t *testing.T) {
	w := newWalk(drop(t, "a", "b", "c", "d"), nil)
	first := cursorOf(t, w, 2)
	kept := bytes.Clone(first)
	second := cursorOf(t, w, 2)
	if !bytes.Equal(first, kept) || len(second) != len(first)+2*markSize || !w.continues(second) && len(w.fresh) > 0 {
		t.Errorf("%x became %x, then %x", kept, first, second)
	}
	if w.continues(first) {
		t.Error("an older cursor is taken for the newest")
	}
}

func TestTwins(t *testing.T) {
	d := drop(t, "a", "x", "x", "b", "x")
	var all []string
	for _, m := range d.messages {
		all = append(all, m.id)
	}
	if want := []string{"a", "x", "x 2", "b", "x 3"}; !slices.Equal(all, want) {
		t.Errorf("handles %q, want %q", all, want)
	}
	for name, tc := range map[string]struct {
		ids  []string
		want []int
	}{
		"one of three":    {[]string{"x", "a"}, []int{1}},
		"two of three":    {[]string{"x 2", "x 3", "b"}, []int{4}},
		"all of them":     {[]string{"x 3", "x", "x 2"}, []int{5, 2, 3}},
		"some are gone":   {[]string{"a", "gone", "gone 2"}, []int{1}},
		"nothing is left": {[]string{"gone"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := d.removable(tc.ids); !slices.Equal(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestAnswersHaveBounds(t *testing.T) {
	for n, want := range map[int]bool{3: true, 4: false} {
		err := eachLine(reader(strings.Repeat("x\r\n", n)+".\r\n"), 3, func([]byte) error { return nil })
		if (err == nil) != want {
			t.Errorf("%d of at most 3 lines: %v", n, err)
		}
	}
}

func TestAFullSessionIsFollowedByAnother(t *testing.T) {
	var uidls []string
	for i := range lookAgain {
		uidls = append(uidls, fmt.Sprint(i))
	}
	if page := newWalk(drop(t, uidls...), nil).page(lookAgain); !page.More {
		t.Error("Gmail shows a few hundred at a time: there may be more")
	}
	if page := newWalk(drop(t, uidls[1:]...), nil).page(lookAgain); page.More {
		t.Error("another session for nothing")
	}
}

func TestMeanings(t *testing.T) {
	for name, tc := range map[string]struct {
		said   string
		kind   fault.Kind
		after  time.Duration
		reason string
	}{
		"exchange login":        {"Logon failure: unknown user name or bad password.", fault.Auth, 0, "AUTHENTICATION_FAILED"},
		"exchange token":        {"Authentication failure: unknown user name or bad password.", fault.Auth, 0, "AUTHENTICATION_FAILED"},
		"exchange busy":         {"Server Unavailable. 21", fault.Temporary, 0, "SERVER_UNAVAILABLE"},
		"exchange throttles":    {"Request is throttled. Suggested Backoff Time: 1500 milliseconds", fault.Throttled, 1500 * time.Millisecond, "SERVER_THROTTLED"},
		"throttled, no time":    {"Request is throttled.", fault.Throttled, time.Minute, "SERVER_THROTTLED"},
		"throttled for days":    {"Request is throttled. Suggested Backoff Time: 999999999 milliseconds", fault.Throttled, time.Hour, "SERVER_THROTTLED"},
		"outlook":               {"Exceeded the login limit for a 15 minute period. Reduce the frequency of requests to the POP3 server.", fault.Throttled, 15 * time.Minute, "LOGIN_LIMIT"},
		"gmail token":           {"[AUTH] Username and password not accepted.", fault.Auth, 0, "AUTHENTICATION_FAILED"},
		"gmail web":             {"[AUTH] Web login required: https://support.example", fault.Auth, 0, "WEB_LOGIN_REQUIRED"},
		"gmail off":             {"[SYS/PERM] Your account is not enabled for POP access. Please visit your Gmail settings page.", fault.Auth, 0, "POP3_DISABLED"},
		"gmail off for all":     {"[SYS/PERM] POP access is disabled for your domain.", fault.Auth, 0, "POP3_DISABLED"},
		"gmail bandwidth":       {"[SYS/TEMP] Account exceeded command or bandwidth limits.", fault.Throttled, time.Hour, "BANDWIDTH_LIMIT"},
		"gmail password":        {"[AUTH] Application-specific password required", fault.Auth, 0, "PASSWORD_REFUSED"},
		"in use, RFC 1939":      {"maildrop already locked", fault.Temporary, 0, "IN_USE"},
		"in use, its section 4": {"unable to lock maildrop", fault.Temporary, 0, "IN_USE"},
		"in use, qpopper":       {"/var/mail/.u.pop lock busy!  Is another session active? (11)", fault.Temporary, 0, "IN_USE"},
		"in use, solid-pop3d":   {"can't set lock on mailbox", fault.Temporary, 0, "IN_USE"},
		"in use, by whom":       {"Mailbox is locked by another POP3 session", fault.Temporary, 0, "IN_USE"},
		"a locked account":      {"account is locked", fault.Temporary, 0, ""},
		"a blocked account":     {"user blocked, mailbox unlocked on Monday", fault.Temporary, 0, ""},
		"in use":                {"[IN-USE] Do you have another POP session running?", fault.Temporary, 0, "IN_USE"},
		"login delay":           {"[LOGIN-DELAY] minimum time between mail checks violation", fault.Throttled, 5 * time.Minute, "LOGIN_DELAY"},
		"temporary":             {"[SYS/TEMP] try later", fault.Temporary, 0, "SERVER_UNAVAILABLE"},
		"temporary, and a part": {"[SYS/TEMP/DISK] try later", fault.Temporary, 0, "SERVER_UNAVAILABLE"},
		"permanent":             {"[SYS/PERM] corrupt", fault.Permanent, 0, "SERVER_FAILURE"},
		"expired":               {"Session invalidated - AccessTokenExpired", fault.Temporary, 0, "ACCESS_TOKEN_EXPIRED"},
		"unknown":               {"what?", fault.Temporary, 0, ""},
		"half a code":           {"[AUTHOR] x", fault.Temporary, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &session{caps: capabilities{"LOGIN-DELAY": {"300"}}}
			var e *fault.Error
			err := s.classify("RETR", parseRefused(tc.said))
			if !errors.As(err, &e) || e.Kind != tc.kind || e.After != tc.after || e.Reason != tc.reason {
				t.Errorf("%v: %+v", err, e)
			}
			if planned := errors.Is(err, inbound.ErrSessionOver); planned != (tc.reason == sessionOver) {
				t.Errorf("planned: %t", planned)
			}
		})
	}
}

func FuzzReply(f *testing.F) {
	for _, line := range []string{"+OK dewey POP3 server signing off (maildrop empty)", "-ERR [SYS/TEMP] x", "+ aGk=", "-ERR", "+OK", "-ERR [AUTH"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		_, err := parseReply(line)
		if err != nil && (len(err.Error()) > 1200 || strings.ContainsAny(err.Error(), "\r\n\x1b")) {
			t.Errorf("%q gives the error %q", line, err)
		}
	})
}

func FuzzCapabilities(f *testing.F) {
	f.Add(capaExample)
	f.Add("\r\n..\r\n.\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		caps, err := readCapabilities(reader(text))
		if err != nil {
			return
		}
		if len(caps) > maxCapabilities || caps.loginDelay() < 0 || caps.loginDelay() > time.Hour {
			t.Errorf("%q: %v", text, caps)
		}
	})
}

func FuzzListing(f *testing.F) {
	for _, line := range []string{"1 whqtswO00WBw418f9t5JxYwZ", "2 QhdPYR:00WBw1Ph7x7", "1 120", "2 200 x", "0", " "} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if number, uidl, err := parseUIDL([]byte(line)); err == nil && (number < 1 || number > maxNumber || uidl == "" || len(uidl) > maxUIDL || strings.Contains(uidl, " ")) {
			t.Errorf("%q: %d %q", line, number, uidl)
		}
		if number, size, err := parseSize([]byte(line)); err == nil && (number < 1 || number > maxNumber || size < 0) {
			t.Errorf("%q: %d %d", line, number, size)
		}
	})
}

func FuzzReadCursor(f *testing.F) {
	f.Add([]byte(cursorHead))
	f.Add([]byte(cursorHead + "12345678abcdefgh"))
	f.Add([]byte("pop3\x02"))
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		seen, err := readCursor(b)
		if err != nil {
			if b == nil || fault.Of(err) != fault.CursorLost {
				t.Errorf("%q: %v", b, err)
			}
			return
		}
		if len(seen)*markSize > len(b) {
			t.Errorf("%q has %d marks", b, len(seen))
		}
	})
}

func FuzzDotReader(f *testing.F) {
	for _, raw := range hostile {
		if len(raw) < 1000 {
			f.Add([]byte(raw), 16)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		want := string(raw)
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		in := bufio.NewReaderSize(strings.NewReader(stuff(string(raw))+"+OK"), 16+max(0, size)%64)
		got, err := io.ReadAll(&dotReader{r: in})
		if err != nil || string(got) != want {
			t.Fatalf("%q became %q: %v", want, got, err)
		}
		if rest, err := io.ReadAll(in); err != nil || string(rest) != "+OK" {
			t.Errorf("behind it: %q, %v", rest, err)
		}
	})
}

// FuzzDotReaderRaw: whatever a server sends, what comes out is what it sent, less dots; and whole only with its end.
func FuzzDotReaderRaw(f *testing.F) {
	f.Add([]byte("..\r\n.\r\n"))
	f.Add([]byte(".\r"))
	f.Add([]byte("a\r\n."))
	f.Fuzz(func(t *testing.T, sent []byte) {
		in := bufio.NewReaderSize(bytes.NewReader(sent), 16)
		got, err := io.ReadAll(&dotReader{r: in})
		ends := bytes.HasPrefix(sent, []byte(".\r\n")) || bytes.Contains(sent, []byte("\r\n.\r\n"))
		if (err == nil) != ends || len(got) > len(sent) {
			t.Errorf("%q: %q, %v", sent, got, err)
		}
	})
}

// BenchmarkList lists a mailbox of 100,000 messages, all new or all but one seen, without the network.
func BenchmarkList(b *testing.B) {
	d := newMaildrop()
	for i := range 100_000 {
		d.add(i+1, fmt.Sprintf("AAMkADQ5OTc2-%032d", i))
	}
	var at inbound.Cursor
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w := newWalk(d, nil)
			for page := w.page(1000); ; page = w.page(1000) {
				if at = page.Next; len(w.fresh) == 0 {
					break
				}
			}
		}
		b.ReportMetric(float64(len(at)), "cursor-bytes")
	})
	b.Run("seen", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			seen, err := readCursor(at)
			if err != nil {
				b.Fatal(err)
			}
			if w := newWalk(d, seen); w.found != 0 {
				b.Fatal("something is new")
			}
		}
	})
}
