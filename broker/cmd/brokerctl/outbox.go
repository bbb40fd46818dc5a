package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// office is the admin server of the worker that a command talks to, and how its answer is printed.
type office struct {
	worker string
	output string
}

// message is one message of the outbox, as the worker tells it and -o json repeats it.
type message struct {
	ID         string      `json:"id"`
	Mailbox    string      `json:"mailbox"`
	From       string      `json:"from"`
	Size       int64       `json:"size_bytes"`
	Accepted   time.Time   `json:"accepted"`
	Attempts   int         `json:"attempts"`
	Next       time.Time   `json:"next_attempt,omitzero"`
	Held       bool        `json:"held,omitempty"`
	WaitsUntil time.Time   `json:"waits_until,omitzero"`
	WaitsFor   string      `json:"waits_for,omitempty"`
	Recipients []recipient `json:"recipients"`
}

type recipient struct {
	Address string    `json:"address"`
	State   string    `json:"state"`
	Reason  string    `json:"reason,omitempty"`
	Changed time.Time `json:"changed"`
}

// recipientStates in the order of need: what wants a person comes first.
var recipientStates = []string{"dead", "unknown", "deferred", "sending", "queued", "sent"}

func outbox() *cobra.Command {
	o := &office{}
	c := &cobra.Command{
		Use:   "outbox",
		Short: "mail that a worker has not sent: list it, show it, try it again, drop it",
		Long: "Speaks to the admin server of a sending worker (its option admin). Changes are taken from the worker's own machine only;\n" +
			"in Kubernetes: kubectl port-forward.",
	}
	c.PersistentFlags().StringVar(&o.worker, "worker", cmp.Or(os.Getenv("MAILPORTER_WORKER"), "127.0.0.1:9091"), "admin address of the worker ($MAILPORTER_WORKER)")
	c.PersistentFlags().StringVarP(&o.output, "output", "o", "table", "table or json")
	_ = c.RegisterFlagCompletionFunc("worker", cobra.NoFileCompletions)
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	c.AddCommand(outboxList(o), outboxShow(o), outboxChange(o, "retry", "try messages again now, the dead and the held as well", http.MethodPost, "/retry"),
		outboxChange(o, "drop", "remove messages for good", http.MethodDelete, ""))
	return c
}

func outboxList(o *office) *cobra.Command {
	var mailbox, state string
	limit := 0
	c := &cobra.Command{
		Use:   "list",
		Short: "list the messages that are not sent, what needs a person first",
		Long: "Lists the messages that are not sent, a line each: dead and unknown ones first, then the oldest. STATE is that of the recipient who\n" +
			"needs attention most; unknown: the link broke after the message was handed over, so it may be sent; held: nothing happens until you\n" +
			"retry or drop it. Below stands how much waits for each mailbox, and when the last of it will be sent if its limits are all that is\n" +
			"in the way. With -o json a list of objects with the fields id, mailbox, from, size_bytes, accepted, attempts, next_attempt, held,\n" +
			"waits_until, waits_for, recipients (address, state, reason, changed).",
		Example: "  brokerctl outbox list --state dead\n" +
			"  brokerctl outbox list --mailbox support@contoso.com -o json | jq -r '.[].id'",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(oneOf("state", state, append(recipientStates, "")), oneOf("output", o.output, outputs)); err != nil {
				return err
			}
			all, err := o.messages(c.Context(), mailbox)
			if err != nil {
				return err
			}
			if err := o.printOutbox(c.OutOrStdout(), inState(all, state), limit); err != nil || o.output == "json" {
				return err
			}
			return printBacklogs(c.OutOrStdout(), o.backlogs(c.Context(), mailbox), time.Now())
		},
	}
	c.Flags().StringVar(&mailbox, "mailbox", "", "only what this mailbox sends")
	c.Flags().StringVar(&state, "state", "", "only messages with a recipient in this state: "+strings.Join(recipientStates, ", "))
	c.Flags().IntVar(&limit, "limit", 0, "print the first so many; 0 = all")
	_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(recipientStates, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("mailbox", cobra.NoFileCompletions)
	return c
}

func inState(all []message, state string) []message {
	kept := slices.DeleteFunc(all, func(m message) bool {
		return state != "" && !slices.ContainsFunc(m.Recipients, func(r recipient) bool { return r.State == state })
	})
	slices.SortStableFunc(kept, func(a, b message) int { return cmp.Compare(a.need(), b.need()) })
	return kept
}

// need is the place of the message's worst recipient in recipientStates, and those who only wait after the ones in trouble.
func (m message) need() int {
	worst := len(recipientStates)
	for _, r := range m.Recipients {
		if i := slices.Index(recipientStates, r.State); i >= 0 {
			worst = min(worst, i)
		}
	}
	return min(worst, slices.Index(recipientStates, "deferred"))
}

func outboxShow(o *office) *cobra.Command {
	return &cobra.Command{
		Use:               "show ID",
		Short:             "all that is known about a message, recipient by recipient",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.ids,
		RunE: func(c *cobra.Command, args []string) error {
			if err := oneOf("output", o.output, outputs); err != nil {
				return err
			}
			var m message
			if err := o.ask(c.Context(), http.MethodGet, "/outbox/"+url.PathEscape(args[0]), &m); err != nil {
				return err
			}
			if o.output == "json" {
				return printJSON(c.OutOrStdout(), m)
			}
			return m.print(c.OutOrStdout())
		},
	}
}

func outboxChange(o *office, verb, short, method, path string) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " ID...",
		Short:             short,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: o.ids,
		RunE: func(c *cobra.Command, args []string) error {
			var all []error
			for _, id := range args {
				if err := o.ask(c.Context(), method, "/outbox/"+url.PathEscape(id)+path, nil); err != nil {
					all = append(all, fmt.Errorf("%s: %w", id, err))
				}
			}
			return errors.Join(all...)
		},
	}
}

// ids completes the messages of the outbox.
func (o *office) ids(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var all []message
	if err := o.ask(c.Context(), http.MethodGet, "/outbox?max=200", &all); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, m := range all {
		ids = append(ids, m.ID+"\t"+m.From)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// mostAtOnce is how many messages are asked for at a time.
const mostAtOnce = 1000

// messages are all that a mailbox has not sent, or all mailboxes if it is empty.
func (o *office) messages(ctx context.Context, mailbox string) ([]message, error) {
	all := []message{}
	query := "?" + url.Values{"max": {strconv.Itoa(mostAtOnce)}, "mailbox": {mailbox}}.Encode()
	for query != "" {
		var some []message
		next, err := o.fetch(ctx, http.MethodGet, "/outbox"+query, &some)
		if err != nil {
			return nil, err
		}
		all, query = append(all, some...), next
	}
	return all, nil
}

// ask sends a request to the worker and reads its answer into out.
func (o *office) ask(ctx context.Context, method, path string, out any) error {
	_, err := o.fetch(ctx, method, path, out)
	return err
}

// fetch is ask; next is the query of the next page.
func (o *office) fetch(ctx context.Context, method, path string, out any) (next string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if next, err = (page{method, path, "outbox", "a worker that sends"}).fetch(ctx, o.worker, out); err != nil {
		return "", &wrongError{fmt.Errorf("--worker %s: %w", o.worker, err)}
	}
	return next, nil
}

func (o *office) printOutbox(w io.Writer, all []message, limit int) error {
	shown := all
	if limit > 0 {
		shown = all[:min(limit, len(all))]
	}
	if o.output == "json" {
		return printJSON(w, shown)
	}
	now := time.Now()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tFROM\tRECIPIENTS\tSTATE\tSIZE\tAGE\tATTEMPTS\tNEXT TRY\tWHY")
	for _, m := range shown {
		state, why := m.worst()
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", m.ID, dash(m.From), m.whom(), state, size(m.Size), span(now.Sub(m.Accepted)), m.Attempts,
			ahead(m.next(), now), dash(visible(short(why))))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, summary(all, len(shown)))
	return err
}

// next is when something happens.
func (m message) next() time.Time {
	if m.WaitsUntil.After(m.Next) {
		return m.WaitsUntil
	}
	return m.Next
}

// worst is the state of the recipient who needs attention most, and why.
func (m message) worst() (state, why string) {
	for _, s := range recipientStates {
		for _, r := range m.Recipients {
			if r.State != s {
				continue
			}
			switch {
			case m.Held && s == "unknown":
				return "unknown, held", r.Reason
			case s == "queued" || r.Reason == "":
				return s, cmp.Or(r.Reason, m.WaitsFor)
			}
			return s, r.Reason
		}
	}
	return "-", ""
}

// whom is the first recipient who has not got it, and how many others.
func (m message) whom() string {
	var open []string
	for _, r := range m.Recipients {
		if r.State != "sent" {
			open = append(open, r.Address)
		}
	}
	switch len(open) {
	case 0:
		return "-"
	case 1:
		return open[0]
	}
	return fmt.Sprintf("%s and %d more", open[0], len(open)-1)
}

// short is what fits at the end of a line.
func short(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// size is for people: 312 B, 48 kB, 3.1 MB.
func size(n int64) string {
	switch {
	case n < 1000:
		return strconv.FormatInt(n, 10) + " B"
	case n < 1_000_000:
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1_000_000)
}

// summary counts the recipients of all messages by state.
func summary(all []message, shown int) string {
	in := map[string]int{}
	for _, m := range all {
		for _, r := range m.Recipients {
			in[r.State]++
		}
	}
	var parts []string
	for _, s := range recipientStates {
		if in[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", in[s], s))
		}
	}
	text := fmt.Sprintf("%d messages", len(all))
	if len(all) == 1 {
		text = "1 message"
	}
	if len(parts) > 0 {
		text += "; recipients: " + strings.Join(parts, ", ")
	}
	if shown < len(all) {
		text += fmt.Sprintf("; %d more: --limit 0 shows them", len(all)-shown)
	}
	return text
}

// print writes all that is known about a message, a line for each thing.
func (m message) print(w io.Writer) error {
	now := time.Now()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	state, _ := m.worst()
	fmt.Fprintf(table, "%s\t%s\n", m.ID, strings.ToUpper(state))
	for _, line := range [][2]string{
		{"mailbox", m.Mailbox}, {"from", dash(m.From)}, {"size", size(m.Size)}, {"accepted", moment(m.Accepted, now)}, {"attempts", strconv.Itoa(m.Attempts)},
		{"next try", m.nextTry(now)}, {"waits for", m.WaitsFor},
	} {
		if line[1] != "" {
			fmt.Fprintf(table, "  %s\t%s\n", line[0], line[1])
		}
	}
	fmt.Fprintln(table)
	fmt.Fprintln(table, "  RECIPIENT\tSTATE\tSINCE\tWHY")
	for _, r := range m.Recipients {
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", r.Address, r.State, span(now.Sub(r.Changed))+" ago", dash(visible(r.Reason)))
	}
	return table.Flush()
}

// nextTry says so where there will be none.
func (m message) nextTry(now time.Time) string {
	state, _ := m.worst()
	switch {
	case m.Held || m.Next.IsZero() && state == "dead":
		return "none; brokerctl outbox retry " + m.ID + ", or drop " + m.ID
	case m.Next.IsZero():
		return "it is being sent"
	}
	return moment(m.next(), now)
}
