// Command sandbox runs a mail provider for tests on loopback: identity provider, IMAP, SMTP submission, faults on demand.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"mailporter/sandbox"
)

//go:embed example.yaml
var example string

const usage = `sandbox runs a mail provider for tests, on loopback only: an identity provider with the shapes of
Entra ID and Google, IMAP and SMTP submission servers with the manners of Exchange Online and Gmail,
and an HTTP API to look in and to make things fail.

  sandbox -example > sandbox.yaml    a configuration to begin with
  sandbox -config sandbox.yaml       run until SIGINT or SIGTERM

flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit code: 0 fine, 1 something is wrong, 2 wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	file := flags.String("config", "", "configuration `file`")
	check := flags.Bool("check", false, "check the configuration, print all complaints, and exit")
	sample := flags.Bool("example", false, "print an example configuration and exit")
	verbose := flags.Bool("verbose", false, "log what clients do wrong, too")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	switch {
	case *sample:
		fmt.Fprint(stdout, example)
		return 0
	case *file == "" || flags.NArg() > 0:
		flags.Usage()
		return 2
	}
	config, complaints := load(*file)
	for _, c := range complaints {
		fmt.Fprintln(stderr, c)
	}
	if len(complaints) > 0 {
		return 1
	}
	if *check {
		fmt.Fprintf(stdout, "%s: ok\n", *file)
		return 0
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	config.Log = slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level}))
	return serve(ctx, config, stdout, stderr)
}

// serve runs the sandbox until ctx ends.
func serve(ctx context.Context, config sandbox.Config, stdout, stderr io.Writer) int {
	sb, err := sandbox.Start(config)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	endpoints := sb.Endpoints()
	for _, name := range []string{"authority", "google-authority", "imap", "pop3", "smtp", "gmail-imap", "gmail-pop3", "gmail-smtp", "graph", "ews", "admin"} {
		fmt.Fprintf(table, "%s\t%s\n", name, endpoints[name])
	}
	fmt.Fprintf(table, "certificate\t%s/ca.pem\n", sb.AdminURL())
	if err := table.Flush(); err != nil {
		config.Log.Warn("standard output is closed", "error", err)
	}
	<-ctx.Done()
	if err := sb.Close(); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}
