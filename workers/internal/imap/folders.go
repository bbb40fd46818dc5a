package imap

import (
	"context"
	"slices"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// folders lists the folders that a LIST pattern names.
func (s *session) folders(ctx context.Context, pattern string) (found []*goimap.ListData, err error) {
	err = s.do(ctx, "list", func() (err error) {
		found, err = s.client.List("", pattern, nil).Collect()
		return err
	})
	return found, err
}

// folder is the name of the folder to read. What LIST does not show is left to SELECT to refuse.
func (s *Source) folder(ctx context.Context, sess *session) (string, error) {
	if s.config.Folder != inbound.JunkFolder {
		name, _, err := s.locate(ctx, sess, s.config.Folder)
		return name, err
	}
	name, err := s.special(ctx, sess, goimap.MailboxAttrJunk)
	if err == nil && name == "" {
		err = &fault.Error{Kind: fault.Gone, Reason: "NO_JUNK_FOLDER", Remedy: "set junk: ignore for this mailbox, or name the folder in folder-path",
			Err: fault.Newf(fault.Gone, "the mailbox has no junk folder")}
	}
	return name, err
}

// locate finds a folder by its name in the settings, where "/" parts the levels and a prefix may be left out: "Done/2026" is
// "INBOX.Done.2026" on some servers. The name as it stands is tried first. If there is no such folder, name is the one to
// make it by.
func (s *Source) locate(ctx context.Context, sess *session, wanted string) (name string, there bool, err error) {
	if isInbox(wanted) {
		return inbox, true, nil
	}
	if name, ok := s.names[wanted]; ok {
		return name, true, nil
	}
	if name, err = sess.find(ctx, wanted); err == nil && name == "" {
		name, there, err = sess.findRespelt(ctx, wanted)
	} else {
		there = err == nil
	}
	if there {
		s.names[wanted] = name
	}
	return name, there, err
}

// findRespelt looks for a folder under the other names that it may have here.
func (s *session) findRespelt(ctx context.Context, wanted string) (name string, there bool, err error) {
	if err := s.learnNames(ctx); err != nil {
		return "", false, err
	}
	for _, name = range spellings(wanted, s.prefix, s.delimiter) {
		if name == wanted {
			continue // was looked for
		}
		if found, err := s.find(ctx, name); found != "" || err != nil {
			return found, err == nil, err
		}
	}
	return name, false, nil
}

// spellings are what a folder may be called on a server, the last of them is the name to make it by.
func spellings(wanted, prefix string, delimiter rune) []string {
	if delimiter != 0 {
		wanted = strings.ReplaceAll(wanted, "/", string(delimiter))
	}
	if rest, ok := cutPrefixFold(wanted, prefix); ok {
		return []string{prefix + rest}
	}
	return []string{wanted, prefix + wanted}
}

// inbox is a name in any case; all others differ by case (RFC 3501 section 5.1).
const inbox = "INBOX"

func isInbox(name string) bool { return strings.EqualFold(name, inbox) }

func sameFolder(a, b string) bool { return a == b || isInbox(a) && isInbox(b) }

// learnNames asks how folders are named here: NAMESPACE (RFC 2342), else LIST "" "", which tells the delimiter alone.
func (s *session) learnNames(ctx context.Context) error {
	switch {
	case s.named:
		return nil
	case s.caps.Has(goimap.CapNamespace):
		err := s.do(ctx, "namespace", func() error {
			data, err := s.client.Namespace().Wait()
			if err == nil && len(data.Personal) > 0 {
				s.prefix, s.delimiter = data.Personal[0].Prefix, data.Personal[0].Delim
			}
			return err
		})
		s.named = err == nil
		return err
	}
	root, err := s.folders(ctx, "")
	if err == nil && len(root) > 0 {
		s.delimiter = root[0].Delim
	}
	s.named = err == nil
	return err
}

// find is what the server calls the folder of a name, empty if there is none. A name may have the signs of a pattern in it,
// which other names fit as well; one in another case is the same folder only to servers that do not tell them apart, as
// Exchange, and only these answer with it.
func (s *session) find(ctx context.Context, name string) (string, error) {
	all, err := s.folders(ctx, name)
	found := ""
	for _, l := range all {
		switch {
		case marked(l, goimap.MailboxAttrNoSelect) || marked(l, goimap.MailboxAttrNonExistent):
		case l.Mailbox == name:
			return name, err
		case strings.EqualFold(l.Mailbox, name):
			found = l.Mailbox
		}
	}
	return found, err
}

func marked(l *goimap.ListData, a goimap.MailboxAttr) bool {
	return slices.ContainsFunc(l.Attrs, func(b goimap.MailboxAttr) bool { return strings.EqualFold(string(a), string(b)) })
}

// usual are the names of special folders on servers that do not mark them.
var usual = map[goimap.MailboxAttr][]string{
	goimap.MailboxAttrJunk: {
		"Junk Email", "Junk E-mail", "Junk", "Spam", "Bulk Mail", "[Gmail]/Spam", "[Google Mail]/Spam", "Junk-E-Mail",
		"Courrier indésirable", "Correo no deseado", "Posta indesiderata", "Ongewenste e-mail", "Lixo Eletrônico", "INBOX.Junk", "INBOX.Spam",
	},
	goimap.MailboxAttrSent: {
		"Sent Items", "Sent", "Sent Mail", "Sent Messages", "[Gmail]/Sent Mail", "[Google Mail]/Sent Mail", "Gesendete Elemente", "Gesendete Objekte",
		"Éléments envoyés", "Elementos enviados", "Posta inviata", "Verzonden items", "Itens Enviados", "INBOX.Sent", "INBOX.Sent Items",
	},
}

// special finds a folder by its mark, whether the server announces SPECIAL-USE or not (Exchange marks and does not
// announce), else by its usual names. Empty if there is none.
func (s *Source) special(ctx context.Context, sess *session, use goimap.MailboxAttr) (string, error) {
	if name, ok := s.names[string(use)]; ok {
		return name, nil
	}
	all, err := sess.folders(ctx, "*")
	if err != nil {
		return "", err
	}
	if name := pick(all, use); name != "" {
		s.names[string(use)] = name
		return name, nil
	}
	return "", nil
}

func pick(all []*goimap.ListData, use goimap.MailboxAttr) string {
	for _, l := range all {
		if marked(l, use) && !marked(l, goimap.MailboxAttrNoSelect) {
			return l.Mailbox
		}
	}
	for _, name := range usual[use] {
		for _, l := range all {
			if strings.EqualFold(l.Mailbox, name) && !marked(l, goimap.MailboxAttrNoSelect) {
				return l.Mailbox
			}
		}
	}
	return ""
}

// gmailTrash is the folder to which Gmail's messages must be moved: expunging them only takes a label off.
func (s *Source) gmailTrash(ctx context.Context, sess *session) (string, error) {
	if !sess.caps.Has("X-GM-EXT-1") {
		return "", nil
	}
	return s.special(ctx, sess, goimap.MailboxAttrTrash)
}

// junkCount is what the last look into the junk folder found.
type junkCount struct {
	messages uint32
	next     goimap.UID
	oldest   time.Time
}

// CountJunk implements inbound.JunkCounter. The folder is opened only if it changed.
func (s *Source) CountJunk(ctx context.Context) (int, time.Time, error) {
	sess, err := s.connected(ctx)
	if err != nil {
		return 0, time.Time{}, err
	}
	name, err := s.special(ctx, sess, goimap.MailboxAttrJunk)
	if err != nil || name == "" {
		return 0, time.Time{}, err
	}
	var data *goimap.StatusData
	err = sess.do(ctx, "status "+name, func() (err error) {
		data, err = sess.client.Status(name, &goimap.StatusOptions{NumMessages: true, UIDNext: true}).Wait()
		return err
	})
	if err != nil {
		return 0, time.Time{}, err
	}
	now := junkCount{next: data.UIDNext}
	if data.NumMessages != nil {
		now.messages = *data.NumMessages
	}
	if now.messages > 0 && (now.messages != s.junk.messages || now.next != s.junk.next) {
		now.oldest, err = sess.firstArrival(ctx, name)
	} else if now.messages > 0 {
		now.oldest = s.junk.oldest
	}
	if err != nil {
		return 0, time.Time{}, err
	}
	s.junk = now
	return int(now.messages), now.oldest, nil
}

// firstArrival is when the message with the lowest UID came, which is the one that waits longest. The folder that is read
// must be selected again after it.
func (s *session) firstArrival(ctx context.Context, name string) (first time.Time, err error) {
	if err := s.choose(ctx, name, true); err != nil {
		return first, err
	}
	s.selected = ""
	err = s.fetch(ctx, goimap.SeqSetNum(1), &goimap.FetchOptions{UID: true, InternalDate: true}, func(msg *imapclient.FetchMessageData) error {
		for item := msg.Next(); item != nil; item = msg.Next() {
			if at, ok := item.(imapclient.FetchItemDataInternalDate); ok {
				first = at.Time
			}
		}
		return nil
	})
	return first, err
}
