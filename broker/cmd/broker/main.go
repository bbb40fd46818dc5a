// Command broker owns every mail credential and hands out access tokens over gRPC. See ../../README.md.
package main

import (
	"flag"

	"mailporter/broker/internal/directory"
	"mailporter/kit/config"
	"mailporter/kit/daemon"
)

func main() { newApp().Main() }

// newApp is the program. Tests run it in their own process.
func newApp() daemon.App[*directory.Config] {
	var insecure bool
	return daemon.App[*directory.Config]{
		Name:  "broker",
		About: "hands out mail access tokens over gRPC and keeps the credentials to itself",
		Docs:  "broker/README.md",
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&insecure, "insecure", false, "serve plain text, on loopback only: for trials; every caller is then named insecure")
		},
		Load: func(path string) (*directory.Config, config.Complaints) {
			return directory.Load(path, func(root *config.Map, s directory.Settings) {
				if !insecure && s.TLS == (daemon.TLSFiles{}) && root.Present() {
					root.Complain("tls", "is missing", "write tls: {certificate: PEM, key: PEM, client-ca: PEM}, or start with -insecure for a trial on loopback")
				}
				check(root, s)
			})
		},
		Admin: func(c *directory.Config) string { return c.Admin },
		Run:   run,
	}
}
