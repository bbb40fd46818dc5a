package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"mailporter/sandbox/internal/stage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// demo is one run.
type demo struct {
	stage.Folder
	out      io.Writer
	bin      string
	Ports    Ports
	Cast     []Role
	redis    bool // state and store in a Redis instead of files
	programs []*stage.Program
	tally    *tally
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	bin := flags.String("bin", "bin", "folder of the programs")
	keep := flags.Bool("keep", false, "leave everything running at the end and say what to try")
	chaos := flags.Bool("chaos", false, "kill -9 every program several times on the way")
	messages := flags.Int("messages", 240, "how many messages to submit")
	redis := flags.Bool("redis", false, "keep state and store in a redis-server that is started for it, instead of files")
	folder := flags.String("folder", "", "where to keep configuration, logs and mail (default: a temporary folder)")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	d := &demo{out: stdout, bin: *bin, Cast: cast(), redis: *redis}
	err := d.prepare(ctx, *folder)
	if err == nil {
		err = d.play(ctx, *messages, *chaos)
	}
	if *keep && ctx.Err() == nil && len(d.programs) > 0 {
		d.hints(stdout)
		<-ctx.Done()
	}
	err = errors.Join(err, stage.StopAll(d.programs))
	if err != nil {
		fmt.Fprintf(stderr, "demo: %v\ndemo: configuration, logs and mail are in %s\n", err, string(d.Folder))
		return 1
	}
	if *folder == "" {
		_ = os.RemoveAll(string(d.Folder))
	}
	return 0
}

// play submits the letters, waits for them, compares and reports.
func (d *demo) play(ctx context.Context, messages int, chaos bool) error {
	letters := d.letters(messages, fmt.Sprint(time.Now().UnixNano()))
	unsure, err := d.submit(ctx, letters, chaos)
	if err != nil {
		return err
	}
	arrivals := stage.Expect(d.Path("mail"), letters)
	in, err := arrivals.Await(ctx, time.Minute, 3*cycle)
	if err != nil {
		return err
	}
	if err := d.tally.look(ctx); err != nil {
		return err
	}
	out := arrivals.BySender(letters)
	d.report(d.out, out, in)
	refused := d.refused(ctx)
	if chaos {
		fmt.Fprintf(d.out, "%d kills; %d submissions went unanswered and were repeated by the submitter.\n", kills(d.programs), unsure)
	} else { // a provider that was killed has forgotten what it counted
		refused = errors.Join(refused, d.countedBy(ctx, out))
	}
	leaks := d.Leaks(ctx, d.pages())
	if leaks == nil {
		fmt.Fprintln(d.out, "demo: no secret and no token in logs, audit, metrics, status pages or state")
	}
	t := stage.Total(in)
	fmt.Fprintf(d.out, "demo: moved %d messages over %d protocols, %d lost, %d doubled\n", t.Expected-t.Lost, 1+len(fetched), t.Lost, t.Doubled)
	return errors.Join(d.judge(t, chaos), refused, leaks)
}

// submit hands the letters in, and one that nobody will get; meanwhile everything is killed if there is to be chaos. unsure
// counts submissions without an answer.
func (d *demo) submit(ctx context.Context, letters []stage.Letter, chaos bool) (unsure int64, err error) {
	post := &stage.Post{Routes: d.routes(), Pace: 20 * time.Second / time.Duration(len(letters))}
	fmt.Fprintf(d.out, "demo: submitting %d messages of %d mailboxes; tokens live %s, margin %s\n", len(letters), len(d.Cast), tokenLife, margin)
	posting, kill := make(chan error, 1), make(chan error, 1)
	go func() { posting <- post.Submit(ctx, append([]stage.Letter{d.stray()}, letters...)) }()
	if chaos {
		go func() { kill <- d.chaos(ctx, 3) }()
	} else {
		kill <- nil
	}
	err = errors.Join(<-posting, <-kill)
	return post.Unsure.Load(), err
}

// pages are what the programs tell over HTTP.
func (d *demo) pages() []string {
	p := d.Ports
	var all []string
	for _, page := range []struct {
		port int
		path string
	}{{p.BrokerAdmin, "metrics"}, {p.SMTPAdmin, "metrics"}, {p.SMTPAdmin, "mailboxes"}, {p.SMTPAdmin, "outbox"}, {p.EWSAdmin, "outbox"}, {p.GraphAdmin, "outbox"}} {
		all = append(all, fmt.Sprintf("http://127.0.0.1:%d/%s", page.port, page.path))
	}
	for _, protocol := range fetched {
		at := fmt.Sprintf("http://127.0.0.1:%d", p.AdminOf(protocol))
		all = append(all, at+"/metrics", at+"/mailboxes")
	}
	return all
}

// judge: a kill may double a message (its submitter or the sender repeats what was left without an answer), never lose or
// alter one. Without kills nothing may be doubled, and tokens must have been replaced on the way.
func (d *demo) judge(t stage.Count, chaos bool) error {
	var all []error
	if t.Lost > 0 {
		all = append(all, fmt.Errorf("%d messages were lost", t.Lost))
	}
	if t.Altered > 0 {
		all = append(all, fmt.Errorf("%d files in the Maildirs are no message that was sent", t.Altered))
	}
	if t.Doubled > 0 && !chaos {
		all = append(all, fmt.Errorf("%d messages were doubled", t.Doubled))
	}
	for _, r := range d.Cast {
		if r.Grant != "basic" && (d.tally.minted(r.Address, true) < 2 || d.tally.minted(r.Address, false) < 2) {
			all = append(all, fmt.Errorf("%s: no token was replaced on the way", r.Address))
		}
	}
	return errors.Join(all...)
}
