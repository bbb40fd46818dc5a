package ews

import (
	"context"
	"time"

	"mailporter/workers/internal/fault"
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

// FindSent implements outbound.SentFinder. The time that counts is that of the copy itself: the others are the message's own,
// which may have waited with us.
func (s *SentItems) FindSent(ctx context.Context, messageID string, since time.Time) (bool, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	m, err := s.ask(ctx, messageID)
	if err != nil {
		return false, err
	}
	for _, it := range m.RootFolder.Items.All {
		if !it.Created.Before(since.Truncate(time.Second)) {
			return true, nil
		}
	}
	return false, nil
}

// ask looks for the newest copies with an id. fault.Auth: somebody must act first.
func (s *SentItems) ask(ctx context.Context, messageID string) (m message, err error) {
	r := request{what: "look among the sent mail"}
	folder := distinguished(sentFolder, "")
	if s.folder != "" {
		folder, err = s.source.folder(ctx, s.folder)
	}
	if err == nil {
		r.body = findSentBody(folder, messageID)
		m, err = s.source.one(ctx, r)
	}
	if fault.Of(err) == fault.Gone {
		return m, s.source.forget(err)
	}
	return m, r.outgoing(err)
}

// findSentBody asks for the newest copies with an id.
func findSentBody(folder, messageID string) string {
	return `<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>` +
		`<t:FieldURI FieldURI="item:DateTimeCreated"/></t:AdditionalProperties></m:ItemShape><m:IndexedPageItemView MaxEntriesReturned="50" Offset="0" BasePoint="Beginning"/>` +
		`<m:Restriction><t:IsEqualTo><t:FieldURI FieldURI="message:InternetMessageId"/><t:FieldURIOrConstant><t:Constant Value="` + escape(messageID) +
		`"/></t:FieldURIOrConstant></t:IsEqualTo></m:Restriction>` +
		`<m:SortOrder><t:FieldOrder Order="Descending"><t:FieldURI FieldURI="item:DateTimeCreated"/></t:FieldOrder></m:SortOrder>` +
		"<m:ParentFolderIds>" + folder + "</m:ParentFolderIds></m:FindItem>"
}
