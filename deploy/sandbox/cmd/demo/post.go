package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"mailporter/sandbox/admin"
	"mailporter/sandbox/internal/stage"
)

// nobody is an address that the provider refuses.
const nobody = "nobody@contoso.example"

// fileSize is that of an attachment that Graph takes part by part, in bytes.
const fileSize = 4 << 20

// letters are those that must arrive: all sorts, and a large file over Graph.
func (d *demo) letters(n int, run string) []stage.Letter {
	all := stage.Write(n-1, addresses(d.Cast), run)
	graph := d.senders("GRAPH")
	all = append(all, stage.Attached(graph[0], d.Cast[0].Address, fileSize, n, run))
	for i, l := range all {
		for _, address := range graph {
			all[i].Rebuilt = all[i].Rebuilt || l.From == address
		}
	}
	return all
}

// stray is a letter to nobody, which goes by SMTP: the server says no while the worker listens.
func (d *demo) stray() stage.Letter {
	return stage.Attached(d.senders("SMTP")[0], nobody, 10, 0, "stray")
}

// senders are the mailboxes that send by a protocol.
func (d *demo) senders(protocol string) (all []string) {
	for _, r := range d.Cast {
		if r.Sends == protocol {
			all = append(all, r.Address)
		}
	}
	return all
}

// routes are the intakes of all mailboxes: each worker takes the mail of those that send by its protocol.
func (d *demo) routes() map[string]string {
	all := map[string]string{}
	for _, r := range d.Cast {
		all[r.Address] = fmt.Sprintf("127.0.0.1:%d", d.Ports.IntakeOf(r.Sends))
	}
	return all
}

// countedBy compares what came from each mailbox with what the provider counted for it, protocol by protocol.
func (d *demo) countedBy(ctx context.Context, out map[string]stage.Count) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/stats", d.Ports.SandboxAdmin), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var counted admin.Stats
	if err := json.NewDecoder(res.Body).Decode(&counted); err != nil {
		return fmt.Errorf("ask the sandbox what was sent: %w", err)
	}
	return agree(d.Cast, out, counted)
}

// agree is nil if every mailbox sent by its own protocol and no other, as much as came from it.
func agree(cast []Role, out map[string]stage.Count, counted admin.Stats) error {
	var all []error
	for _, r := range cast {
		by := map[string]int{
			"SMTP": counted.SMTP.Accepted[r.Address] + counted.GmailSMTP.Accepted[r.Address], "EWS": counted.EWS.Accepted[r.Address], "GRAPH": counted.Graph.Sent[r.Address],
		}
		for protocol, n := range by {
			if want := map[bool]int{true: out[r.Address].Arrived}[protocol == r.Sends]; n != want {
				all = append(all, fmt.Errorf("%s: the provider counted %d messages by %s, and %d came", r.Address, n, protocol, want))
			}
		}
	}
	return errors.Join(all...)
}

// refused waits until the worker has given the letter to nobody up, for the server's reason, and shows how brokerctl lists it.
func (d *demo) refused(ctx context.Context) error {
	outbox := stage.Outbox{Brokerctl: filepath.Join(d.bin, "brokerctl"), Worker: fmt.Sprintf("127.0.0.1:%d", d.Ports.SMTPAdmin)}
	listing, err := outbox.Dead(ctx, "550 5.1.10")
	fmt.Fprintf(d.out, "\n%s does not exist: the message to it is kept with the server's words, as brokerctl outbox list tells.\n%s\n", nobody, listing)
	return err
}
