package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func mailbox() *cobra.Command {
	t := &target{}
	c := &cobra.Command{
		Use:   "mailbox",
		Short: "how the mailboxes' credentials fare",
		Long: "How the mailboxes' credentials fare. Your identity needs the verb admin; with settings alone, list and status show what it may\n" +
			"serve. A side is one of:\n\n" +
			"  healthy   there is a good token, or a password that nobody complained about\n" +
			"  unused    nobody asked yet\n" +
			"  expiring  it works, and a person must act soon (--soon): a secret, certificate or consent ends\n" +
			"  waiting   it failed and will be tried again by itself\n" +
			"  degraded  it works on the last token, and renewing fails\n" +
			"  frozen    nothing is tried until a person acts",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	t.flags(c)
	c.PersistentFlags().DurationVar(&t.soon, "soon", 14*24*time.Hour, "call a side expiring when a person must act within this time; 0 = never")
	c.AddCommand(list(t), show(t), check(t), reset(t))
	return c
}

func show(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "status ADDRESS",
		Short: "say how one mailbox fares, and who must do what",
		Long: "Says how both sides of a mailbox fare, and who must do what. Exit code 1 if a side is expiring, waiting, degraded or frozen.\n" +
			"The provider is not asked: check does that.",
		Example:           "  brokerctl mailbox status support@contoso.com\n  brokerctl mailbox status support@contoso.com -o json | jq -r '.[].remedy'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: t.addresses,
		RunE: func(c *cobra.Command, args []string) error {
			return t.call(c.Context(), func(ctx context.Context, m brokerv1.MailboxServiceClient) error {
				box, err := m.GetMailbox(ctx, &brokerv1.GetMailboxRequest{Mailbox: args[0]})
				if err != nil {
					return err
				}
				return t.details(c, box.GetMailbox().GetStatuses())
			})
		},
	}
}

func check(t *target) *cobra.Command {
	return eachSide(t, &cobra.Command{
		Use:     "check ADDRESS",
		Short:   "ask the provider for a token now, and say what happened",
		Long:    "Asks the provider for a token now, and says what happened; the token stays in the broker. A frozen credential is not tried:\nreset it first. Exit code 1 if something is wrong.",
		Example: "  brokerctl mailbox check support@contoso.com --side in",
	}, func(ctx context.Context, m brokerv1.MailboxServiceClient, s *brokerv1.Selector) (*brokerv1.MailboxStatus, error) {
		r, err := m.CheckMailbox(ctx, &brokerv1.CheckMailboxRequest{Selector: s})
		return r.GetStatus(), err
	})
}

func reset(t *target) *cobra.Command {
	return eachSide(t, &cobra.Command{
		Use:     "reset ADDRESS",
		Short:   "end a freeze: its cause is gone",
		Long:    "Ends a freeze, and every pause, of the mailbox's credential, so that it is tried again. Do it once the cause is gone:\na wrong password that is tried again and again locks the account.",
		Example: "  brokerctl mailbox reset support@contoso.com && brokerctl mailbox check support@contoso.com",
	}, func(ctx context.Context, m brokerv1.MailboxServiceClient, s *brokerv1.Selector) (*brokerv1.MailboxStatus, error) {
		r, err := m.ResetMailbox(ctx, &brokerv1.ResetMailboxRequest{Selector: s})
		return r.GetStatus(), err
	})
}

// eachSide makes a command that does something to the sides of a mailbox.
func eachSide(t *target, c *cobra.Command, do func(context.Context, brokerv1.MailboxServiceClient, *brokerv1.Selector) (*brokerv1.MailboxStatus, error)) *cobra.Command {
	var side string
	c.Args = cobra.ExactArgs(1)
	c.ValidArgsFunction = t.addresses
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := oneOf("side", side, append(bothSides, "")); err != nil {
			return err
		}
		return t.call(c.Context(), func(ctx context.Context, m brokerv1.MailboxServiceClient) error {
			selectors, err := sides(ctx, m, args[0], side)
			if err != nil {
				return err
			}
			var all []*brokerv1.MailboxStatus
			for _, s := range selectors {
				st, err := do(ctx, m, s)
				if err != nil {
					return err
				}
				all = append(all, st)
			}
			return t.details(c, all)
		})
	}
	sideFlag(c, &side)
	return c
}

var bothSides = []string{"in", "out"}

func sideFlag(c *cobra.Command, side *string) {
	c.Flags().StringVar(side, "side", "", "only this: in or out")
	_ = c.RegisterFlagCompletionFunc("side", cobra.FixedCompletions(bothSides, cobra.ShellCompDirectiveNoFileComp))
}

// oneOf complains about a value that is not among those allowed.
func oneOf(flag, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("--%s %q: use one of: %s", flag, value, strings.TrimSuffix(strings.Join(allowed, ", "), ", "))
}

// sides are the mailbox's configured sides, or the one that was asked for.
func sides(ctx context.Context, m brokerv1.MailboxServiceClient, address, side string) ([]*brokerv1.Selector, error) {
	box, err := m.GetMailbox(ctx, &brokerv1.GetMailboxRequest{Mailbox: address})
	if err != nil {
		return nil, err
	}
	var all []*brokerv1.Selector
	for _, st := range box.GetMailbox().GetStatuses() {
		if side == "" || side == sideOf(st.GetSelector()) {
			all = append(all, st.GetSelector())
		}
	}
	if len(all) == 0 {
		return nil, &wrongError{fmt.Errorf("%s has no side %s", address, side)}
	}
	return all, nil
}

// errTrouble makes the exit code 1 when everything was printed already.
var errTrouble = errors.New("something is wrong")

// details prints every side at length; trouble makes the exit code 1.
func (t *target) details(c *cobra.Command, all []*brokerv1.MailboxStatus) error {
	rows := make([]row, len(all))
	for i, st := range all {
		rows[i] = rowOf(st, time.Now(), t.soon)
	}
	if err := t.printRows(c, rows); err != nil {
		return err
	}
	if slices.ContainsFunc(rows, row.troubled) {
		return &wrongError{errTrouble}
	}
	return nil
}

func (t *target) printRows(c *cobra.Command, rows []row) error {
	if t.output == "json" {
		return printJSON(c.OutOrStdout(), rows)
	}
	return printDetails(c.OutOrStdout(), rows)
}

// most is how many addresses a shell is offered.
const most = 100

// addresses completes a mailbox address by asking the broker, within a time that a person at a prompt does not mind.
func (t *target) addresses(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var found []string
	err := t.call(ctx, func(ctx context.Context, m brokerv1.MailboxServiceClient) error {
		page, err := m.ListMailboxes(ctx, &brokerv1.ListMailboxesRequest{AddressPattern: begun + "*", PageSize: most})
		for _, box := range page.GetMailboxes() {
			found = append(found, box.GetAddress())
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}
