package daemon

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"mailporter/kit/config"
)

// TestMain lets the test binary be the program: a test starts it anew with this variable set.
func TestMain(m *testing.M) {
	if os.Getenv("DAEMON_TEST_PROGRAM") != "" {
		program().Main()
	}
	goleak.VerifyTestMain(m)
}

type settings struct {
	admin string
	mode  string
}

// program is a small but whole App. mode says how it ends: drains (the default), hangs or fails.
func program() App[settings] {
	return App[settings]{
		Name:  "porter",
		About: "carries bags",
		Load: func(path string) (settings, config.Complaints) {
			d := config.Read(path)
			m := d.Root()
			s := settings{admin: m.Address("admin", ""), mode: m.OneOf("mode", "drains", "drains", "hangs", "fails")}
			m.Secret("secret")
			m.Done()
			return s, d.Complaints()
		},
		Admin: func(s settings) string { return s.admin },
		Run:   carry,
		Flags: func(fs *flag.FlagSet) { fs.Bool("heavy", false, "carry more") },
		Drain: 0,
	}
}

func carry(ctx context.Context, f *Frame, s settings) error {
	if s.mode == "fails" {
		return fmt.Errorf("open the door: %w", os.ErrPermission)
	}
	f.OnReload(func() { f.Log.Info("reloaded") })
	f.Health.SetReady("door", nil)
	f.Log.Info("carrying")
	<-ctx.Done()
	if s.mode == "hangs" {
		select {}
	}
	f.Log.Info("put down")
	return ctx.Err()
}
