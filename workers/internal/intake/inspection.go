package intake

import "bytes"

// Inspection looks at a message as it passes by: at its line ends, its size, and how often it was on the road already.
type Inspection struct {
	rules  Rules
	left   int64  // bytes that may come yet
	hops   int    // Received lines that may come yet
	line   []byte // the start of the line that comes, as much as tells a Received line
	cr     bool   // the last byte was a CR
	body   bool   // the header is over
	failed *Refusal
}

// Inspect begins with a message.
func (r Rules) Inspect() *Inspection {
	return &Inspection{rules: r, left: r.MaxSize, hops: r.MaxHops, line: make([]byte, 0, len(received))}
}

var received = []byte("received:")

// Look takes the next piece, of any length. What it says once it says for ever: nil, or what is wrong with the message.
func (i *Inspection) Look(piece []byte) *Refusal {
	if i.left -= int64(len(piece)); i.left < 0 {
		i.fail(refuse(TooLarge, "", "At most %d bytes", i.rules.MaxSize))
	}
	for len(piece) > 0 && i.failed == nil {
		at := bytes.IndexByte(piece, '\n')
		if at < 0 {
			i.text(piece)
			break
		}
		i.text(piece[:at])
		i.endLine()
		piece = piece[at+1:]
	}
	return i.failed
}

// End is for the end of the message: a CR must not be its last byte.
func (i *Inspection) End() *Refusal {
	if i.cr {
		i.fail(loneLineEnd())
	}
	return i.failed
}

func (i *Inspection) fail(r *Refusal) {
	if i.failed == nil {
		i.failed = r
	}
}

func loneLineEnd() *Refusal {
	return refuse(LoneLineEnd, "correct the program that sends this", "Lines end with CRLF, never with CR or LF alone (RFC 5321 section 2.3.8)")
}

// text is a part of a line without LF. A CR may only be its last byte.
func (i *Inspection) text(b []byte) {
	if len(b) == 0 {
		return
	}
	if cr := bytes.IndexByte(b, '\r'); i.cr || cr >= 0 && cr < len(b)-1 {
		i.fail(loneLineEnd())
		return
	}
	if i.cr = b[len(b)-1] == '\r'; i.cr {
		b = b[:len(b)-1]
	}
	if !i.body {
		i.start(b)
	}
}

// start notes how a header line begins, and counts it as soon as that tells a Received line.
func (i *Inspection) start(b []byte) {
	room := cap(i.line) - len(i.line)
	i.line = append(i.line, b[:min(len(b), room)]...)
	if room > 0 && bytes.EqualFold(i.line, received) {
		if i.hops--; i.hops < 0 {
			i.fail(refuse(Loop, "", "More than %d Received lines: it runs in circles", i.rules.MaxHops))
		}
	}
}

// endLine is an LF.
func (i *Inspection) endLine() {
	if !i.cr {
		i.fail(loneLineEnd())
	}
	i.body = i.body || len(i.line) == 0
	i.cr, i.line = false, i.line[:0]
}
