package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func (t *target) print(w io.Writer, all []*brokerv1.MailboxStatus) error {
	if t.output == "json" {
		return printJSON(w, all)
	}
	return printTable(w, all)
}

// printJSON prints the messages as the contract has them. They hold no credential.
func printJSON(w io.Writer, all []*brokerv1.MailboxStatus) error {
	list := make([]json.RawMessage, len(all))
	for i, st := range all {
		b, err := protojson.Marshal(st)
		if err != nil {
			return err
		}
		list[i] = b
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(list)
}

func printTable(w io.Writer, all []*brokerv1.MailboxStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MAILBOX\tSIDE\tPROTOCOL\tGRANT\tSTATE\tREASON\tTOKEN EXPIRES\tNEXT TRY")
	for _, st := range all {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", st.GetSelector().GetMailbox(), sideName(st), word(st.GetProtocol().String(), "PROTOCOL_"),
			st.GetGrant(), stateName(st.GetState()), or(st.GetReason()), until(st.GetExpireTime()), until(st.GetNextAttemptTime()))
	}
	return table.Flush()
}

func printDetails(w io.Writer, all []*brokerv1.MailboxStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, st := range all {
		if i > 0 {
			fmt.Fprintln(table)
		}
		fmt.Fprintf(table, "%s, %s\t%s\n", st.GetSelector().GetMailbox(), sideName(st), strings.ToUpper(stateName(st.GetState())))
		for _, line := range [][2]string{
			{"protocol", word(st.GetProtocol().String(), "PROTOCOL_")}, {"grant", st.GetGrant()}, {"credential", st.GetCredential()},
			{"reason", st.GetReason()}, {"class", word(st.GetFailureClass().String(), "FAILURE_CLASS_")}, {"remedy", st.GetRemedy()},
			{"failing since", at(st.GetFailingSinceTime())}, {"next try", at(st.GetNextAttemptTime())}, {"token expires", at(st.GetExpireTime())},
			{"last token", at(st.GetLastSuccessTime())}, {"act before", at(st.GetActionDueTime())},
		} {
			if line[1] != "" {
				fmt.Fprintf(table, "  %s\t%s\n", line[0], line[1])
			}
		}
	}
	return table.Flush()
}

func sideName(st *brokerv1.MailboxStatus) string {
	if st.GetSelector().GetDirection() == brokerv1.Direction_DIRECTION_OUTBOUND {
		return "out"
	}
	return "in"
}

// word is an enum's value as people write it; the unspecified one is empty.
func word(value, prefix string) string {
	if value = strings.TrimPrefix(value, prefix); value == "UNSPECIFIED" {
		return ""
	}
	return strings.ReplaceAll(value, "_", "-")
}

func stateName(s brokerv1.State) string { return strings.ToLower(word(s.String(), "STATE_")) }

func stateNames() []string {
	var all []string
	for n := range brokerv1.State_name {
		if n != 0 {
			all = append(all, stateName(brokerv1.State(n)))
		}
	}
	slices.Sort(all)
	return all
}

func parseStates(names []string) ([]brokerv1.State, error) {
	var all []brokerv1.State
	for _, name := range names {
		n, ok := brokerv1.State_value["STATE_"+strings.ToUpper(name)]
		if !ok || n == 0 {
			return nil, fmt.Errorf("--state %q: use one of: %s", name, strings.Join(stateNames(), ", "))
		}
		all = append(all, brokerv1.State(n))
	}
	return all, nil
}

func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// until is how long it is from now: 42m10s.
func until(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	d := time.Until(t.AsTime()).Round(time.Second)
	if d < 0 {
		return "now"
	}
	return "in " + d.String()
}

func at(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	d := time.Until(t.AsTime()).Round(time.Second)
	text := t.AsTime().Local().Format(time.RFC3339)
	if d < 0 {
		return fmt.Sprintf("%s (%s ago)", text, -d)
	}
	return fmt.Sprintf("%s (in %s)", text, d)
}
