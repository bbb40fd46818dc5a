package imap

import (
	"context"
	"errors"
	"fmt"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"

	"bytes"
)

// SentItems looks among the sent mail of a mailbox. Looks are rare and a mailbox has few connections, so each dials its own,
// one after the other.
type SentItems struct {
	config Config
	folder string        // empty = the one that is marked \Sent
	turn   chan struct{} // who has it may look
}

var _ outbound.SentFinder = (*SentItems)(nil)

// NewSentItems makes one for a folder, empty = the one that the server marks. It does not connect yet; the error joins all
// complaints about c, whose own Folder does not matter.
func NewSentItems(c Config, folder string) (*SentItems, error) {
	if _, err := New(c); err != nil {
		return nil, err
	}
	return &SentItems{config: c, folder: folder, turn: make(chan struct{}, 1)}, nil
}

// Close implements outbound.SentFinder.
func (s *SentItems) Close() error { return nil }

// FindSent implements outbound.SentFinder. INTERNALDATE has seconds.
func (s *SentItems) FindSent(ctx context.Context, messageID string, since time.Time) (found bool, err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	src, err := New(s.config)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	sess, err := src.connected(ctx)
	if err != nil {
		return false, err
	}
	name, err := s.locate(ctx, src, sess)
	if err != nil {
		return false, err
	}
	if err := sess.choose(ctx, name, true); err != nil {
		return false, err
	}
	return sess.holds(ctx, messageID, since.Truncate(time.Second))
}

// locate is the name of the folder.
func (s *SentItems) locate(ctx context.Context, src *Source, sess *session) (name string, err error) {
	there := false
	if s.folder == "" {
		name, err = src.special(ctx, sess, goimap.MailboxAttrSent)
		there = name != ""
	} else {
		name, there, err = src.locate(ctx, sess, s.folder)
	}
	if err == nil && !there {
		err = &fault.Error{Kind: fault.Gone, Reason: "NO_SENT_FOLDER", Remedy: "name the folder of sent mail in sent-items",
			Err: fmt.Errorf("the mailbox has no folder of sent mail %q", s.folder)}
	}
	return name, err
}

// holds says whether the selected folder has a message of this id that arrived at since or later.
func (s *session) holds(ctx context.Context, messageID string, since time.Time) (bool, error) {
	criteria := &goimap.SearchCriteria{
		Since:  since.Add(-24 * time.Hour), // a day of the server's, wherever that is: RFC 9051 section 6.4.4
		Header: []goimap.SearchCriteriaHeaderField{{Key: "Message-ID", Value: messageID}},
	}
	var data *goimap.SearchData
	err := s.do(ctx, "search", func() (err error) {
		data, err = s.client.UIDSearch(criteria, nil).Wait()
		return err
	})
	if err != nil {
		return false, err
	}
	rows, err := s.rows(ctx, data.AllUIDs())
	if err != nil {
		return false, err
	}
	for _, r := range rows {
		// The search is for a part of the field, and in any case.
		if id, err := mail.MessageID(bytes.NewReader(r.header)); err == nil && id == messageID && !r.arrived.Before(since) {
			return true, nil
		}
	}
	return false, nil
}
