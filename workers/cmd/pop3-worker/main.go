// Command pop3-worker fetches mail over POP3 and hands it to sinks. Which mailboxes, and with which tokens, the broker
// says; any number of workers may share them.
package main

import (
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/pop3"
	"mailporter/workers/internal/program"
)

func main() { worker.App().Main() }

// A page of POP3 costs a session where messages are deleted, and with it a listing of the whole mailbox: the pages are
// larger than those of other protocols.
var worker = program.Inbound{Protocol: tokenclient.POP3, Source: source, Page: 1000}

func source(m program.Means, s tokenclient.Settings, folder string) (inbound.Source, error) {
	return pop3.New(pop3.Config{Settings: s, Folder: folder, Broker: m.Broker, Roots: m.Config.Roots})
}
