package imap

import (
	"context"
	"fmt"
	"slices"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// Source reads one folder. One goroutine at a time uses it.
type Source struct {
	config  Config
	session *session // nil = not connected

	names map[string]string        // what the server calls the folders that had to be looked up
	page  map[fingerprint][]uint32 // UIDs of the page listed last, by what they have in common
	junk  junkCount
	ahead ahead
}

var (
	_ inbound.Source      = (*Source)(nil)
	_ inbound.Waiter      = (*Source)(nil)
	_ inbound.SetterAside = (*Source)(nil)
	_ inbound.JunkCounter = (*Source)(nil)
)

// New makes a Source; it connects when it is needed. The error joins all complaints about c.
func New(c Config) (*Source, error) {
	c = c.Default()
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mailbox %s: %w", c.Settings.Mailbox, err)
	}
	return &Source{config: c, names: map[string]string{}}, nil
}

// Close ends the session. The Source dials anew when it is used again.
func (s *Source) Close() error {
	if s.session != nil {
		s.session.logout()
		s.session = nil
	}
	return nil
}

// connected is the session, dialled if there is none whose token is usable for something new.
func (s *Source) connected(ctx context.Context) (*session, error) {
	if s.session != nil && s.session.alive() && s.session.token.Usable(time.Now()) {
		return s.session, nil
	}
	_ = s.Close() // by plan: the token's time is up
	sess, tok, err := tokenclient.Use(ctx, s.config.Broker, s.config.Settings.Ask(), s.connect)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	sess.token, s.session = tok, sess
	return sess, nil
}

// opened is the session with the folder selected.
func (s *Source) opened(ctx context.Context) (*session, error) {
	sess, err := s.connected(ctx)
	if err != nil {
		return nil, err
	}
	name, err := s.folder(ctx, sess)
	if err != nil {
		return nil, err
	}
	if sess.selected == name {
		return sess, nil
	}
	return sess, sess.choose(ctx, name, s.readOnly())
}

// readOnly says whether nothing is ever changed in the folder: EXAMINE then keeps the server from marking anything.
func (s *Source) readOnly() bool {
	in := s.config.Settings.Inbound
	return in.After == tokenclient.Keep && in.FailedFolder == ""
}

// choose selects a folder.
func (s *session) choose(ctx context.Context, name string, readOnly bool) error {
	s.selected = ""
	var data *goimap.SelectData
	err := s.do(ctx, "select "+name, func() (err error) {
		data, err = s.client.Select(name, &goimap.SelectOptions{ReadOnly: readOnly}).Wait()
		return err
	})
	if err != nil {
		return err
	}
	if data.UIDValidity == 0 {
		return fault.Newf(fault.Temporary, "select %s: the server gave no UIDVALIDITY", name)
	}
	s.selected, s.validity, s.next = name, data.UIDValidity, data.UIDNext
	return nil
}

// uids reads handles; those of another UIDVALIDITY are lost.
func (s *session) uids(ids []string) (goimap.UIDSet, error) {
	var set goimap.UIDSet
	for _, id := range ids {
		uid, err := readHandle(id, s.validity)
		if err != nil {
			return nil, err
		}
		set.AddNum(uid)
	}
	return set, nil
}

// List implements inbound.Source.
func (s *Source) List(ctx context.Context, after inbound.Cursor, limit int) (inbound.Page, error) {
	sess, err := s.opened(ctx)
	if err != nil {
		return inbound.Page{}, err
	}
	at, err := readCursor(after, sess.validity)
	if err != nil {
		return inbound.Page{}, err
	}
	at.Recent = slices.Clone(at.Recent)
	found, more, err := s.search(ctx, sess, at.Last, limit)
	if err != nil {
		return inbound.Page{}, err
	}
	rows, err := sess.rows(ctx, found)
	if err != nil {
		return inbound.Page{}, err
	}
	return s.pageOf(sess, at, found, rows, more)
}

// pageOf makes the page of what was found. What vanished since the search is passed over.
func (s *Source) pageOf(sess *session, at cursor, found []goimap.UID, rows map[goimap.UID]row, more bool) (inbound.Page, error) {
	page := inbound.Page{More: more}
	s.page = map[fingerprint][]uint32{}
	for _, uid := range found {
		at.Last = uid
		r, ok := rows[uid]
		if !ok {
			continue
		}
		f := fingerprintOf(identity(r.header), r.arrived, r.size)
		s.page[f] = append(s.page[f], uint32(uid))
		page.Items = append(page.Items, inbound.Item{
			ID: handle(sess.validity, uid), Key: key(f, at.Recent.count(f, r.arrived)), Size: r.size, Arrived: r.arrived,
		})
	}
	s.ahead = ahead{page: page.Items, alone: s.ahead.alone}
	var err error
	page.Next, err = at.bytes()
	return page, err
}

// window is how many UIDs are searched at first, per message that is wanted. Gaps make it grow.
const window = 4

// search finds at most limit UIDs after last, ascending, without asking for all of a large folder at once. more: there may
// be others behind them.
func (s *Source) search(ctx context.Context, sess *session, last goimap.UID, limit int) (found []goimap.UID, more bool, err error) {
	select { // what came so far, this search finds
	case <-sess.news:
	default:
	}
	if err := sess.do(ctx, "NOOP", func() error { return sess.client.Noop().Wait() }); err != nil {
		return nil, false, err
	}
	from := last + 1
	for width := goimap.UID(limit * window); ; width *= 4 {
		to := from + width - 1
		end := to < from || to+1 >= sess.next // the last known UID is in it: take what came since as well
		if end {
			to = 0 // *
		}
		found, err := s.searchRange(ctx, sess, from, to)
		if err != nil {
			return nil, false, err
		}
		if len(found) > limit {
			return found[:limit], true, nil
		}
		if end || len(found) > 0 {
			return found, !end, nil
		}
		from = to + 1
	}
}

// searchRange asks for the UIDs from..to, to = 0 for *.
func (s *Source) searchRange(ctx context.Context, sess *session, from, to goimap.UID) ([]goimap.UID, error) {
	criteria := &goimap.SearchCriteria{UID: []goimap.UIDSet{{{Start: from, Stop: to}}}}
	if s.leavesDeleted(sess) {
		criteria.NotFlag = []goimap.Flag{goimap.FlagDeleted} // these were settled already
	}
	var data *goimap.SearchData
	err := sess.do(ctx, "search", func() (err error) {
		data, err = sess.client.UIDSearch(criteria, nil).Wait()
		return err
	})
	if err != nil {
		return nil, err
	}
	var found []goimap.UID
	for _, uid := range data.AllUIDs() {
		if uid >= from { // RFC 9051 section 9: 9:* also means 7 if 7 is the last
			found = append(found, uid)
		}
	}
	slices.Sort(found)
	if n := len(found); n > 0 && found[n-1] >= sess.next {
		sess.next = found[n-1] + 1
	}
	return slices.Compact(found), nil
}
