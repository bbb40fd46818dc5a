package report_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/report"
	"mailporter/workers/internal/report/reporttest"
)

var update = flag.Bool("update", false, "write the golden files anew")

const support = "support@contoso.example"

var (
	writer   = report.Writer{Hostname: "relay.example", Name: "Mail Delivery System"}
	accepted = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	letter   = mail.Bytes("From: <support@contoso.example>\r\nTo: <ann@elsewhere.example>\r\nMessage-ID: <1@crm.example>\r\nSubject: Your order\r\n\r\nHello Ann,\r\n.\r\n")
)

// notice is of a message to people of whom the same became.
func notice(a outbound.Action, people ...outbound.Outcome) outbound.Notice {
	return outbound.Notice{
		Action: a, Through: support, Attempted: accepted.Add(time.Minute), Until: accepted.AddDate(0, 0, 5), Recipients: people,
		Job: outbound.Job{ID: "17", Mailbox: support, Accepted: accepted, Envelope: mail.Envelope{From: "orders@contoso.example"}},
	}
}

func refused(address, status, reply string) outbound.Outcome {
	return outbound.Outcome{
		Recipient: mail.Recipient{Address: address},
		Failure:   outbound.Failure{Address: address, Status: status, Reply: reply, Reason: reply},
	}
}

// gone is a notice of a single refused recipient whose message is to come back as ret says.
func gone(ret string) outbound.Notice {
	n := notice(outbound.Failed, refused("ann@elsewhere.example", "5.1.1", "550 5.1.1 no such user"))
	n.Job.Envelope.Return = ret
	return n
}

func write(t *testing.T, w report.Writer, n outbound.Notice, original mail.Body) (mail.Envelope, []byte) {
	t.Helper()
	e, message, err := w.Report(n, original)
	if err != nil {
		t.Fatal(err)
	}
	return e, message
}

func parsed(t *testing.T, n outbound.Notice, original mail.Body) reporttest.Report {
	t.Helper()
	e, message := write(t, writer, n, original)
	mustTravel(t, e, message)
	r, err := reporttest.Parse(message)
	if err != nil {
		t.Fatalf("%v in\n%s", err, message)
	}
	return r
}

// mustTravel fails on what a server could alter or refuse.
func mustTravel(t *testing.T, e mail.Envelope, message []byte) {
	t.Helper()
	for l := range bytes.SplitSeq(message, []byte("\r\n")) {
		if len(l) > 998 || bytes.ContainsAny(l, "\r\n\x00") {
			t.Errorf("the line %.80q of %d bytes", l, len(l))
		}
	}
	if i := bytes.IndexFunc(message, func(r rune) bool { return r > 0x7e }); i >= 0 && !e.EightBit && !e.UTF8 {
		t.Errorf("%.20q in a 7-bit message", message[i:])
	}
}

var boundary = regexp.MustCompile(`[0-9a-f]{60}`)

// TestReports compares whole reports with those in testdata.
func TestReports(t *testing.T) {
	failed := notice(outbound.Failed,
		refused("ann@elsewhere.example", "5.1.1", "550 5.1.1 no such user"),
		outbound.Outcome{
			Recipient: mail.Recipient{Address: "bob@elsewhere.example", Original: "rfc822;robert+2Bsales@contoso.example"},
			Failure: outbound.Failure{Address: "bob@elsewhere.example", Status: "4.2.2", Reply: "452 4.2.2 mailbox full",
				Reason: "gave up after 5 days: 452 4.2.2 mailbox full"},
		})
	failed.Job.Envelope.ID = "QQ+2B314159"
	whole := gone("FULL")
	delayed := notice(outbound.Delayed, refused("ann@elsewhere.example", "5.1.90", "550 5.1.90 daily limit"))
	relayed := notice(outbound.Relayed, outbound.Outcome{Recipient: mail.Recipient{Address: "ann@elsewhere.example", Notify: "SUCCESS"}})
	global := notice(outbound.Failed, refused("jürgen@größe.example", "5.1.1", "550 5.1.1 kein Empfänger"))
	for name, n := range map[string]outbound.Notice{"failed": failed, "whole": whole, "delayed": delayed, "relayed": relayed, "global": global} {
		t.Run(name, func(t *testing.T) {
			e, message := write(t, writer, n, letter)
			mustTravel(t, e, message)
			got := boundary.ReplaceAll(bytes.ReplaceAll(message, []byte("\r\n"), []byte("\n")), []byte("BOUNDARY"))
			path := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(path, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the report is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestWhereItGoes: to the return path, or to the address that gets all of them.
func TestWhereItGoes(t *testing.T) {
	for want, w := range map[string]report.Writer{"orders@contoso.example": writer, "post@contoso.example": {Hostname: "relay.example", Name: "Mail Delivery System", To: "post@contoso.example"}} {
		e, message := write(t, w, gone(""), letter)
		if e.From != support || len(e.Recipients) != 1 || e.Recipients[0].Address != want || e.EightBit || e.UTF8 {
			t.Errorf("envelope %+v", e)
		}
		r, err := reporttest.Parse(message)
		if err != nil || r.Header.Get("To") != "<"+want+">" || r.Header.Get("From") != `"Mail Delivery System" <`+support+">" {
			t.Errorf("%v, header %v", err, r.Header)
		}
	}
}

// TestName: whatever a report calls its sender, it comes from the mailbox's address.
func TestName(t *testing.T) {
	for _, name := range []string{"", "Post", `The "post", \ office`, "Poststelle Süd", "a, b <eve@x.example>"} {
		_, message := write(t, report.Writer{Hostname: "relay.example", Name: name}, gone(""), letter)
		r, err := reporttest.Parse(message)
		if err != nil {
			t.Fatal(err)
		}
		from, err := r.Header.AddressList("From")
		if err != nil || len(from) != 1 || from[0].Name != name || from[0].Address != support {
			t.Errorf("%q: %v, %v", name, from, err)
		}
	}
}

// TestAddressesBeyondASCII need SMTPUTF8 only if the report goes there.
func TestAddressesBeyondASCII(t *testing.T) {
	n := notice(outbound.Failed, refused("jürgen@größe.example", "5.1.1", "550 no"))
	n.Recipients[0].Original = `utf-8;j\x{FC}rgen@gr+F6`
	if e, _ := write(t, writer, n, letter); e.UTF8 {
		t.Error("a report to an ASCII address asks for SMTPUTF8")
	}
	n.Recipients[0].Original = `utf-8;j\x{FC}rgen@elsewhere.example`
	r := parsed(t, n, letter)
	if got := r.Recipients[0]; r.StatusType != "message/global-delivery-status" ||
		got.Get("Final-Recipient") != "utf-8; jürgen@größe.example" || got.Get("Original-Recipient") != "utf-8; jürgen@elsewhere.example" {
		t.Errorf("%s %v", r.StatusType, got)
	}
	n.Job.Envelope.From = "süd@contoso.example"
	if e, _ := write(t, writer, n, letter); !e.UTF8 {
		t.Error("a report to süd does without SMTPUTF8")
	}
}

// TestWhatComesBack of the message, in which form.
func TestWhatComesBack(t *testing.T) {
	const head = "Subject: x\r\n"
	long := strings.Repeat("x", 2000)
	many := strings.Repeat("X-Many: more\r\n", 10000)
	for name, tc := range map[string]struct {
		ret, message string
		kind, want   string
		eightBit     bool
	}{
		"nothing said":          {"", head + "\r\nbody\r\n", "text/rfc822-headers", head, false},
		"HDRS":                  {"HDRS", head + "\r\nbody\r\n", "text/rfc822-headers", head, false},
		"FULL":                  {"FULL", head + "\r\nbody\r\n", "message/rfc822", head + "\r\nbody\r\n", false},
		"too large":             {"FULL", head + "\r\n" + strings.Repeat("0123456789\r\n", 100_000), "text/rfc822-headers", head, false},
		"8-bit":                 {"FULL", head + "\r\ncaf\xe9\r\n", "message/rfc822", head + "\r\ncaf\xe9\r\n", true},
		"8-bit, its header":     {"", head + "\r\ncaf\xe9\r\n", "text/rfc822-headers", head, false},
		"UTF-8 header":          {"", "Subject: größe\r\n\r\n", "message/global-headers", "Subject: größe\r\n", false},
		"UTF-8 header, FULL":    {"FULL", "Subject: größe\r\n\r\nx\r\n", "message/global", "Subject: größe\r\n\r\nx\r\n", false},
		"Latin-1 header":        {"", "Subject: gr\xf6\xdfe\r\n\r\n", "text/rfc822-headers", "Subject: gr\xf6\xdfe\r\n", false},
		"an endless line":       {"FULL", head + "\r\n" + long + "\r\n", "text/rfc822-headers", head, false},
		"an endless field":      {"", "X-Long: " + long + "\r\n\r\n", "text/rfc822-headers", "X-Long: " + long + "\r\n", false},
		"NUL in the body":       {"FULL", head + "\r\n\x00\r\n", "text/rfc822-headers", head, false},
		"lone line ends":        {"FULL", "Subject: x\n\na\rb\n", "message/rfc822", head + "\r\na\r\nb\r\n", false},
		"an endless header":     {"", many + "\r\n", "text/rfc822-headers", many[:64<<10/14*14], false},
		"no header":             {"", "\r\nbody", "text/rfc822-headers", "", false},
		"no blank line":         {"", head, "text/rfc822-headers", head, false},
		"nothing":               {"FULL", "", "message/rfc822", "", false},
		"one line without end":  {"", "Subject: x", "text/rfc822-headers", "", false},
		"boundaries of its own": {"FULL", head + "\r\n--x\r\n\r\n--x--\r\n", "message/rfc822", head + "\r\n--x\r\n\r\n--x--\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			n := gone(tc.ret)
			e, _ := write(t, writer, n, mail.Bytes(tc.message))
			r := parsed(t, n, mail.Bytes(tc.message))
			if r.ThirdType != tc.kind || string(r.Third) != tc.want || e.EightBit != tc.eightBit {
				t.Errorf("%s, 8-bit %v, %d bytes %.200q\nwant %s of %d bytes", r.ThirdType, e.EightBit, len(r.Third), r.Third, tc.kind, len(tc.want))
			}
		})
	}
}

// TestOnlyFailuresComeBackWhole, and only where their form is not what failed.
func TestOnlyFailuresComeBackWhole(t *testing.T) {
	for name, n := range map[string]outbound.Notice{
		"delayed":        notice(outbound.Delayed, refused("ann@elsewhere.example", "4.0.0", "451 later")),
		"relayed":        notice(outbound.Relayed, outbound.Outcome{Recipient: mail.Recipient{Address: "ann@elsewhere.example"}}),
		"not to convert": notice(outbound.Failed, refused("ann@elsewhere.example", "5.6.3", "554 5.6.3 no 8-bit here")),
	} {
		n.Job.Envelope.Return = "FULL"
		if r := parsed(t, n, letter); r.ThirdType != "text/rfc822-headers" {
			t.Errorf("%s: %s", name, r.ThirdType)
		}
	}
}

// endless is a message of any size that nobody could hold.
type endless int64

func (e endless) Size() int64 { return int64(e) }
func (e endless) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(io.MultiReader(strings.NewReader("Subject: x\r\n\r\n"), zeros{}), int64(e))), nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestLargeMessagesAreNotHeld: of 150 MB no more is read than the header's bound.
func TestLargeMessagesAreNotHeld(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err := writer.Report(gone("FULL"), endless(150<<20)); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
}

type broken struct{ open, read error }

func (b broken) Size() int64 { return 1 }
func (b broken) Open() (io.ReadCloser, error) {
	return io.NopCloser(iotest.ErrReader(b.read)), b.open
}

// TestUnreadable: a store that is away is no reason for a report without the message.
func TestUnreadable(t *testing.T) {
	away := errors.New("away")
	for _, b := range []broken{{open: away}, {read: away}} {
		if _, _, err := writer.Report(gone(""), b); !errors.Is(err, away) {
			t.Errorf("%v", err)
		}
	}
}

// TestLost: a report of a message that is lost has two parts.
func TestLost(t *testing.T) {
	if r := parsed(t, gone("FULL"), nil); r.ThirdType != "" || r.Recipients[0].Get("Status") != "5.1.1" || r.Header.Get("References") != "" {
		t.Errorf("%+v", r)
	}
}

// TestFields: what is told of the message and its recipient.
func TestFields(t *testing.T) {
	n := notice(outbound.Delayed, refused("ann@elsewhere.example", "4.2.2", "452 4.2.2 "+strings.Repeat("mailbox full ", 60)+strings.Repeat("x", 1800)))
	n.Job.Envelope.ID = "a+20b"
	n.Recipients[0].Original = "rfc822;ann+2Bx@elsewhere.example"
	r := parsed(t, n, letter)
	to := r.Recipients[0]
	for name, want := range map[string]string{
		"Original-Recipient": "rfc822; ann+x@elsewhere.example", "Final-Recipient": "rfc822; ann@elsewhere.example", "Action": "delayed", "Status": "4.2.2",
		"Last-Attempt-Date": "Wed, 04 Mar 2026 12:01:00 +0000", "Will-Retry-Until": "Mon, 09 Mar 2026 12:00:00 +0000",
	} {
		if got := to.Get(name); got != want {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	if got := to.Get("Diagnostic-Code"); !strings.HasPrefix(got, "smtp; 452 4.2.2 mailbox full mailbox full") || !strings.HasSuffix(strings.ReplaceAll(got, " ", ""), "full"+strings.Repeat("x", 1800)) {
		t.Errorf("Diagnostic-Code %q", got)
	}
	if r.Message.Get("Reporting-Mta") != "dns; relay.example" || r.Message.Get("Original-Envelope-Id") != "a b" || r.Message.Get("Arrival-Date") != "Wed, 04 Mar 2026 12:00:00 +0000" {
		t.Errorf("message %v", r.Message)
	}
	h := r.Header
	if h.Get("Auto-Submitted") != "auto-replied" || h.Get("In-Reply-To") != "<1@crm.example>" || h.Get("References") != "<1@crm.example>" ||
		h.Get("Message-Id") != fmt.Sprintf("<%s@relay.example>", n.ID()) {
		t.Errorf("header %v", h)
	}
}

// TestRepliesBeyondASCII: programs get what ASCII can hold of it, people the whole.
func TestRepliesBeyondASCII(t *testing.T) {
	r := parsed(t, notice(outbound.Failed, refused("ann@elsewhere.example", "5.1.1", "550 5.1.1 kein Empfänger")), letter)
	if got := r.Recipients[0].Get("Diagnostic-Code"); got != "smtp; 550 5.1.1 kein Empf?nger" || r.StatusType != "message/delivery-status" {
		t.Errorf("%s: %q", r.StatusType, got)
	}
	if !strings.Contains(r.Text, "kein Empfänger") {
		t.Errorf("text %q", r.Text)
	}
}

// TestUnspeakable: what cannot be repeated is left out, and forges no fields.
func TestUnspeakable(t *testing.T) {
	for name, alter := range map[string]func(*outbound.Notice){
		"ENVID cut short":      func(n *outbound.Notice) { n.Job.Envelope.ID = "a+2" },
		"ENVID of line ends":   func(n *outbound.Notice) { n.Job.Envelope.ID = "a+0D+0AX-Forged: yes" },
		"ORCPT of line ends":   func(n *outbound.Notice) { n.Recipients[0].Original = "rfc822;a+0D+0AX-Forged:+20yes" },
		"ORCPT without type":   func(n *outbound.Notice) { n.Recipients[0].Original = "ann@elsewhere.example" },
		"ORCPT, type of lines": func(n *outbound.Notice) { n.Recipients[0].Original = "rfc822\r\nX-Forged: yes;a" },
		"ORCPT of \\x{0A}":     func(n *outbound.Notice) { n.Recipients[0].Original = `utf-8;a\x{0A}X-Forged: yes` },
		"the reply":            func(n *outbound.Notice) { n.Recipients[0].Reply = "550 a\r\nX-Forged: yes" },
		"the return path":      func(n *outbound.Notice) { n.Job.Envelope.From = "a@b\r\nX-Forged: yes" },
	} {
		t.Run(name, func(t *testing.T) {
			n := gone("")
			alter(&n)
			r := parsed(t, n, letter)
			for _, h := range []map[string][]string{r.Header, r.Message, r.Recipients[0]} {
				if _, forged := h["X-Forged"]; forged {
					t.Errorf("%v", h)
				}
			}
			if len(r.Recipients) != 1 || r.Message.Get("Original-Envelope-Id") != "" {
				t.Errorf("%v %v", r.Message, r.Recipients)
			}
		})
	}
}

// TestAdvice: people are told what to do.
func TestAdvice(t *testing.T) {
	for status, want := range map[string]string{
		"5.1.1": "Check the address", "5.1.8": "sender's address", "5.1.10": "Check the address", "5.2.2": "is full", "5.2.3": "too large", "5.2.1": "takes no mail",
		"5.3.4": "too large", "5.3.0": "not able", "4.4.7": "could not be reached", "5.6.3": "form", "5.7.1": "rules", "5.0.0": "administrator", "": "administrator",
	} {
		if r := parsed(t, notice(outbound.Failed, refused("ann@elsewhere.example", status, "550 no")), letter); !strings.Contains(r.Text, want) {
			t.Errorf("%s: %s", status, r.Text)
		}
	}
}

// FuzzReport: whatever the submitter and the server said, the report travels, is read by others, and tells of one recipient.
func FuzzReport(f *testing.F) {
	f.Add([]byte(letter), "ann@elsewhere.example", "rfc822;a+2Bb@c", "QQ+2B1", "550 5.1.1 no such user", true)
	f.Add([]byte("Subject: größe\n\ncaf\xe9\r"), "jürgen@größe.example", `utf-8;j\x{FC}rgen@x`, "+", "gave up after 5 days: "+strings.Repeat("x", 2000), true)
	f.Add([]byte(" :\r\n\r\n--\x00"), "\"a b\"@x\r\nAction: relayed", ";", "+0A", "\r\n\r\n", false)
	f.Fuzz(func(t *testing.T, original []byte, address, orcpt, envid, reply string, whole bool) {
		if len(address)+len(orcpt)+len(envid) > 900 {
			return // longer than any command
		}
		n := notice(outbound.Failed, outbound.Outcome{
			Recipient: mail.Recipient{Address: address, Original: orcpt},
			Failure:   outbound.Failure{Address: address, Reason: reply, Reply: reply},
		})
		n.Job.Envelope.ID = envid
		if whole {
			n.Job.Envelope.Return = "FULL"
		}
		r := parsed(t, n, mail.Bytes(original))
		if len(r.Recipients) != 1 || r.Recipients[0].Get("Action") != "failed" || len(r.Recipients[0]["Action"]) != 1 {
			t.Errorf("recipients %v", r.Recipients)
		}
	})
}

// TestThroughAnotherMailbox: who sends the report is not who sent the message, and a mailbox that waits gives no end.
func TestThroughAnotherMailbox(t *testing.T) {
	n := notice(outbound.Delayed, outbound.Outcome{
		Recipient: mail.Recipient{Address: "ann@elsewhere.example"}, Failure: outbound.Failure{Reason: "the secret has expired"},
	})
	n.Through, n.Until = "postmaster@contoso.example", time.Time{}
	e, message := write(t, writer, n, letter)
	r, err := reporttest.Parse(message)
	if err != nil {
		t.Fatal(err)
	}
	if e.From != n.Through || r.Header.Get("From") != `"Mail Delivery System" <postmaster@contoso.example>` || e.Recipients[0].Address != "orders@contoso.example" {
		t.Errorf("%+v, %v", e, r.Header)
	}
	if to := r.Recipients[0]; to.Get("Will-Retry-Until") != "" || to.Get("Action") != "delayed" || to.Get("Status") != "4.0.0" {
		t.Errorf("%v", to)
	}
	for _, words := range []string{"for support@contoso.example", "once that mailbox can send again", "the secret has expired"} {
		if !bytes.Contains(message, []byte(words)) {
			t.Errorf("it does not say %q:\n%s", words, message)
		}
	}
}
