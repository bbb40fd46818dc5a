package pop3

import (
	"strconv"
	"strings"

	"mailporter/workers/internal/inbound"
)

// maildrop is what one session shows: RFC 1939 section 4 locks the messages at its start.
type maildrop struct {
	messages []message
	index    map[mark]int   // into messages
	twins    map[string]int // how many messages have this UIDL, if more than one has
}

// message is one of a maildrop.
type message struct {
	id     string // handle
	number int    // in this session
	size   int64  // as LIST says, -1 = unknown
}

func newMaildrop() *maildrop { return &maildrop{index: map[mark]int{}, twins: map[string]int{}} }

// add takes note of a line of UIDL. A server that makes its UIDLs of the contents gives equal messages the same one (RFC
// 1939 section 7 allows it): from the second on they get an ordinal behind a space, which no UIDL holds.
func (d *maildrop) add(number int, uidl string) {
	id := uidl
	if i, ok := d.index[markOf(uidl)]; ok && d.messages[i].id == uidl {
		d.twins[uidl] = max(d.twins[uidl], 1) + 1
		id = uidl + " " + strconv.Itoa(d.twins[uidl])
	}
	d.index[markOf(id)] = len(d.messages)
	d.messages = append(d.messages, message{id: id, number: number, size: -1})
}

// find is the message with this handle.
func (d *maildrop) find(id string) (message, bool) {
	if i, ok := d.index[markOf(id)]; ok && d.messages[i].id == id {
		return d.messages[i], true
	}
	return message{}, false
}

// setSizes takes over what LIST says of each number.
func (d *maildrop) setSizes(sizes map[int]int64) {
	for i, m := range d.messages {
		if size, ok := sizes[m.number]; ok {
			d.messages[i].size = size
		}
	}
}

// removable are the numbers of the messages with these handles; those that are gone are left out. So are those whose twins
// are not all among them: an ordinal that moved up to another message would lend it the key of the one that is gone.
func (d *maildrop) removable(ids []string) (numbers []int) {
	together := map[string]int{}
	for _, id := range ids {
		if _, ok := d.find(id); ok {
			together[uidlOf(id)]++
		}
	}
	for _, id := range ids {
		if m, ok := d.find(id); ok && together[uidlOf(id)] >= d.twins[uidlOf(id)] {
			numbers = append(numbers, m.number)
		}
	}
	return numbers
}

// uidlOf is a handle without its ordinal.
func uidlOf(id string) string {
	uidl, _, _ := strings.Cut(id, " ")
	return uidl
}

// walk is the way through one maildrop, page after page.
type walk struct {
	drop  *maildrop
	fresh []int          // indices of messages that were not listed yet
	found int            // how many they were at first
	at    inbound.Cursor // behind the last page
}

// newWalk starts behind what was seen. Of that it keeps what is still there.
func newWalk(d *maildrop, seen map[mark]struct{}) *walk {
	w := &walk{drop: d, at: make(inbound.Cursor, 0, len(cursorHead)+markSize*len(d.messages))}
	w.at = append(w.at, cursorHead...)
	for i, m := range d.messages {
		mk := markOf(m.id)
		if _, ok := seen[mk]; ok {
			w.at = appendMark(w.at, mk)
		} else {
			w.fresh = append(w.fresh, i)
		}
	}
	w.found = len(w.fresh)
	return w
}

// continues says whether a cursor is the one behind the last page.
func (w *walk) continues(after inbound.Cursor) bool {
	return w != nil && len(w.fresh) > 0 && len(after) == len(w.at) && len(after) > 0 && &after[0] == &w.at[0]
}

// lookAgain is how many new messages in one session mean that there may be more behind them: Gmail shows a few hundred at
// a time.
const lookAgain = 100

// page is the next one. Each costs what is on it, whatever else the maildrop holds.
func (w *walk) page(limit int) inbound.Page {
	now := w.fresh[:min(limit, len(w.fresh))]
	w.fresh = w.fresh[len(now):]
	page := inbound.Page{More: len(w.fresh) > 0 || w.found >= lookAgain}
	for _, i := range now {
		m := w.drop.messages[i]
		w.at = appendMark(w.at, markOf(m.id))
		page.Items = append(page.Items, inbound.Item{ID: m.id, Key: key(m.id), Size: m.size})
	}
	page.Next = w.at[:len(w.at):len(w.at)]
	return page
}
