// Package daemon is the frame of every Mailporter process: flags, configuration, log, metrics, health, signals, an orderly
// end, and TLS files that may change while the process runs. A main is one App:
//
//	func main() {
//		daemon.App[worker.Config]{
//			Name:  "imap-worker",
//			About: "fetches mail over IMAP and hands it to sinks",
//			Load:  worker.Load,
//			Admin: func(c worker.Config) string { return c.Admin },
//			Run:   worker.Run,
//		}.Main()
//	}
//
// App.Run gets a Frame with what it needs and a context that ends when the process is told to. Nothing here knows mail.
package daemon
