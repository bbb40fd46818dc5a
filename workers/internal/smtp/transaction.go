package smtp

import (
	"errors"
	"fmt"
	"time"

	"mailporter/workers/internal/esmtp"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// transaction is one MAIL, RCPT, DATA.
type transaction struct {
	*conn
	config   Config
	envelope mail.Envelope
	body     mail.Body
	bound    *bound
	full     bool // the server wants no more recipients
	broken   bool // the connection cannot be used again
}

// errStale says that a connection was gone before the transaction began.
var errStale = errors.New("the server had closed the connection")

func (x *transaction) run() (outbound.Receipt, error) {
	if err := x.fits(); err != nil {
		return outbound.Receipt{}, err
	}
	if err := x.clear(); err != nil {
		return outbound.Receipt{}, err
	}
	receipt, err := x.addresses()
	if err != nil {
		return outbound.Receipt{}, err
	}
	if len(receipt.Refused) == len(x.envelope.Recipients) {
		x.dirty = true
		return receipt, nil
	}
	err = x.data()
	if err != nil && fault.Of(err) != fault.InDoubt {
		return outbound.Receipt{}, err // about all alike
	}
	return receipt, err
}

// clear takes back what the server remembers of a transaction that was refused midway.
func (x *transaction) clear() error {
	if !x.dirty {
		return nil
	}
	reply, err := x.command("RSET")
	if err != nil || reply.Code != 250 {
		x.broken = true
		return fmt.Errorf("reset: %w", errors.Join(errStale, err))
	}
	x.dirty = false
	return nil
}

// batch is how many RCPT commands are on their way at a time, lest both sides wait for the other to read.
const batch = 100

// addresses sends MAIL and RCPT, all at once if the server takes pipelined commands, and collects who was refused.
func (x *transaction) addresses() (outbound.Receipt, error) {
	lines := []string{x.mailLine()}
	for _, to := range x.turn() {
		lines = append(lines, x.rcptLine(to))
	}
	window := 1
	if x.offers("PIPELINING") {
		window = batch
	}
	receipt := outbound.Receipt{Reports: x.offers("DSN")}
	asked := 0
	for asked < len(lines) && !x.full {
		part := lines[asked:min(len(lines), asked+window)]
		if err := x.exchangeAddresses(asked, part, &receipt); err != nil {
			return outbound.Receipt{}, err
		}
		asked += len(part)
	}
	postpone(x.envelope.Recipients[asked-1:], &receipt)
	return receipt, nil
}

// exchangeAddresses sends the lines from number first on and reads their replies. Line 0 is MAIL.
func (x *transaction) exchangeAddresses(first int, lines []string, receipt *outbound.Receipt) error {
	if err := x.send(lines...); err != nil {
		x.broken = true
		return fmt.Errorf("send addresses: %w", x.gone(first == 0, err))
	}
	var refusal error // MAIL's; the replies to what was sent after it are read and mean nothing
	for i := range lines {
		reply, err := esmtp.ReadReply(x.r)
		switch {
		case err != nil:
			x.broken = true
			return fmt.Errorf("send addresses: %w", x.gone(first+i == 0, err))
		case reply.Code == 421:
			x.broken = true
			return fmt.Errorf("send addresses: %w", x.gone(first+i == 0, classify(reply, atMail)))
		case first+i == 0 && reply.Code != 250:
			refusal = fmt.Errorf("sender: %w", classify(reply, atMail))
			if x.usedUp(reply, refusal) {
				return x.gone(true, refusal)
			}
			x.refused(reply)
		case first+i > 0 && reply.Code/100 != 2:
			n := first + i - 1
			err := x.overflow(classify(reply, atRecipient), n-len(receipt.Refused))
			receipt.Refused = append(receipt.Refused, outbound.Refusal{Address: x.envelope.Recipients[n].Address, Err: err})
		}
	}
	return refusal
}

// usedUp says whether the refusal of MAIL may be about a connection that carried mail before, and gives that up. Some
// servers take so many messages over one and answer 421, 450, 451 or 452 to the next: another connection tells.
func (x *transaction) usedUp(r esmtp.Reply, refusal error) bool {
	mayBe := x.used && r.Code/100 == 4 && fault.Of(refusal) != fault.Throttled
	x.broken = x.broken || mayBe
	return mayBe
}

// gone is a lost connection; stale if nothing of the transaction was answered yet.
func (x *transaction) gone(first bool, err error) error {
	err = lost(err)
	if first {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	return err
}

// data sends the message. From the moment the final dot leaves us until its answer is here nobody knows who has it.
func (x *transaction) data() error {
	r, err := x.body.Open()
	if err != nil {
		x.dirty = true
		return fmt.Errorf("open message: %w", err)
	}
	defer r.Close() //nolint:errcheck // it was only read
	reply, err := x.command("DATA")
	if err != nil {
		x.broken = true
		return fmt.Errorf("data: %w", lost(err))
	}
	if reply.Code != 354 {
		x.refused(reply)
		return fmt.Errorf("data: %w", classify(reply, atData))
	}
	w := esmtp.NewDotWriter(x.w)
	if bodyErr, wireErr := w.CopyBody(r); bodyErr != nil || wireErr != nil {
		x.broken = true // never ended with a dot: the server throws the part away
		return x.interrupted(bodyErr, wireErr)
	}
	if err := w.Whole(); err != nil {
		x.broken = true
		return x.interrupted(err, nil)
	}
	x.wire.Await(max(x.silence, x.config.AfterDot))
	return x.finish(w.End())
}

// refused notes what a refusal means for the connection.
func (x *transaction) refused(r esmtp.Reply) {
	x.dirty = true
	x.broken = x.broken || r.Code == 421 || r.Code == 503 // who is out of step stays so
}

// finish reads the answer to the final dot.
func (x *transaction) finish(err error) error {
	var reply esmtp.Reply
	if err == nil {
		reply, err = esmtp.ReadReply(x.r)
	}
	x.wire.Await(x.silence)
	if err != nil {
		x.broken = true
		return fault.New(fault.InDoubt, fmt.Errorf("the message was handed over, no answer came: %w", err))
	}
	if reply.Code/100 != 2 {
		x.refused(reply)
		return fmt.Errorf("message: %w", classify(reply, atMessage))
	}
	return nil
}

// interrupted tells why a message was not sent to its end. A server that stops listening may have said why.
func (x *transaction) interrupted(bodyErr, wireErr error) error {
	switch {
	case errors.Is(bodyErr, esmtp.ErrLoneLineEnd):
		return &fault.Error{
			Kind: fault.Permanent, Reason: "LONE_LINE_END", Err: bodyErr,
			Remedy: "end lines with CRLF (RFC 5321 section 2.3.8)",
		}
	case bodyErr != nil:
		return fmt.Errorf("read message: %w", bodyErr)
	}
	x.wire.Await(time.Second)
	if reply, err := esmtp.ReadReply(x.r); err == nil && !reply.Positive() {
		return fmt.Errorf("message: %w", classify(reply, atMessage))
	}
	return fmt.Errorf("message: %w", lost(wireErr))
}
