// Command graph-worker fetches mail over Microsoft Graph and hands it to sinks. Which mailboxes, and with which tokens, the
// broker says; any number of workers may share them.
package main

import (
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/graph"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/program"
	"mailporter/workers/internal/setup"
)

func main() { worker.App().Main() }

var worker = program.Inbound{Protocol: tokenclient.Graph, Source: source}

func source(c setup.Config, b tokenclient.Broker, s tokenclient.Settings, folder string) (inbound.Source, error) {
	return graph.New(graph.Config{Settings: s, Folder: folder, Broker: b, Roots: c.Roots})
}
