package program

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"mailporter/kit/daemon"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/outbound/outboundtest"
	"mailporter/workers/internal/program/programtest"
	"mailporter/workers/internal/setup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// threeDoors is what a worker with all of them has of itself while it opens them.
func threeDoors(t *testing.T) *sending {
	t.Helper()
	frame := daemon.NewFrame("test-worker", slog.New(slog.DiscardHandler))
	frame.Health.Expect("intake")
	rules := intake.Rules{}.WithDefaults()
	in := setup.Intake{
		SMTP:   []setup.SMTPIntake{{Rules: rules, Listen: programtest.FreeAddress(t)}, {Rules: rules, Listen: programtest.FreeAddress(t)}},
		GRPC:   &setup.GRPCIntake{Rules: rules, Listen: programtest.FreeAddress(t)},
		Folder: &setup.FolderIntake{Rules: rules, Path: filepath.Join(t.TempDir(), "drop"), Poll: time.Second},
	}
	return &sending{base: &base{frame: frame, config: setup.Config{Intake: in}}, outbox: &outboundtest.Memory{}, arrivals: newArrivals(prometheus.NewRegistry())}
}

func ready(w *sending) bool {
	for _, c := range w.frame.Health.Checks() {
		if c.Name == "intake" {
			return c.Err == nil
		}
	}
	return false
}

// TestDoorsOpenAndClose: all are open when the intake is ready, and shut when the worker is told to end.
func TestDoorsOpenAndClose(t *testing.T) {
	w := threeDoors(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.doors(ctx, &intake.Senders{}) }()
	programtest.WaitFor(t, "readiness", func() bool { return ready(w) })
	in := w.config.Intake
	for _, address := range []string{in.SMTP[0].Listen, in.SMTP[1].Listen, in.GRPC.Listen} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if info, err := os.Stat(in.Folder.Path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	mustBeFree(t, in.SMTP[0].Listen, in.SMTP[1].Listen, in.GRPC.Listen)
}

// mustBeFree: nobody listens there.
func mustBeFree(t *testing.T, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			continue
		}
		_ = l.Close()
	}
}

// TestDoorsThatDoNotOpen: one of them ends all, is named, and the worker is not ready.
func TestDoorsThatDoNotOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*setup.Intake){
		"smtp":   func(in *setup.Intake) { in.SMTP[1].Listen = taken.Addr().String() },
		"grpc":   func(in *setup.Intake) { in.GRPC.Listen = taken.Addr().String() },
		"folder": func(in *setup.Intake) { in.Folder.Path = file },
	} {
		t.Run(name, func(t *testing.T) {
			w := threeDoors(t)
			free := []string{w.config.Intake.SMTP[0].Listen, w.config.Intake.GRPC.Listen}
			spoil(&w.config.Intake)
			err := w.doors(t.Context(), &intake.Senders{})
			if err == nil || !strings.HasPrefix(err.Error(), name+": ") || ready(w) {
				t.Errorf("%v, ready: %v", err, ready(w))
			}
			mustBeFree(t, free...)
		})
	}
}
