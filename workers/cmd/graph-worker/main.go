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
)

func main() { worker.App().Main() }

var worker = program.Both{Protocol: tokenclient.Graph, Source: source, Transport: transport}

func source(m program.Means, s tokenclient.Settings, folder string) (inbound.Source, error) {
	return graph.New(graph.Config{Settings: s, Folder: folder, Broker: m.Broker, Roots: m.Config.Roots, Slots: m.Slots})
}

func transport(m program.Means, s tokenclient.Settings) (outbound.Transport, error) {
	t, err := graph.NewTransport(graph.TransportConfig{Roots: m.Config.Roots, Slots: m.Slots}, s, m.Broker)
	if err != nil {
		return nil, err // not t: a nil *Transport is no nil Transport
	}
	return t, nil
}
