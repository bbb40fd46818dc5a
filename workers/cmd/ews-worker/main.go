// Command ews-worker fetches mail over Exchange Web Services and hands it to sinks, and takes mail from programs and sends
// it over them: whichever of both its file says. Which mailboxes, and with which credentials, the broker says; any number of
// workers may share them.
package main

import (
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/ews"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/program"
)

func main() { worker.App().Main() }

var worker = program.Both{Protocol: tokenclient.EWS, Source: source, Transport: transport}

func source(m program.Means, s tokenclient.Settings, folder string) (inbound.Source, error) {
	return ews.New(ews.Config{Settings: s, Folder: folder, Broker: m.Broker, Roots: m.Config.Roots})
}

func transport(m program.Means, s tokenclient.Settings) (outbound.Transport, error) {
	t, err := ews.NewTransport(ews.TransportConfig{Roots: m.Config.Roots}, s, m.Broker)
	if err != nil {
		return nil, err // not t: a nil *Transport is no nil Transport
	}
	return t, nil
}
