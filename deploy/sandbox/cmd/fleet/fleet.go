package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"mailporter/sandbox"
	"mailporter/sandbox/internal/stage"
)

const (
	tokenLife = 20 * time.Second
	// pause is between two kills. A worker's folders are idle for the time of a lease after it died.
	pause = 2 * time.Second
	// patience is how long what has arrived at the provider may take to its sink once the killing is over.
	patience = 3 * time.Minute
	// settled is how long nothing may change before the run is over: what must not happen may come late.
	settled = 5 * time.Second
)

// fleet is one run.
type fleet struct {
	stage.Folder
	Ports Ports
	Boxes []box

	bin      string
	each     int // workers of each protocol
	out      io.Writer
	provider *sandbox.Sandbox
	receiver *receiver
	webhook  *http.Server
	stream   redis.UniversalClient
	beside   []*stage.Program // what is not killed
	workers  []*stage.Program
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(stderr)
	bin := flags.String("bin", "bin", "folder of the programs")
	messages := flags.Int("messages", 10000, "how many messages arrive")
	each := flags.Int("workers", 3, "how many workers of each protocol share the mailboxes")
	over := flags.Duration("for", 90*time.Second, "how long messages arrive and workers are killed")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	f := &fleet{bin: *bin, each: *each, out: stdout}
	var err error
	if f.Folder, err = stage.NewFolder(""); err == nil {
		err = f.prepare(ctx)
	}
	if err == nil {
		err = f.play(ctx, *messages, *over)
	}
	if err = errors.Join(err, f.end()); err != nil {
		fmt.Fprintf(stderr, "fleet: %v\nfleet: configuration, logs and mail are in %s\n", err, f.Folder)
		return 1
	}
	_ = os.RemoveAll(string(f.Folder))
	return 0
}

// play lets letters arrive while workers are killed, waits for the letters at the sinks, compares and reports.
func (f *fleet) play(ctx context.Context, messages int, over time.Duration) error {
	fmt.Fprintf(f.out, "fleet: %d messages arrive in %d mailboxes within %s; %d workers, one killed every %s\n",
		messages, len(f.Boxes), over, len(f.workers), pause)
	letters := write(messages, f.Boxes)
	killing, enough := context.WithTimeout(ctx, over)
	defer enough()
	posted := make(chan error, 1)
	go func() { posted <- f.post(ctx, letters, over) }()
	if err := errors.Join(f.havoc(killing), <-posted); err != nil {
		return err
	}
	began := time.Now()
	result, err := f.await(ctx, letters)
	if err != nil {
		return err
	}
	f.report(result)
	fmt.Fprintf(f.out, "Everything was in place %s after the last kill.\n", time.Since(began).Round(time.Second))
	leaks := f.Leaks(ctx, nil)
	fmt.Fprintf(f.out, "fleet: moved %d messages over %d protocols with %d workers, %d kills, %d lost, %d doubled\n",
		len(letters)-result.total().lost, len(protocols), len(f.workers), f.kills(), result.total().lost, result.total().doubled)
	return errors.Join(result.judge(), leaks)
}

// havoc kills one worker after the other, drawn by lot, until ctx ends.
func (f *fleet) havoc(ctx context.Context) error {
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		if err := f.workers[rand.IntN(len(f.workers))].Kill(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

func (f *fleet) kills() (n int) {
	for _, w := range f.workers {
		n += w.Kills
	}
	return n
}

// end stops everything that was started.
func (f *fleet) end() error {
	err := errors.Join(stage.StopAll(f.workers), stage.StopAll(f.beside))
	if f.webhook != nil {
		err = errors.Join(err, f.webhook.Close())
	}
	if f.stream != nil {
		err = errors.Join(err, f.stream.Close())
	}
	if f.provider != nil {
		err = errors.Join(err, f.provider.Close())
	}
	return err
}
