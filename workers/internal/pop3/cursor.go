package pop3

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// A cursor is five bytes that say what it is, and a mark of eight bytes for every message that was listed before and was
// still there at the start of the session. 100,000 messages that stay in the mailbox make 800,000 bytes; where messages
// are deleted, a cursor holds little more than one page.
//
// A new message whose mark equals one of n others would never be fetched. That happens to one message out of 2^64/n: among
// mailboxes of 100,000 messages to one in 180 trillion.
const (
	cursorHead = "pop3\x01" // the last byte is the version
	markSize   = 8
)

// mark stands for a handle.
type mark uint64

func markOf(id string) mark {
	sum := hash(id)
	return mark(binary.BigEndian.Uint64(sum[:]))
}

// key is Item.Key: 16 bytes in hexadecimal.
func key(id string) string {
	sum := hash(id)
	return hex.EncodeToString(sum[:16])
}

// hash is taken of every message at every look, so it leaves nothing on the heap for handles of usual length.
func hash(id string) [sha256.Size]byte {
	var usual [96]byte
	return sha256.Sum256(append(usual[:0], id...))
}

// readCursor reads what was seen; nil is nothing. What cannot be read is lost.
func readCursor(c inbound.Cursor) (map[mark]struct{}, error) {
	if c == nil {
		return nil, nil
	}
	if len(c) < len(cursorHead) || string(c[:len(cursorHead)]) != cursorHead {
		return nil, fault.Newf(fault.CursorLost, "the cursor is none that this worker knows")
	}
	marks := c[len(cursorHead):]
	if len(marks)%markSize != 0 {
		return nil, fault.Newf(fault.CursorLost, "the cursor was cut short: %d bytes", len(c))
	}
	seen := make(map[mark]struct{}, len(marks)/markSize)
	for ; len(marks) > 0; marks = marks[markSize:] {
		seen[mark(binary.BigEndian.Uint64(marks))] = struct{}{}
	}
	return seen, nil
}

// appendMark adds to a cursor. Cursors that were given away are not changed by it: what is appended lies behind their end.
func appendMark(c inbound.Cursor, m mark) inbound.Cursor {
	return binary.BigEndian.AppendUint64(c, uint64(m))
}
