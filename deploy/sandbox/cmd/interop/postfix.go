package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"mailporter/sandbox/internal/stage"
)

// Addresses beside the mailboxes': one beyond ASCII, which is another name of a mailbox, and one that nobody has.
const (
	alias  = "jörg@real.example"
	nobody = "nobody@real.example"
)

// write is the run's letters: all sorts between the mailboxes, one that needs SMTPUTF8, and one of whose two recipients
// Postfix refuses the second.
func write(n int, run string) []stage.Letter {
	from, to := mailboxes[2].Address, mailboxes[1].Address
	abroad := stage.Attached(from, to, 1000, n, run)
	abroad.Envelope = []string{alias}
	half := stage.Attached(from, to, 1000, n+1, run)
	half.Envelope = []string{to, nobody}
	return append(stage.Write(n, addresses(), run), abroad, half)
}

// login is who logged in at Postfix, and by which mechanism.
type login struct{ user, mechanism string }

// mechanism is what a mailbox's login is called in SASL.
func (m mailbox) mechanism() string {
	if m.Login == "password" {
		return "PLAIN"
	}
	return m.Login
}

// taken counts the messages that Postfix took from each login.
func (r *interop) taken() (map[login]int, error) {
	log, err := os.Open(r.Path("maillog"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return count(log)
}

// message is the line of a message that came over a login; smtpd writes one for each.
var message = regexp.MustCompile(`/smtpd\[\d+\]: [0-9A-Za-z]+: client=.*, sasl_method=([A-Z0-9-]+), sasl_username=(\S+)$`)

func count(log io.Reader) (map[login]int, error) {
	all := map[login]int{}
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if m := message.FindStringSubmatch(lines.Text()); m != nil {
			all[login{m[2], m[1]}]++
		}
	}
	return all, lines.Err()
}

// agree is nil if each mailbox logged in as it was told to and in no other way, and Postfix took from it what arrived. It may
// have begun to take more: what broke off was tried again.
func agree(taken map[login]int, out map[string]stage.Count) error {
	var all []error
	rest := map[login]bool{}
	for l := range taken {
		rest[l] = true
	}
	for _, m := range mailboxes {
		l := login{m.Address, m.mechanism()}
		delete(rest, l)
		if n, want := taken[l], out[m.Address].Arrived; n < want {
			all = append(all, fmt.Errorf("%s: Postfix took %d messages after a login by %s, and %d arrived", m.Address, n, l.mechanism, want))
		}
	}
	for l := range rest {
		all = append(all, fmt.Errorf("%s logged in by %s", l.user, l.mechanism))
	}
	return errors.Join(all...)
}
