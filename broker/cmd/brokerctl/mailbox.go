package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func mailbox() *cobra.Command {
	t := &target{}
	c := &cobra.Command{
		Use:   "mailbox",
		Short: "how the mailboxes' credentials fare",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	t.flags(c)
	c.AddCommand(list(t), show(t), check(t), reset(t))
	return c
}

func list(t *target) *cobra.Command {
	var states []string
	c := &cobra.Command{
		Use:     "list [PATTERN]",
		Short:   "list mailboxes, a line per side",
		Long:    "Lists the mailboxes whose address matches PATTERN (* matches any characters), a line per side.",
		Example: "  brokerctl mailbox list '*@contoso.com' --state frozen,degraded",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			wanted, err := parseStates(states)
			if err != nil {
				return err
			}
			return t.call(c.Context(), func(ctx context.Context, m brokerv1.MailboxServiceClient) error {
				all, err := listAll(ctx, m, strings.Join(args, ""), wanted)
				if err != nil {
					return err
				}
				return t.print(c.OutOrStdout(), all)
			})
		},
	}
	c.Flags().StringSliceVar(&states, "state", nil, "only these: "+strings.Join(stateNames(), ", "))
	_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(stateNames(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func listAll(ctx context.Context, m brokerv1.MailboxServiceClient, pattern string, states []brokerv1.State) ([]*brokerv1.MailboxStatus, error) {
	var all []*brokerv1.MailboxStatus
	req := &brokerv1.ListMailboxesRequest{AddressPattern: pattern, States: states}
	for {
		page, err := m.ListMailboxes(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, box := range page.GetMailboxes() {
			for _, st := range box.GetStatuses() {
				if len(states) == 0 || slices.Contains(states, st.GetState()) {
					all = append(all, st)
				}
			}
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func show(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "status ADDRESS",
		Short: "say how one mailbox fares, and who must do what",
		Long:  "Says how both sides of a mailbox fare, and who must do what. Exit code 1 if something is wrong with it.",
		Args:  cobra.ExactArgs(1),
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
		Use:   "check ADDRESS",
		Short: "ask the provider for a token now, and say what happened",
		Long:  "Asks the provider for a token now, and says what happened; the token stays in the broker. A frozen credential is not tried:\nreset it first. Exit code 1 if something is wrong.",
	}, func(ctx context.Context, m brokerv1.MailboxServiceClient, s *brokerv1.Selector) (*brokerv1.MailboxStatus, error) {
		r, err := m.CheckMailbox(ctx, &brokerv1.CheckMailboxRequest{Selector: s})
		return r.GetStatus(), err
	})
}

func reset(t *target) *cobra.Command {
	return eachSide(t, &cobra.Command{
		Use:   "reset ADDRESS",
		Short: "end a freeze: its cause is gone",
		Long:  "Ends a freeze, and every pause, of the mailbox's credential, so that it is tried again. Do it once the cause is gone:\na wrong password that is tried again and again locks the account.",
	}, func(ctx context.Context, m brokerv1.MailboxServiceClient, s *brokerv1.Selector) (*brokerv1.MailboxStatus, error) {
		r, err := m.ResetMailbox(ctx, &brokerv1.ResetMailboxRequest{Selector: s})
		return r.GetStatus(), err
	})
}

// eachSide makes a command that does something to the sides of a mailbox.
func eachSide(t *target, c *cobra.Command, do func(context.Context, brokerv1.MailboxServiceClient, *brokerv1.Selector) (*brokerv1.MailboxStatus, error)) *cobra.Command {
	var side string
	c.Args = cobra.ExactArgs(1)
	c.RunE = func(c *cobra.Command, args []string) error {
		if !slices.Contains([]string{"", "in", "out"}, side) {
			return fmt.Errorf("--side %q: use in or out", side)
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
	c.Flags().StringVar(&side, "side", "", "only this: in or out")
	_ = c.RegisterFlagCompletionFunc("side", cobra.FixedCompletions([]string{"in", "out"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// sides are the mailbox's configured sides, or the one that was asked for.
func sides(ctx context.Context, m brokerv1.MailboxServiceClient, address, side string) ([]*brokerv1.Selector, error) {
	box, err := m.GetMailbox(ctx, &brokerv1.GetMailboxRequest{Mailbox: address})
	if err != nil {
		return nil, err
	}
	var all []*brokerv1.Selector
	for _, st := range box.GetMailbox().GetStatuses() {
		if side == "" || side == sideName(st) {
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
	printer := printDetails
	if t.output == "json" {
		printer = printJSON
	}
	if err := printer(c.OutOrStdout(), all); err != nil {
		return err
	}
	if slices.ContainsFunc(all, troubled) {
		return &wrongError{errTrouble}
	}
	return nil
}

func troubled(st *brokerv1.MailboxStatus) bool {
	return st.GetState() != brokerv1.State_STATE_HEALTHY && st.GetState() != brokerv1.State_STATE_UNUSED
}
