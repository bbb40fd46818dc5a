package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"mailporter/sandbox/internal/stage"
)

// launchAll starts the programs in the order in which they need each other.
func (d *demo) launchAll(ctx context.Context) error {
	p := d.Ports
	if d.redis {
		if err := d.launchRedis(ctx); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		name  string
		ready string
		after func(context.Context) error
	}{
		{"sandbox", fmt.Sprintf("http://127.0.0.1:%d/healthz", p.SandboxAdmin), d.fetchCA},
		{"broker", fmt.Sprintf("http://127.0.0.1:%d/readyz", p.BrokerAdmin), nil},
		{"imap-worker", fmt.Sprintf("http://127.0.0.1:%d/readyz", p.IMAPAdmin), nil},
		{"smtp-worker", fmt.Sprintf("http://127.0.0.1:%d/readyz", p.SMTPAdmin), nil},
	} {
		if err := d.launch(ctx, s.name, stage.Answers(s.ready), filepath.Join(d.bin, s.name), "-config", d.Path(s.name+".yaml")); err != nil {
			return err
		}
		if s.after != nil {
			if err := s.after(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *demo) launch(ctx context.Context, name string, ready func(context.Context) bool, argv ...string) error {
	p, err := stage.Launch(ctx, string(d.Folder), name, ready, argv...)
	if p != nil {
		d.programs = append(d.programs, p)
	}
	return err
}

// launchRedis starts a Redis that forgets nothing when it is killed: every write is in its file before the answer.
func (d *demo) launchRedis(ctx context.Context) error {
	if err := os.MkdirAll(d.Path("redis"), 0o700); err != nil {
		return err
	}
	// A store that several brokers may share needs its keyset before the first start.
	keyset := exec.CommandContext(ctx, filepath.Join(d.bin, "brokerctl"), "keyset", "new", d.Path("secrets/keyset.json"))
	if out, err := keyset.CombinedOutput(); err != nil {
		return fmt.Errorf("make a keyset: %w: %s", err, out)
	}
	return d.launch(ctx, "redis-server", stage.Pongs(fmt.Sprintf("127.0.0.1:%d", d.Ports.Redis)),
		"redis-server", "--bind", "127.0.0.1", "--port", fmt.Sprint(d.Ports.Redis), "--dir", d.Path("redis"),
		"--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction")
}

func (d *demo) fetchCA(ctx context.Context) error {
	return stage.FetchCA(ctx, d.Ports.SandboxAdmin, d.Folder)
}
