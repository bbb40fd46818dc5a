// Brokerctl is the operator's tool: what must be done beside a running broker.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra" // gives completion for four shells and help that people know

	"mailporter/broker/internal/store/seal"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run answers with the exit code: 0 fine, 1 something is wrong with what was asked about, 2 usage.
func run(args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "brokerctl",
		Short:         "look after a Mailporter broker",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(keyset())
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

func keyset() *cobra.Command {
	c := &cobra.Command{
		Use:   "keyset",
		Short: "the keys that seal tokens in the store",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(&cobra.Command{
		Use:     "new FILE",
		Short:   "make a keyset",
		Long:    "Makes a keyset with one AES-256-GCM key, readable by its owner alone. All brokers that share a Redis need the\nsame file. An existing file is never replaced: what was sealed with it would be lost.",
		Example: "  brokerctl keyset new secrets/keyset.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			err := seal.Make(args[0])
			if errors.Is(err, fs.ErrExist) {
				return &wrongError{fmt.Errorf("%s exists and was left as it is; name another file", args[0])}
			}
			if err != nil {
				return &wrongError{err}
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: a new keyset; back it up, and name it as `keyset` in broker.yaml\n", args[0])
			return err
		},
	})
	return c
}
