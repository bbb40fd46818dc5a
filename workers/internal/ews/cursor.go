package ews

import (
	"encoding/json"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// version is that of the cursor's form; another one is a lost cursor.
const version = 1

// cursor says how far the folder was read. Exchange gives no more changes than it is asked for, so none are left over.
type cursor struct {
	Version int    `json:"v"`
	State   string `json:"state"` // SyncState, whole: cut off it is lost
}

func readCursor(b inbound.Cursor) (cursor, error) {
	if b == nil {
		return cursor{Version: version}, nil
	}
	var at cursor
	if err := json.Unmarshal(b, &at); err != nil || at.Version != version || at.State == "" {
		return cursor{}, fault.Newf(fault.CursorLost, "the cursor is none of this version's")
	}
	return at, nil
}

func (at cursor) bytes() (inbound.Cursor, error) { return json.Marshal(at) }

// entry is an item as the engine wants it.
func (it item) entry() inbound.Item {
	size := it.Size
	if size <= 0 {
		size = -1
	}
	return inbound.Item{ID: it.ID.ID, Key: "ews:" + it.ID.ID, Size: size, Arrived: it.Received.Truncate(time.Second)}
}
