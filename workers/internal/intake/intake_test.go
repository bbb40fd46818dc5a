package intake_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/mail"
)

const (
	support = "Support@contoso.example"
	sales   = "sales@contoso.example"
)

func senders() *intake.Senders {
	s := &intake.Senders{}
	s.Set([]tokenclient.Settings{
		{Mailbox: support, Outbound: tokenclient.OutboundSettings{SenderAliases: []string{"help@contoso.example", "*@old.example"}}},
		{Mailbox: sales, Outbound: tokenclient.OutboundSettings{SenderAliases: []string{"help@contoso.example", "support@contoso.example", "*@old.example"}}},
	})
	return s
}

func reason(err error) intake.Reason {
	if r := intake.AsRefusal(err); r != nil {
		return r.Reason
	}
	return ""
}

// TestMailbox: who sends for an address, and who may ask for it.
func TestMailbox(t *testing.T) {
	all := intake.Submitter{}
	limited := intake.Submitter{Name: "crm", Senders: []string{"*@Contoso.example"}}
	one := intake.Submitter{Name: "scanner", Senders: []string{"Sales@contoso.example"}}
	for name, tc := range map[string]struct {
		by   intake.Submitter
		from string
		null string
		want string
		why  intake.Reason
	}{
		"its own address":         {all, "support@CONTOSO.example", "", support, ""},
		"the first with an alias": {all, "help@contoso.example", "", support, ""},
		"a domain's":              {all, "anybody@old.example", "", support, ""},
		"a stranger":              {all, "eve@contoso.example", "", "", intake.SenderUnknown},
		"no address":              {all, "support", "", "", intake.SenderUnknown},
		"nobody":                  {all, "", "", "", intake.SenderMissing},
		"nobody, who is somebody": {all, "", sales, sales, ""},
		"within the limits":       {limited, "help@contoso.example", "", support, ""},
		"outside of the limits":   {limited, "a@old.example", "", "", intake.SenderForbidden},
		"a subdomain":             {intake.Submitter{Senders: []string{"*@example"}}, sales, "", "", intake.SenderForbidden},
		"exactly one":             {one, sales, "", sales, ""},
		"another one":             {one, support, "", "", intake.SenderForbidden},
		"nobody, within limits":   {one, "", sales, sales, ""},
		"nobody, outside":         {one, "", support, "", intake.SenderForbidden},
		"nothing allowed":         {intake.Submitter{Senders: []string{}}, sales, "", "", intake.SenderForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := intake.Rules{NullSender: tc.null}.Mailbox(senders(), tc.by, tc.from)
			if got != tc.want || reason(err) != tc.why || (err == nil) != (tc.why == "") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestNamed: the submitter picks one of the mailboxes that send for the address.
func TestNamed(t *testing.T) {
	one := intake.Submitter{Senders: []string{sales}}
	for name, tc := range map[string]struct {
		by            intake.Submitter
		mailbox, from string
		want          string
		why           intake.Reason
	}{
		"the first":                {intake.Submitter{}, support, "help@contoso.example", support, ""},
		"the second":               {intake.Submitter{}, "SALES@contoso.example", "help@contoso.example", sales, ""},
		"by its domain":            {intake.Submitter{}, sales, "a@old.example", sales, ""},
		"another's own address":    {intake.Submitter{}, sales, "support@contoso.example", sales, ""}, // it is its alias too
		"an address of the others": {intake.Submitter{}, support, sales, "", intake.SenderUnknown},
		"no such mailbox":          {intake.Submitter{}, "eve@contoso.example", "eve@contoso.example", "", intake.SenderUnknown},
		"an alias is no mailbox":   {intake.Submitter{}, "help@contoso.example", "help@contoso.example", "", intake.SenderUnknown},
		"the null sender":          {intake.Submitter{}, "support@contoso.example", "", support, ""},
		"null sender, limited":     {one, sales, "", sales, ""},
		"null sender, outside":     {one, support, "", "", intake.SenderForbidden},
		"outside":                  {one, sales, "help@contoso.example", "", intake.SenderForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := intake.Rules{}.Named(senders(), tc.by, tc.mailbox, tc.from)
			if got != tc.want || reason(err) != tc.why {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestNotKnownYet: until the broker has answered nobody is refused for good.
func TestNotKnownYet(t *testing.T) {
	_, err := intake.Rules{}.Mailbox(&intake.Senders{}, intake.Submitter{}, sales)
	_, named := intake.Rules{}.Named(&intake.Senders{}, intake.Submitter{}, sales, sales)
	if reason(err) != intake.MailboxesUnknown || reason(named) != intake.MailboxesUnknown {
		t.Errorf("%v, %v", err, named)
	}
}

func TestCheck(t *testing.T) {
	const a, b, c = "a@x.example", "b@x.example", "c@x.example"
	to := func(all ...string) (r []mail.Recipient) {
		for _, x := range all {
			r = append(r, mail.Recipient{Address: x})
		}
		return r
	}
	for name, tc := range map[string]struct {
		e    mail.Envelope
		why  intake.Reason
		left int
	}{
		"fine":                 {mail.Envelope{From: a, Recipients: to(a, b), Return: "HDRS", ID: "QQ+2B1"}, "", 2},
		"twice":                {mail.Envelope{From: a, Recipients: to(a, b, a, a)}, "", 2},
		"the null sender":      {mail.Envelope{Recipients: to(a)}, "", 1},
		"nobody":               {mail.Envelope{From: a}, intake.NoRecipients, 0},
		"too many":             {mail.Envelope{From: a, Recipients: to(a, b, c)}, intake.TooManyRecipients, 0},
		"no sender address":    {mail.Envelope{From: "a", Recipients: to(a)}, intake.AddressInvalid, 0},
		"no recipient address": {mail.Envelope{From: a, Recipients: to("a b@x")}, intake.AddressInvalid, 0},
		"two commands in one":  {mail.Envelope{From: a, Recipients: to("a@x>\r\nRCPT TO:<b@x")}, intake.AddressInvalid, 0},
		"beyond ASCII":         {mail.Envelope{From: a, Recipients: to("ü@x.example")}, intake.AddressInvalid, 0},
		"beyond ASCII, said":   {mail.Envelope{From: a, Recipients: to("ü@x.example"), UTF8: true}, "", 1},
		"RET":                  {mail.Envelope{From: a, Recipients: to(a), Return: "ALL"}, intake.EnvelopeInvalid, 0},
		"ENVID with a blank":   {mail.Envelope{From: a, Recipients: to(a), ID: "a b"}, intake.EnvelopeInvalid, 0},
		"ENVID too long":       {mail.Envelope{From: a, Recipients: to(a), ID: strings.Repeat("x", 101)}, intake.EnvelopeInvalid, 0},
		"NOTIFY":               {mail.Envelope{From: a, Recipients: []mail.Recipient{{Address: a, Notify: "NEVER,DELAY"}}}, intake.EnvelopeInvalid, 0},
		"ORCPT":                {mail.Envelope{From: a, Recipients: []mail.Recipient{{Address: a, Original: "rfc822;a\r\n"}}}, intake.EnvelopeInvalid, 0},
		"ORCPT of no type":     {mail.Envelope{From: a, Recipients: []mail.Recipient{{Address: a, Original: "a"}}}, intake.EnvelopeInvalid, 0},
	} {
		t.Run(name, func(t *testing.T) {
			err := intake.Rules{MaxRecipients: 2}.Check(&tc.e)
			if reason(err) != tc.why || err == nil && len(tc.e.Recipients) != tc.left {
				t.Errorf("%v, %+v", err, tc.e)
			}
		})
	}
}

// A header may hold half a million addresses: to compare each with each would take minutes.
func TestCheckManyRecipients(t *testing.T) {
	var e mail.Envelope
	for i := range 500_000 {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: strconv.Itoa(i) + "@x"})
	}
	if err := (intake.Rules{MaxRecipients: 1000}).Check(&e); reason(err) != intake.TooManyRecipients {
		t.Error(err)
	}
}

func TestGuard(t *testing.T) {
	rules := intake.Rules{MaxSize: 1000, MaxHops: 2}.WithDefaults()
	for name, tc := range map[string]struct {
		message string
		why     intake.Reason
	}{
		"nothing":           {"", ""},
		"a message":         {"Subject: a\r\n\r\nb\r\n", ""},
		"no line end":       {"Subject: a\r\n\r\nb", ""},
		"just fits":         {strings.Repeat("x", 1000), ""},
		"one byte more":     {strings.Repeat("x", 1001), intake.TooLarge},
		"CR":                {"a\rb\r\n", intake.LoneLineEnd},
		"CR at the end":     {"a\r", intake.LoneLineEnd},
		"two CRs":           {"a\r\r\n", intake.LoneLineEnd},
		"LF":                {"a\n", intake.LoneLineEnd},
		"LF first":          {"\na\r\n", intake.LoneLineEnd},
		"two hops":          {strings.Repeat("RECEIVED: x\r\n", 2) + "\r\n", ""},
		"three hops":        {strings.Repeat("Received: x\r\n\ty\r\n", 3), intake.Loop},
		"not in the body":   {"\r\n" + strings.Repeat("Received: x\r\n", 3), ""},
		"not within a line": {strings.Repeat("X-Received: x\r\n Received: y\r\n", 3), ""},
		"nearly":            {strings.Repeat("Received\r\nReceive:\r\n", 3), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for way, r := range map[string]io.Reader{
				"whole": strings.NewReader(tc.message), "a byte a time": iotest.OneByteReader(strings.NewReader(tc.message)), "with the end": iotest.DataErrReader(strings.NewReader(tc.message)),
			} {
				got, err := io.ReadAll(rules.Guard(r))
				if reason(err) != tc.why || err == nil && string(got) != tc.message {
					t.Errorf("%s: %q, %v", way, got, err)
				}
			}
		})
	}
}

func TestGuardPassesErrors(t *testing.T) {
	gone := errors.New("the line is gone")
	if _, err := io.ReadAll(intake.Rules{}.WithDefaults().Guard(iotest.ErrReader(gone))); !errors.Is(err, gone) {
		t.Error(err)
	}
}

// TestAwkward: what the guard lets pass is what has no line end of its own, and it alters nothing.
func TestAwkward(t *testing.T) {
	rules := intake.Rules{}.WithDefaults()
	for name, raw := range inboundtest.Awkward() {
		got, err := io.ReadAll(rules.Guard(bytes.NewReader(raw)))
		if inboundtest.Lone(raw) != (reason(err) == intake.LoneLineEnd) || err == nil && !bytes.Equal(got, raw) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzGuard: whatever the message and the pieces that it comes in, the guard says what looking at the whole says.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{"Received: a\r\n\r\n", "a\r\nb\n", "\r", "received:\r\nReceived:\r\nRECEIVED:x\r\n", "a\r\r\n"} {
		f.Add([]byte(s), uint8(3))
	}
	rules := intake.Rules{MaxSize: 200, MaxHops: 1}
	f.Fuzz(func(t *testing.T, raw []byte, n uint8) {
		i := rules.Inspect()
		for piece := range slices.Chunk(raw, int(n)+1) {
			i.Look(piece)
		}
		header, _, _ := bytes.Cut(append([]byte("\r\n"), raw...), []byte("\r\n\r\n"))
		hops := strings.Count(strings.ToLower(string(header)), "\r\nreceived:")
		bad := len(raw) > 200 || inboundtest.Lone(raw) || hops > 1
		if got := i.End(); (got != nil) != bad {
			t.Errorf("%q: %v", raw, got)
		}
	})
}

func TestEnvelopeKeepsTheFirst(t *testing.T) {
	e := mail.Envelope{From: sales, Recipients: []mail.Recipient{{Address: "a@x", Notify: "NEVER"}, {Address: "a@x"}}}
	if err := (intake.Rules{}).WithDefaults().Check(&e); err != nil || !reflect.DeepEqual(e.Recipients, []mail.Recipient{{Address: "a@x", Notify: "NEVER"}}) {
		t.Errorf("%+v, %v", e, err)
	}
}
