package pop3d

import (
	"bytes"
	"strconv"

	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
)

// maildrop is what one session sees: RFC 1939 section 8 numbers messages once, at its beginning.
type maildrop struct {
	server  *Server
	mailbox string
	once    bool // what was handed out is shown no more: Gmail, unless the user name begins with recent:
	after   idp.POPDelete
	all     []entry
}

// entry is one message of a session.
type entry struct {
	message   *mailstore.Message
	octets    int64 // 0: not counted yet
	deleted   bool
	retrieved bool
}

// open takes the lock and looks. nil: another session has the maildrop.
func (s *Server) open(mailbox string, once bool, after idp.POPDelete) (*maildrop, error) {
	if !s.lock(mailbox) {
		return nil, nil
	}
	f, err := s.config.Store.Folder(mailbox, mailstore.Inbox)
	if err != nil {
		s.unlock(mailbox)
		return nil, err
	}
	d := &maildrop{server: s, mailbox: mailbox, once: once, after: after}
	for _, m := range f.Messages {
		if !once || !s.wasHandedOut(m.ID) {
			d.all = append(d.all, entry{message: m})
		}
	}
	return d, nil
}

func (d *maildrop) close() { d.server.unlock(d.mailbox) }

// find is the message of that number, unless it is deleted.
func (d *maildrop) find(word string) *entry {
	n, err := strconv.Atoi(word)
	if err != nil || n < 1 || n > len(d.all) || d.all[n-1].deleted {
		return nil
	}
	return &d.all[n-1]
}

// size is a message's as POP3 counts it: every line ends with CRLF, the last one too.
func (e *entry) size() int64 {
	if e.octets == 0 {
		e.octets = e.message.Size
		if raw, err := e.message.Raw(); err == nil {
			e.octets = int64(len(withLineEnd(raw)))
		}
	}
	return e.octets
}

// withLineEnd ends the last line: RFC 1939 section 3 has no other way to say that a message is over.
func withLineEnd(raw []byte) []byte {
	if len(raw) == 0 || bytes.HasSuffix(raw, []byte("\r\n")) {
		return raw
	}
	return append(raw[:len(raw):len(raw)], "\r\n"...)
}

// stat counts what is not deleted.
func (d *maildrop) stat() (n int, bytes int64) {
	for i := range d.all {
		if !d.all[i].deleted {
			n++
			bytes += d.all[i].size()
		}
	}
	return n, bytes
}

// reset takes all deletions back.
func (d *maildrop) reset() {
	for i := range d.all {
		d.all[i].deleted = false
	}
}

// update is what QUIT does: RFC 1939 section 6. A session that ends otherwise removes nothing.
func (d *maildrop) update() error {
	var uids []uint32
	var seen []string
	for _, e := range d.all {
		if e.deleted {
			uids = append(uids, e.message.UID)
		}
		if e.retrieved && d.once {
			seen = append(seen, e.message.ID)
		}
	}
	d.server.handedOut(seen)
	if len(uids) == 0 {
		return nil
	}
	return d.remove(uids)
}

// remove does with deleted messages what the account's setting says.
func (d *maildrop) remove(uids []uint32) (err error) {
	store := d.server.config.Store
	switch d.after {
	case idp.POPKeep:
	case idp.POPMarkRead:
		err = store.SetFlags(d.mailbox, mailstore.Inbox, uids, mailstore.FlagsAdd, []string{`\Seen`})
	case idp.POPTrash:
		_, err = store.Move(d.mailbox, mailstore.Inbox, uids, store.Used(d.mailbox, mailstore.UseTrash))
	default:
		_, err = store.Expunge(d.mailbox, mailstore.Inbox, uids)
	}
	return err
}
