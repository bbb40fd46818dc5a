package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

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
	Broker, BrokerAdmin, Redis int
}

// What the templates ask for.
func (s *sweep) Authority() string     { return s.provider.Authority() }
func (s *sweep) Host() string          { return strings.TrimPrefix(s.provider.Authority(), "https://") }
func (s *sweep) Tenant() string        { return tenant }
func (s *sweep) Application() string   { return application }
func (s *sweep) Domain() string        { return domain }
func (s *sweep) Protocols() []protocol { return protocols }

// Rows are those of all protocols.
func (s *sweep) Rows() (all []row) {
	for _, p := range protocols {
		all = append(all, p.rows()...)
	}
	return all
}

// crew are the workers of one protocol. They die together: nobody knows which of them holds the request that is left
// without an answer.
type crew struct {
	workers []*worker

	mu    sync.Mutex // held while they are killed
	kills int
}

// worker is one process that sends.
type worker struct {
	*stage.Program
	admin, intake string // addresses
}

// prepare writes certificates and configuration and starts everything, each once the one before is ready.
func (s *sweep) prepare(ctx context.Context) error {
	if err := s.startProvider(); err != nil {
		return err
	}
	if err := stage.FreePorts(&s.Ports.Broker, &s.Ports.BrokerAdmin, &s.Ports.Redis); err != nil {
		return err
	}
	names := []string{"broker"}
	for _, p := range protocols {
		names = append(names, p.Worker())
	}
	if err := errors.Join(s.Certificates(names...), s.Templates(files, s), s.Write("tls/sandbox-ca.pem", string(s.provider.CAPEM()))); err != nil {
		return err
	}
	if s.each > 1 {
		if err := s.launchRedis(ctx); err != nil {
			return err
		}
	}
	broker, err := s.launch(ctx, "broker", "broker", fmt.Sprintf("127.0.0.1:%d", s.Ports.BrokerAdmin))
	if broker != nil {
		s.beside = append(s.beside, broker)
	}
	if err != nil {
		return err
	}
	return s.launchCrews(ctx)
}

func (s *sweep) startProvider() error {
	secret, err := s.Secret("service")
	if err != nil {
		return err
	}
	s.provider, err = sandbox.Start(provider(secret))
	return err
}

// launchRedis starts a Redis that has every write in its file before the answer, as one that keeps mail should.
func (s *sweep) launchRedis(ctx context.Context) error {
	if err := os.MkdirAll(s.Path("redis"), 0o700); err != nil {
		return err
	}
	p, err := stage.Launch(ctx, string(s.Folder), "redis-server", stage.Pongs(fmt.Sprintf("127.0.0.1:%d", s.Ports.Redis)), "redis-server",
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.Ports.Redis), "--dir", s.Path("redis"), "--appendonly", "yes", "--appendfsync", "always", "--save", "")
	if p != nil {
		s.beside = append(s.beside, p)
	}
	return err
}

// launchCrews starts as many workers of each protocol as were asked for.
func (s *sweep) launchCrews(ctx context.Context) error {
	for db, p := range protocols {
		c := &crew{}
		s.crews[p.Name] = c
		for i := range s.each {
			name, state := p.Worker(), "file:"+p.Worker()+"-state"
			if s.each > 1 {
				name, state = fmt.Sprintf("%s-%d", name, i+1), fmt.Sprintf("redis://127.0.0.1:%d/%d", s.Ports.Redis, db)
			}
			if err := s.launchWorker(ctx, c, p.Worker(), name, state); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sweep) launchWorker(ctx context.Context, c *crew, program, name, state string) error {
	var admin, intake int
	if err := stage.FreePorts(&admin, &intake); err != nil {
		return err
	}
	values := map[string]any{"Sweep": s, "Program": program, "State": state, "Admin": admin, "Intake": intake}
	if err := s.Template(name+".yaml", workerFile, values); err != nil {
		return err
	}
	w := &worker{admin: fmt.Sprintf("127.0.0.1:%d", admin), intake: fmt.Sprintf("127.0.0.1:%d", intake)}
	var err error
	if w.Program, err = s.launch(ctx, name, program, w.admin); w.Program != nil {
		c.workers = append(c.workers, w)
	}
	return err
}

func (s *sweep) launch(ctx context.Context, name, program, admin string) (*stage.Program, error) {
	return stage.Launch(ctx, string(s.Folder), name, stage.Answers("http://"+admin+"/readyz"), filepath.Join(s.bin, program), "-config", s.Path(name+".yaml"))
}

// kill ends all workers as a power cut would, and starts them again.
func (c *crew) kill(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kills += len(c.workers)
	errs := make([]error, len(c.workers))
	var all sync.WaitGroup
	for i, w := range c.workers {
		all.Go(func() { errs[i] = w.Kill(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// programs are all of them.
func (c *crew) programs() (all []*stage.Program) {
	for _, w := range c.workers {
		all = append(all, w.Program)
	}
	return all
}
