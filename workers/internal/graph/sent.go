package graph

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mailporter/workers/internal/outbound"
)

// SentItems looks among the sent mail of a mailbox, one look after the other.
type SentItems struct {
	source *Source
	folder string        // path of display names; empty = the one of every mailbox
	turn   chan struct{} // who has it may look
}

var _ outbound.SentFinder = (*SentItems)(nil)

// NewSentItems makes one for a folder, empty = Sent Items, whatever its language. It does not connect yet; the error joins
// all complaints about c, whose own Folder does not matter.
func NewSentItems(c Config, folder string) (*SentItems, error) {
	src, err := New(c)
	if err != nil {
		return nil, err
	}
	return &SentItems{source: src, folder: folder, turn: make(chan struct{}, 1)}, nil
}

// Close implements outbound.SentFinder.
func (s *SentItems) Close() error { return s.source.Close() }

// sentName is the folder of sent mail in every language.
const sentName = "sentitems"

// FindSent implements outbound.SentFinder. The time that counts is that of the copy itself: the others are the message's own,
// which may have waited with us.
func (s *SentItems) FindSent(ctx context.Context, messageID string, since time.Time) (bool, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	folder, err := sentName, error(nil)
	if s.folder != "" {
		folder, err = s.source.folder(ctx, s.folder)
	}
	if err != nil {
		return false, person(err)
	}
	var found struct {
		Value []struct {
			Created time.Time `json:"createdDateTime"`
		}
	}
	r := request{what: "look among the sent mail", method: http.MethodGet, url: s.source.url(sentQuery(messageID), "mailFolders", folder, "messages")}
	if err := s.source.read(ctx, r, &found); err != nil {
		return false, person(s.source.forget(err))
	}
	for _, m := range found.Value {
		if !m.Created.Before(since.Truncate(time.Second)) {
			return true, nil
		}
	}
	return false, nil
}

// mostCopies is how many messages of one id are looked at.
const mostCopies = "50"

// quote is a string as OData writes it: an apostrophe within is doubled.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// sentQuery asks for an id.
func sentQuery(messageID string) string {
	return url.Values{
		"$filter": {"internetMessageId eq " + quote(messageID)}, "$select": {"createdDateTime"}, "$top": {mostCopies},
	}.Encode()
}
