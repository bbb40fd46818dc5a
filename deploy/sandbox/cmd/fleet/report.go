package main

import (
	"fmt"
	"text/tabwriter"
)

// report prints the table: one line for each protocol and sink.
func (f *fleet) report(r result) {
	table := tabwriter.NewWriter(f.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nPROTOCOL\tSINK\tWORKERS\tKILLS\tMESSAGES\tLOST\tDOUBLED\tALTERED\tUNSETTLED")
	for _, p := range protocols {
		for _, sink := range sinks {
			c := r.rows[side{p.Name, sink}]
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", p.Name, sink, f.each, f.killsOf(p), c.messages, c.lost, c.doubled, c.altered, c.unsettled)
		}
	}
	_ = table.Flush()
	fmt.Fprintf(f.out, "\nThe webhook's receiver was posted %d messages again that it had, under the same Webhook-Id, and kept one of each.\n", r.repeated)
}

// killsOf: the workers stand in the order of the protocols.
func (f *fleet) killsOf(p protocol) (n int) {
	for i, of := range protocols {
		if of.Name != p.Name {
			continue
		}
		for _, w := range f.workers[i*f.each : (i+1)*f.each] {
			n += w.Kills
		}
	}
	return n
}
