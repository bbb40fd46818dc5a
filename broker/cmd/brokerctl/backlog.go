package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"
)

// backlog is what waits for one mailbox, as a worker tells it.
type backlog struct {
	Mailbox     string    `json:"mailbox"`
	Waiting     int64     `json:"waiting_messages"`
	Oldest      time.Time `json:"oldest_accepted"`
	ETA         *int64    `json:"eta_seconds"` // nil: nobody can tell
	PausedUntil time.Time `json:"paused_until"`
	Because     string    `json:"paused_because"`
	Problem     *struct {
		Text   string `json:"text"`
		Remedy string `json:"remedy"`
	} `json:"problem"`
}

// mostBacklogs is for how many mailboxes a list says what waits.
const mostBacklogs = 20

// backlogs asks the worker what waits, the most first; "" is every mailbox. A worker that does not tell has none: the list
// of messages is what was asked for.
func (o *office) backlogs(ctx context.Context, mailbox string) []backlog {
	var all []backlog
	if err := o.ask(ctx, http.MethodGet, "/mailboxes", &all); err != nil {
		return nil
	}
	all = slices.DeleteFunc(all, func(b backlog) bool { return b.Waiting == 0 || mailbox != "" && b.Mailbox != mailbox })
	slices.SortStableFunc(all, func(a, b backlog) int { return cmp.Compare(b.Waiting, a.Waiting) })
	return all
}

func printBacklogs(w io.Writer, all []backlog, now time.Time) error {
	if len(all) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nMAILBOX\tWAITING\tOLDEST\tALL SENT\tPAUSED\tWHY")
	for _, b := range all[:min(mostBacklogs, len(all))] {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\n", b.Mailbox, b.Waiting, span(now.Sub(b.Oldest)), b.allSent(now), ahead(b.PausedUntil, now), dash(visible(short(b.why(now)))))
	}
	if more := len(all) - mostBacklogs; more > 0 {
		fmt.Fprintf(table, "and %d mailboxes more: GET /mailboxes\n", more)
	}
	return table.Flush()
}

// allSent is when the last of it is; "-" if nobody can tell.
func (b backlog) allSent(now time.Time) string {
	if b.ETA == nil {
		return "-"
	}
	return ahead(now.Add(max(time.Second, time.Duration(*b.ETA)*time.Second)), now)
}

// why is what holds it up.
func (b backlog) why(now time.Time) string {
	switch {
	case b.PausedUntil.After(now):
		return b.Because
	case b.Problem != nil:
		return cmp.Or(b.Problem.Remedy, b.Problem.Text)
	}
	return ""
}
