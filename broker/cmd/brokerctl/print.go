package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printTable prints a line for each side and a last one that counts them.
func printTable(w io.Writer, rows []row, total int) error {
	now := time.Now()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MAILBOX\tSIDE\tPROTOCOL\tGRANT\tSTATE\tCLASS\tREASON\tTOKEN ENDS\tNEXT TRY\tACT BEFORE")
	for _, r := range rows {
		fmt.Fprintln(table, strings.Join([]string{r.Mailbox, r.Side, r.Protocol, r.Grant, r.State, dash(r.Class), dash(r.Reason), ahead(r.TokenExpires, now),
			ahead(r.NextTry, now), ahead(r.ActBefore, now)}, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, count(rows, total))
	return err
}

// count says how many sides there are in which state: 3 sides: 1 frozen, 2 healthy.
func count(rows []row, total int) string {
	in := map[string]int{}
	for _, r := range rows {
		in[r.State]++
	}
	var parts []string
	for _, s := range states {
		if in[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", in[s], s))
		}
	}
	text := fmt.Sprintf("%d sides", len(rows))
	if len(rows) == 1 {
		text = "1 side"
	}
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	if total > len(rows) {
		text += fmt.Sprintf("; %d more match: --limit 0 shows them", total-len(rows))
	}
	return text
}

// printDetails prints all that is known about each side, a line for each thing.
func printDetails(w io.Writer, rows []row) error {
	now := time.Now()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, r := range rows {
		if i > 0 {
			fmt.Fprintln(table)
		}
		fmt.Fprintf(table, "%s, %s\t%s\n", r.Mailbox, r.Side, strings.ToUpper(r.State))
		for _, line := range [][2]string{
			{"protocol", r.Protocol}, {"grant", r.Grant}, {"credential", r.Credential}, {"class", r.Class}, {"reason", r.Reason}, {"remedy", r.Remedy},
			{"failing since", moment(r.FailingSince, now)}, {"next try", r.nextTry(now)}, {"token ends", moment(r.TokenExpires, now)},
			{"last token", moment(r.LastToken, now)}, {"act before", moment(r.ActBefore, now)}, {"because", r.Because},
		} {
			if line[1] != "" {
				fmt.Fprintf(table, "  %s\t%s\n", line[0], line[1])
			}
		}
	}
	return table.Flush()
}

// nextTry says so where there will be none.
func (r row) nextTry(now time.Time) string {
	if r.State == "frozen" {
		return "none until the configuration changes, or: brokerctl mailbox reset " + r.Mailbox
	}
	return moment(r.NextTry, now)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// ahead is how long it is from now: in 42m.
func ahead(t, now time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case t.Before(now):
		return "now"
	}
	return "in " + span(t.Sub(now))
}

func moment(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	text, d := t.Local().Format(time.RFC3339), t.Sub(now)
	if d < 0 {
		return fmt.Sprintf("%s (%s ago)", text, span(-d))
	}
	return fmt.Sprintf("%s (in %s)", text, span(d))
}

// span is a length of time in the two units that matter: 13d4h, 3h12m, 42m10s, 9s.
func span(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units[:3] {
		if d < u.size {
			continue
		}
		text := fmt.Sprintf("%d%s", d/u.size, u.name)
		if rest := d % u.size / units[i+1].size; rest > 0 {
			text += fmt.Sprintf("%d%s", rest, units[i+1].name)
		}
		return text
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
