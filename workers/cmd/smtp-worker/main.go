// Command smtp-worker takes mail from programs and sends it through the submission servers of its mailboxes. Which
// mailboxes, and with which tokens, the broker says; any number of workers may share an outbox in Redis.
package main

import (
	"mailporter/kit/config"
	"mailporter/kit/daemon"
	"mailporter/workers/internal/setup"
)

func main() { app().Main() }

func app() daemon.App[setup.Config] {
	return daemon.App[setup.Config]{
		Name:  "smtp-worker",
		About: "takes mail from programs and sends it through the mailboxes' submission servers",
		Load:  func(path string) (setup.Config, config.Complaints) { return setup.Load(path, setup.Outbound) },
		Admin: func(c setup.Config) string { return c.Admin },
		Run:   run,
	}
}
