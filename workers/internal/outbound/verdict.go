package outbound

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// judge turns what a Transport answered into the job's verdict. It is a pure function but for the jitter.
func judge(o Options, hold bool, j Job, r Receipt, err error, now time.Time) Verdict {
	v := accepted(j, r, now)
	if err != nil {
		v = refused(o, hold, j, r, err, now)
	}
	if j.InDoubt && len(v.Sent) == 0 {
		v.remainInDoubt()
	}
	if len(v.Later) == 0 || v.Free || v.Held || v.At.Sub(j.Accepted) <= o.GiveUp {
		return v
	}
	return giveUp(o, v)
}

// accepted is the verdict on a message that the server took for some recipients at least.
func accepted(j Job, r Receipt, now time.Time) Verdict {
	refusals := map[string]error{}
	for _, f := range r.Refused {
		refusals[f.Address] = f.Err
	}
	v := Verdict{At: now, Free: nextTurn(j, r)}
	for _, to := range j.Envelope.Recipients {
		switch err := refusals[to.Address]; {
		case err == nil:
			v.Sent = append(v.Sent, to.Address)
		case kindOf(err) == fault.Permanent:
			v.Dead = append(v.Dead, failed(to.Address, err))
		default:
			v.Later = append(v.Later, failed(to.Address, err))
			if !v.Free {
				v.At = latest(v.At, now.Add(max(recipientWait, wait(j.Attempts), patience(err))))
			}
		}
	}
	return v
}

// nextTurn says whether the message got on and whoever is left only was not asked yet: then there is nothing to wait for, and
// the message does not grow old by being offered in parts.
func nextTurn(j Job, r Receipt) bool {
	waiting := 0
	for _, f := range r.Refused {
		switch {
		case errors.Is(f.Err, ErrNextTurn):
			waiting++
		case kindOf(f.Err) != fault.Permanent:
			return false
		}
	}
	return waiting > 0 && len(r.Refused) < len(j.Envelope.Recipients)
}

// refused is the verdict on a message that nobody got, or perhaps all but those in r.
func refused(o Options, hold bool, j Job, r Receipt, err error, now time.Time) Verdict {
	all := make([]Failure, len(j.Envelope.Recipients))
	for i, to := range j.Envelope.Recipients {
		all[i] = failed(to.Address, err)
	}
	v := Verdict{Later: all, At: now.Add(max(wait(j.Attempts), patience(err)))}
	switch kindOf(err) {
	case fault.Permanent:
		return Verdict{Dead: all}
	case fault.Temporary:
		switch p := patience(err); {
		case brokers(err): // it was not offered
			v.Free, v.At = true, now.Add(max(jitter(brokerRetry), p))
		case p > 0 && IsUnreachable(err):
			v.At = now.Add(p) // once the server is back, whatever was tried before is not to wait for hours
		}
	case fault.Auth:
		// Somebody must act, and the message is not to die for it.
		v.Free, v.At = true, now.Add(max(o.HumanRetry, patience(err)))
	case fault.InDoubt:
		v.Doubt, v.Held = true, hold
		v.bury(r.Refused)
	case fault.Throttled:
		v.Free, v.Stays = waits(err) || brokers(err), waits(err) // it was not offered
		if p := patience(err); p > 0 {
			v.At = now.Add(p + jitter(p/10)) // not before, and not all at the same moment
		}
	}
	return v
}

// bury calls those dead whom the server had refused for good before the link broke: about them there is no doubt.
func (v *Verdict) bury(all []Refusal) {
	for _, r := range all {
		i := slices.IndexFunc(v.Later, func(f Failure) bool { return f.Address == r.Address })
		if i >= 0 && kindOf(r.Err) == fault.Permanent {
			v.Later = slices.Delete(v.Later, i, i+1)
			v.Dead = append(v.Dead, failed(r.Address, r.Err))
		}
	}
}

// remainInDoubt keeps an earlier attempt's doubt: that this one failed says nothing about that one.
func (v *Verdict) remainInDoubt() {
	v.Doubt = len(v.Later) > 0
	for i := range v.Dead {
		v.Dead[i].Reason += "; an earlier attempt ended without an answer and may have delivered it"
	}
}

// giveUp ends what has been tried for too long. Who may have the message already is not called dead.
func giveUp(o Options, v Verdict) Verdict {
	if v.Doubt {
		v.Held = true
		return v
	}
	for _, f := range v.Later {
		f.Reason = fmt.Sprintf("gave up after %s: %s", days(o.GiveUp), f.Reason)
		f.Status = cmp.Or(f.Status, expired)
		v.Dead = append(v.Dead, f)
	}
	v.Later = nil
	return v
}

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// reply is an SMTP server's answer that is an error: esmtp.Reply.
type reply interface {
	error
	Status() string // its code of RFC 3463; without one, the first digit's
}

// failed is a recipient whom err kept from getting the message.
func failed(address string, err error) Failure {
	f := Failure{Address: address, Reason: oneLine(err)}
	var r reply
	if errors.As(err, &r) {
		f.Status, f.Reply = r.Status(), oneLine(r)
		return f
	}
	reason, _ := why(err)
	f.Status = statuses[reason]
	return f
}

// expired is the status of what was tried for too long.
const expired = "4.4.7"

// statuses are the codes of RFC 3463 for what is found wrong without a server's reply.
var statuses = map[string]string{
	"MESSAGE_TOO_LARGE":     "5.3.4",
	"TOO_LARGE":             "5.3.4",
	"EIGHT_BIT_NOT_OFFERED": "5.6.3",
	"UTF8_NOT_OFFERED":      "5.6.7",
	"LONE_LINE_END":         "5.6.0",
	"CONTENT_INVALID":       "5.6.0",
	"RECIPIENTS_INVALID":    "5.1.3",
	"SEND_AS_DENIED":        "5.7.1",
}

// maxReason bounds a reason, in bytes.
const maxReason = 1024

// oneLine is an error for people, on one line.
func oneLine(err error) string {
	s := strings.Join(strings.Fields(err.Error()), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}

// why is the reason and remedy of err, if anybody knows them.
func why(err error) (reason, remedy string) {
	var reply *fault.Error
	if errors.As(err, &reply) && reply.Reason != "" {
		return reply.Reason, reply.Remedy // the server's own words are nearer to the cause than the broker's
	}
	var broker *tokenclient.Error
	if errors.As(err, &broker) {
		return broker.Reason, broker.Remedy
	}
	return "", ""
}
