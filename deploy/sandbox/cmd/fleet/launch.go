package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"mailporter/kit/redisurl"
	"mailporter/sandbox"
	"mailporter/sandbox/internal/stage"
)

// files are the configuration of the broker, as templates over the run.
//
//go:embed files/*.yaml
var files embed.FS

// workerFile is the configuration of one worker.
//
//go:embed worker.yaml
var workerFile string

// Ports are the loopback ports that the programs listen on.
type Ports struct {
	Broker, BrokerAdmin, Redis, Webhook int
}

// What the templates ask for.
func (f *fleet) Authority() string     { return f.provider.Authority() }
func (f *fleet) Host() string          { return strings.TrimPrefix(f.provider.Authority(), "https://") }
func (f *fleet) Tenant() string        { return tenant }
func (f *fleet) Application() string   { return application }
func (f *fleet) Domain() string        { return domain }
func (f *fleet) Protocols() []protocol { return protocols }

// prepare writes certificates and configuration and starts everything, each once the one before is ready.
func (f *fleet) prepare(ctx context.Context) error {
	if err := f.startProvider(); err != nil {
		return err
	}
	f.Boxes = cast()
	if err := stage.FreePorts(&f.Ports.Broker, &f.Ports.BrokerAdmin, &f.Ports.Redis, &f.Ports.Webhook); err != nil {
		return err
	}
	names := []string{"broker"}
	for _, p := range protocols {
		names = append(names, p.Worker())
	}
	if err := f.Certificates(names...); err != nil {
		return err
	}
	if err := errors.Join(f.Templates(files, f), f.Write("tls/sandbox-ca.pem", string(f.provider.CAPEM()))); err != nil {
		return err
	}
	if err := f.startReceiver(); err != nil {
		return err
	}
	if err := f.launchRedis(ctx); err != nil {
		return err
	}
	broker, err := f.launch(ctx, "broker", "broker", f.Ports.BrokerAdmin)
	if broker != nil {
		f.beside = append(f.beside, broker)
	}
	if err != nil {
		return err
	}
	return f.launchWorkers(ctx)
}

func (f *fleet) startProvider() error {
	secret, err := f.Secret("service")
	if err != nil {
		return err
	}
	f.provider, err = sandbox.Start(provider(secret))
	return err
}

func (f *fleet) startReceiver() error {
	key, err := f.Secret("webhook")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", f.Ports.Webhook))
	if err != nil {
		return err
	}
	f.receiver = &receiver{key: []byte(key), kept: map[string]arrived{}}
	f.webhook = &http.Server{Handler: f.receiver}
	go func() { _ = f.webhook.Serve(l) }()
	return nil
}

// launchRedis starts a Redis that has every write in its file before the answer, as a fleet's should.
func (f *fleet) launchRedis(ctx context.Context) error {
	if err := os.MkdirAll(f.Path("redis"), 0o700); err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", f.Ports.Redis)
	p, err := stage.Launch(ctx, string(f.Folder), "redis-server", stage.Pongs(address), "redis-server", "--bind", "127.0.0.1",
		"--port", strconv.Itoa(f.Ports.Redis), "--dir", f.Path("redis"), "--appendonly", "yes", "--appendfsync", "always", "--save", "")
	if p != nil {
		f.beside = append(f.beside, p)
	}
	f.stream = redisurl.Open(&redis.UniversalOptions{Addrs: []string{address}, DB: 1})
	return err
}

// launchWorkers starts as many workers of each protocol as were asked for.
func (f *fleet) launchWorkers(ctx context.Context) error {
	for _, p := range protocols {
		for i := range f.each {
			if err := f.launchWorker(ctx, p.Worker(), fmt.Sprintf("%s-%d", p.Worker(), i+1)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fleet) launchWorker(ctx context.Context, binary, name string) error {
	var admin int
	if err := stage.FreePorts(&admin); err != nil {
		return err
	}
	if err := f.Template(name+".yaml", workerFile, map[string]any{"Fleet": f, "Worker": binary, "Admin": admin}); err != nil {
		return err
	}
	w, err := f.launch(ctx, name, binary, admin)
	if w != nil {
		f.workers = append(f.workers, w)
	}
	return err
}

func (f *fleet) launch(ctx context.Context, name, binary string, admin int) (*stage.Program, error) {
	ready := stage.Answers(fmt.Sprintf("http://127.0.0.1:%d/readyz", admin))
	return stage.Launch(ctx, string(f.Folder), name, ready, filepath.Join(f.bin, binary), "-config", f.Path(name+".yaml"))
}

// Port is that of the server that a mailbox is read from.
func (f *fleet) Port(b box) (string, error) {
	address := strings.TrimPrefix(b.Protocol.server(f.provider), "https://")
	address, _, _ = strings.Cut(address, "/")
	_, port, err := net.SplitHostPort(address)
	return port, err
}
