package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"mailporter/kit/benchmark"
)

// peer is a program that others wrote for the same.
type peer struct {
	name      string
	protocols string
	slow      bool    // reads the small mailbox, once
	target    float64 // how many times as fast ours is to be
	durable   string  // what is on the disk when it is done with a message
	command   func(*trial, string) *exec.Cmd
}

var peers = []peer{
	{"mbsync", "IMAP", false, 1.5, "file and its own journal fsynced for each message, the folder's entry not", func(_ *trial, config string) *exec.Cmd {
		return exec.Command("mbsync", "-q", "-c", config, "all")
	}},
	{"mpop", "POP3", false, 1.5, "file fsynced, the folder's entry not; the list of what it has fsynced at its end", func(_ *trial, config string) *exec.Cmd {
		return exec.Command("mpop", "-q", "--file="+config, "server")
	}},
	{"fetchmail", "IMAP POP3", true, 10, "hands over by LMTP to Dovecot with mail_fsync = optimized", func(t *trial, config string) *exec.Cmd {
		c := exec.Command("fetchmail", "--silent", "--nosyslog", "--pidfile", filepath.Join(t.Dir, "pid"), "--idfile", filepath.Join(t.Dir, "ids"), "-f", config)
		c.Env = append(os.Environ(), "FETCHMAILHOME="+t.Dir)
		return c
	}},
	{"getmail", "IMAP POP3", true, 10, "file fsynced, a temporary copy before it too, the folder's entry not", func(t *trial, config string) *exec.Cmd {
		c := exec.Command("getmail", "--quiet", "--getmaildir="+t.Dir, "--rcfile="+config)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: t.user} // it does not deliver as root
		return c
	}},
}

// peers compares the worker of a protocol with each program that speaks it.
func (b *bench) peers(ctx context.Context, protocol string) ([]benchmark.Result, error) {
	worker := strings.ToLower(protocol) + "-worker"
	if _, err := os.Stat(filepath.Join(b.options.bin, worker)); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(b.out, "\n%s is not measured: there is no %s in %s\n", protocol, worker, b.options.bin)
		return nil, nil
	}
	ours := func() (outcome, error) { return b.work(ctx, worker, strings.ToLower(protocol), 1) }
	fmt.Fprintf(b.out, "\n%s into a Maildir on a disk, one mailbox, %d messages of %d kB to %d kB (%d for fetchmail and getmail):\n",
		protocol, b.options.messages, smallest>>10, largest>>10, fewest)
	table := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "PEER\tOURS/s\tPEER/s\tRATIO\tOURS LEFT BEHIND\tPEER LEFT BEHIND\t")
	var all []benchmark.Result
	for _, p := range peers {
		if !strings.Contains(p.protocols, protocol) || !slices.Contains(strings.Split(b.options.peers, ","), p.name) {
			continue
		}
		d, err := b.duel(ours, func() (outcome, error) { return b.run(ctx, p, protocol) }, b.rounds(p))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		r := d.compare()
		r.Name, r.Target = fmt.Sprintf("%s-%s-messages-per-second", strings.ToLower(protocol), p.name), p.target
		fmt.Fprintf(table, "%s\t%s\t%s\t%.2f\t%s\t%s\t\n", p.name, benchmark.Number(r.Ours), benchmark.Number(r.Limit), r.Ratio,
			d.leftBehind(0, b.options.messages), d.leftBehind(1, b.messages(p)))
		all = append(all, r)
	}
	if err := table.Flush(); err != nil {
		return nil, err
	}
	return all, b.legend(protocol)
}

func (b *bench) legend(protocol string) error {
	_, err := fmt.Fprintf(b.out, "%s-worker: file and folder fsynced before the cursor is saved, which is fsynced too\n", strings.ToLower(protocol))
	for _, p := range peers {
		if strings.Contains(p.protocols, protocol) {
			_, failed := fmt.Fprintf(b.out, "%s: %s\n", p.name, p.durable)
			err = errors.Join(err, failed)
		}
	}
	return err
}

// rounds: the slow ones are far enough away to be measured once.
func (b *bench) rounds(p peer) int {
	if p.slow {
		return 1
	}
	return b.options.rounds
}

// messages is how many there are for a peer.
func (b *bench) messages(p peer) int {
	if p.slow {
		return fewest
	}
	return b.options.messages
}

// duel are outcomes of two sides that followed each other.
type duel [][2]outcome

// duel lets two sides take turns, the one that goes first changing every time.
func (b *bench) duel(ours, theirs func() (outcome, error), rounds int) (duel, error) {
	d := make(duel, rounds)
	sides := [2]func() (outcome, error){ours, theirs}
	for turn := range d {
		for n := range sides {
			i := (n + turn) % 2
			var err error
			if d[turn][i], err = sides[i](); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

func (d duel) compare() benchmark.Result {
	var ours, theirs []float64
	for _, pair := range d {
		ours, theirs = append(ours, pair[0].rate()), append(theirs, pair[1].rate())
	}
	return benchmark.Compare(ours, theirs)
}

// leftBehind is the most that a side, 0 or 1, left of the messages that there were; "?" if it was cut short.
func (d duel) leftBehind(side, there int) string {
	most := 0
	for _, pair := range d {
		if pair[side].cut {
			return "?"
		}
		most = max(most, there-pair[side].moved)
	}
	return strconv.Itoa(most)
}

// run lets a peer read its mailbox once. What it exits with says little: some complain about a hostile message, some leave
// one behind without a word. The messages are counted.
func (b *bench) run(ctx context.Context, p peer, protocol string) (outcome, error) {
	t, command, err := b.ready(p, protocol)
	if err != nil {
		return outcome{}, err
	}
	began := time.Now()
	took, said, err := watch(ctx, command)
	if err != nil {
		return outcome{}, err
	}
	moved, end, err := count(t.Dir)
	if err == nil && moved == 0 {
		err = fmt.Errorf("moved nothing: %s", said)
	}
	o := outcome{moved: moved, took: took, cut: took >= enough}
	if o.cut {
		o.took = end.Sub(began)
	}
	return o, err
}

// ready makes what a peer needs for a run: an empty Maildir and a configuration.
func (b *bench) ready(p peer, protocol string) (*trial, *exec.Cmd, error) {
	t, err := b.trial()
	if err != nil {
		return nil, nil, err
	}
	t.Protocol, t.Account, t.Port = protocol, box, b.Ports.IMAP
	if protocol == "POP3" {
		t.Account, t.Port = popBox, b.Ports.POP3
	}
	if p.slow {
		t.Account = few
	}
	config, err := t.configure(p.name)
	if err != nil {
		return nil, nil, err
	}
	if err := b.makeMaildir(filepath.Join(t.Dir, "mail")); err != nil {
		return nil, nil, err
	}
	command := p.command(t, config)
	if command.SysProcAttr != nil { // as another user
		err = b.give(t.Dir)
	}
	return t, command, err
}

// enough is how long a peer may take. Getmail waits for three minutes when it misses the end of a child of its own.
const enough = 30 * time.Second

// watch runs a program to its end, or for long enough, and returns how long it took and what it said.
func watch(ctx context.Context, c *exec.Cmd) (time.Duration, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	c.WaitDelay = time.Second // children that it left behind hold the pipe
	began := time.Now()
	if err := c.Start(); err != nil {
		return 0, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	defer stop()
	err := c.Wait()
	took := time.Since(began)
	if errors.Is(ctx.Err(), context.Canceled) {
		return 0, nil, ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return 0, nil, err
	}
	return took, said.Bytes(), nil
}
