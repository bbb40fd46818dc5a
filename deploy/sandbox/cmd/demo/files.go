package main

import (
	"context"
	"embed"
	"fmt"
	"strings"
	"time"

	"mailporter/kit/daemon"
	"mailporter/sandbox/internal/stage"
)

// Tokens are short-lived and the margin is nearly half of it, so that every credential is renewed and every connection
// closed and reopened several times while the demo runs.
const (
	tokenLife = 12 * time.Second
	margin    = 5 * time.Second
	cycle     = 2 * time.Second
)

// files are the programs' configuration, as templates over the demo.
//
//go:embed files/*.yaml
var files embed.FS

// Ports are the loopback ports that the programs listen on.
type Ports struct {
	Identity, IMAP, POP3, SMTP, GmailIMAP, GmailPOP3, GmailSMTP, EWS, Graph, SandboxAdmin int

	Broker, BrokerAdmin, IMAPAdmin, POP3Admin, EWSAdmin, GraphAdmin, SMTPAdmin, Intake, EWSIntake, GraphIntake, Redis int
}

// AdminOf is where the worker of a protocol answers.
func (p Ports) AdminOf(protocol string) int {
	return map[string]int{"IMAP": p.IMAPAdmin, "POP3": p.POP3Admin, "EWS": p.EWSAdmin, "GRAPH": p.GraphAdmin, "SMTP": p.SMTPAdmin}[protocol]
}

// Fetching is the port of the server that a role's mail is fetched from.
func (p Ports) Fetching(r Role) int {
	if r.Gmail {
		return map[string]int{"IMAP": p.GmailIMAP, "POP3": p.GmailPOP3}[r.Protocol]
	}
	return map[string]int{"IMAP": p.IMAP, "POP3": p.POP3, "EWS": p.EWS, "GRAPH": p.Graph}[r.Protocol]
}

// Sending is the port of the server that a role's mail is sent through.
func (p Ports) Sending(r Role) int {
	if r.Gmail {
		return p.GmailSMTP
	}
	return map[string]int{"SMTP": p.SMTP, "EWS": p.EWS, "GRAPH": p.Graph}[r.Sends]
}

// IntakeOf is where the worker of a protocol takes mail in; 0: it does not send.
func (p Ports) IntakeOf(protocol string) int {
	return map[string]int{"SMTP": p.Intake, "EWS": p.EWSIntake, "GRAPH": p.GraphIntake}[protocol]
}

// readerFile is the configuration of a worker that fetches mail, and sends it where its protocol can.
//
//go:embed reader.yaml
var readerFile string

// reader is what its template asks for.
type reader struct {
	*demo
	Protocol string
	Database int // of a Redis
}

// Worker is the program that fetches mail by a protocol.
func (r reader) Worker() string { return worker(r.Protocol) }

func worker(protocol string) string { return strings.ToLower(protocol) + "-worker" }

// prepare writes certificates and configuration and starts the programs, each once the one before is ready.
func (d *demo) prepare(ctx context.Context, folder string) error {
	var err error
	if d.Folder, err = stage.NewFolder(folder); err != nil {
		return err
	}
	p := &d.Ports
	if err := stage.FreePorts(&p.Identity, &p.IMAP, &p.POP3, &p.SMTP, &p.GmailIMAP, &p.GmailPOP3, &p.GmailSMTP, &p.EWS, &p.Graph, &p.SandboxAdmin,
		&p.Broker, &p.BrokerAdmin, &p.IMAPAdmin, &p.POP3Admin, &p.EWSAdmin, &p.GraphAdmin, &p.SMTPAdmin, &p.Intake, &p.EWSIntake, &p.GraphIntake, &p.Redis); err != nil {
		return err
	}
	names := []string{"broker", "smtp-worker", "admin"}
	for _, protocol := range fetched {
		names = append(names, worker(protocol))
	}
	if err := d.Certificates(names...); err != nil {
		return err
	}
	if err := d.makeRobot(); err != nil {
		return err
	}
	if err := d.Templates(files, d); err != nil {
		return err
	}
	for i, protocol := range fetched {
		if err := d.Template(worker(protocol)+".yaml", readerFile, reader{d, protocol, 3 + i}); err != nil {
			return err
		}
	}
	if err := d.launchAll(ctx); err != nil {
		return err
	}
	d.tally, err = newTally(ctx, fmt.Sprintf("localhost:%d", p.Broker), daemon.TLSFiles{
		Certificate: d.Path("tls/admin.pem"), Key: d.Path("tls/admin-key.pem"), CA: d.Path("tls/ca.pem")})
	return err
}

// Engine is where a program keeps what it must not forget.
func (d *demo) Engine(folder string, database int) string {
	if d.redis {
		return fmt.Sprintf("redis://127.0.0.1:%d/%d", d.Ports.Redis, database)
	}
	return "file:" + folder
}

// Clock writes a duration of less than a minute as configuration wants it.
func (d *demo) Clock(of time.Duration) string { return fmt.Sprintf("00:00:%02d", int(of/time.Second)) }

// What the templates ask for.
func (d *demo) Fetched() []string        { return fetched }
func (d *demo) Reader(p string) string   { return worker(p) }
func (d *demo) TokenLife() time.Duration { return tokenLife }
func (d *demo) Margin() time.Duration    { return margin }
func (d *demo) Cycle() time.Duration     { return cycle }
func (d *demo) Tenant() string           { return tenant }
func (d *demo) ServiceApp() string       { return serviceApp }
func (d *demo) PublicApp() string        { return publicApp }
func (d *demo) EnrolledApp() string      { return enrolledApp }
func (d *demo) GoogleClient() string     { return googleClient }
func (d *demo) Robot() string            { return robot }
func (d *demo) RobotNumber() string      { return robotNumber }
func (d *demo) RobotKey() string         { return robotKey }
