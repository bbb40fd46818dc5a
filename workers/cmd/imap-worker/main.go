// Command imap-worker fetches mail over IMAP and hands it to sinks. Which mailboxes, and with which tokens, the broker
// says; any number of workers may share them.
package main

import (
	"mailporter/kit/config"
	"mailporter/kit/daemon"
	"mailporter/workers/internal/setup"
)

func main() { app().Main() }

func app() daemon.App[setup.Config] {
	return daemon.App[setup.Config]{
		Name:  "imap-worker",
		About: "fetches mail over IMAP and hands it to sinks",
		Load:  func(path string) (setup.Config, config.Complaints) { return setup.Load(path, setup.Inbound) },
		Admin: func(c setup.Config) string { return c.Admin },
		Run:   run,
	}
}
