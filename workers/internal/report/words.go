package report

import (
	"fmt"
	"strings"

	"mailporter/workers/internal/outbound"
)

// words is the part for people.
func (w Writer) words(n outbound.Notice) string {
	var b strings.Builder
	fmt.Fprintf(&b, "This is the mail system at %s, for %s.\n\n", line(w.Hostname), line(n.Job.Mailbox))
	fmt.Fprintf(&b, "The message that %s handed in on %s %s:\n", line(n.Job.Envelope.From), date(n.Job.Accepted), became[n.Action])
	for _, to := range n.Recipients {
		fmt.Fprintf(&b, "\n<%s>\n", line(to.Recipient.Address))
		if to.Reason != "" {
			fmt.Fprintf(&b, "    %s\n", line(to.Reason))
		}
		if n.Action == outbound.Failed {
			fmt.Fprintf(&b, "    -> %s\n", advice(to.Status))
		}
	}
	b.WriteString("\n" + ending(n))
	return strings.ReplaceAll(b.String(), "\n", "\r\n")
}

var became = map[outbound.Action]string{
	outbound.Failed:  "could not be delivered to",
	outbound.Delayed: "has not been delivered yet to",
	outbound.Relayed: "was taken by the next mail server for",
}

func ending(n outbound.Notice) string {
	switch n.Action {
	case outbound.Delayed:
		if n.Until.IsZero() {
			return "It goes out once that mailbox can send again.\nThere is no need to send it again.\n"
		}
		return fmt.Sprintf("It is tried again until %s.\nThere is no need to send it again.\n", date(n.Until))
	case outbound.Relayed:
		return "That server does not confirm deliveries: there will be no further word unless it fails.\n"
	}
	return fmt.Sprintf("It is not tried again. It is kept, and who runs the mail system can send it after all:\nbrokerctl outbox retry %s\n", n.Job.ID)
}

// advices say what to do about a status, by its numbers after the first: RFC 3463 section 3. The first that fits holds.
var advices = []struct{ prefix, text string }{
	{"1.7", "The sender's address was refused. Show this report to your administrator."},
	{"1.8", "The sender's address was refused. Show this report to your administrator."},
	{"1.", "Check the address. Whoever gave it to you may know a newer one."},
	{"2.2", "The recipient's mailbox is full. Send the message again later, or reach the recipient another way."},
	{"2.3", "The message is too large for the recipient. Send less, or a link to it."},
	{"2.", "The recipient's mailbox takes no mail. Reach the recipient another way."},
	{"3.4", "The message is too large. Send less, or a link to it."},
	{"3.", "The recipient's mail system was not able to take it. Send the message again later, or reach the recipient another way."},
	{"4.", "The recipient's mail system could not be reached. Send the message again later, or reach the recipient another way."},
	{"6.", "The message's form was not accepted. Send it as plain text, or show this report to who looks after the program that made it."},
	{"7.", "The mail system's rules forbid it. Show this report to your administrator."},
}

func advice(status string) string {
	_, subject, _ := strings.Cut(status, ".")
	for _, a := range advices {
		whole := !strings.HasSuffix(a.prefix, ".")
		if whole && subject == a.prefix || !whole && strings.HasPrefix(subject, a.prefix) {
			return a.text
		}
	}
	return "Show this report to your administrator."
}
