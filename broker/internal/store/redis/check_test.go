package redis

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"mailporter/kit/redistest"
)

// says waits until the broker has logged all of it.
func (f *fleet) says(t *testing.T, want ...string) {
	t.Helper()
	must(t, func(context.Context) error {
		for _, w := range want {
			if got := f.log.String(); !strings.Contains(got, w) {
				return errors.New("no " + w + " in the log:\n" + got)
			}
		}
		return nil
	})
}

func TestWarnsAboutForgetfulServers(t *testing.T) {
	for name, tc := range map[string]struct{ args, want []string }{
		"no file":      {[]string{"--appendonly", "no"}, []string{"setting=appendonly is=no should-be=yes"}},
		"not synced":   {[]string{"--appendfsync", "no"}, []string{"setting=appendfsync is=no should-be=always"}},
		"evicts":       {[]string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, []string{"setting=maxmemory-policy is=allkeys-lru should-be=noeviction"}},
		"all together": {[]string{"--appendonly", "no", "--maxmemory-policy", "allkeys-lru"}, []string{"setting=appendonly", "setting=maxmemory-policy"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, tc.args...)
			f.broker(t)
			f.says(t, tc.want...)
		})
	}
}

// Keys that lapse anyway may be dropped, and then nothing is left to say.
func TestSaysNothingAboutGoodServers(t *testing.T) {
	f := newFleet(t, "--maxmemory-policy", "volatile-ttl")
	s := f.broker(t)
	s.check(t.Context(), slog.New(slog.NewTextHandler(&f.log, nil)))
	if got := f.log.String(); got != "" {
		t.Fatal(got)
	}
}

func TestWarnsAboutUnguardedReplicas(t *testing.T) {
	f := fleetAt(t, redistest.StartSentinel(t).URL())
	f.broker(t)
	f.says(t, "setting=min-replicas-to-write is=0 should-be=1")
}

// A broker that starts before its Redis looks at it later.
func TestLooksOnceRedisAnswers(t *testing.T) {
	f := newFleet(t, "--appendonly", "no")
	f.server.Kill()
	f.broker(t)
	f.says(t, "redis does not answer yet")
	f.server.Restart()
	f.says(t, "setting=appendonly")
}
