package imap

import (
	"encoding/json"
	"fmt"

	goimap "github.com/emersion/go-imap/v2"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// cursor is what inbound.Cursor holds, as JSON.
type cursor struct {
	Version  int        `json:"v"`
	Validity uint32     `json:"validity"`
	Last     goimap.UID `json:"last"`
	Recent   recent     `json:"recent,omitempty"` // the newest fingerprints, for the ordinals of the next page
}

const cursorVersion = 1

// readCursor reads a cursor; nil is the beginning of the folder with this validity. What cannot be read, and what was read
// from a folder that has other UIDs now, is lost.
func readCursor(c inbound.Cursor, validity uint32) (cursor, error) {
	if c == nil {
		return cursor{Version: cursorVersion, Validity: validity}, nil
	}
	var at cursor
	if err := json.Unmarshal(c, &at); err != nil {
		return cursor{}, fault.Newf(fault.CursorLost, "the cursor cannot be read: %w", err)
	}
	if at.Version != cursorVersion {
		return cursor{}, fault.Newf(fault.CursorLost, "the cursor is of version %d, this worker knows %d", at.Version, cursorVersion)
	}
	if at.Validity != validity {
		// RFC 3501 section 2.3.1.1: all UIDs known so far mean nothing now.
		return cursor{}, fault.Newf(fault.CursorLost, "UIDVALIDITY was %d and is %d", at.Validity, validity)
	}
	return at, nil
}

// bytes writes the cursor.
func (c cursor) bytes() (inbound.Cursor, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write the cursor: %w", err)
	}
	return b, nil
}

// handle is Item.ID: validity and UID.
func handle(validity uint32, uid goimap.UID) string { return fmt.Sprintf("%d:%d", validity, uid) }

// readHandle reads Item.ID. Handles of another validity belong to messages that have other UIDs now.
func readHandle(id string, validity uint32) (goimap.UID, error) {
	var v uint32
	var uid goimap.UID
	if n, err := fmt.Sscanf(id, "%d:%d", &v, &uid); n != 2 || err != nil || uid == 0 || handle(v, uid) != id {
		return 0, fault.Newf(fault.Permanent, "no handle of this source: %q", id)
	}
	if v != validity {
		return 0, fault.Newf(fault.CursorLost, "UIDVALIDITY was %d and is %d", v, validity)
	}
	return uid, nil
}
