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
	}, rotate())
	return c
}

func rotate() *cobra.Command {
	var promote bool
	c := &cobra.Command{
		Use:   "rotate FILE",
		Short: "add a key, or make the newest one seal",
		Long: "Adds a key that opens but does not seal yet. Give the file to every broker, restart them, and run it again with\n" +
			"--promote: then the new key seals, and the file goes round once more. What older keys sealed stays readable and is\n" +
			"sealed anew when it is next written.",
		Example: "  brokerctl keyset rotate secrets/keyset.json\n  brokerctl keyset rotate --promote secrets/keyset.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			do, done := seal.Add, "has a new key; give the file to every broker, restart them, then run: brokerctl keyset rotate --promote"
			if promote {
				do, done = seal.Promote, "seals with its newest key; give the file to every broker and restart them"
			}
			if err := do(args[0]); err != nil {
				return &wrongError{err}
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", args[0], done)
			return err
		},
	}
	c.Flags().BoolVar(&promote, "promote", false, "make the newest key the one that seals")
	return c
}
