package daemon

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"mailporter/kit/config"
)

// Exit codes of every program.
const (
	ExitOK    = 0
	ExitWrong = 1 // something is wrong with what was asked for
	ExitUsage = 2 // the command line is
)

// App is a program. C is its configuration. Fill in the fields and call Main.
type App[C any] struct {
	Name    string // of the binary: imap-worker
	About   string // one sentence for -help, lower case, no full stop
	Example string // arguments for the example in -help; empty: -config NAME.yaml
	Docs    string // where the manual is; empty: the README

	// Load reads the configuration and says all that is wrong with it. Nil: the program has none and no -config.
	Load func(path string) (C, config.Complaints)
	// Admin is the listen address of the admin HTTP server, empty for none. Nil: none.
	Admin func(C) string
	// Run does the work until ctx ends, then finishes what it began. The error is why the program ends early; after ctx
	// ended only one other than the context's counts.
	Run func(ctx context.Context, f *Frame, c C) error
	// Log stands before all that is logged, to keep out of it what must not be there. Nil: nothing does.
	Log func(slog.Handler) slog.Handler
	// Flags adds flags of the program's own. Nil: none.
	Flags func(*flag.FlagSet)
	// Drain bounds what Run may take once ctx ended; 0 = 25 s, which is 5 s less than Kubernetes grants.
	Drain time.Duration
}

const drainWithin = 25 * time.Second

// Main runs the program and exits.
func (a App[C]) Main() {
	os.Exit(a.Execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// Execute is Main without the exit: arguments in, exit code out. It listens to the process's signals; ctx ending is like
// SIGTERM.
func (a App[C]) Execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, flags, err := a.parse(args)
	if err != nil {
		a.usageError(stderr, err)
		return ExitUsage
	}
	switch {
	case o.help:
		a.help(stdout, flags)
		return ExitOK
	case o.version:
		_, _ = fmt.Fprintln(stdout, versionLine(a.Name))
		return ExitOK
	case o.completion != "":
		_, _ = io.WriteString(stdout, completion(o.completion, a.Name, flags))
		return ExitOK
	}
	var c C
	var found config.Complaints
	if a.Load != nil {
		c, found = a.Load(o.config)
	}
	if o.check {
		return report(stdout, o.config, found)
	}
	if hard := found.Err(); hard != nil {
		_, _ = fmt.Fprintln(stderr, found)
		return ExitWrong
	}
	f := NewFrame(a.Name, a.logger(stderr, o.level))
	f.ConfigPath = o.config
	for _, warning := range found {
		f.Log.Warn("configuration", "complaint", warning.String())
	}
	return a.run(ctx, f, c)
}

func (a App[C]) logger(w io.Writer, level slog.Leveler) *slog.Logger {
	var h slog.Handler = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	if a.Log != nil {
		h = a.Log(h)
	}
	return slog.New(h)
}

// report prints what -check found.
func report(w io.Writer, path string, found config.Complaints) int {
	for _, c := range found {
		_, _ = fmt.Fprintln(w, c)
	}
	if found.Err() != nil {
		return ExitWrong
	}
	_, _ = fmt.Fprintf(w, "%s: ok\n", path)
	return ExitOK
}

// run is the life of the process once its configuration is known.
func (a App[C]) run(ctx context.Context, f *Frame, c C) int {
	signals := make(chan os.Signal, 4) // room for a burst: signal.Notify drops what nobody takes
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	if a.Admin != nil {
		closeAdmin, err := f.listen(a.Admin(c))
		if err != nil {
			f.Log.Error("cannot start the admin server", "error", err)
			return ExitWrong
		}
		defer closeAdmin()
	}
	f.Log.Info("started", "name", a.Name, "version", version(), "pid", os.Getpid(), "admin", f.AdminAddress())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, f, c) }()
	l := life{frame: f, cancel: cancel, stopping: ctx.Done(), signals: signals, done: done, within: a.drain()}
	return l.watch()
}

func (a App[C]) drain() time.Duration {
	if a.Drain > 0 {
		return a.Drain
	}
	return drainWithin
}
