package setup

import (
	"fmt"
	"net/mail"
	"time"

	"mailporter/kit/config"
)

// Reports says who hears what became of mail: RFC 3464. The zero value: nobody.
type Reports struct {
	Wanted     bool
	Address    string        // gets all of them; empty: each goes to the sender of its message
	Through    string        // the mailbox that sends them; empty: each goes through that of its message
	Name       string        // what reports call their sender
	DelayAfter time.Duration // age of a waiting message at which that is told; 0 = never
}

// defaultDelay is what senders are used to from other mail servers.
const defaultDelay = 4 * time.Hour

func readReports(root *config.Map) Reports {
	m := root.Map("reports")
	if !m.Present() {
		return Reports{}
	}
	const remedy = "write sender, an address, or none"
	to := m.Require("to", remedy)
	r := Reports{Wanted: to != "none", Through: m.Text("through", ""), Name: m.Text("name", "Mail Delivery System"), DelayAfter: m.Clock("delay-after", defaultDelay, 0, 30*24*time.Hour)}
	if to != "none" && to != "sender" {
		r.Address = to
	}
	if r.Address != "" && !isAddress(r.Address) {
		m.Complain("to", fmt.Sprintf("%q is no address", to), remedy)
	}
	if r.Through != "" && !isAddress(r.Through) {
		m.Complain("through", fmt.Sprintf("%q is no address", r.Through), "write the address of a mailbox that this worker sends from")
	}
	m.Done()
	return r
}

func isAddress(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s
}
