package redact_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailporter/workers/internal/redact"
)

func TestText(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":              {"451 4.7.0 try again in 5 minutes", "451 4.7.0 try again in 5 minutes"},
		"Exchange Online":      {"550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient ann@elsewhere.example not found", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient [address] not found"},
		"Postfix":              {"550 5.1.1 <ann@elsewhere.example>: Recipient address rejected", "550 5.1.1 <[address]>: Recipient address rejected"},
		"Graph":                {"At least one recipient isn't valid., 'ann@elsewhere.example', 'bob@elsewhere.example'", "At least one recipient isn't valid., '[address]', '[address]'"},
		"the own one":          {"550 5.7.60 support@contoso.example may not send as Sales@Contoso.example.", "550 5.7.60 support@contoso.example may not send as [address]"},
		"the own one, written": {"see SUPPORT@contoso.example.", "see SUPPORT@contoso.example."},
		"in a URL":             {"see https://help.example/?user=ann%40elsewhere.example&x=1", "see https:[address]"},
		"SRS":                  {"ann+40elsewhere.example=40x", "[address]"},
		"VERP":                 {"bounce-17-ann=elsewhere.example@lists.example", "[address]"},
		"quotes":               {`550 "ann.lee"@elsewhere.example`, "550 [address]"},
		"not of ASCII":         {"550 五@例.example nicht da", "550 [address] nicht da"},
		"no domain":            {"<ann@> syntax", "<[address]> syntax"},
		"a message id":         {"message <17.x@host.example> queued", "message <[address]> queued"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := redact.Text(c.text, "support@contoso.example"); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

type own struct{}

func (own) LogValue() slog.Value { return slog.StringValue("late ann@elsewhere.example") }

func TestHandler(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(redact.Handler(slog.NewJSONHandler(&b, nil))).With("mailbox", "support@contoso.example", "note", "ann@elsewhere.example")
	refused := errors.New("550 5.1.1 <ann@elsewhere.example>, said support@contoso.example")
	log.WithGroup("g").Warn("message not sent to ann@elsewhere.example", "error", fmt.Errorf("send: %w", refused), "took", time.Second, "n", 7,
		"list", []string{"ann@elsewhere.example"}, slog.Group("more", "who", "ann@elsewhere.example"), "late", own{}, "plain", []int{1, 2})
	log.Info("twice", "mailbox", "sales@contoso.example", "why", "sales@contoso.example and support@contoso.example and ann@elsewhere.example")
	got := b.String()
	for _, want := range []string{
		`"msg":"message not sent to [address]"`, `"mailbox":"support@contoso.example"`, `550 5.1.1 <[address]>, said support@contoso.example`, `"took":1000000000`, `"n":7`,
		`"plain":[1,2]`, `"late":"late [address]"`, `"mailbox":"sales@contoso.example"`, `sales@contoso.example and support@contoso.example and [address]`,
	} {
		if !strings.Contains(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(got), want) {
			t.Errorf("%s is missing in %s", want, got)
		}
	}
	if strings.Contains(got, "elsewhere") {
		t.Error(got)
	}
	if redact.Handler(slog.DiscardHandler).Enabled(t.Context(), slog.LevelError) {
		t.Error("what goes nowhere is enabled")
	}
}

// FuzzText: whatever a server says, no @ is left but in the own address.
func FuzzText(f *testing.F) {
	for _, s := range []string{"550 <ann@elsewhere.example>", "@", "a@b@c", "support@contoso.example", `"a b"@c`, "x%40y", "＠"} {
		f.Add(s)
	}
	const mailbox = "support@contoso.example"
	self := regexp.MustCompile("(?i)" + regexp.QuoteMeta(mailbox))
	f.Fuzz(func(t *testing.T, s string) {
		left := self.ReplaceAllString(redact.Text(s, mailbox), "")
		if strings.ContainsAny(left, "@＠") || strings.Contains(left, "%40") || redact.Text(redact.Text(s), mailbox) != redact.Text(s) {
			t.Errorf("%q became %q", s, redact.Text(s, mailbox))
		}
	})
}
