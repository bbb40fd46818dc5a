package graph

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"mailporter/kit/tokenclient"
)

// mostPerPage is the most entries that Graph puts on a page.
const mostPerPage = 1000

// watermark lists by the time of arrival, for clouds without delta rounds. Times are in whole seconds: those that were
// listed of the last second are remembered by id.
func (s *Source) watermark(ctx context.Context, folder string, at cursor, limit int) (found []entry, next cursor, more bool, err error) {
	query := url.Values{"$select": {"id,receivedDateTime"}, "$orderby": {"receivedDateTime asc"}, "$top": {strconv.Itoa(min(limit+len(at.Seen), mostPerPage))}}
	if !at.Since.IsZero() {
		query.Set("$filter", "receivedDateTime ge "+at.Since.UTC().Format(time.RFC3339))
	}
	link := s.url(query.Encode(), "mailFolders", folder, "messages")
	for {
		var p page
		if err := s.read(ctx, request{what: "list messages", method: http.MethodGet, url: link}, &p); err != nil {
			return nil, cursor{}, false, s.forget(err)
		}
		p.DeltaLink = link // there is nothing to follow at the end
		got, nextLink, behind, err := s.follow(p)
		if err != nil {
			return nil, cursor{}, false, err
		}
		for _, e := range got {
			if !(e.Received.Equal(at.Since) && slices.Contains(at.Seen, e.ID)) {
				found = append(found, e)
			}
		}
		if len(found) >= limit || !behind {
			more = behind || len(found) > limit
			break
		}
		link = nextLink
	}
	found = found[:min(limit, len(found))]
	return found, s.mark(at, found, more), more, nil
}

// mark is the cursor behind what was found. Where settled messages leave the folder, the end of it is the beginning: so
// nothing is missed that is moved in later with an older time.
func (s *Source) mark(at cursor, found []entry, more bool) cursor {
	after := s.config.Settings.Inbound.After
	if !more && (after == tokenclient.Delete || after == tokenclient.Move) {
		return cursor{Version: version, Start: true}
	}
	next := cursor{Version: version, Start: true, Since: at.Since, Seen: slices.Clone(at.Seen)}
	for _, e := range found {
		if !e.Received.Equal(next.Since) {
			next.Since, next.Seen = e.Received, nil
		}
		next.Seen = append(next.Seen, e.ID)
	}
	return next
}
