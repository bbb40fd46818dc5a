package ews

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/web"
)

// Source reads one folder. One goroutine at a time uses it.
type Source struct {
	*client
	folders      map[string]string // XML of their ids, by path
	ahead        web.Ahead
	subscription subscription
}

var (
	_ inbound.Source      = (*Source)(nil)
	_ inbound.Waiter      = (*Source)(nil)
	_ inbound.SetterAside = (*Source)(nil)
	_ inbound.JunkCounter = (*Source)(nil)
)

// New makes a Source. The error joins all complaints about c.
func New(c Config) (*Source, error) {
	c = c.Default()
	err := c.Validate()
	if err == nil {
		var cl *client
		if cl, err = newClient(c, c.Settings.Endpoint.User, parallel+1); err == nil {
			return &Source{client: cl, folders: map[string]string{}, ahead: web.Ahead{Parallel: parallel}}, nil
		}
	}
	return nil, fmt.Errorf("mailbox %s: %w", c.Settings.Mailbox, err)
}

// Close ends what was read ahead and the subscription. The Source may be used again.
func (s *Source) Close() error {
	s.ahead.Stop()
	s.unsubscribe()
	s.http.CloseIdleConnections()
	return nil
}

// mostChanges is the most that a sync answers with.
const mostChanges = 512

// List implements inbound.Source. Only what is new to the folder is listed: created there, or moved in.
func (s *Source) List(ctx context.Context, after inbound.Cursor, limit int) (inbound.Page, error) {
	s.ahead.Stop()
	at, err := readCursor(after)
	if err != nil {
		return inbound.Page{}, err
	}
	folder, err := s.folder(ctx, s.config.Folder)
	if err != nil {
		return inbound.Page{}, err
	}
	m, err := s.one(ctx, request{what: "sync folder", body: syncBody(folder, at.State, min(limit, mostChanges))})
	if err != nil {
		return inbound.Page{}, s.forget(err)
	}
	if m.SyncState == "" {
		return inbound.Page{}, fault.Newf(fault.Temporary, "sync folder: the answer has no SyncState")
	}
	return s.pageOf(m)
}

func syncBody(folder, state string, limit int) string {
	if state != "" {
		state = "<m:SyncState>" + escape(state) + "</m:SyncState>"
	}
	return "<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>" +
		`<t:FieldURI FieldURI="item:DateTimeReceived"/><t:FieldURI FieldURI="item:Size"/></t:AdditionalProperties></m:ItemShape>` +
		"<m:SyncFolderId>" + folder + "</m:SyncFolderId>" + state +
		"<m:MaxChangesReturned>" + strconv.Itoa(limit) + "</m:MaxChangesReturned></m:SyncFolderItems>"
}

func (s *Source) pageOf(m message) (p inbound.Page, err error) {
	p.More = !m.IncludesLast
	for _, c := range m.Changes.All {
		if c.XMLName.Local != "Create" {
			continue // marks and removals are no new mail
		}
		for _, it := range c.Items {
			if it.ID.ID != "" {
				p.Items = append(p.Items, it.entry())
				s.ahead.Expect(it.ID.ID)
			}
		}
	}
	p.Next, err = cursor{Version: version, State: m.SyncState}.bytes()
	return p, err
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

func (s *Source) content(ctx context.Context, id string) (io.ReadCloser, error) {
	r := request{what: "open message", body: mimeBody(id)}
	res, err := s.open(ctx, r)
	if err != nil {
		return nil, err
	}
	body, err := openContent(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.what, err)
	}
	return body, nil
}

// mimeBody: IncludeMimeContent must come right after BaseShape.
func mimeBody(id string) string {
	return "<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:IncludeMimeContent>true</t:IncludeMimeContent></m:ItemShape>" + itemIDs(id) + "</m:GetItem>"
}

func itemIDs(ids ...string) string {
	all := "<m:ItemIds>"
	for _, id := range ids {
		all += `<t:ItemId Id="` + escape(id) + `"/>`
	}
	return all + "</m:ItemIds>"
}
