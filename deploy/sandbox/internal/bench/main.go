package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"mailporter/kit/benchmark"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the command line.
type options struct {
	bin      string
	target   string
	results  string
	rows     string
	peers    string
	messages int
	rounds   int
	keep     bool
}

// row measures some lines of the design's table.
type row struct {
	name    string
	measure func(*bench, context.Context) ([]benchmark.Result, error)
}

var rows = []row{
	{"imap", func(b *bench, ctx context.Context) ([]benchmark.Result, error) { return b.peers(ctx, "IMAP") }},
	{"pop3", func(b *bench, ctx context.Context) ([]benchmark.Result, error) { return b.peers(ctx, "POP3") }},
	{"fleet", (*bench).fleet},
	{"latency", (*bench).latency},
	{"memory", (*bench).memory},
	{"out", (*bench).outgoing},
	{"outlatency", (*bench).outLatency},
}

// run returns the exit code: 0 when every row was measured, whether or not it falls short; 1 if one could not be; 2 for a
// wrong command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.bin, "bin", "bin", "folder of the programs")
	flags.StringVar(&o.target, "target", "/var/tmp", "folder on a disk, to make the Maildirs in")
	flags.StringVar(&o.results, "results", "", "append the lines of results to this file instead of printing them")
	flags.StringVar(&o.rows, "rows", "imap,pop3,fleet,latency,memory,out,outlatency", "what to measure")
	flags.StringVar(&o.peers, "peers", "mbsync,mpop,fetchmail,getmail", "whom to measure against in the rows imap and pop3")
	flags.IntVar(&o.messages, "messages", 2000, "messages in a mailbox")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each of two sides is measured")
	flags.BoolVar(&o.keep, "keep", false, "leave the folders with configuration, logs and mail")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || o.rounds < 1 || o.messages < fewest {
		return 2
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(stderr, "bench: Dovecot starts as root only: sudo make bench")
		return 1
	}
	if err := measure(ctx, o, stdout); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// measure measures the rows one after the other and tells the results at the end.
func measure(ctx context.Context, o options, out io.Writer) (err error) {
	b, err := started(ctx, o, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(o.keep || err != nil)) }()
	var all []benchmark.Result
	for _, r := range rows {
		if !slices.Contains(strings.Split(o.rows, ","), r.name) {
			continue
		}
		found, err := r.measure(b, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		all = append(all, found...)
	}
	return benchmark.Tell(all, o.results, out)
}

// tries is how often the servers are started: a port that was free may be taken by somebody's connection before its server
// is there.
const tries = 3

// started is a bench whose servers run.
func started(ctx context.Context, o options, out io.Writer) (*bench, error) {
	for try := 1; ; try++ {
		b, err := newBench(o, out)
		if err != nil {
			return nil, err
		}
		if err = b.start(ctx); err == nil {
			return b, nil
		}
		last := try == tries || ctx.Err() != nil
		if err = errors.Join(err, b.close(last)); last {
			return nil, err
		}
	}
}
