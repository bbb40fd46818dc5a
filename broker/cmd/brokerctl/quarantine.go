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
	"unicode"

	"github.com/spf13/cobra"
)

func quarantine() *cobra.Command {
	c := &cobra.Command{
		Use:   "quarantine",
		Short: "the messages that workers passed over",
		Long: "The messages that workers passed over: too large, not rendered by their server, or refused for good by the sink. Each was moved to the\n" +
			"mailbox's failed-items folder if it has one, and else lies where it came.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(quarantineList())
	return c
}

// passed is which messages to list, of which workers.
type passed struct {
	workers []string // host:port or URL of their admin listeners
	mailbox string
	limit   int
	output  string
}

func quarantineList() *cobra.Command {
	var p passed
	c := &cobra.Command{
		Use:   "list [ADDRESS]",
		Short: "list the messages that were passed over, the oldest first",
		Long: "Lists the messages of a mailbox, or of all, that were passed over, the oldest first, as the admin listeners of the workers tell it. Workers\n" +
			"that share a state tell the same: one of them is enough. With -o json a list of objects with the fields mailbox, folder, id,\n" +
			"size_bytes, arrived, reason, moved, since.",
		Example: "  brokerctl quarantine list support@contoso.com\n" +
			"  brokerctl quarantine list --worker 10.0.0.7:9091,10.0.0.8:9091 -o json | jq -r '.[] | select(.moved | not) | .mailbox'",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			p.mailbox = strings.Join(args, "")
			return p.print(c)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&p.workers, "worker", strings.Split(cmp.Or(os.Getenv("MAILPORTER_WORKERS"), "127.0.0.1:9091"), ","),
		"admin addresses of the workers ($MAILPORTER_WORKERS)")
	f.IntVar(&p.limit, "limit", 100, "at most so many of each worker, up to 10000")
	f.StringVarP(&p.output, "output", "o", "table", "table or json")
	_ = c.RegisterFlagCompletionFunc("worker", cobra.NoFileCompletions)
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (p *passed) print(c *cobra.Command) error {
	if err := oneOf("output", p.output, outputs); err != nil {
		return err
	}
	if p.limit < 1 || p.limit > 10_000 {
		return errors.New("--limit: use 1 to 10000")
	}
	ctx, cancel := context.WithTimeout(c.Context(), answerWithin)
	defer cancel()
	all, err := p.ask(ctx)
	if err != nil {
		return &wrongError{err}
	}
	if p.output == "json" {
		return printJSON(c.OutOrStdout(), all)
	}
	return printQuarantine(c.OutOrStdout(), all)
}

// aside is a message as a worker tells of it.
type aside struct {
	Mailbox string    `json:"mailbox"`
	Folder  string    `json:"folder"`
	ID      string    `json:"id"`
	Size    int64     `json:"size_bytes"`
	Arrived time.Time `json:"arrived,omitzero"`
	Reason  string    `json:"reason"`
	Moved   bool      `json:"moved"`
	Since   time.Time `json:"since"`
}

// ask joins what all workers tell.
func (p *passed) ask(ctx context.Context) ([]aside, error) {
	all := []aside{}
	for _, worker := range p.workers {
		some, err := p.askOne(ctx, worker)
		if err != nil {
			return nil, fmt.Errorf("--worker %s: %w", worker, err)
		}
		all = append(all, some...)
	}
	slices.SortStableFunc(all, func(a, b aside) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Mailbox, b.Mailbox), cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.ID, b.ID))
	})
	return slices.Compact(all), nil
}

func (p *passed) askOne(ctx context.Context, worker string) (all []aside, err error) {
	query := url.Values{"max": {strconv.Itoa(p.limit)}, "mailbox": {p.mailbox}}
	asked := page{http.MethodGet, "/quarantine?" + query.Encode(), "quarantine", "a worker that fetches mail"}
	err = asked.ask(ctx, worker, &all)
	return all, err
}

func printQuarantine(w io.Writer, all []aside) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SINCE\tMAILBOX\tFOLDER\tBYTES\tWHERE\tREASON")
	for _, a := range all {
		where, size := "left", "-"
		if a.Moved {
			where = "moved"
		}
		if a.Size >= 0 {
			size = strconv.FormatInt(a.Size, 10)
		}
		fmt.Fprintln(table, strings.Join([]string{a.Since.Format(time.RFC3339), a.Mailbox, visible(a.Folder), size, where, visible(a.Reason)}, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	text := fmt.Sprintf("%d messages", len(all))
	if len(all) == 1 {
		text = "1 message"
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// visible keeps what servers say from steering a terminal.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
