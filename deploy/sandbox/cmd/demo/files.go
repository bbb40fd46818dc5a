package main

import (
	"context"
	"embed"
	"fmt"
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
	Identity, IMAP, SMTP, GmailIMAP, GmailSMTP, SandboxAdmin int
	Broker, BrokerAdmin, IMAPAdmin, SMTPAdmin, Intake        int
	Redis                                                    int
}

// prepare writes certificates and configuration and starts the programs, each once the one before is ready.
func (d *demo) prepare(ctx context.Context, folder string) error {
	var err error
	if d.Folder, err = stage.NewFolder(folder); err != nil {
		return err
	}
	p := &d.Ports
	if err := stage.FreePorts(&p.Identity, &p.IMAP, &p.SMTP, &p.GmailIMAP, &p.GmailSMTP, &p.SandboxAdmin,
		&p.Broker, &p.BrokerAdmin, &p.IMAPAdmin, &p.SMTPAdmin, &p.Intake, &p.Redis); err != nil {
		return err
	}
	if err := d.Certificates("broker", "imap-worker", "smtp-worker", "admin"); err != nil {
		return err
	}
	if err := d.makeRobot(); err != nil {
		return err
	}
	if err := d.Templates(files, d); err != nil {
		return err
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
