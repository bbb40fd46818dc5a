package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"mailporter/sandbox"
	"mailporter/sandbox/internal/stage"
)

const (
	tokenLife = 30 * time.Second
	// patience is how long what was handed in may take once the attacks are over.
	patience = 4 * time.Minute
	// settled is how long nothing may happen before the run is over: what must not happen may come late.
	settled = 4 * time.Second
)

// sweep is one run.
type sweep struct {
	stage.Folder
	Ports Ports

	bin      string
	each     int // workers of each protocol
	out      io.Writer
	provider *sandbox.Sandbox
	beside   []*stage.Program // what is not killed
	crews    map[string]*crew // by protocol
	ledger   ledger

	mu   sync.Mutex
	hits map[string]int // by the address of the row
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sweep", flag.ContinueOnError)
	flags.SetOutput(stderr)
	bin := flags.String("bin", "bin", "folder of the programs")
	messages := flags.Int("messages", 10000, "how many messages are handed in; at least a few for each step")
	over := flags.Duration("for", 3*time.Minute, "how long messages are handed in, and links cut and workers killed")
	each := flags.Int("workers", 1, "how many workers of each protocol share its mailboxes; more than one keep their mail in a redis-server that is started for it")
	seed := flags.Uint64("seed", 0, "draws the messages, the order of the steps and the moments, but not the machine's own timing; 0 = another one each time")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *messages < fewest() || *each < 1 {
		fmt.Fprintf(stderr, "sweep: -messages %d, -workers %d: at least %d messages, that every step sees some, and one worker\n", *messages, *each, fewest())
		return 2
	}
	for *seed == 0 {
		*seed = rand.Uint64()
	}
	s := &sweep{bin: *bin, each: *each, out: stdout, crews: map[string]*crew{}, hits: map[string]int{}}
	var err error
	if s.Folder, err = stage.NewFolder(""); err == nil {
		err = s.prepare(ctx)
	}
	if err == nil {
		fmt.Fprintf(stdout, "sweep: %d messages within %s, over %d protocols of %d worker(s) each, under attack at %d steps; -seed %d\n",
			*messages, *over, len(protocols), *each, len(s.Rows()), *seed)
		err = s.play(ctx, *messages, *over, *seed)
	}
	if err = errors.Join(err, s.end()); err != nil {
		fmt.Fprintf(stderr, "sweep: %v\nsweep: configuration and logs are in %s\n", err, s.Folder)
		return 1
	}
	_ = os.RemoveAll(string(s.Folder))
	return 0
}

// fewest is how many messages there must be for each step to see three.
func fewest() int {
	rows := 0
	for _, p := range protocols {
		rows = max(rows, len(p.rows()))
	}
	return 3 * rows * len(protocols)
}

// play attacks all protocols at a time, ends what is held, waits for the rest, compares and reports.
func (s *sweep) play(ctx context.Context, messages int, over time.Duration, seed uint64) error {
	errs := make([]error, len(protocols))
	var all sync.WaitGroup
	for i, p := range protocols {
		share := messages / len(protocols)
		if i == 0 {
			share += messages % len(protocols)
		}
		all.Go(func() { errs[i] = s.cross(ctx, p, share, over, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	all.Wait()
	if err := cmp.Or(ctx.Err(), errors.Join(errs...)); err != nil {
		return err
	}
	began := time.Now()
	held, err := s.conclude(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "Everything was sent %s after the last attack.\n", time.Since(began).Round(time.Second))
	if err := sleep(ctx, settled); err != nil {
		return err
	}
	r, err := s.look()
	if err != nil {
		return err
	}
	leaks := s.Leaks(ctx, s.pages())
	s.report(r, held)
	return errors.Join(r.judge(), held.judge(), leaks)
}

// cross attacks the steps of one protocol, one after the other.
func (s *sweep) cross(ctx context.Context, p protocol, messages int, over time.Duration, lot *rand.Rand) error {
	rows := p.rows()
	lot.Shuffle(len(rows), func(i, k int) { rows[i], rows[k] = rows[k], rows[i] })
	for i, r := range rows {
		n := messages / len(rows)
		if i < messages%len(rows) {
			n++
		}
		one := &phase{sweep: s, row: r, crew: s.crews[p.Name], lot: lot, over: over / time.Duration(len(rows))}
		if err := one.run(ctx, letters(r, n, lot)); err != nil {
			return err
		}
		s.mu.Lock()
		s.hits[r.Address] = one.hits
		s.mu.Unlock()
	}
	return nil
}

// pages are what the workers tell over HTTP.
func (s *sweep) pages() (all []string) {
	for _, c := range s.crews {
		for _, w := range c.workers {
			for _, page := range []string{"metrics", "mailboxes", "outbox"} {
				all = append(all, "http://"+w.admin+"/"+page)
			}
		}
	}
	return all
}

// end stops everything that was started.
func (s *sweep) end() error {
	var all []error
	for _, c := range s.crews {
		all = append(all, stage.StopAll(c.programs()))
	}
	all = append(all, stage.StopAll(s.beside))
	if s.provider != nil {
		all = append(all, s.provider.Close())
	}
	return errors.Join(all...)
}
