// Command imap-worker fetches mail over IMAP and hands it to sinks. Which mailboxes, and with which tokens, the broker
// says; any number of workers may share them.
package main

import (
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/imap"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/program"
)

func main() { worker.App().Main() }

var worker = program.Inbound{Protocol: tokenclient.IMAP, Source: source}

func source(m program.Means, s tokenclient.Settings, folder string) (inbound.Source, error) {
	return imap.New(imap.Config{Settings: s, Folder: folder, Broker: m.Broker, Roots: m.Config.Roots})
}
