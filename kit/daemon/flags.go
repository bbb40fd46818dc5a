package daemon

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// options are the flags that every program has.
type options struct {
	config     string
	check      bool
	help       bool
	version    bool
	completion string
	level      slog.Level
}

var shells = []string{"bash", "zsh", "fish"}

// parse reads the arguments. The error is for the person who typed them.
func (a App[C]) parse(args []string) (options, *flag.FlagSet, error) {
	var o options
	fs := a.flagSet(&o)
	if err := fs.Parse(args); err != nil {
		return o, fs, err
	}
	return o, fs, a.complete(o, fs)
}

// complete says what is wrong with flags that are well-formed one by one.
func (a App[C]) complete(o options, fs *flag.FlagSet) error {
	switch {
	case o.help || o.version:
		return nil
	case fs.NArg() > 0:
		return fmt.Errorf("%q is no flag; every argument is one", fs.Arg(0))
	case o.completion != "" && !slices.Contains(shells, o.completion):
		return fmt.Errorf("-completion %q: use one of: %s", o.completion, strings.Join(shells, ", "))
	case o.completion == "" && a.Load != nil && o.config == "":
		return errors.New("-config FILE is missing")
	}
	return nil
}

func (a App[C]) flagSet(o *options) *flag.FlagSet {
	fs := flag.NewFlagSet(a.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // usageError says it better
	if a.Load != nil {
		fs.StringVar(&o.config, "config", "", "read the configuration from `FILE`")
		fs.BoolVar(&o.check, "check", false, "print all that is wrong with the configuration and exit: 0 usable, 1 not")
	}
	fs.TextVar(&o.level, "log-level", slog.LevelInfo, "log from `LEVEL` on: debug, info, warn or error")
	fs.StringVar(&o.completion, "completion", "", "print the completion script for `SHELL` and exit: bash, zsh or fish")
	fs.BoolVar(&o.version, "version", false, "print name, version and Go version and exit")
	fs.BoolVar(&o.help, "help", false, "print this text and exit")
	fs.BoolVar(&o.help, "h", false, "like -help")
	if a.Flags != nil {
		a.Flags(fs)
	}
	return fs
}

func (a App[C]) usageError(w io.Writer, err error) {
	_, _ = fmt.Fprintf(w, "%s: %v\nexample: %s\n%s -help tells the rest\n", a.Name, err, a.example(), a.Name)
}

func (a App[C]) example() string {
	switch {
	case a.Example != "":
		return a.Name + " " + a.Example
	case a.Load != nil:
		return a.Name + " -config " + a.Name + ".yaml"
	}
	return a.Name
}

func (a App[C]) help(w io.Writer, fs *flag.FlagSet) {
	docs := a.Docs
	if docs == "" {
		docs = "README.md of the project"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s.\n\nUsage: %s\n\nFlags:\n", a.Name, a.About, a.example())
	fs.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, "  %-22s %s\n", strings.TrimSpace("-"+f.Name+" "+value), text)
	})
	fmt.Fprintf(&b, `
Signals:
  SIGTERM, SIGINT        finish what was begun and exit, within %s; a second one exits at once
  SIGHUP                 read what may have changed again

Logs are JSON lines on stderr. Exit codes: 0 fine, 1 something is wrong, 2 wrong usage.
Manual: %s
`, a.drain(), docs)
	_, _ = io.WriteString(w, b.String())
}
