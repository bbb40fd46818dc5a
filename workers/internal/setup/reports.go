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
	r := Reports{Wanted: to != "none", Name: m.Text("name", "Mail Delivery System"), DelayAfter: m.Clock("delay-after", defaultDelay, 0, 30*24*time.Hour)}
	if to != "none" && to != "sender" {
		r.Address = to
	}
	if a, err := mail.ParseAddress(r.Address); r.Address != "" && (err != nil || a.Address != r.Address) {
		m.Complain("to", fmt.Sprintf("%q is no address", to), remedy)
	}
	m.Done()
	return r
}
