package imapd

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailporter/sandbox/mailstore"
)

var errReadOnly = &imap.Error{Type: imap.StatusResponseTypeNo, Text: "The folder was opened with EXAMINE."}

// Append implements imapserver.Session.
func (s *session) Append(name string, r imap.LiteralReader, options *imap.AppendOptions) (*imap.AppendData, error) {
	var data *imap.AppendData
	err := s.command("append", func() error {
		raw, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("read literal: %w", err)
		}
		t := mailstore.Target{Mailbox: s.mailbox, Folder: name, Received: options.Time, Flags: flagNames(options.Flags)}
		uid, err := s.store().Deliver(raw, []mailstore.Target{t}, nil)
		if err != nil {
			return tryCreate(err)
		}
		f, err := s.store().Folder(s.mailbox, name)
		data = &imap.AppendData{UID: imap.UID(uid[0]), UIDValidity: f.UIDValidity}
		return err
	})
	return data, err
}

func flagNames(flags []imap.Flag) []string {
	out := make([]string, len(flags))
	for i, f := range flags {
		out[i] = string(f)
	}
	return out
}

// Poll implements imapserver.Session: it is called after every command. After an IDLE that the client's end cut short
// go-imap calls it while Idle is still about to return.
func (s *session) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	s.polling.Lock()
	defer s.polling.Unlock()
	if s.view == nil {
		return nil
	}
	version, err := s.store().Version(s.mailbox, s.view.name)
	if err == nil && version == s.view.version {
		return nil
	}
	f, ferr := s.store().Folder(s.mailbox, s.view.name)
	if err = errors.Join(err, ferr); err != nil || f.UIDValidity != s.view.validity {
		// The folder is gone or was rebuilt: no number that the client holds means anything now.
		s.conn.bid("* BYE Connection is closed. 14\r\n")
		return nil
	}
	return s.view.catchUp(f, w, allowExpunge)
}

// Idle implements imapserver.Session (RFC 2177).
func (s *session) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	if err := s.enter("idle"); err != nil {
		return err
	}
	changed, cancel := s.store().Watch(s.mailbox)
	defer cancel()
	for {
		if err := s.Poll(w, true); err != nil {
			s.leave()
			return err
		}
		select {
		case <-changed:
		case <-s.ended:
			return s.imap.Bye(expiredText)
		case <-stop:
			s.leave()
			return nil
		}
	}
}

// Store implements imapserver.Session.
func (s *session) Store(w *imapserver.FetchWriter, set imap.NumSet, flags *imap.StoreFlags, _ *imap.StoreOptions) error {
	return s.command("store", func() error {
		if s.view.readOnly {
			return errReadOnly
		}
		picked := s.view.pick(set)
		if err := s.setFlags(picked, storeMode(flags.Op), flagNames(flags.Flags)); err != nil || flags.Silent {
			return err
		}
		for _, n := range picked {
			if err := s.write(w, n, &imap.FetchOptions{UID: true, Flags: true}); err != nil {
				return err
			}
		}
		return nil
	})
}

func storeMode(op imap.StoreFlagsOp) mailstore.FlagMode {
	switch op {
	case imap.StoreFlagsAdd:
		return mailstore.FlagsAdd
	case imap.StoreFlagsDel:
		return mailstore.FlagsRemove
	}
	return mailstore.FlagsSet
}

// setFlags changes flags in the store and in the view: the client is not told what it did itself.
func (s *session) setFlags(list []numbered, mode mailstore.FlagMode, flags []string) error {
	if err := s.store().SetFlags(s.mailbox, s.view.name, uids(list), mode, flags); err != nil {
		return err
	}
	f, err := s.store().Folder(s.mailbox, s.view.name)
	if err == nil {
		s.view.refresh(f, list)
	}
	return err
}

// Expunge implements imapserver.Session; set is nil for a plain EXPUNGE.
func (s *session) Expunge(w *imapserver.ExpungeWriter, set *imap.UIDSet) error {
	return s.command("expunge", func() error {
		if s.view.readOnly {
			return errReadOnly
		}
		f, err := s.store().Folder(s.mailbox, s.view.name)
		if err != nil {
			return err
		}
		var marked []uint32
		for _, m := range f.Messages {
			if m.Has(`\Deleted`) && (set == nil || set.Contains(imap.UID(m.UID))) {
				marked = append(marked, m.UID)
			}
		}
		gone, err := s.store().Expunge(s.mailbox, s.view.name, marked)
		return errors.Join(err, s.view.drop(gone, w.WriteExpunge))
	})
}

// Copy implements imapserver.Session.
func (s *session) Copy(set imap.NumSet, to string) (*imap.CopyData, error) {
	var data *imap.CopyData
	err := s.command("copy", func() error {
		moved, err := s.store().Copy(s.mailbox, s.view.name, uids(s.view.pick(set)), to)
		data = copyData(moved)
		return tryCreate(err)
	})
	return data, err
}

// Move implements imapserver.SessionMove.
func (s *session) Move(w *imapserver.MoveWriter, set imap.NumSet, to string) error {
	return s.command("move", func() error {
		if s.view.readOnly {
			return errReadOnly
		}
		moved, err := s.store().Move(s.mailbox, s.view.name, uids(s.view.pick(set)), to)
		if err != nil || len(moved.From) == 0 {
			return tryCreate(err)
		}
		if err := w.WriteCopyData(copyData(moved)); err != nil {
			return err
		}
		return s.view.drop(moved.From, w.WriteExpunge)
	})
}

// copyData is nil if nothing was copied: there is no COPYUID then.
func copyData(m mailstore.Moved) *imap.CopyData {
	if len(m.From) == 0 {
		return nil
	}
	return &imap.CopyData{UIDValidity: m.Validity, SourceUIDs: uidSet(m.From), DestUIDs: uidSet(m.To)}
}

func uidSet(list []uint32) imap.UIDSet {
	var out imap.UIDSet
	for _, uid := range list {
		out.AddNum(imap.UID(uid))
	}
	return out
}

// Search implements imapserver.Session.
func (s *session) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, _ *imap.SearchOptions) (*imap.SearchData, error) {
	var data imap.SearchData
	err := s.command("search", func() error {
		var seqs imap.SeqSet
		var found imap.UIDSet
		for i, m := range s.view.messages {
			ok, err := s.view.matches(numbered{uint32(i + 1), m}, criteria)
			if err != nil {
				return err
			}
			if ok {
				seqs.AddNum(uint32(i + 1))
				found.AddNum(imap.UID(m.UID))
				data.Count++
			}
		}
		data.All = seqs
		if kind == imapserver.NumKindUID {
			data.All = found
		}
		return nil
	})
	return &data, err
}

// seenBy tells whether a FETCH sets \Seen: any body that is not a PEEK does.
func seenBy(options *imap.FetchOptions) bool {
	return slices.ContainsFunc(options.BodySection, func(b *imap.FetchItemBodySection) bool { return !b.Peek })
}
