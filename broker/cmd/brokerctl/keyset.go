package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"mailporter/broker/internal/store/seal"
)

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
