package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"mailporter/sandbox/internal/stage"
)

// report prints the table: one line for each side of each mailbox.
func (d *demo) report(w io.Writer, out, in map[string]stage.Count) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nPROTOCOL\tMAILBOX\tGRANT\tTOKENS MINTED\tMESSAGES IN\tMESSAGES OUT\tLOST\tDOUBLED")
	for _, protocol := range sent {
		for _, r := range d.Cast {
			if c := out[r.Address]; r.Sends == protocol {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t-\t%d\t%d\t%d\n", protocol, r.Address, r.Grant, d.tokens(r, true), c.Arrived, c.Lost, c.Doubled)
			}
		}
	}
	for _, r := range d.Cast {
		c := in[r.Address]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t-\t%d\t%d\n", r.Protocol, r.Address, r.Grant, d.tokens(r, false), c.Arrived, c.Lost, c.Doubled)
	}
	_ = table.Flush()
	fmt.Fprint(w, "\nMailboxes with the same credential share their tokens: the number is the credential's. A message to two is one going out and two\n"+
		"coming in; LOST and DOUBLED of those who send are looked for at everyone it is for, Bcc included.\n")
}

func (d *demo) tokens(r Role, outbound bool) string {
	if r.Grant == "basic" {
		return "-"
	}
	return fmt.Sprint(d.tally.minted(r.Address, outbound))
}

// hints prints what to try while everything is running.
func (d *demo) hints(w io.Writer) {
	p, dir := d.Ports, string(d.Folder)
	tls := fmt.Sprintf("-cacert %[1]s/tls/ca.pem -cert %[1]s/tls/admin.pem -key %[1]s/tls/admin-key.pem", dir)
	broker := fmt.Sprintf("localhost:%d", p.Broker)
	ctl := fmt.Sprintf("--broker %[2]s --ca %[1]s/tls/ca.pem --certificate %[1]s/tls/admin.pem --key %[1]s/tls/admin-key.pem", dir, broker)
	fmt.Fprintf(w, `
It is running; Ctrl-C ends it. Try, in another terminal (make grpcurl builds bin/grpcurl):

  bin/grpcurl %[1]s %[2]s list
  bin/grpcurl %[1]s %[2]s describe mailporter.broker.v1.TokenService.AcquireToken
  bin/grpcurl %[1]s -d '{"selector": {"mailbox": %[3]q, "direction": "DIRECTION_INBOUND"}}' %[2]s mailporter.broker.v1.TokenService/AcquireToken
  bin/grpcurl %[1]s -max-time 5 -d '{"selectors": [{"mailbox": %[3]q, "direction": "DIRECTION_INBOUND"}]}' %[2]s mailporter.broker.v1.TokenService/WatchTokens
  bin/grpcurl %[1]s %[2]s mailporter.broker.v1.MailboxService/ListMailboxes
  (broker/README.md has a line for every call)
  bin/brokerctl mailbox list %[9]s
  bin/brokerctl mailbox status %[3]s %[9]s
  bin/brokerctl token inspect %[3]s %[9]s
  tail -n 1 %[4]s/audit.jsonl
  curl -s http://127.0.0.1:%[5]d/metrics | grep ^broker_
  curl -s http://127.0.0.1:%[6]d/metrics | grep ^inbound_
  curl -s http://127.0.0.1:%[7]d/metrics | grep ^outbound_
  curl -s http://127.0.0.1:%[6]d/mailboxes
  bin/brokerctl outbox list --worker 127.0.0.1:%[7]d     # 127.0.0.1:%[10]d sends by EWS, 127.0.0.1:%[11]d by GRAPH
  curl -s http://127.0.0.1:%[7]d/outbox
  ls %[4]s/mail

  Send a message: SMTP to 127.0.0.1:%[8]d from a mailbox that sends by SMTP, %[12]d by EWS, %[13]d by GRAPH; to any of them.
  Logs and configuration: %[4]s
`, tls, broker, d.Cast[0].Address, dir, p.BrokerAdmin, p.IMAPAdmin, p.SMTPAdmin, p.Intake, ctl, p.EWSAdmin, p.GraphAdmin, p.EWSIntake, p.GraphIntake)
}
