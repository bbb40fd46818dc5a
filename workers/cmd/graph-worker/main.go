// Command graph-worker fetches mail over Microsoft Graph and hands it to sinks, and takes mail from programs and sends it
// over Graph: whichever of both its file says. Which mailboxes, and with which tokens, the broker says; any number of workers
// may share them.
package main

import (
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/graph"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/program"
	"mailporter/workers/internal/setup"
)

func main() { worker.App().Main() }

var worker = program.Both{Protocol: tokenclient.Graph, Source: source, Transport: transport}

func source(c setup.Config, b tokenclient.Broker, s tokenclient.Settings, folder string) (inbound.Source, error) {
	return graph.New(graph.Config{Settings: s, Folder: folder, Broker: b, Roots: c.Roots})
}

func transport(c setup.Config, b tokenclient.Broker, s tokenclient.Settings) (outbound.Transport, error) {
	t, err := graph.NewTransport(graph.TransportConfig{Roots: c.Roots}, s, b)
	if err != nil {
		return nil, err // not t: a nil *Transport is no nil Transport
	}
	return t, nil
}
