package folder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/intake/intaketest"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

const (
	support  = "support@contoso.example"
	sales    = "sales@contoso.example"
	ann      = "ann@elsewhere.example"
	bob      = "bob@elsewhere.example"
	explicit = "X-Sender: " + sales + "\r\nX-Receiver: " + ann + "\r\n"
)

func known() *intake.Senders {
	s := &intake.Senders{}
	s.Set([]tokenclient.Settings{{Mailbox: support}, {Mailbox: sales, Outbound: tokenclient.OutboundSettings{SenderAliases: []string{"*@old.example"}}}})
	return s
}

// place is a folder, and what looks into it when it is told to.
type place struct {
	t    *testing.T
	dir  string
	door *Door
}

func newPlace(t *testing.T, c Config, o intake.Outbox) *place {
	t.Helper()
	if c.Path == "" {
		c.Path = filepath.Join(t.TempDir(), "drop")
	}
	p := &place{t, c.Path, New(c, o, known())}
	if err := p.door.Prepare(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.door.release)
	return p
}

// drop puts a file there as programs should: whole, by rename.
func (p *place) drop(name, text string) {
	p.t.Helper()
	temporary := filepath.Join(p.dir, "."+name+".tmp")
	if err := errors.Join(os.WriteFile(temporary, []byte(text), 0o600), os.Rename(temporary, filepath.Join(p.dir, name))); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) look() {
	p.t.Helper()
	if err := p.door.round(p.t.Context()); err != nil {
		p.t.Error(err)
	}
}

// left lists what lies in the folder, or below it.
func (p *place) left(below string) (names []string) {
	p.t.Helper()
	all, err := os.ReadDir(filepath.Join(p.dir, below))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range all {
		if e.Name() != "lock" && e.Name() != failed {
			names = append(names, e.Name())
		}
	}
	return names
}

func (p *place) reason(name string) string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, failed, name+".reason"))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

func jobs(t *testing.T, o outbound.Outbox) []outbound.Job {
	t.Helper()
	all, err := o.Claim(t.Context(), []string{support, sales}, 9999, 9999, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func body(t *testing.T, o outbound.Outbox, j outbound.Job) string {
	t.Helper()
	r, err := o.Open(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func to(all ...string) (r []mail.Recipient) {
	for _, a := range all {
		r = append(r, mail.Recipient{Address: a})
	}
	return r
}

// TestTaken: what becomes of a file that is all right.
func TestTaken(t *testing.T) {
	for name, tc := range map[string]struct {
		file     string
		envelope mail.Envelope
		mailbox  string
		message  string
	}{
		"an envelope": {"x-sender: <" + sales + ">\r\nX-Receiver: " + ann + "\r\nX-RECEIVER:" + bob + " \r\nBcc: eve@x.example\r\nX-Receiver: carl@x.example\r\n\r\nHello\r\n",
			mail.Envelope{From: sales, Recipients: to(ann, bob)}, sales, "Bcc: eve@x.example\r\nX-Receiver: carl@x.example\r\n\r\nHello\r\n"},
		"an envelope and nothing": {explicit, mail.Envelope{From: sales, Recipients: to(ann)}, sales, ""},
		"text before CRLF":        {"X-Sender: " + sales + "\nX-Receiver: " + ann + "\nSubject: a\r\n\r\nb\r\n", mail.Envelope{From: sales, Recipients: to(ann)}, sales, "Subject: a\r\n\r\nb\r\n"},
		"text":                    {"X-Sender: " + sales + "\nX-Receiver: " + ann + "\nSubject: a\n\nb\nc", mail.Envelope{From: sales, Recipients: to(ann)}, sales, "Subject: a\r\n\r\nb\r\nc"},
		"the null sender":         {"X-Sender: <>\r\nX-Receiver: " + ann + "\r\n\r\n", mail.Envelope{Recipients: to(ann)}, support, "\r\n"},
		"a header": {"From: Sales <" + sales + ">\r\nTo: \"Ann, A.\" <" + ann + ">,\r\n\t" + bob + "\r\nCc: group: " + ann + ", carl@x.example;\r\n\r\nBcc: body@x.example\r\n",
			mail.Envelope{From: sales, Recipients: to(ann, bob, "carl@x.example")}, sales,
			"From: Sales <" + sales + ">\r\nTo: \"Ann, A.\" <" + ann + ">,\r\n\t" + bob + "\r\nCc: group: " + ann + ", carl@x.example;\r\n\r\nBcc: body@x.example\r\n"},
		"unseen": {"From: " + sales + "\r\nBCC: " + ann + ",\r\n " + bob + "\r\nSubject: a\r\nBcc : carl@x.example\r\n\r\nb\r\n",
			mail.Envelope{From: sales, Recipients: to(ann, bob, "carl@x.example")}, sales, "From: " + sales + "\r\nSubject: a\r\n\r\nb\r\n"},
		"unseen in text":        {"From: " + sales + "\nBcc: " + ann + "\nSubject: a\n\nb\n", mail.Envelope{From: sales, Recipients: to(ann)}, sales, "From: " + sales + "\r\nSubject: a\r\n\r\nb\r\n"},
		"who sends":             {"From: " + sales + ", a@old.example\r\nSender: " + support + "\r\nTo: " + ann + "\r\n", mail.Envelope{From: support, Recipients: to(ann)}, support, "From: " + sales + ", a@old.example\r\nSender: " + support + "\r\nTo: " + ann + "\r\n"},
		"an alias":              {"From: a@old.example\r\nTo: " + ann, mail.Envelope{From: "a@old.example", Recipients: to(ann)}, sales, "From: a@old.example\r\nTo: " + ann},
		"quotes":                {"From: " + sales + "\r\nTo: \"a b\"@x.example\r\n", mail.Envelope{From: sales, Recipients: to(`"a b"@x.example`)}, sales, "From: " + sales + "\r\nTo: \"a b\"@x.example\r\n"},
		"8-bit":                 {explicit + "\r\ncaf\xe9\r\n", mail.Envelope{From: sales, Recipients: to(ann), EightBit: true}, sales, "\r\ncaf\xe9\r\n"},
		"beyond ASCII":          {"From: " + sales + "\r\nTo: süd@x.example\r\n", mail.Envelope{From: sales, Recipients: to("süd@x.example"), EightBit: true, UTF8: true}, sales, "From: " + sales + "\r\nTo: süd@x.example\r\n"},
		"a mark, an envelope":   {utf8Mark + explicit + "From: Sales <" + sales + ">\r\n" + "\r\nb\r\n", mail.Envelope{From: sales, Recipients: to(ann)}, sales, "From: Sales <" + sales + ">\r\n" + "\r\nb\r\n"},
		"a mark, unseen":        {utf8Mark + "Bcc: " + ann + "\n" + "From : " + sales + "\n\nb\n", mail.Envelope{From: sales, Recipients: to(ann)}, sales, "From : " + sales + "\r\n\r\nb\r\n"},
		"blanks before a colon": {"From : " + sales + "\r\nTo: " + ann + "\r\n", mail.Envelope{From: sales, Recipients: to(ann)}, sales, "From : " + sales + "\r\nTo: " + ann + "\r\n"},
		"X-Sender further":      {"From: " + sales + "\r\nX-Sender: " + support + "\r\nTo: " + ann + "\r\n", mail.Envelope{From: sales, Recipients: to(ann)}, sales, "From: " + sales + "\r\nX-Sender: " + support + "\r\nTo: " + ann + "\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			box := &outboundtest.Memory{}
			p := newPlace(t, Config{Rules: intake.Rules{NullSender: support}}, box)
			p.drop("a.eml", tc.file)
			p.look()
			all := jobs(t, box)
			if len(all) != 1 {
				t.Fatalf("%d messages; %v", len(all), p.left(failed))
			}
			if got := body(t, box, all[0]); got != tc.message || !reflect.DeepEqual(all[0].Envelope, tc.envelope) || all[0].Mailbox != tc.mailbox {
				t.Errorf("%s %+v %q", all[0].Mailbox, all[0].Envelope, got)
			}
			if left := p.left(""); len(left) != 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

// TestMovedAside: what can never be taken lies in failed with a reason, and a good one goes past it.
func TestMovedAside(t *testing.T) {
	const from, rcpt = "From: " + sales + "\r\n", "To: " + ann + "\r\n"
	for name, tc := range map[string]struct{ file, why string }{
		"nothing":               {"", "the file is empty"},
		"a mark alone":          {utf8Mark, "no recipients"},
		"UTF-16":                {"\xff\xfeF\x00r\x00o\x00m\x00", "is UTF-16"},
		"UTF-16, big-endian":    {"\xfe\xff\x00F\x00r\x00o\x00m", "is UTF-16"},
		"no recipients":         {from + "\r\n", "no recipients"},
		"an envelope of nobody": {"X-Sender: " + sales + "\r\n\r\n", "without an X-Receiver"},
		"two envelopes":         {"X-Sender: " + sales + "\r\n" + explicit, "more than one X-Sender"},
		"no sender":             {rcpt, "without a sender"},
		"an unknown sender":     {"From: eve@x.example\r\n" + rcpt, "No mailbox here sends as this address: configure it at the broker"},
		"a forbidden sender":    {"From: " + support + "\r\n" + rcpt, "may not send as this address"},
		"two authors":           {"From: a@old.example, b@old.example\r\n" + rcpt, "names 2 authors; say who of them sends"},
		"no list":               {from + "To: Smith, John <a@b>\r\n", "To cannot be read"},
		"no address":            {"X-Sender: " + sales + "\r\nX-Receiver: Ann <" + ann + ">\r\n", `recipient "Ann <` + ann + `>" is no mail address`},
		"too many":              {from + "To: a@x.example, b@x.example, c@x.example, d@x.example\r\n", "At most 3 recipients"},
		"too large":             {explicit + strings.Repeat("x", 5000), "At most 4096 bytes"},
		"in circles":            {explicit + strings.Repeat("Received: x\r\n", 3), "runs in circles"},
		"both kinds of lines":   {from + rcpt + "\r\na\nb\r\n", "Lines end with CRLF"},
		"text with a CR":        {"From: " + sales + "\nTo: " + ann + "\n\nb\r\n", "Lines end with CRLF"},
		"sent on":               {from + rcpt + "Resent-To: " + bob + "\r\n", "has Resent fields"},
		"a mailbox's file":      {"From nobody Mon\r\n" + from + rcpt, "is a mailbox"},
		"a mailbox with times":  {"From nobody Mon Nov 23 10:00:00 2026\r\n" + from + rcpt, "is a mailbox"},
		"a blank first":         {" " + from, "begins with a blank"},
		"a header without end":  {from + "X: " + strings.Repeat("x", 2<<20), "the header has more than"},
	} {
		t.Run(name, func(t *testing.T) {
			box := &outboundtest.Memory{}
			p := newPlace(t, Config{Rules: intake.Rules{MaxSize: 4096, MaxRecipients: 3, MaxHops: 2}, Senders: []string{sales, "*@old.example", "*@x.example"}}, box)
			p.drop("1.eml", tc.file)
			p.drop("2.eml", from+rcpt)
			p.look()
			if all := jobs(t, box); len(all) != 1 {
				t.Errorf("%d messages", len(all))
			}
			if left, aside := p.left(""), p.left(failed); len(left) != 0 || !reflect.DeepEqual(aside, []string{"1.eml", "1.eml.reason"}) {
				t.Fatalf("left %q, failed %q", left, aside)
			}
			if got := p.reason("1.eml"); !strings.Contains(got, tc.why) || !strings.Contains(got, "move it back to "+p.dir) {
				t.Errorf("%s", got)
			}
			if b, err := os.ReadFile(filepath.Join(p.dir, failed, "1.eml")); err != nil || string(b) != tc.file {
				t.Errorf("the file is another one: %v", err)
			}
		})
	}
}

// TestAsideKeepsAll: a name that is taken there is not written over.
func TestAsideKeepsAll(t *testing.T) {
	p := newPlace(t, Config{}, &outboundtest.Memory{})
	for range 3 {
		p.drop("a.EML", "")
		p.look()
	}
	if got := p.left(failed); !reflect.DeepEqual(got, []string{"a-1.eml", "a-1.eml.reason", "a-2.eml", "a-2.eml.reason", "a.EML", "a.EML.reason"}) {
		t.Errorf("%q", got)
	}
}

// TestLongName: a name that has no room for more is cut, and the file does not stay where it was.
func TestLongName(t *testing.T) {
	p := newPlace(t, Config{}, &outboundtest.Memory{})
	long := strings.Repeat("a", 251)
	for range 2 {
		if err := os.WriteFile(filepath.Join(p.dir, long+".eml"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		p.look()
	}
	if left, got := p.left(""), p.left(failed); len(left) != 0 || len(got) != 4 || !strings.HasPrefix(got[0], long[:200]) {
		t.Errorf("left %q, failed %q", left, got)
	}
}

// TestLeftAlone: what is not complete, and what is no file.
func TestLeftAlone(t *testing.T) {
	box := &outboundtest.Memory{}
	p := newPlace(t, Config{}, box)
	for _, name := range []string{".a.eml", "a.eml.tmp", "a.txt", "eml"} {
		p.drop(name, explicit)
	}
	if err := os.Mkdir(filepath.Join(p.dir, "b.eml"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.look()
	if left := p.left(""); len(left) != 5 || len(p.left(failed)) != 0 || len(jobs(t, box)) != 0 {
		t.Errorf("left %q", left)
	}
}

// TestLinks: a link could show the worker's secrets to whoever is sent its target.
func TestLinks(t *testing.T) {
	box := &outboundtest.Memory{}
	p := newPlace(t, Config{}, box)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(secret, []byte(explicit), 0o600), os.Symlink(secret, filepath.Join(p.dir, "a.eml"))); err != nil {
		t.Fatal(err)
	}
	p.look()
	if len(jobs(t, box)) != 0 || !strings.Contains(p.reason("a.eml"), "no link") {
		t.Error("a link was followed")
	}
}

// TestAwkward: below an envelope any message is taken byte for byte, text with CRLF at its line ends, or is moved aside for
// having line ends of both kinds.
func TestAwkward(t *testing.T) {
	for name, store := range intaketest.Outboxes(t) {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, Config{}, store(t))
			want, bad := map[string]int{}, 0
			for name, raw := range inboundtest.Awkward() {
				p.drop(name+".eml", explicit+string(raw))
				switch {
				case !inboundtest.Lone(raw):
					want[string(raw)]++
				case !bytes.Contains(raw, []byte("\r")):
					want[strings.ReplaceAll(string(raw), "\n", "\r\n")]++
				default:
					bad++
				}
			}
			p.look()
			o := p.door.outbox.(outbound.Outbox)
			for _, j := range jobs(t, o) {
				want[body(t, o, j)]--
			}
			for raw, n := range want {
				if n != 0 {
					t.Errorf("%d too few of %d bytes %.60q", n, len(raw), raw)
				}
			}
			if aside := p.left(failed); len(aside) != 2*bad || len(p.left("")) != 0 {
				t.Errorf("%d files, want %d", len(aside), 2*bad)
			}
		})
	}
}

// flaky is an outbox that says no, or nothing at all, now and then.
type flaky struct {
	outbound.Outbox
	err   error
	after func() // the message is durable
}

// Add implements intake.Outbox.
func (f *flaky) Add(ctx context.Context, m outbound.Submission) (string, error) {
	if f.err != nil {
		return "", f.err
	}
	id, err := f.Outbox.Add(ctx, m)
	if f.after != nil {
		f.after()
	}
	return id, err
}

// TestWaits: while the broker has not answered, or the outbox does not work, files stay where they are.
func TestWaits(t *testing.T) {
	box := &flaky{Outbox: &outboundtest.Memory{}, err: fmt.Errorf("spool message: %w", os.ErrNotExist)} // its folder, not our file
	p := newPlace(t, Config{}, box)
	p.drop("a.eml", explicit)
	if err := p.door.round(t.Context()); !errors.Is(err, box.err) {
		t.Errorf("%v", err)
	}
	senders := p.door.senders
	box.err, p.door.senders = nil, &intake.Senders{}
	if err := p.door.round(t.Context()); intake.AsRefusal(err) == nil {
		t.Errorf("%v", err)
	}
	if left := p.left(""); len(left) != 1 || len(p.left(failed)) != 0 {
		t.Errorf("left %q", left)
	}
	p.door.senders = senders
	if err := p.door.take(t.Context(), "taken-back.eml"); err != nil {
		t.Error(err)
	}
	p.look()
	if all := jobs(t, box); len(all) != 1 || len(p.left("")) != 0 {
		t.Errorf("%d messages", len(all))
	}
}

// TestNotRemoved: a file that could not be removed after the outbox had it is not sent again, and another one of that name is.
func TestNotRemoved(t *testing.T) {
	for name, store := range intaketest.Outboxes(t) {
		t.Run(name, func(t *testing.T) {
			box := &flaky{Outbox: store(t)}
			p := newPlace(t, Config{}, box)
			p.drop("a.eml", explicit)
			for range 3 { // as if the worker died each time before it removed the file
				if _, m, err := p.door.add(t.Context(), filepath.Join(p.dir, "a.eml"), "a.eml"); err != nil || m.Mailbox != sales {
					t.Fatal(m.Mailbox, err)
				}
			}
			p.look()
			p.drop("a.eml", explicit)
			p.look()
			if all := jobs(t, box); len(all) != 2 {
				t.Errorf("%d messages, want 2", len(all))
			}
		})
	}
}

// TestReplaced: a message that takes the place of one that is just being taken is another one, and is not removed with it.
func TestReplaced(t *testing.T) {
	box := &flaky{Outbox: &outboundtest.Memory{}}
	p := newPlace(t, Config{}, box)
	p.drop("a.eml", explicit+"\r\none\r\n")
	box.after = func() {
		box.after = nil
		p.drop("a.eml", explicit+"\r\ntwo\r\n")
	}
	p.look()
	if left := p.left(""); len(left) != 1 {
		t.Fatalf("left %q", left)
	}
	p.look()
	var got string
	for _, j := range jobs(t, box) {
		got += body(t, box, j)
	}
	if got != "\r\none\r\n\r\ntwo\r\n" || len(p.left("")) != 0 {
		t.Errorf("%q", got)
	}
}

// growing is an outbox that is slow enough for somebody to write into the file.
type growing struct {
	outbound.Outbox
	grow func()
}

// Add implements intake.Outbox.
func (g *growing) Add(ctx context.Context, m outbound.Submission) (string, error) {
	if g.grow != nil {
		g.grow()
		g.grow = nil
	}
	return g.Outbox.Add(ctx, m)
}

// TestWrittenInto: of a file that is not complete although it has such a name nothing is sent until it is.
func TestWrittenInto(t *testing.T) {
	box := &growing{Outbox: &outboundtest.Memory{}}
	p := newPlace(t, Config{}, box)
	p.drop("a.eml", explicit+"\r\none\r\n")
	box.grow = func() {
		f, err := os.OpenFile(filepath.Join(p.dir, "a.eml"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString("two\r\n")
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.door.round(t.Context()); !errors.Is(err, errChanging) {
		t.Errorf("%v", err)
	}
	p.look()
	all := jobs(t, box)
	if len(all) != 1 {
		t.Fatalf("%d messages", len(all))
	}
	if got := body(t, box, all[0]); got != "\r\none\r\ntwo\r\n" {
		t.Errorf("%q", got)
	}
}

// TestOneAtATime: of two that serve a folder one waits until the other is gone.
func TestOneAtATime(t *testing.T) {
	one, other := &outboundtest.Memory{}, &outboundtest.Memory{}
	first := newPlace(t, Config{}, one)
	first.look()
	second := newPlace(t, Config{Path: first.dir, Poll: time.Millisecond}, other)
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := second.door.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	first.drop("a.eml", explicit)
	first.look()
	first.door.release()
	first.drop("b.eml", explicit)
	for len(first.left("")) > 0 && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	cancel()
	serving.Wait()
	if len(jobs(t, one)) != 1 || len(jobs(t, other)) != 1 {
		t.Error("not one message each")
	}
}
