// Command smtp-worker takes mail from programs and sends it through the submission servers of its mailboxes. Which
// mailboxes, and with which tokens, the broker says; any number of workers may share an outbox in Redis.
package main

import (
	"fmt"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/ews"
	"mailporter/workers/internal/graph"
	"mailporter/workers/internal/imap"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/program"
	"mailporter/workers/internal/smtp"
)

func main() { worker.App().Main() }

var worker = program.Outbound{Protocol: tokenclient.SMTP, Transport: transport, SentItems: sentItems}

func transport(m program.Means, s tokenclient.Settings) (outbound.Transport, error) {
	t, err := smtp.New(smtp.Config{Roots: m.Config.Roots, Hello: m.Config.Intake.Hostname, Shared: m.Config.State.Shared()}, s, m.Broker)
	if err != nil {
		return nil, err // not t: a nil *Transport is no nil Transport
	}
	return t, nil
}

// sentItems looks among the sent mail of a mailbox the way that the mailbox is read: SMTP cannot tell what became of a message.
func sentItems(m program.Means, s tokenclient.Settings, folder string) (outbound.SentFinder, error) {
	switch s.Protocol {
	case tokenclient.IMAP:
		return imap.NewSentItems(imap.Config{Settings: s, Broker: m.Broker, Roots: m.Config.Roots}, folder)
	case tokenclient.Graph:
		return graph.NewSentItems(graph.Config{Settings: s, Broker: m.Broker, Roots: m.Config.Roots, Slots: m.Slots}, folder)
	case tokenclient.EWS:
		return ews.NewSentItems(ews.Config{Settings: s, Broker: m.Broker, Roots: m.Config.Roots}, folder)
	}
	return nil, fmt.Errorf("sent-items: %s shows no sent mail; use a pop-client of type IMAP, EWS or GRAPH", s.Protocol)
}
