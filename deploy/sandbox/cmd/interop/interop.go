package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"mailporter/sandbox/internal/stage"
)

// files are the programs' configuration, as templates over the run.
//
//go:embed files
var files embed.FS

// mailbox is one of the run: how its mail is fetched, and where it goes.
type mailbox struct{ Address, Protocol, Login, Sink string }

var mailboxes = []mailbox{
	{"xoauth2@real.example", "IMAP", "XOAUTH2", "LMTP"}, {"bearer@real.example", "IMAP", "OAUTHBEARER", "Maildir"}, {"plain@real.example", "IMAP", "password", "Maildir"},
	{"pop-xoauth2@real.example", "POP3", "XOAUTH2", "Maildir"}, {"pop-bearer@real.example", "POP3", "OAUTHBEARER", "Maildir"},
	{"pop-plain@real.example", "POP3", "password", "Maildir"},
}

// readerFile is the configuration of a worker that fetches mail.
//
//go:embed reader.yaml
var readerFile string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// interop is one run.
type interop struct {
	stage.Folder
	Ports    Ports
	bin      string
	programs []*stage.Program
}

// Ports are the loopback ports that the programs listen on.
type Ports struct {
	Identity, SandboxAdmin, IMAP, POP3, LMTP, Auth, SMTP         int
	Broker, BrokerAdmin, IMAPAdmin, POP3Admin, SMTPAdmin, Intake int
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("interop", flag.ContinueOnError)
	flags.SetOutput(stderr)
	bin := flags.String("bin", "bin", "folder of the programs")
	messages := flags.Int("messages", 120, "how many messages to submit")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(stderr, "interop: Postfix starts as root only: sudo make interop")
		return 1
	}
	r := &interop{bin: *bin}
	err := r.prepare(ctx)
	if err == nil {
		err = r.play(ctx, stdout, *messages)
	}
	err = errors.Join(err, stage.StopAll(r.programs))
	if err != nil {
		fmt.Fprintf(stderr, "interop: %v\ninterop: configuration, logs and mail are in %s\n", err, r.Folder)
		return 1
	}
	_ = os.RemoveAll(string(r.Folder))
	return 0
}

func (r *interop) prepare(ctx context.Context) error {
	var err error
	if r.Folder, err = stage.NewFolder(""); err != nil {
		return err
	}
	// Dovecot's and Postfix's own users must reach what is theirs; secrets stay in folders that they cannot open.
	if err := os.Chmod(string(r.Folder), 0o711); err != nil {
		return err
	}
	p := &r.Ports
	if err := stage.FreePorts(&p.Identity, &p.SandboxAdmin, &p.IMAP, &p.POP3, &p.LMTP, &p.Auth, &p.SMTP,
		&p.Broker, &p.BrokerAdmin, &p.IMAPAdmin, &p.POP3Admin, &p.SMTPAdmin, &p.Intake); err != nil {
		return err
	}
	if err := r.Certificates("broker", "imap-worker", "pop3-worker", "smtp-worker", "mail"); err != nil {
		return err
	}
	if err := r.Templates(files, r); err != nil {
		return err
	}
	for worker, admin := range map[string]int{"imap-worker": p.IMAPAdmin, "pop3-worker": p.POP3Admin} {
		if err := r.Template(worker+".yaml", readerFile, map[string]any{"Ports": r.Ports, "Worker": worker, "Admin": admin}); err != nil {
			return err
		}
	}
	if err := r.own(); err != nil {
		return err
	}
	return r.launchAll(ctx)
}

// own gives each server's folders to the user that it runs as.
func (r *interop) own() error {
	for _, dir := range []struct {
		path, user string
	}{{"dovecot/run", "root"}, {"dovecot/mail", "dovecot"}, {"postfix/spool", "root"}, {"postfix/data", "postfix"}} {
		if err := os.MkdirAll(r.Path(dir.path), 0o755); err != nil {
			return err
		}
		if out, err := exec.Command("chown", dir.user, r.Path(dir.path)).CombinedOutput(); err != nil {
			return fmt.Errorf("chown %s: %s", dir.path, out)
		}
	}
	return nil
}

func (r *interop) launchAll(ctx context.Context) error {
	p := r.Ports
	ours := func(name string) []string {
		return []string{filepath.Join(r.bin, name), "-config", r.Path(name + ".yaml")}
	}
	admin := func(port int, path string) func(context.Context) bool {
		return stage.Answers(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	}
	for _, s := range []struct {
		name  string
		ready func(context.Context) bool
		argv  []string
	}{
		{"sandbox", admin(p.SandboxAdmin, "/healthz"), ours("sandbox")},
		{"dovecot", stage.Listens(p.IMAP, p.POP3, p.LMTP, p.Auth), []string{"/usr/sbin/dovecot", "-F", "-c", r.Path("dovecot.conf")}},
		{"postfix", stage.Listens(p.SMTP), []string{"/usr/sbin/postfix", "-c", string(r.Folder), "start-fg"}},
		{"broker", admin(p.BrokerAdmin, "/readyz"), ours("broker")},
		{"imap-worker", admin(p.IMAPAdmin, "/readyz"), ours("imap-worker")},
		{"pop3-worker", admin(p.POP3Admin, "/readyz"), ours("pop3-worker")},
		{"smtp-worker", admin(p.SMTPAdmin, "/readyz"), ours("smtp-worker")},
	} {
		program, err := stage.Launch(ctx, string(r.Folder), s.name, s.ready, s.argv...)
		if program != nil {
			if s.name == "postfix" {
				program.StopWith = []string{"/usr/sbin/postfix", "-c", string(r.Folder), "stop"}
			}
			r.programs = append(r.programs, program)
		}
		if err != nil {
			return err
		}
		if s.name == "sandbox" {
			if err := stage.FetchCA(ctx, p.SandboxAdmin, r.Folder); err != nil {
				return err
			}
		}
	}
	return nil
}

// What the templates ask for.
func (r *interop) Mailboxes() []mailbox { return mailboxes }
func (r *interop) Alias() string        { return alias }
func (r *interop) AliasOf() string      { return mailboxes[1].Address }

// DovecotUser is whom the mailboxes belong to.
func (r *interop) DovecotUser() (*user.User, error) { return user.Lookup("dovecot") }

func addresses() (all []string) {
	for _, m := range mailboxes {
		all = append(all, m.Address)
	}
	return all
}

func (r *interop) play(ctx context.Context, w io.Writer, messages int) error {
	letters := write(messages, fmt.Sprint(time.Now().UnixNano()))
	post := &stage.Post{Intake: fmt.Sprintf("127.0.0.1:%d", r.Ports.Intake), Pace: 20 * time.Second / time.Duration(messages)}
	fmt.Fprintf(w, "interop: submitting %d messages of %d mailboxes at Dovecot and Postfix; tokens live 12s, margin 5s\n", len(letters), len(mailboxes))
	if err := post.Submit(ctx, letters); err != nil {
		return err
	}
	arrivals := stage.Expect(r.Path("mail"), letters)
	arrivals.BehindTrace, arrivals.Elsewhere = true, map[string]string{}
	for _, m := range mailboxes {
		if m.Sink == "LMTP" {
			arrivals.Elsewhere[m.Address] = r.Path("dovecot/mail/kept-" + m.Address)
		}
	}
	in, err := arrivals.Await(ctx, time.Minute, 6*time.Second)
	if err != nil {
		return err
	}
	outbox := stage.Outbox{Brokerctl: filepath.Join(r.bin, "brokerctl"), Worker: fmt.Sprintf("127.0.0.1:%d", r.Ports.SMTPAdmin)}
	dead, err := outbox.Dead(ctx, "550 5.1.1")
	if err != nil {
		return err
	}
	taken, err := r.taken()
	if err != nil {
		return err
	}
	out := arrivals.BySender(letters)
	report(w, taken, out, in, dead)
	return errors.Join(judge(stage.Total(in)), agree(taken, out))
}

// judge is nil if everything arrived once, as it was.
func judge(t stage.Count) error {
	if t.Lost+t.Doubled+t.Altered > 0 {
		return fmt.Errorf("%d lost, %d doubled, %d altered", t.Lost, t.Doubled, t.Altered)
	}
	return nil
}

// report prints the table, one line for each side of each mailbox, and the message that was refused.
func report(w io.Writer, taken map[login]int, out, in map[string]stage.Count, dead string) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nPROTOCOL\tMAILBOX\tLOGIN\tSINK\tMESSAGES IN\tMESSAGES OUT\tLOST\tDOUBLED\tALTERED")
	for _, m := range mailboxes {
		c := out[m.Address]
		fmt.Fprintf(table, "SMTP\t%s\t%s\tPostfix\t-\t%d\t%d\t%d\t-\n", m.Address, m.Login, taken[login{m.Address, m.mechanism()}], c.Lost, c.Doubled)
	}
	for _, m := range mailboxes {
		c := in[m.Address]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t-\t%d\t%d\t%d\n", m.Protocol, m.Address, m.Login, m.Sink, c.Arrived, c.Lost, c.Doubled, c.Altered)
	}
	_ = table.Flush()
	fmt.Fprintf(w, "\nMESSAGES OUT: as Postfix counted them, by who logged in and how. One went to %s, which needs SMTPUTF8.\n", alias)
	fmt.Fprintf(w, "%s is refused; the message to it and to somebody else reached the other one:\n%s\n", nobody, dead)
	t := stage.Total(in)
	fmt.Fprintf(w, "interop: moved %d messages through Postfix and Dovecot, %d lost, %d doubled\n", t.Expected-t.Lost, t.Lost, t.Doubled)
}
