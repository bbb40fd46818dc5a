// Demo runs the main job, whole, on this machine: it makes certificates and configuration in a temporary folder, starts
// the sandbox, the broker and the workers as processes of their own, submits mail over SMTP, and waits until the workers
// have carried it through the sandbox's servers into Maildirs. It compares bytes and ends with a table; a message that is
// lost, doubled or altered is exit 1.
//
//	demo.go     the order of events, and the flags
//	cast.go     who takes part: tenants, applications, mailboxes, grants
//	files.go    certificates and configuration files
//	post.go     the letters, by which worker each goes, and what became of the one that nobody gets
//	launch.go   which programs, in which order
//	broker.go   asking the broker how it fared
//	chaos.go    kill -9 on the way
//	report.go   the table, and the lines to try
package main
