package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// filter is which sides to list. An empty list or text lets everything through.
type filter struct {
	pattern, domain, side      string
	states, classes, protocols []string
}

func list(t *target) *cobra.Command {
	var f filter
	limit := 0
	c := &cobra.Command{
		Use:   "list [PATTERN]",
		Short: "list mailboxes, a line per side, what needs a person first",
		Long: "Lists the mailboxes whose address matches PATTERN (* matches any characters), a line per side: frozen first, then degraded,\n" +
			"expiring (soonest first), waiting, unused, healthy. With -o json a list of objects with the fields mailbox, side, protocol, grant,\n" +
			"credential, state, class, reason, remedy, failing_since, next_try, token_expires, last_token, act_before, tokens_minted.",
		Example: "  brokerctl mailbox list --state frozen,degraded,expiring\n" +
			"  brokerctl mailbox list '*support*' --domain contoso.com --protocol IMAP\n" +
			"  brokerctl mailbox list --class needs-user -o json | jq -r '.[].mailbox'",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			f.pattern = strings.Join(args, "")
			if err := f.check(limit); err != nil {
				return err
			}
			return t.call(c.Context(), func(ctx context.Context, m brokerv1.MailboxServiceClient) error {
				rows, err := f.ask(ctx, m, t.soon)
				if err != nil {
					return err
				}
				return t.printList(c, rows, limit)
			})
		},
	}
	f.flags(c)
	c.Flags().IntVar(&limit, "limit", 0, "print the first so many; 0 = all")
	return c
}

func (f *filter) flags(c *cobra.Command) {
	for _, choice := range []struct {
		name    string
		into    *[]string
		allowed []string
	}{{"state", &f.states, states}, {"class", &f.classes, classes}, {"protocol", &f.protocols, protocols}} {
		c.Flags().StringSliceVar(choice.into, choice.name, nil, "only these: "+strings.Join(choice.allowed, ", "))
		_ = c.RegisterFlagCompletionFunc(choice.name, cobra.FixedCompletions(choice.allowed, cobra.ShellCompDirectiveNoFileComp))
	}
	c.Flags().StringVar(&f.domain, "domain", "", "only mailboxes of this domain")
	_ = c.RegisterFlagCompletionFunc("domain", cobra.NoFileCompletions)
	sideFlag(c, &f.side)
}

func (f *filter) check(limit int) error {
	var all []error
	for _, s := range f.states {
		all = append(all, oneOf("state", s, states))
	}
	for _, s := range f.classes {
		all = append(all, oneOf("class", s, classes))
	}
	for i, s := range f.protocols {
		f.protocols[i] = strings.ToUpper(s)
		all = append(all, oneOf("protocol", f.protocols[i], protocols))
	}
	all = append(all, oneOf("side", f.side, append(bothSides, "")))
	if limit < 0 {
		all = append(all, errors.New("--limit: use 0 or more"))
	}
	return errors.Join(all...)
}

// ask gets every page and keeps what was asked for.
func (f *filter) ask(ctx context.Context, m brokerv1.MailboxServiceClient, soon time.Duration) ([]row, error) {
	rows, now := []row{}, time.Now()
	req := &brokerv1.ListMailboxesRequest{AddressPattern: f.pattern, States: f.wanted()}
	for {
		page, err := m.ListMailboxes(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, box := range page.GetMailboxes() {
			for _, st := range box.GetStatuses() {
				if r := rowOf(st, now, soon); f.keeps(r) {
					rows = append(rows, r)
				}
			}
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			byNeed(rows)
			return rows, nil
		}
	}
}

// wanted are the broker's words for the states; none if one of them is not the broker's, for then all must come.
func (f *filter) wanted() []brokerv1.State {
	var all []brokerv1.State
	for _, s := range f.states {
		n, ok := brokerv1.State_value["STATE_"+strings.ToUpper(s)]
		if !ok {
			return nil
		}
		all = append(all, brokerv1.State(n))
	}
	return all
}

func (f *filter) keeps(r row) bool {
	among := func(some []string, s string) bool { return len(some) == 0 || slices.Contains(some, s) }
	return among(f.states, r.State) && among(f.classes, r.Class) && among(f.protocols, r.Protocol) && (f.side == "" || f.side == r.Side) &&
		(f.domain == "" || strings.HasSuffix(strings.ToLower(r.Mailbox), "@"+strings.ToLower(f.domain)))
}

func (t *target) printList(c *cobra.Command, rows []row, limit int) error {
	shown := rows
	if limit > 0 {
		shown = rows[:min(limit, len(rows))]
	}
	if t.output == "json" {
		return printJSON(c.OutOrStdout(), shown)
	}
	return printTable(c.OutOrStdout(), shown, len(rows))
}
