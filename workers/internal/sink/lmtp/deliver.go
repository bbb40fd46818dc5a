package lmtp

import (
	"context"
	"errors"
	"fmt"
	"io"

	"mailporter/workers/internal/esmtp"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// errStale says that the connection ended before anything of the delivery was answered: another one may do.
var errStale = errors.New("the connection was closed meanwhile")

// deliver hands over one message. usable says whether the connection may be used again.
func (l *conn) deliver(ctx context.Context, recipient string, b mail.Body) (usable bool, err error) {
	defer context.AfterFunc(ctx, l.wire.Abort)()
	if err = l.hand(recipient, b); err == nil {
		return true, nil
	}
	var refused esmtp.Reply
	if !errors.As(err, &refused) || refused.Code == closing {
		return false, err
	}
	reply, resetErr := l.command("RSET")
	return resetErr == nil && reply.Code == 250, err
}

// closing is the code of a server that ends the session: RFC 5321 section 3.8.
const closing = 421

func (l *conn) hand(recipient string, b mail.Body) error {
	if err := l.envelope(recipient); err != nil {
		return err
	}
	r, err := b.Open()
	if err != nil {
		return fmt.Errorf("open the message: %w", err)
	}
	defer r.Close()
	if l.offers["CHUNKING"] {
		return l.chunks(r, b.Size())
	}
	return l.data(r, b.Size())
}

func (l *conn) envelope(recipient string) error {
	line := "MAIL FROM:<>"
	switch {
	case l.offers["BINARYMIME"] && l.offers["CHUNKING"]:
		line += " BODY=BINARYMIME"
	case l.offers["8BITMIME"]:
		line += " BODY=8BITMIME"
	}
	reply, err := l.command(line)
	if err != nil {
		return fmt.Errorf("mail: %w: %w", errStale, err)
	}
	if reply.Code != 250 {
		return atMail(reply)
	}
	reply, err = l.command("RCPT TO:<" + recipient + ">")
	if err != nil {
		return fmt.Errorf("rcpt: %w", err)
	}
	if reply.Code/100 != 2 {
		return atRecipient(reply, recipient)
	}
	return nil
}

// chunks sends the message as it is. The last, empty chunk goes once the message was read to its end: half a one must
// not be taken for a whole.
func (l *conn) chunks(r io.Reader, size int64) error {
	if size > 0 {
		if err := l.chunk(r, size); err != nil {
			return err
		}
	}
	switch _, err := io.ReadFull(r, make([]byte, 1)); {
	case err == nil:
		return fmt.Errorf("read the message: it has more than %d bytes", size)
	case err != io.EOF:
		return fmt.Errorf("read the message: %w", err)
	}
	if err := l.send("BDAT 0 LAST"); err != nil {
		return fmt.Errorf("bdat: %w", err)
	}
	return l.answer()
}

func (l *conn) chunk(r io.Reader, size int64) error {
	if _, err := fmt.Fprintf(l.w, "BDAT %d\r\n", size); err != nil {
		return fmt.Errorf("bdat: %w", err)
	}
	n, err := io.CopyN(l.w, r, size)
	if err == io.EOF {
		err = fmt.Errorf("the message ended after %d of %d bytes", n, size)
	}
	if err != nil {
		return fmt.Errorf("send the message: %w", err)
	}
	if err := l.w.Flush(); err != nil {
		return fmt.Errorf("send the message: %w", err)
	}
	reply, err := esmtp.ReadReply(l.r)
	if err != nil {
		return fmt.Errorf("bdat: %w", err)
	}
	if reply.Code != 250 {
		return atMessage(reply)
	}
	return nil
}

func (l *conn) data(r io.Reader, size int64) error {
	reply, err := l.command("DATA")
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if reply.Code != 354 {
		return atMail(reply)
	}
	counted := &counter{r: r}
	w := esmtp.NewDotWriter(l.w)
	bodyErr, wireErr := w.CopyBody(counted)
	if bodyErr == nil && wireErr == nil {
		bodyErr = w.Whole()
	}
	switch {
	case errors.Is(bodyErr, esmtp.ErrLoneLineEnd):
		return &fault.Error{Kind: fault.Permanent, Reason: "LONE_LINE_END", Err: bodyErr,
			Remedy: "use an LMTP server that offers CHUNKING: DATA cannot carry such a message (RFC 5321 section 2.3.8)"}
	case bodyErr != nil || wireErr != nil:
		return fmt.Errorf("send the message: %w", errors.Join(bodyErr, wireErr))
	case counted.n != size:
		return fmt.Errorf("the message ended after %d of %d bytes", counted.n, size)
	}
	if err := w.End(); err != nil {
		return fmt.Errorf("send the message: %w", err)
	}
	return l.answer()
}

// answer is the one recipient's: RFC 2033 section 4.2 gives each recipient a reply of its own.
func (l *conn) answer() error {
	l.wire.Await(max(afterMessage, l.timeout))
	defer l.wire.Await(l.timeout)
	reply, err := esmtp.ReadReply(l.r)
	if err != nil {
		return fmt.Errorf("the message was handed over, no answer came: %w", err)
	}
	if reply.Code/100 != 2 {
		return atMessage(reply)
	}
	return nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
