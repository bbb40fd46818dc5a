package program

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"mailporter/kit/tokenclient"
)

// TestEveryProgramKeepsQuiet: what stands before the log of each kind of program lets no correspondent pass.
func TestEveryProgramKeepsQuiet(t *testing.T) {
	for name, wrap := range map[string]func(slog.Handler) slog.Handler{
		"fetches": Inbound{Protocol: tokenclient.IMAP}.App().Log,
		"sends":   Outbound{Protocol: tokenclient.SMTP}.App().Log,
		"both":    Both{Protocol: tokenclient.Graph}.App().Log,
	} {
		t.Run(name, func(t *testing.T) {
			if wrap == nil {
				t.Fatal("nothing stands before the log")
			}
			var b bytes.Buffer
			slog.New(wrap(slog.NewTextHandler(&b, nil))).Warn("quarantined a message", "mailbox", "support@contoso.example", "reason", "554 5.7.1 <ann@elsewhere.example> is not welcome")
			if got := b.String(); strings.Contains(got, "elsewhere") || !strings.Contains(got, "support@contoso.example") || !strings.Contains(got, "554 5.7.1") {
				t.Error(got)
			}
		})
	}
}
