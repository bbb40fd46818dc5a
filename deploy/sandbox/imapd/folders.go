package imapd

import (
	"errors"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailporter/sandbox/mailstore"
)

const delimiter = '/'

func (s *session) store() *mailstore.Store { return s.server.config.Store }

// command runs f as one command.
func (s *session) command(step string, f func() error) error {
	if err := s.enter(step); err != nil {
		return err
	}
	defer s.leave()
	return status(f())
}

// status makes the store's errors RFC 5530's.
func status(err error) error {
	e := &imap.Error{Type: imap.StatusResponseTypeNo}
	switch {
	case errors.Is(err, mailstore.ErrNoFolder), errors.Is(err, mailstore.ErrNoMailbox):
		e.Code, e.Text = imap.ResponseCodeNonExistent, "The folder does not exist."
	case errors.Is(err, mailstore.ErrExists):
		e.Code, e.Text = imap.ResponseCodeAlreadyExists, "The folder exists already."
	default:
		return err
	}
	return e
}

// tryCreate is status for the commands that put messages into a folder.
func tryCreate(err error) error {
	if errors.Is(err, mailstore.ErrNoFolder) {
		return &imap.Error{
			Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeTryCreate, Text: "The folder does not exist.",
		}
	}
	return err
}

// Select implements imapserver.Session.
func (s *session) Select(name string, options *imap.SelectOptions) (*imap.SelectData, error) {
	var data *imap.SelectData
	err := s.command("select", func() error {
		f, err := s.store().Folder(s.mailbox, name)
		if err != nil {
			return err
		}
		s.view = newView(f, options.ReadOnly)
		data = s.selectData(f)
		return nil
	})
	return data, err
}

func (s *session) selectData(f mailstore.Folder) *imap.SelectData {
	flags := []imap.Flag{imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagDraft, "$MDNSent"}
	permanent := flags
	if s.server.config.Provider == Gmail { // Exchange keeps no keywords of users
		permanent = append(permanent, imap.FlagWildcard)
	}
	data := &imap.SelectData{
		Flags: flags, PermanentFlags: permanent, NumMessages: uint32(len(f.Messages)),
		UIDNext: imap.UID(f.UIDNext), UIDValidity: f.UIDValidity,
	}
	for i, m := range f.Messages {
		if !m.Has(`\Seen`) {
			data.FirstUnseenSeqNum = uint32(i + 1)
			break
		}
	}
	return data
}

// Unselect implements imapserver.Session.
func (s *session) Unselect() error {
	s.view = nil
	return nil
}

// Create implements imapserver.Session.
func (s *session) Create(name string, _ *imap.CreateOptions) error {
	return s.command("create", func() error {
		return s.store().CreateFolder(s.mailbox, mailstore.FolderSpec{Name: strings.TrimRight(name, string(delimiter))})
	})
}

// Delete implements imapserver.Session.
func (s *session) Delete(name string) error {
	return s.command("create", func() error {
		if strings.EqualFold(name, mailstore.Inbox) {
			return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeCannot, Text: "INBOX stays."}
		}
		return s.store().DropFolder(s.mailbox, name)
	})
}

// Rename implements imapserver.Session.
func (s *session) Rename(name, to string, _ *imap.RenameOptions) error {
	return s.command("create", func() error { return s.store().RenameFolder(s.mailbox, name, to) })
}

// Subscribe implements imapserver.Session: every folder is subscribed.
func (s *session) Subscribe(string) error { return nil }

// Unsubscribe implements imapserver.Session.
func (s *session) Unsubscribe(string) error { return nil }

// Namespace implements imapserver.SessionNamespace.
func (s *session) Namespace() (*imap.NamespaceData, error) {
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Delim: delimiter}}}, nil
}

// List implements imapserver.Session.
func (s *session) List(w *imapserver.ListWriter, ref string, patterns []string, options *imap.ListOptions) error {
	return s.command("list", func() error {
		if len(patterns) == 0 { // RFC 3501 section 6.3.8: an empty name asks for the delimiter
			return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: delimiter})
		}
		folders, err := s.store().Folders(s.mailbox)
		if err != nil {
			return err
		}
		for _, f := range folders {
			if !listed(f, ref, patterns, options) {
				continue
			}
			if err := w.WriteList(listData(f, folders, options)); err != nil {
				return err
			}
		}
		return nil
	})
}

func listed(f mailstore.Folder, ref string, patterns []string, options *imap.ListOptions) bool {
	if options.SelectSpecialUse && f.Use == "" {
		return false
	}
	for _, p := range patterns {
		if strings.EqualFold(p, mailstore.Inbox) {
			p = mailstore.Inbox
		}
		if imapserver.MatchList(f.Name, delimiter, ref, p) {
			return true
		}
	}
	return false
}

func listData(f mailstore.Folder, all []mailstore.Folder, options *imap.ListOptions) *imap.ListData {
	data := &imap.ListData{Mailbox: f.Name, Delim: delimiter, Attrs: []imap.MailboxAttr{imap.MailboxAttrHasNoChildren}}
	for _, other := range all {
		if strings.HasPrefix(other.Name, f.Name+string(delimiter)) {
			data.Attrs[0] = imap.MailboxAttrHasChildren
		}
	}
	if f.Use != "" { // both providers show it, asked for or not
		data.Attrs = append(data.Attrs, imap.MailboxAttr(f.Use))
	}
	if options.ReturnStatus != nil {
		data.Status = statusData(f, options.ReturnStatus)
	}
	return data
}

// Status implements imapserver.Session.
func (s *session) Status(name string, options *imap.StatusOptions) (*imap.StatusData, error) {
	var data *imap.StatusData
	err := s.command("status", func() error {
		f, err := s.store().Folder(s.mailbox, name)
		if err == nil {
			data = statusData(f, options)
		}
		return err
	})
	return data, err
}

func statusData(f mailstore.Folder, options *imap.StatusOptions) *imap.StatusData {
	var total, unseen, deleted, recent uint32
	var size int64
	for _, m := range f.Messages {
		total++
		size += m.Size
		if !m.Has(`\Seen`) {
			unseen++
		}
		if m.Has(`\Deleted`) {
			deleted++
		}
	}
	data := &imap.StatusData{Mailbox: f.Name}
	give := func(wanted bool, n *uint32) *uint32 {
		if wanted {
			return n
		}
		return nil
	}
	data.NumMessages = give(options.NumMessages, &total)
	data.NumUnseen = give(options.NumUnseen, &unseen)
	data.NumDeleted = give(options.NumDeleted, &deleted)
	data.NumRecent = give(options.NumRecent, &recent)
	if options.UIDNext {
		data.UIDNext = imap.UID(f.UIDNext)
	}
	if options.UIDValidity {
		data.UIDValidity = f.UIDValidity
	}
	if options.Size {
		data.Size = &size
	}
	return data
}
