package smtp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// bound is how many recipients a server takes at a time, learnt from its refusals. To offer more is not harmless: Postfix
// counts each refusal as an error and ends the connection, the accepted recipients' transaction with it, after twenty. It is
// forgotten after a while, because a server may have meant its load and not its rule. Safe for use by many goroutines.
type bound struct {
	mu    sync.Mutex
	most  int
	until time.Time
}

// remembered is for how long a bound holds.
const remembered = time.Hour

// learn takes note that a server accepted so many and wanted no more.
func (b *bound) learn(accepted int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.most, b.until = accepted, time.Now().Add(remembered)
}

// known is the bound, 0 if there is none.
func (b *bound) known() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Now().After(b.until) {
		return 0
	}
	return b.most
}

// maxRecipients is how many recipients one transaction may have, 0 if the server does not say (RFC 9422 section 4.2).
func (c *conn) maxRecipients() int {
	for limit := range strings.FieldsSeq(strings.ToUpper(c.extensions["LIMITS"])) {
		if n, ok := strings.CutPrefix(limit, "RCPTMAX="); ok {
			most, _ := strconv.Atoi(n) // what is no number bounds nothing
			return max(0, most)
		}
	}
	return 0
}

// turn is whom this transaction offers the message to: the first of the envelope's recipients, all of them if nothing is known
// against it.
func (x *transaction) turn() []mail.Recipient {
	now := x.envelope.Recipients
	for _, most := range []int{x.maxRecipients(), x.bound.known()} {
		if most > 0 {
			now = now[:min(len(now), most)]
		}
	}
	return now
}

// postpone refuses those who were not offered, for now.
func postpone(all []mail.Recipient, receipt *outbound.Receipt) {
	for _, to := range all {
		receipt.Refused = append(receipt.Refused, outbound.Refusal{Address: to.Address, Err: fault.New(fault.Temporary, outbound.ErrNextTurn)})
	}
}

// tooManyRecipients is the reason of a refusal that is about the recipients before.
const tooManyRecipients = "TOO_MANY_RECIPIENTS"

// overflow learns from a refused recipient if the server took others and wants no more, and says so in the error.
func (x *transaction) overflow(refusal error, accepted int) error {
	var f *fault.Error
	if !errors.As(refusal, &f) || f.Reason != tooManyRecipients || accepted == 0 {
		return refusal
	}
	if !x.full {
		x.full = true
		x.bound.learn(accepted)
	}
	return fmt.Errorf("%w: %w", outbound.ErrNextTurn, refusal)
}
