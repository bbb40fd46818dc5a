package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/internal/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func lot() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// rowOf finds a row by protocol, step and attack.
func rowOf(t *testing.T, protocol, name string, h how) row {
	t.Helper()
	for _, p := range protocols {
		for _, r := range p.rows() {
			if p.Name == protocol && r.step.name == name && r.how == h {
				return r
			}
		}
	}
	t.Fatalf("no row %s, %s, %s", protocol, name, h)
	return row{}
}

// TestRules: the sandbox knows every step, and what is to happen there.
func TestRules(t *testing.T) {
	addresses := map[string]bool{}
	for _, p := range protocols {
		for _, r := range p.rows() {
			if addresses[r.Address] {
				t.Errorf("two rows are %s", r.Address)
			}
			addresses[r.Address] = true
			if r.step.door != 0 {
				continue
			}
			rules := []fault.Rule{r.rule(lot())}
			if r.step.lead != nil {
				rules = append(rules, *r.step.lead)
			}
			for _, f := range rules {
				if err := f.Validate(); err != nil {
					t.Errorf("%s, %s, %s: %v", p.Name, r.step.name, r.how, err)
				}
			}
		}
	}
}

func TestActions(t *testing.T) {
	for _, c := range []struct {
		protocol, step string
		how            how
		want           fault.Action
	}{
		{"SMTP", "MAIL", cut, fault.Reset},
		{"SMTP", "MAIL", killed, fault.Stall},
		{"SMTP", "final dot, taken", cut, fault.LoseAnswer},
		{"SMTP", "final dot, taken", killed, fault.Stall},
		{"GRAPH", "send, sent", cut, fault.LoseAnswer},
		{"GRAPH", "send, sent", killed, fault.HoldAnswer},
		{"EWS", "SendItem, not sent", killed, fault.Stall},
		{"EWS", "SendItem, 504 though sent", cut, fault.LoseAnswer},
	} {
		r := rowOf(t, c.protocol, c.step, c.how)
		f := r.rule(lot())
		if f.Action != c.want || f.Mailbox != r.Address || f.Count != 1 {
			t.Errorf("%s, %s, %s: %+v, want %s", c.protocol, c.step, c.how, f, c.want)
		}
	}
	if f := rowOf(t, "SMTP", "STARTTLS", cut).rule(lot()); f.Mailbox != "" {
		t.Errorf("nobody has logged in before TLS: %+v", f)
	}
}

func TestLetters(t *testing.T) {
	seen, large := map[[32]byte]bool{}, false
	for _, p := range protocols {
		for _, r := range p.rows() {
			if r.step.large && large {
				continue // one row of them is enough to wait for
			}
			large = large || r.step.large
			for _, l := range letters(r, 10, lot()) {
				for attempt := range 2 {
					key := l.key(attempt)
					raw := l.write(key)
					sum := stage.Digest(raw)
					switch {
					case seen[sum]:
						t.Fatalf("two submissions are alike: %s", key)
					case keyOf(raw) != key:
						t.Fatalf("the key is %q, want %q", keyOf(raw), key)
					case len(raw) <= shortest:
						t.Errorf("%d bytes: a link cannot be cut inside", len(raw))
					case !strings.HasSuffix(string(raw), "\r\n"):
						t.Errorf("%s ends within a line", key)
					}
					seen[sum] = true
				}
			}
		}
	}
	again := letters(rowOf(t, "EWS", "look-up", cut), 30, lot())
	for i, l := range letters(rowOf(t, "EWS", "look-up", cut), 30, lot()) {
		if l.body != again[i].body || !slices.Equal(l.to, again[i].to) {
			t.Error("the same seed draws other letters")
		}
	}
}

// TestOutcome: what became of a submission to two readers.
func TestOutcome(t *testing.T) {
	r := rowOf(t, "SMTP", "final dot, taken", cut)
	l := letters(r, 1, lot())[0]
	l.to, l.named = []string{reader(1), reader(2)}, 2
	key := l.key(0)
	whole := l.write(key)
	answered := submission{letter: l, key: key, id: "7", digest: stage.Digest(whole)}
	unanswered, partial := answered, answered
	unanswered.id = ""
	partial.id, partial.partial = "", true
	for name, c := range map[string]struct {
		of    submission
		at    []int // readers that have it
		bytes []byte
		want  outcome
	}{
		"arrived":                     {answered, []int{1, 2}, whole, outcome{messages: 1, arrived: 1}},
		"lost":                        {answered, nil, whole, outcome{messages: 1, lost: 1}},
		"lost for one":                {answered, []int{2}, whole, outcome{messages: 1, lost: 1}},
		"doubled and marked":          {answered, []int{1, 2, 2}, whole, outcome{messages: 1, arrived: 1, doubled: 1, marked: 1}},
		"altered":                     {answered, []int{1, 2}, append(slices.Clone(whole), 'x'), outcome{messages: 1, arrived: 1, altered: 1}},
		"at somebody else":            {answered, []int{1, 2, 3}, whole, outcome{messages: 1, arrived: 1, altered: 1}},
		"unanswered, not taken":       {unanswered, nil, whole, outcome{}},
		"unanswered, taken":           {unanswered, []int{1, 2}, whole, outcome{repeated: 1}},
		"never whole":                 {partial, nil, whole, outcome{}},
		"never whole, and it arrived": {partial, []int{1, 2}, whole, outcome{repeated: 1, altered: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			found := arrived{}
			for _, i := range c.at {
				found.add(reader(i), c.bytes)
			}
			if got := c.of.outcome(found.copies(c.of), marks{"7": true}); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if n := found.alien([]submission{c.of}); n != 0 {
				t.Errorf("%d aliens", n)
			}
		})
	}
	found := arrived{}
	found.add(reader(1), []byte("Subject: who am I\r\n\r\n"))
	if n := found.alien([]submission{answered}); n != 1 {
		t.Errorf("%d aliens, want 1", n)
	}
}

// TestCount: a message that came twice and whose submitter had no answer is told of under a name that nobody knows.
func TestCount(t *testing.T) {
	r := rowOf(t, "SMTP", "MAIL", killed)
	l := letters(r, 1, lot())[0]
	found, result := arrived{}, result{of: map[string]outcome{}}
	var all []submission
	for attempt, id := range []string{"", "", "7", "8"} {
		key := l.key(attempt)
		raw := l.write(key)
		all = append(all, submission{letter: l, key: key, id: id, digest: stage.Digest(raw)})
		for _, to := range l.to {
			found.add(to, raw)
			found.add(to, raw)
		}
	}
	result.count("SMTP", all, found, marks{"7": true, "99": true})
	result.count("EWS", all, found, marks{})
	want := outcome{messages: 2, arrived: 2, doubled: 4, marked: 2, repeated: 2}
	if got := result.of[r.Address]; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestJudge(t *testing.T) {
	asked := rowOf(t, "SMTP", "final dot, taken; sent-items: auto", cut)
	smtp, hold, graph := rowOf(t, "SMTP", "final dot, taken", cut), rowOf(t, "SMTP", "final dot, taken; on-unknown: hold", cut), rowOf(t, "GRAPH", "send, sent", killed)
	for name, c := range map[string]struct {
		at    row
		o     outcome
		alien int
		want  string // in the error; empty = fine
	}{
		"all well":            {smtp, outcome{messages: 9, arrived: 9}, 0, ""},
		"lost":                {graph, outcome{lost: 1}, 0, "GRAPH, send, sent, killed: 1 messages were lost"},
		"altered":             {smtp, outcome{altered: 2}, 0, "2 messages were altered"},
		"doubled and marked":  {smtp, outcome{doubled: 2, marked: 2}, 0, ""},
		"doubled in silence":  {smtp, outcome{doubled: 3, marked: 2}, 0, "1 messages were doubled, and nobody was told"},
		"doubled though held": {hold, outcome{doubled: 1, marked: 1}, 0, "were to be held"},
		"doubled though kept": {asked, outcome{doubled: 1, marked: 1}, 0, "could be found"},
		"doubled over Graph":  {graph, outcome{doubled: 1, marked: 1}, 0, "can be asked"},
		"of nobody":           {smtp, outcome{}, 1, "1 messages arrived that nobody handed in"},
		"handed in again":     {smtp, outcome{repeated: 5}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := result{rows: []row{smtp, asked, hold, graph}, of: map[string]outcome{c.at.Address: c.o}, alien: c.alien}.judge()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestUsage: what cannot be run is said at once.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-messages", "10"}, {"-workers", "0"}, {"-for", "soon"}} {
		var out, complaint strings.Builder
		if code := run(t.Context(), args, &out, &complaint); code != 2 || complaint.Len() == 0 || out.Len() > 0 {
			t.Errorf("%v: exit %d, %q", args, code, complaint.String())
		}
	}
}

func TestSummary(t *testing.T) {
	smtp, graph := rowOf(t, "SMTP", "final dot, taken", cut), rowOf(t, "GRAPH", "send, sent", killed)
	for want, of := range map[string]map[string]outcome{
		"sweep: sent 9 messages over 3 protocols, 4 cuts, 5 kills, 0 lost, 0 doubled":                                     {smtp.Address: {arrived: 9, hits: 4}, graph.Address: {hits: 5}},
		"sweep: sent 9 messages over 3 protocols, 4 cuts, 5 kills, 0 lost, 2 doubled (SMTP only, each marked)":            {smtp.Address: {arrived: 9, hits: 4, doubled: 2, marked: 2}},
		"sweep: sent 9 messages over 3 protocols, 4 cuts, 5 kills, 1 lost, 3 doubled (1 of them not over SMTP, 2 marked)": {smtp.Address: {arrived: 9, hits: 4, doubled: 2, marked: 2, lost: 1}, graph.Address: {doubled: 1}},
		"sweep: sent 9 messages over 3 protocols, 4 cuts, 5 kills, 0 lost, 2 doubled (0 of them not over SMTP, 1 marked)": {smtp.Address: {arrived: 9, hits: 4, doubled: 2, marked: 1}},
	} {
		if got := (result{rows: []row{smtp, graph}, of: of}).summary(5); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func TestMarks(t *testing.T) {
	log := `{"time":"2026-01-05T09:30:00Z","level":"WARN","msg":"message sent again: an earlier attempt ended without an answer","mailbox":"a@x.example","id":"17"}
{"level":"INFO","msg":"message sent","id":"18"}
{"level":"WARN","msg":"message sent again: an ear
{"level":"WARN","msg":"message sent again: an earlier attempt ended without an answer","id":"19"}
`
	m := marks{}
	if err := m.read(strings.NewReader(log)); err != nil || len(m) != 2 || !m["17"] || !m["19"] {
		t.Errorf("%v, %v", m, err)
	}
	if n := m.strangers(map[string]submission{"17": {}}); n != 1 {
		t.Errorf("%d strangers, want 1", n)
	}
}

// TestHandIn: what a submitter may conclude from how far he came.
func TestHandIn(t *testing.T) {
	raw := []byte("Subject: x\r\n\r\n.dots\r\n")
	for name, c := range map[string]struct {
		answers []string // to each line that is no part of the message; the last one is to the final dot
		id      string
		handed  bool
		fails   bool
	}{
		"taken":          {[]string{"220 hello", "250 hi", "250 ok", "250 ok", "354 go", "250 2.0.0 Queued as 17"}, "17", true, false},
		"sender refused": {[]string{"220 hello", "250 hi", "550 5.7.1 no"}, "", false, true},
		"not now":        {[]string{"220 hello", "250 hi", "250 ok", "250 ok", "451 4.3.0 later"}, "", false, true},
		"refused":        {[]string{"220 hello", "250 hi", "250 ok", "250 ok", "354 go", "554 5.6.0 no"}, "", true, true},
		"no answer":      {[]string{"220 hello", "250 hi", "250 ok", "250 ok", "354 go"}, "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := knock(t.Context(), intake(t, c.answers))
			if err != nil {
				t.Fatal(err)
			}
			defer d.text.Close()
			var moments []moment
			id, handed, err := d.handIn("a@x.example", []string{"b@x.example"}, raw, func(m moment) { moments = append(moments, m) })
			if id != c.id || handed != c.handed || (err != nil) != c.fails {
				t.Errorf("id %q, handed %v, %v", id, handed, err)
			}
			if want := map[bool]int{true: 2, false: 0}[handed]; len(moments) != want {
				t.Errorf("moments %v", moments)
			}
		})
	}
}

// intake answers one client as it is told to and hangs up.
func intake(t *testing.T, answers []string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		lines := bufio.NewScanner(c)
		for i, answer := range answers {
			if i > 0 {
				await(lines, strings.HasPrefix(answers[i-1], "354"))
			}
			fmt.Fprintf(c, "%s\r\n", answer)
		}
		await(lines, strings.HasPrefix(answers[len(answers)-1], "354"))
	}()
	return l.Addr().String()
}

// await reads a line, or a message to its dot.
func await(lines *bufio.Scanner, message bool) {
	for lines.Scan() && message && lines.Text() != "." {
		continue
	}
}
