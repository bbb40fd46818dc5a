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
	if err := d.start(ctx, "sandbox", p.SandboxAdmin, "healthz"); err != nil {
		return err
	}
	if err := d.fetchCA(ctx); err != nil {
		return err
	}
	if err := d.start(ctx, "broker", p.BrokerAdmin, "readyz"); err != nil {
		return err
	}
	for _, protocol := range append([]string{"SMTP"}, fetched...) {
		if err := d.start(ctx, worker(protocol), p.AdminOf(protocol), "readyz"); err != nil {
			return err
		}
	}
	return nil
}

// start starts one of our programs with the file of its name.
func (d *demo) start(ctx context.Context, name string, admin int, page string) error {
	ready := stage.Answers(fmt.Sprintf("http://127.0.0.1:%d/%s", admin, page))
	return d.launch(ctx, name, ready, filepath.Join(d.bin, name), "-config", d.Path(name+".yaml"))
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
