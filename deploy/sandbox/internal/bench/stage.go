package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"mailporter/sandbox/internal/stage"
)

// files are the configuration of what runs all the time, as templates over the bench; runFiles that of what is measured, over
// a run.
var (
	//go:embed files
	files embed.FS
	//go:embed runs
	runFiles embed.FS
)

// What is known of the applications and the mailboxes.
const (
	tenant = "5b0c9d7e-3f21-4a88-9c1e-d2f3a4b5c6d7"
	client = "9e8d7c6b-5a49-4382-b1a0-f0e1d2c3b4a5"

	box     = "box@real.example" // IMAP, for the fast
	few     = "few@real.example" // IMAP and POP3, for the slow
	popBox  = "pop@real.example"
	members = 8    // mailboxes of the fleet
	crowd   = 1000 // mailboxes of one process

	fewest = 300 // messages for the slow
)

// bench is one run.
type bench struct {
	stage.Folder
	Ports    Ports
	Target   string // folder on a disk
	options  options
	out      io.Writer
	user     *syscall.Credential // as whom Dovecot reads mail
	programs []*stage.Program
	runs     int // so many so far
}

// Ports are the loopback ports that the programs listen on.
type Ports struct {
	Identity, SandboxAdmin, SandboxIMAP, Graph, EWS int
	IMAP, POP3, LMTP, Broker, BrokerAdmin, Worker   int
	Sink, Slow, Postfix, Intake, Redis              int
}

// Roles say which mailboxes each worker's identity sees.
func (b *bench) Roles() map[string]string {
	return map[string]string{
		"imap": box, "pop3": popBox, "fleet": "fleet*@real.example", "graph": "graph@slow.example", "ews": "ews@slow.example",
		"idle": "idle*@many.example", "polled": "polled*@many.example",
		"sinkout": "sinkout@real.example", "slowout": "slowout@real.example", "postout": "postout@real.example",
	}
}

// What the templates ask for.
func (b *bench) Tenant() string     { return tenant }
func (b *bench) Client() string     { return client }
func (b *bench) PopAccount() string { return popBox }
func (b *bench) Connections() int   { return connections }
func (b *bench) Requests() int      { return allowed }
func (b *bench) Accounts() []string { return append(b.fleetBoxes(), box) }
func (b *bench) Queue() string      { return filepath.Join(b.Target, "postfix") }
func (b *bench) Idle() []string     { return addresses("idle%d@many.example", crowd) }
func (b *bench) Polled() []string   { return addresses("polled%d@many.example", crowd) }

func (b *bench) fleetBoxes() []string { return addresses("fleet%d@real.example", members) }

func addresses(format string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return all
}

// newBench makes the folders, the configuration and the mail.
func newBench(o options, out io.Writer) (_ *bench, err error) {
	b := &bench{options: o, out: out}
	if b.Folder, err = stage.NewFolder(""); err != nil {
		return nil, err
	}
	if b.Target, err = os.MkdirTemp(o.target, "mailporter-bench-"); err != nil {
		return nil, errors.Join(err, b.close(false))
	}
	if err := b.prepare(); err != nil {
		return nil, errors.Join(err, b.close(false))
	}
	return b, nil
}

func (b *bench) prepare() error {
	p := &b.Ports
	if err := stage.FreePorts(&p.Identity, &p.SandboxAdmin, &p.SandboxIMAP, &p.Graph, &p.EWS,
		&p.IMAP, &p.POP3, &p.LMTP, &p.Broker, &p.BrokerAdmin, &p.Sink, &p.Slow, &p.Postfix); err != nil {
		return err
	}
	names := []string{"broker", "mail"}
	for role := range b.Roles() {
		names = append(names, role)
	}
	if err := b.Certificates(names...); err != nil {
		return err
	}
	// The other users' programs must reach what is theirs; secrets stay in folders that they cannot open.
	for _, dir := range []string{string(b.Folder), b.Target} {
		if err := os.Chmod(dir, 0o711); err != nil {
			return err
		}
	}
	if _, err := b.Secret("account"); err != nil {
		return err
	}
	if err := b.Templates(files, b); err != nil {
		return err
	}
	return b.fillMailboxes()
}

// close ends all processes, the last one first, and removes the folders unless they are to be kept.
func (b *bench) close(keep bool) error {
	err := stage.StopAll(b.programs)
	if keep {
		fmt.Fprintf(b.out, "configuration, logs and mail are in %s and %s\n", b.Folder, b.Target)
		return err
	}
	return errors.Join(err, os.RemoveAll(string(b.Folder)), os.RemoveAll(b.Target))
}

// fillMailboxes makes Dovecot's Maildirs.
func (b *bench) fillMailboxes() error {
	known, err := user.Lookup("dovecot")
	if err != nil {
		return fmt.Errorf("install dovecot-imapd: %w", err)
	}
	if b.user, err = credential(known); err != nil {
		return err
	}
	fleet := b.fleetBoxes()
	for _, m := range append(fleet, box, few, popBox) {
		if err := b.makeMaildir(b.Path("dovecot/mail/" + m)); err != nil {
			return err
		}
	}
	at := func(mailbox string) string { return b.Path("dovecot/mail/" + mailbox) }
	if err := newCorpus(1).fill(b.options.messages, at(box), at(popBox)); err != nil {
		return err
	}
	for i, m := range fleet {
		if err := newCorpus(uint64(2+i)).fill(b.fleetMessages(), at(m)); err != nil {
			return err
		}
	}
	return newCorpus(1).fill(fewest, at(few))
}

// fleetMessages is how many each mailbox of the fleet has.
func (b *bench) fleetMessages() int { return b.options.messages / 4 }

func credential(u *user.User) (*syscall.Credential, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// makeMaildir makes an empty Maildir that is Dovecot's user's, below folders that it can pass.
func (b *bench) makeMaildir(path string) error {
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(path, sub), 0o755); err != nil {
			return err
		}
	}
	return b.give(path)
}

// give makes Dovecot's user the owner of a folder and all that is in it.
func (b *bench) give(path string) error {
	return filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(b.user.Uid), int(b.user.Gid))
	})
}

// start starts the servers.
func (b *bench) start(ctx context.Context) error {
	p := b.Ports
	if err := os.MkdirAll(b.Path("dovecot/run"), 0o755); err != nil {
		return err
	}
	if err := b.launch(ctx, "sandbox", answers(p.SandboxAdmin, "/healthz"), b.program("sandbox", b.Path("sandbox.yaml"))...); err != nil {
		return err
	}
	if err := stage.FetchCA(ctx, p.SandboxAdmin, b.Folder); err != nil {
		return err
	}
	if err := b.launch(ctx, "dovecot", stage.Listens(p.IMAP, p.POP3, p.LMTP), "/usr/sbin/dovecot", "-F", "-c", b.Path("dovecot.conf")); err != nil {
		return err
	}
	if err := b.launch(ctx, "broker", answers(p.BrokerAdmin, "/readyz"), b.program("broker", b.Path("broker.yaml"))...); err != nil {
		return err
	}
	_, err := b.drainAll(ctx, append(b.Accounts(), few, popBox)...) // so that Dovecot's caches are warm for all
	return err
}

func (b *bench) launch(ctx context.Context, name string, ready func(context.Context) bool, argv ...string) error {
	p, err := stage.Launch(ctx, string(b.Folder), name, ready, argv...)
	if p != nil {
		b.programs = append(b.programs, p)
	}
	return err
}

// program is the command line of one of ours.
func (b *bench) program(name, config string) []string {
	return []string{filepath.Join(b.options.bin, name), "-config", config}
}

func answers(port int, path string) func(context.Context) bool {
	return stage.Answers(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
}
