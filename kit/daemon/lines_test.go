package daemon

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// lines is a log whose lines can be waited for.
type lines chan string

func newLines() lines { return make(lines, 100) }

func (l lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// await drops lines up to one with text, and returns that.
func (l lines) await(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(poll / 2)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			t.Fatalf("no log line %q", text)
		}
	}
}
