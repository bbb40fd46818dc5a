package imapd

import (
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailporter/sandbox/mailstore"
)

// view is the selected folder as the client knows it: sequence numbers are places in messages. It catches up with the
// store only when the client may be told (RFC 3501 section 5.2).
type view struct {
	name     string
	validity uint32
	readOnly bool
	version  uint64
	messages []*mailstore.Message
}

func newView(f mailstore.Folder, readOnly bool) *view {
	return &view{name: f.Name, validity: f.UIDValidity, readOnly: readOnly, version: f.Version, messages: f.Messages}
}

// numbered is a message with its sequence number.
type numbered struct {
	seq     uint32
	message *mailstore.Message
}

// pick returns the messages of a set, in order.
func (v *view) pick(set imap.NumSet) []numbered {
	var out []numbered
	set = v.static(set)
	for i, m := range v.messages {
		n := numbered{uint32(i + 1), m}
		if in(set, n) {
			out = append(out, n)
		}
	}
	return out
}

func in(set imap.NumSet, n numbered) bool {
	switch set := set.(type) {
	case imap.SeqSet:
		return set.Contains(n.seq)
	case imap.UIDSet:
		return set.Contains(imap.UID(n.message.UID))
	}
	return false
}

// static replaces "*" by the last message, which also makes "9:*" mean the last one when there is no ninth.
func (v *view) static(set imap.NumSet) imap.NumSet {
	last := uint32(len(v.messages))
	switch set := set.(type) {
	case imap.SeqSet:
		out := slices.Clone(set)
		for i := range out {
			out[i].Start, out[i].Stop = bounds(out[i].Start, out[i].Stop, last)
		}
		return out
	case imap.UIDSet:
		if last > 0 {
			last = v.messages[last-1].UID
		}
		out := slices.Clone(set)
		for i := range out {
			start, stop := bounds(uint32(out[i].Start), uint32(out[i].Stop), last)
			out[i].Start, out[i].Stop = imap.UID(start), imap.UID(stop)
		}
		return out
	}
	return set
}

func bounds(start, stop, last uint32) (uint32, uint32) {
	if start == 0 {
		start = last
	}
	if stop == 0 {
		stop = last
	}
	return min(start, stop), max(start, stop)
}

func uids(list []numbered) []uint32 {
	out := make([]uint32, len(list))
	for i, n := range list {
		out[i] = n.message.UID
	}
	return out
}

// refresh takes over the flags of the given messages without telling the client.
func (v *view) refresh(f mailstore.Folder, list []numbered) {
	now := byUID(f.Messages)
	for i, n := range list {
		if m := now[n.message.UID]; m != nil {
			v.messages[n.seq-1] = m
			list[i].message = m
		}
	}
}

func byUID(messages []*mailstore.Message) map[uint32]*mailstore.Message {
	out := make(map[uint32]*mailstore.Message, len(messages))
	for _, m := range messages {
		out[m.UID] = m
	}
	return out
}

// drop takes messages out of the view and tells the client, last one first, so that the numbers stay right.
func (v *view) drop(gone []uint32, tell func(seq uint32) error) error {
	for i := len(v.messages) - 1; i >= 0; i-- {
		if !slices.Contains(gone, v.messages[i].UID) {
			continue
		}
		v.messages = slices.Delete(v.messages, i, i+1)
		if err := tell(uint32(i + 1)); err != nil {
			return err
		}
	}
	return nil
}

// catchUp brings the view up to a snapshot and tells the client what is new. Without allowExpunge, messages that are gone
// stay in the view until next time.
func (v *view) catchUp(f mailstore.Folder, w *imapserver.UpdateWriter, allowExpunge bool) error {
	now := byUID(f.Messages)
	var gone []uint32
	for _, m := range v.messages {
		if now[m.UID] == nil {
			gone = append(gone, m.UID)
		}
	}
	if allowExpunge {
		if err := v.drop(gone, w.WriteExpunge); err != nil {
			return err
		}
		gone = nil
	}
	if err := v.flags(now, w); err != nil {
		return err
	}
	if len(gone) == 0 {
		v.version = f.Version
	}
	return v.arrivals(f, w)
}

func (v *view) flags(now map[uint32]*mailstore.Message, w *imapserver.UpdateWriter) error {
	for i, old := range v.messages {
		m := now[old.UID]
		if m == nil || m == old {
			continue
		}
		v.messages[i] = m
		if slices.Equal(old.Flags, m.Flags) {
			continue
		}
		if err := w.WriteMessageFlags(uint32(i+1), imap.UID(m.UID), flagsOf(m)); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) arrivals(f mailstore.Folder, w *imapserver.UpdateWriter) error {
	var last uint32
	if n := len(v.messages); n > 0 {
		last = v.messages[n-1].UID
	}
	before := len(v.messages)
	for _, m := range f.Messages {
		if m.UID > last {
			v.messages = append(v.messages, m)
		}
	}
	if len(v.messages) == before {
		return nil
	}
	return w.WriteNumMessages(uint32(len(v.messages)))
}

func flagsOf(m *mailstore.Message) []imap.Flag {
	out := make([]imap.Flag, len(m.Flags))
	for i, f := range m.Flags {
		out[i] = imap.Flag(f)
	}
	return out
}
