// Brokerctl is the operator's tool: what must be done beside a running broker.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra" // gives completion for four shells and help that people know
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run answers with the exit code: 0 fine, 1 something is wrong with what was asked about, 2 usage.
func run(args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "brokerctl",
		Short:         "look after a Mailporter broker and its workers",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(keyset(), mailbox(), outbox(), policies(), quarantine(), tokens())
	err := root.Execute()
	var wrong *wrongError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, "brokerctl:", err)
		return 1
	}
	fmt.Fprintf(stderr, "brokerctl: %v\nbrokerctl -h tells the rest\n", err)
	return 2
}

// wrongError is an error about what was asked about; every other one is about how it was asked.
type wrongError struct{ error }

func (e *wrongError) Unwrap() error { return e.error }
