package graphd

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"strings"

	"mailporter/sandbox/mailstore"
)

// Ids are opaque base64 with '+', '/' and '=' in them, as Outlook's are: they must be escaped in URLs, and case matters.
var idPrefix = []byte{0xfb, 0xef, 0xff} // "++//"

// What an id stands for.
const (
	folderID    = 'F' // a folder: its UIDVALIDITY
	mutableID   = 'M' // a message where it lies: UIDVALIDITY and UID
	immutableID = 'I' // a message wherever it lies in the mailbox
)

var errNoID = errors.New("not an id of this server")

func encodeID(kind byte, rest ...byte) string {
	return base64.StdEncoding.EncodeToString(append(append(slices.Clone(idPrefix), kind), rest...))
}

func decodeID(id string) (kind byte, rest []byte, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(id)
	if err != nil || len(b) <= len(idPrefix) || string(b[:len(idPrefix)]) != string(idPrefix) {
		return 0, nil, errNoID
	}
	return b[len(idPrefix)], b[len(idPrefix)+1:], nil
}

func idOfFolder(f mailstore.Folder) string {
	return encodeID(folderID, binary.BigEndian.AppendUint32(nil, f.UIDValidity)...)
}

func (c *call) idOf(f mailstore.Folder, m *mailstore.Message) string {
	if c.immutable {
		return encodeID(immutableID, []byte(m.ID)...)
	}
	return encodeID(mutableID, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, f.UIDValidity), m.UID)...)
}

// wellKnown are the names that stand for folders in any language.
var wellKnown = map[string]string{
	"sentitems": mailstore.UseSent, "drafts": mailstore.UseDrafts, "deleteditems": mailstore.UseTrash,
	"junkemail": mailstore.UseJunk, "archive": mailstore.UseArchive,
}

// rootName is the folder above all others.
const rootName = "msgfolderroot"

// folder finds a folder by its id or well-known name.
func (s *Server) folder(mailbox, id string) (mailstore.Folder, bool) {
	name, use := strings.ToLower(id), ""
	if name == "inbox" {
		name = mailstore.Inbox
	} else if use = wellKnown[name]; use != "" {
		name = s.config.Store.Used(mailbox, use)
	}
	if name == mailstore.Inbox || use != "" {
		f, err := s.config.Store.Folder(mailbox, name)
		return f, err == nil
	}
	kind, rest, err := decodeID(id)
	if err != nil || kind != folderID || len(rest) != 4 {
		return mailstore.Folder{}, false
	}
	return s.byValidity(mailbox, binary.BigEndian.Uint32(rest))
}

func (s *Server) byValidity(mailbox string, validity uint32) (mailstore.Folder, bool) {
	all, err := s.config.Store.Folders(mailbox)
	if err != nil {
		return mailstore.Folder{}, false
	}
	i := slices.IndexFunc(all, func(f mailstore.Folder) bool { return f.UIDValidity == validity })
	if i < 0 {
		return mailstore.Folder{}, false
	}
	return all[i], true
}

// message finds a message by an id of either kind.
func (s *Server) message(mailbox, id string) (f mailstore.Folder, m *mailstore.Message, err error) {
	kind, rest, err := decodeID(id)
	switch {
	case err != nil:
		return f, nil, err
	case kind == immutableID:
		return s.byID(mailbox, string(rest))
	case kind != mutableID || len(rest) != 8:
		return f, nil, errNoID
	}
	f, ok := s.byValidity(mailbox, binary.BigEndian.Uint32(rest))
	uid := binary.BigEndian.Uint32(rest[4:])
	i := sort.Search(len(f.Messages), func(i int) bool { return f.Messages[i].UID >= uid })
	if !ok || i == len(f.Messages) || f.Messages[i].UID != uid {
		return f, nil, nil
	}
	return f, f.Messages[i], nil
}

func (s *Server) byID(mailbox, id string) (mailstore.Folder, *mailstore.Message, error) {
	all, err := s.config.Store.Folders(mailbox)
	if err != nil {
		return mailstore.Folder{}, nil, nil
	}
	for _, f := range all {
		for _, m := range f.Messages {
			if m.ID == id {
				return f, m, nil
			}
		}
	}
	return mailstore.Folder{}, nil, nil
}
