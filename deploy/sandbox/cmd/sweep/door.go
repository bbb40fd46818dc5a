package main

import (
	"context"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// A moment is one of a submission at which something can happen to it.
type moment int

const (
	inside   moment = iota + 1 // half of the message has left
	afterDot                   // all of it has, its answer has not come
)

// door is one connection to a worker's intake.
type door struct {
	conn *net.TCPConn
	text *textproto.Conn
}

// answers is how long the intake may take for one.
const answers = 30 * time.Second

func knock(ctx context.Context, address string) (*door, error) {
	dialer := net.Dialer{Timeout: answers}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	d := &door{conn.(*net.TCPConn), textproto.NewConn(conn)}
	if err := conn.SetDeadline(time.Now().Add(answers)); err != nil {
		return nil, err
	}
	if _, _, err := d.text.ReadResponse(220); err != nil {
		return nil, fmt.Errorf("greeting: %w", err)
	}
	return d, d.command(250, "EHLO sweep.example")
}

func (d *door) command(want int, format string, args ...any) error {
	if err := d.text.PrintfLine(format, args...); err != nil {
		return err
	}
	if _, _, err := d.text.ReadResponse(want); err != nil {
		return fmt.Errorf(format+": %w", append(args, err)...)
	}
	return nil
}

// reset breaks the connection as a cut link does.
func (d *door) reset() {
	_ = d.conn.SetLinger(0)
	_ = d.conn.Close()
}

// handIn submits one message. id is the worker's name for it; without one, handed says that all of the message had left, so
// that it may be taken. at is called at each moment; nil: nothing happens then.
func (d *door) handIn(from string, to []string, raw []byte, at func(moment)) (id string, handed bool, err error) {
	if err := d.command(250, "MAIL FROM:<%s> BODY=8BITMIME", from); err != nil {
		return "", false, err
	}
	for _, one := range to {
		if err := d.command(250, "RCPT TO:<%s>", one); err != nil {
			return "", false, err
		}
	}
	if err := d.command(354, "DATA"); err != nil {
		return "", false, err
	}
	if err := d.send(raw, at); err != nil {
		return "", false, err
	}
	at(afterDot)
	_, answer, err := d.text.ReadResponse(250)
	if err != nil {
		return "", true, fmt.Errorf("message: %w", err)
	}
	_, id, _ = strings.Cut(answer, "Queued as ")
	return id, true, nil
}

// send sends the message to its final dot.
func (d *door) send(raw []byte, at func(moment)) error {
	w := d.text.DotWriter()
	if _, err := w.Write(raw[:len(raw)/2]); err != nil {
		return err
	}
	if err := d.text.W.Flush(); err != nil {
		return err
	}
	at(inside)
	if _, err := w.Write(raw[len(raw)/2:]); err != nil {
		return err
	}
	return w.Close() // the dot leaves last, all at once or not at all
}
