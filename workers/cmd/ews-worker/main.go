// Command ews-worker fetches mail over Exchange Web Services and hands it to sinks. Which mailboxes, and with which
// credentials, the broker says; any number of workers may share them.
package main

import (
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/ews"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/program"
	"mailporter/workers/internal/setup"
)

func main() { worker.App().Main() }

var worker = program.Inbound{Protocol: tokenclient.EWS, Source: source}

func source(c setup.Config, b tokenclient.Broker, s tokenclient.Settings, folder string) (inbound.Source, error) {
	return ews.New(ews.Config{Settings: s, Folder: folder, Broker: b, Roots: c.Roots})
}
