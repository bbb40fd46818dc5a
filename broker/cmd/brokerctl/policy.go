package main

import (
	"errors"
	"fmt"
	"io"
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
	var verb, output string
	c := &cobra.Command{
		Use:   "test FILE",
		Short: "explain what a policy file decides",
		Long: "Says whether the policy in FILE allows something, by which rule, and what each other rule has against it.\n" +
			"Exit code 1 if it is denied.",
		Example: "  brokerctl policy test policy.yaml --identity spiffe://mail.example/imap-worker --mailbox support@contoso.com \\\n" +
			"    --protocol IMAP --verb token --tenant-wide",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := errors.Join(checkQuery(&q, verb), oneOf("output", output, outputs)); err != nil {
				return err
			}
			p, complaints := policy.Load(args[0])
			if err := complaints.Err(); err != nil {
				return &wrongError{errors.New(complaints.Error())}
			}
			for _, warning := range complaints {
				fmt.Fprintln(c.ErrOrStderr(), warning)
			}
			v := verdictOf(p, q)
			if err := v.print(c.OutOrStdout(), output); err != nil {
				return err
			}
			if !v.Allowed {
				return &wrongError{errors.New("denied")}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&q.Identity, "identity", "", "who asks: the certificate's SPIFFE URI, DNS name or common name, or system:serviceaccount:NAMESPACE:NAME")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	f.StringVar(&q.Mailbox, "mailbox", "", "the mailbox's address")
	f.StringVar(&q.Protocol, "protocol", "", "one of "+strings.Join(policy.Protocols(), ", ")+"; empty: about no protocol")
	f.StringVar(&verb, "verb", string(policy.Token), "one of "+strings.Join(policy.Verbs(), ", "))
	f.BoolVar(&q.TenantWide, "tenant-wide", false, "the token opens a whole tenant, as those of client_credentials do")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
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

// verdict is what a policy decides and why, as JSON has it.
type verdict struct {
	Allowed bool     `json:"allowed"`
	Rule    string   `json:"rule"` // the first that allows it, or why none does
	Rules   []ruling `json:"rules"`
}

// ruling is what one rule says.
type ruling struct {
	Rule   string `json:"rule"`             // policy.yaml:3
	Allows bool   `json:"allows"`           // it
	Why    string `json:"why_not,omitzero"` // all that does not fit
}

func verdictOf(p *policy.Policy, q policy.Query) verdict {
	d := p.Decide(q)
	v := verdict{Allowed: d.Allowed, Rule: d.Rule, Rules: []ruling{}}
	for _, s := range p.Explain(q) {
		v.Rules = append(v.Rules, ruling{s.Rule, s.Why == "", s.Why})
	}
	return v
}

func (v verdict) print(w io.Writer, output string) error {
	if output == "json" {
		return printJSON(w, v)
	}
	if v.Allowed {
		fmt.Fprintf(w, "allowed by %s\n", v.Rule)
	} else {
		fmt.Fprintln(w, "denied: no rule allows it")
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range v.Rules {
		if r.Allows {
			r.Why = "allows it"
		}
		fmt.Fprintf(table, "  %s\t%s\n", r.Rule, r.Why)
	}
	return table.Flush()
}
