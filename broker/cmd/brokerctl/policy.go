package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"mailporter/broker/internal/policy"
)

func policies() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "who may ask the broker for what",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(policyTest())
	return c
}

func policyTest() *cobra.Command {
	var q policy.Query
	var verb string
	c := &cobra.Command{
		Use:   "test FILE",
		Short: "explain what a policy file decides",
		Long: "Says whether the policy in FILE allows something, by which rule, and what each other rule has against it.\n" +
			"Exit code 1 if it is denied.",
		Example: "  brokerctl policy test policy.yaml --identity spiffe://mail.example/imap-worker --mailbox support@contoso.com \\\n" +
			"    --protocol IMAP --verb token --tenant-wide",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkQuery(&q, verb); err != nil {
				return err
			}
			p, complaints := policy.Load(args[0])
			if err := complaints.Err(); err != nil {
				return &wrongError{errors.New(complaints.Error())}
			}
			for _, warning := range complaints {
				fmt.Fprintln(c.ErrOrStderr(), warning)
			}
			return explain(c, p, q)
		},
	}
	f := c.Flags()
	f.StringVar(&q.Identity, "identity", "", "who asks: the certificate's SPIFFE URI, DNS name or common name")
	f.StringVar(&q.Mailbox, "mailbox", "", "the mailbox's address")
	f.StringVar(&q.Protocol, "protocol", "", "one of "+strings.Join(policy.Protocols(), ", ")+"; empty: about no protocol")
	f.StringVar(&verb, "verb", string(policy.Token), "one of "+strings.Join(policy.Verbs(), ", "))
	f.BoolVar(&q.TenantWide, "tenant-wide", false, "the token opens a whole tenant, as those of client_credentials do")
	_ = c.RegisterFlagCompletionFunc("verb", cobra.FixedCompletions(policy.Verbs(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("protocol", cobra.FixedCompletions(policy.Protocols(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func checkQuery(q *policy.Query, verb string) error {
	q.Protocol, q.Mailbox, q.Verb = strings.ToUpper(q.Protocol), strings.ToLower(q.Mailbox), policy.Verb(verb)
	switch {
	case q.Identity == "":
		return errors.New("--identity is missing: name who asks")
	case q.Mailbox == "":
		return errors.New("--mailbox is missing: name the address")
	case !slices.Contains(policy.Verbs(), verb):
		return fmt.Errorf("--verb %q: use one of %s", verb, strings.Join(policy.Verbs(), ", "))
	case q.Protocol != "" && !slices.Contains(policy.Protocols(), q.Protocol):
		return fmt.Errorf("--protocol %q: use one of %s", q.Protocol, strings.Join(policy.Protocols(), ", "))
	}
	return nil
}

func explain(c *cobra.Command, p *policy.Policy, q policy.Query) error {
	d := p.Decide(q)
	if d.Allowed {
		fmt.Fprintf(c.OutOrStdout(), "allowed by %s\n", d.Rule)
	} else {
		fmt.Fprintln(c.OutOrStdout(), "denied: no rule allows it")
	}
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, s := range p.Explain(q) {
		if s.Why == "" {
			s.Why = "allows it"
		}
		fmt.Fprintf(table, "  %s\t%s\n", s.Rule, s.Why)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if !d.Allowed {
		return &wrongError{errors.New("denied")}
	}
	return nil
}
