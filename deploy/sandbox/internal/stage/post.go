package stage

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/emersion/go-smtp"
)

// A Post submits letters to the intake, as an application that only knows SMTP would: it tries again when it hears no, or
// nothing.
type Post struct {
	Intake string
	Routes map[string]string // the intakes of senders whose mail another worker takes
	Pace   time.Duration     // between two letters, so that tokens expire on the way
	Sent   atomic.Int64
	Unsure atomic.Int64 // submissions without an answer: the letter may be in twice
}

// Submit hands in all letters, one each Pace. A refusal for good is an error.
func (p *Post) Submit(ctx context.Context, letters []Letter) error {
	queue := make(chan Letter)
	failed := make(chan error, 1)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for l := range queue {
				if err := p.deliver(ctx, l); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	tick := time.NewTicker(p.Pace)
	defer tick.Stop()
	for _, l := range letters {
		select {
		case queue <- l:
		case <-ctx.Done():
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	close(queue)
	wait.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err()
	}
}

func (p *Post) deliver(ctx context.Context, l Letter) error {
	for {
		handed, err := p.once(l)
		if err == nil {
			p.Sent.Add(1)
			return nil
		}
		if refused, is := err.(*smtp.SMTPError); is && !refused.Temporary() {
			return fmt.Errorf("the intake refused a letter from %s: %w", l.From, err)
		}
		if handed {
			p.Unsure.Add(1)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// once makes one attempt; handed says that the whole letter had left before the error.
func (p *Post) once(l Letter) (handed bool, err error) {
	c, err := smtp.Dial(cmp.Or(p.Routes[l.From], p.Intake))
	if err != nil {
		return false, err
	}
	defer c.Close()
	c.CommandTimeout, c.SubmissionTimeout = 10*time.Second, 30*time.Second
	recipients := l.To
	if len(l.Envelope) > 0 {
		recipients = l.Envelope
	}
	if err := c.Mail(l.From, &smtp.MailOptions{Body: smtp.Body8BitMIME, UTF8: beyondASCII(recipients)}); err != nil {
		return false, err
	}
	for _, to := range recipients {
		if err := c.Rcpt(to, nil); err != nil {
			return false, err
		}
	}
	w, err := c.Data()
	if err != nil {
		return false, err
	}
	if _, err := bytes.NewReader(l.Bytes).WriteTo(w); err != nil {
		return false, err
	}
	if err := w.Close(); err != nil {
		return true, err
	}
	_ = c.Quit() // the letter is in: how the goodbye went must not make us send it again
	return true, nil
}

// beyondASCII says whether an address wants SMTPUTF8 (RFC 6531).
func beyondASCII(addresses []string) bool {
	return strings.ContainsFunc(strings.Join(addresses, ""), func(r rune) bool { return r > unicode.MaxASCII })
}
