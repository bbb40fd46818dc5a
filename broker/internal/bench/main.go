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
	"time"

	"mailporter/kit/benchmark"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the command line.
type options struct {
	bin     string
	results string
	rows    string
	pairs   int
	slice   time.Duration
	keep    bool
}

// row measures one line of the design's table.
type row struct {
	name    string
	measure func(context.Context, *stage, options) ([]benchmark.Result, error)
}

var rows = []row{{"acquire", acquire}, {"cold", cold}, {"start", starting}}

// run returns the exit code: 0 when every row was measured, whether or not it falls short; 1 if one could not be; 2 for a
// wrong command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == echoRole {
		return exit(serveEcho(ctx, args[1:]), stderr)
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.bin, "bin", "bin", "folder of the programs")
	flags.StringVar(&o.results, "results", "", "append the lines of results to this file instead of printing them")
	flags.StringVar(&o.rows, "rows", "acquire,cold,start", "what to measure")
	flags.IntVar(&o.pairs, "pairs", 10, "slices of each side for every number of callers")
	flags.DurationVar(&o.slice, "slice", 500*time.Millisecond, "length of a slice")
	flags.BoolVar(&o.keep, "keep", false, "leave the folder with configuration and logs")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || o.pairs < 1 || o.slice <= 0 {
		return 2
	}
	return exit(bench(ctx, o, stdout), stderr)
}

func exit(err error, stderr io.Writer) int {
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// bench measures the rows one after the other and tells the results at the end.
func bench(ctx context.Context, o options, out io.Writer) (err error) {
	st, err := newStage(ctx, o.bin, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close(o.keep || err != nil)) }()
	var all []benchmark.Result
	for _, r := range rows {
		if !slices.Contains(strings.Split(o.rows, ","), r.name) {
			continue
		}
		found, err := r.measure(ctx, st, o)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		all = append(all, found...)
	}
	return benchmark.Tell(all, o.results, out)
}
