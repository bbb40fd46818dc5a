package graph

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/web"
)

// Source reads one folder. One goroutine at a time uses it.
type Source struct {
	*client
	folders map[string]string // ids by path
	noDelta bool              // this cloud has none
	ahead   web.Ahead
}

var (
	_ inbound.Source      = (*Source)(nil)
	_ inbound.SetterAside = (*Source)(nil)
	_ inbound.JunkCounter = (*Source)(nil)
)

// New makes a Source. The error joins all complaints about c.
func New(c Config) (*Source, error) {
	c = c.Default()
	err := c.Validate()
	if err == nil {
		var cl *client
		if cl, err = newClient(c); err == nil {
			return &Source{client: cl, folders: map[string]string{}, ahead: web.Ahead{Parallel: parallel, Whole: true}}, nil
		}
	}
	return nil, fmt.Errorf("mailbox %s: %w", c.Settings.Mailbox, err)
}

// Close ends what was read ahead. The Source may be used again.
func (s *Source) Close() error {
	s.ahead.Stop()
	s.http.CloseIdleConnections()
	return nil
}

// page is what Graph answers to a list.
type page struct {
	Value     []entry `json:"value"`
	NextLink  string  `json:"@odata.nextLink"`
	DeltaLink string  `json:"@odata.deltaLink"`
}

const fields = "$select=id,receivedDateTime"

// List implements inbound.Source.
func (s *Source) List(ctx context.Context, after inbound.Cursor, limit int) (inbound.Page, error) {
	s.ahead.Stop()
	at, err := s.readCursor(after)
	if err != nil {
		return inbound.Page{}, err
	}
	folder, err := s.folder(ctx, s.config.Folder)
	if err != nil {
		return inbound.Page{}, err
	}
	var found []entry
	more := false
	if s.noDelta || at.Start || !at.Since.IsZero() {
		found, at, more, err = s.watermark(ctx, folder, at, limit)
	} else {
		found, at, more, err = s.round(ctx, folder, at, limit)
	}
	if err != nil {
		return inbound.Page{}, err
	}
	return s.pageOf(found, at, more)
}

func (s *Source) pageOf(found []entry, at cursor, more bool) (inbound.Page, error) {
	p := inbound.Page{More: more}
	listed := map[string]bool{}
	for _, e := range found {
		if !listed[e.ID] { // Graph replays entries, even on one page
			p.Items = append(p.Items, e.item())
			s.ahead.Expect(e.ID)
		}
		listed[e.ID] = true
	}
	var err error
	p.Next, err = at.bytes()
	return p, err
}

// round is the next page of a delta round.
func (s *Source) round(ctx context.Context, folder string, at cursor, limit int) (found []entry, next cursor, more bool, err error) {
	if len(at.Rest) == 0 {
		at, err = s.ask(ctx, folder, at.Link, limit)
		if hasReason(err, noDelta) {
			s.noDelta = true
			return s.watermark(ctx, folder, cursor{Version: version, Start: true}, limit)
		}
		if err != nil {
			return nil, cursor{}, false, s.forget(err)
		}
	}
	n := min(limit, len(at.Rest))
	found, at.Rest = at.Rest[:n], at.Rest[n:]
	return found, at, at.Behind || len(at.Rest) > 0, nil
}

// ask follows a link, "" for the first, and returns where that leads, with everything on the page as its rest: a server
// may put more on a page than it was asked to.
func (s *Source) ask(ctx context.Context, folder, link string, limit int) (cursor, error) {
	if link == "" {
		link = s.url("changeType=created&"+fields, "mailFolders", folder, "messages", "delta")
	}
	var p page
	err := s.read(ctx, request{what: "list messages", method: http.MethodGet, url: link, pageSize: limit}, &p)
	if err != nil {
		return cursor{}, err
	}
	at := cursor{Version: version}
	at.Rest, at.Link, at.Behind, err = s.follow(p)
	return at, err
}

// follow takes a page apart: what is there, and where it goes on.
func (s *Source) follow(p page) (found []entry, link string, more bool, err error) {
	link, more = p.DeltaLink, false
	if p.NextLink != "" {
		link, more = p.NextLink, true
	}
	if link == "" {
		return nil, "", false, fault.Newf(fault.Temporary, "list messages: the answer has no link to go on with")
	}
	if err := s.expected(link); err != nil {
		return nil, "", false, fault.New(fault.Temporary, fmt.Errorf("list messages: %w", err))
	}
	for _, e := range p.Value {
		if e.Removed == nil && e.ID != "" {
			found = append(found, e)
		}
	}
	return found, link, more, nil
}

// forget lets a folder that left be looked up again.
func (s *Source) forget(err error) error {
	if fault.Of(err) == fault.Gone {
		clear(s.folders)
	}
	return err
}

// Open implements inbound.Source.
func (s *Source) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	return s.ahead.Take(ctx, id, s.content)
}

// content is a message's bytes, as a stream. HTTP tells a cut answer from a whole one.
func (s *Source) content(ctx context.Context, id string) (io.ReadCloser, error) {
	return s.open(ctx, request{what: "open message", method: http.MethodGet, url: s.url("", "messages", id, "$value")})
}
