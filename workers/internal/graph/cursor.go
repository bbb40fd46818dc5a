package graph

import (
	"encoding/json"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// version is that of the cursor's form; another one is a lost cursor.
const version = 1

// cursor says how far the folder was read: by a link of the server's, or by the time of arrival.
type cursor struct {
	Version int       `json:"v"`
	Link    string    `json:"link,omitempty"`  // nextLink or deltaLink
	Rest    []entry   `json:"rest,omitempty"`  // came with the page before, and did not fit on it
	Behind  bool      `json:"more,omitempty"`  // Link is a nextLink
	Since   time.Time `json:"since,omitzero"`  // everything before it was listed
	Seen    []string  `json:"seen,omitempty"`  // ids that arrived in that second and were listed
	Start   bool      `json:"start,omitempty"` // the beginning, of a folder without delta
}

// entry is one line of a page.
type entry struct {
	ID       string    `json:"id"`
	Received time.Time `json:"receivedDateTime"`
	Removed  *struct{} `json:"@removed,omitempty"`
}

// readCursor: what is none of ours means from the beginning.
func (c *client) readCursor(b inbound.Cursor) (cursor, error) {
	if b == nil {
		return cursor{Version: version}, nil
	}
	var at cursor
	if err := json.Unmarshal(b, &at); err != nil || at.Version != version || at.Link == "" && at.Since.IsZero() && !at.Start {
		return cursor{}, fault.Newf(fault.CursorLost, "the cursor is none of this version's")
	}
	if at.Link != "" && c.expected(at.Link) != nil {
		return cursor{}, fault.Newf(fault.CursorLost, "the cursor is of another server")
	}
	return at, nil
}

func (at cursor) bytes() (inbound.Cursor, error) { return json.Marshal(at) }

// item is an entry as the engine wants it. The immutable id outlives moves and lost cursors.
func (e entry) item() inbound.Item {
	return inbound.Item{ID: e.ID, Key: "graph:" + e.ID, Size: -1, Arrived: e.Received}
}
