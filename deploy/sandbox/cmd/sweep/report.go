package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// report prints the table, a line for each step and kind of attack, what the operator saw, and the sum.
func (s *sweep) report(r result, h held) {
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nPROTOCOL\tSTEP\tLINK OR WORKER\tTIMES\tMESSAGES\tARRIVED\tLOST\tDOUBLED\tMARKED\tALTERED\tDRAFTS")
	for _, one := range r.rows {
		o := r.of[one.Address]
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", one.Protocol.Name, one.step.name, one.how, o.hits, o.messages, o.arrived, o.lost, o.doubled, o.marked, o.altered, o.drafts)
	}
	_ = table.Flush()
	t := r.total(everyRow)
	fmt.Fprint(s.out, "\nA row's messages were handed in while its step was attacked; some were under way still when the next one was. DOUBLED: somebody has\n"+
		"the message twice. MARKED: of those, the ones that the worker's log and outbound_repeated_total told of before they were sent again.\n"+
		"DRAFTS: left among the mailbox's drafts, unsent, by an attempt that did not learn of them.\n")
	fmt.Fprintf(s.out, "%d submissions were taken without an answer and handed in again by their submitter, as another message.\n", t.repeated)
	fmt.Fprintf(s.out, "\non-unknown: hold kept %d messages; brokerctl outbox list --state unknown:\n%s", h.dropped+h.resent, indented(h.listing))
	fmt.Fprintf(s.out, "%d of them had arrived, or had been handed in again, and were ended by brokerctl outbox drop; %d had not and were sent by brokerctl outbox retry.\n\n", h.dropped, h.resent)
	fmt.Fprintln(s.out, r.summary(s.kills()))
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}

// kills counts processes that were killed.
func (s *sweep) kills() (n int) {
	for _, c := range s.crews {
		n += c.kills
	}
	return n
}

// summary is the last line.
func (r result) summary(kills int) string {
	t := r.total(everyRow)
	cuts := r.total(func(one row) bool { return one.how == cut }).hits
	elsewhere := r.total(func(one row) bool { return one.Protocol.Name != "SMTP" }).doubled
	doubled := fmt.Sprintf("%d doubled", t.doubled)
	switch {
	case t.doubled == 0:
	case elsewhere == 0 && t.doubled == t.marked:
		doubled += " (SMTP only, each marked)"
	default:
		doubled += fmt.Sprintf(" (%d of them not over SMTP, %d marked)", elsewhere, t.marked)
	}
	return fmt.Sprintf("sweep: sent %d messages over %d protocols, %d cuts, %d kills, %d lost, %s", t.arrived, len(protocols), cuts, kills, t.lost, doubled)
}
