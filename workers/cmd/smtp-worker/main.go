// Command smtp-worker takes mail from programs and sends it through the submission servers of its mailboxes. Which
// mailboxes, and with which tokens, the broker says; any number of workers may share an outbox in Redis.
package main

import (
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/program"
	"mailporter/workers/internal/setup"
	"mailporter/workers/internal/smtp"
)

func main() { worker.App().Main() }

var worker = program.Outbound{Protocol: tokenclient.SMTP, Transport: transport}

func transport(c setup.Config, b tokenclient.Broker, s tokenclient.Settings) (outbound.Transport, error) {
	t, err := smtp.New(smtp.Config{Roots: c.Roots, Hello: c.Intake.Hostname}, s, b)
	if err != nil {
		return nil, err // not t: a nil *Transport is no nil Transport
	}
	return t, nil
}
