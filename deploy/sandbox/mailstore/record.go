package mailstore

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A record is one change as the journal keeps it. Everything that could come out differently at replay (ids, UIDs,
// times) was decided before: applying the same records in the same order always gives the same state.
type record struct {
	Op       string       `json:"op"`
	Mailbox  string       `json:"mailbox,omitempty"`
	Folder   string       `json:"folder,omitempty"`
	To       string       `json:"to,omitempty"`
	Folders  []FolderSpec `json:"folders,omitempty"`
	Validity uint32       `json:"validity,omitempty"`
	UIDs     []uint32     `json:"uids,omitempty"`
	NewUIDs  []uint32     `json:"new_uids,omitempty"`
	NewIDs   []string     `json:"new_ids,omitempty"`
	Flags    []string     `json:"flags,omitempty"`
	Mode     FlagMode     `json:"mode,omitempty"`
	Placed   []placed     `json:"placed,omitempty"`
	Out      *sent        `json:"out,omitempty"`
}

// placed is one copy of a delivered message.
type placed struct {
	Mailbox  string    `json:"mailbox"`
	Folder   string    `json:"folder"`
	ID       string    `json:"id"`
	UID      uint32    `json:"uid"`
	Flags    []string  `json:"flags,omitempty"`
	Received time.Time `json:"received"`

	Properties map[string]string `json:"properties,omitempty"`
}

type sent struct {
	From string    `json:"from"`
	To   []string  `json:"to"`
	At   time.Time `json:"at"`
}

const (
	opMailbox  = "mailbox"
	opFolder   = "folder"
	opDrop     = "drop"
	opRename   = "rename"
	opDeliver  = "deliver"
	opFlags    = "flags"
	opExpunge  = "expunge"
	opCopy     = "copy"
	opMove     = "move"
	opRenumber = "renumber"
	opReplace  = "replace"
)

var errUnknownOp = errors.New("unknown record")

// apply changes the state and returns the mailboxes whose watchers must be told.
func (s *state) apply(r *record, body blob) ([]string, error) {
	switch r.Op {
	case opDeliver:
		return s.applyDeliver(r, body)
	case opMailbox:
		s.boxes[r.Mailbox] = &box{}
		s.addFolders(s.boxes[r.Mailbox], r)
		return []string{r.Mailbox}, nil
	}
	b, err := s.box(r.Mailbox)
	if err != nil {
		return nil, err
	}
	if r.Op == opFolder {
		s.addFolders(b, r)
		return []string{r.Mailbox}, nil
	}
	f := b.folder(r.Folder)
	if f == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoFolder, r.Folder)
	}
	if r.Op == opReplace {
		f.replace(r.UIDs, body)
		return []string{r.Mailbox}, nil
	}
	return []string{r.Mailbox}, s.applyTo(b, f, r)
}

func (s *state) applyTo(b *box, f *folder, r *record) error {
	switch r.Op {
	case opDrop:
		b.folders = slices.DeleteFunc(b.folders, func(o *folder) bool { return o == f })
	case opRename:
		f.Name = r.To
		f.version++
	case opFlags:
		f.setFlags(r.UIDs, r.Flags, r.Mode)
	case opExpunge:
		f.remove(r.UIDs)
	case opCopy, opMove:
		return copyMessages(b, f, r)
	case opRenumber:
		f.renumber(r.Validity)
		s.validity = max(s.validity, r.Validity)
	default:
		return fmt.Errorf("%w: %q", errUnknownOp, r.Op)
	}
	return nil
}

func (s *state) applyDeliver(r *record, body blob) ([]string, error) {
	var touched []string
	for _, p := range r.Placed {
		f, err := s.folder(p.Mailbox, p.Folder)
		if err != nil {
			return nil, err
		}
		f.add(&Message{ID: p.ID, UID: p.UID, Flags: p.Flags, Received: p.Received, Properties: p.Properties, Size: body.size(), body: body})
		touched = append(touched, p.Mailbox)
	}
	if o := r.Out; o != nil {
		s.outbound = append(s.outbound, &Outbound{From: o.From, To: o.To, At: o.At, Size: body.size(), body: body})
	}
	return touched, nil
}

// addFolders gives the folders consecutive UIDVALIDITYs that end at r.Validity.
func (s *state) addFolders(b *box, r *record) {
	first := r.Validity - uint32(len(r.Folders)) + 1
	for i, spec := range r.Folders {
		b.folders = append(b.folders, &folder{FolderSpec: spec, validity: first + uint32(i), next: 1})
	}
	s.validity = max(s.validity, r.Validity)
}

func copyMessages(b *box, from *folder, r *record) error {
	to := b.folder(r.To)
	if to == nil {
		return fmt.Errorf("%w: %s", ErrNoFolder, r.To)
	}
	for i, uid := range r.UIDs {
		j := from.find(uid)
		if j < 0 {
			return fmt.Errorf("copy: no message %d in %s", uid, from.Name)
		}
		m := *from.messages[j]
		m.UID = r.NewUIDs[i]
		if r.Op == opCopy {
			m.ID = r.NewIDs[i]
		}
		to.add(&m)
	}
	if r.Op == opMove {
		from.remove(r.UIDs)
	}
	return nil
}

func (f *folder) setFlags(uids []uint32, flags []string, mode FlagMode) {
	f.messages = slices.Clone(f.messages)
	for _, uid := range uids {
		if i := f.find(uid); i >= 0 {
			m := *f.messages[i]
			m.Flags = mode.merge(m.Flags, flags)
			f.messages[i] = &m
		}
	}
	f.version++
}

func (f *folder) replace(uids []uint32, body blob) {
	f.messages = slices.Clone(f.messages)
	for _, uid := range uids {
		if i := f.find(uid); i >= 0 {
			m := *f.messages[i]
			m.body, m.Size = body, body.size()
			f.messages[i] = &m
		}
	}
	f.version++
}

// renumber is what a restored or rebuilt folder looks like: a new UIDVALIDITY, and UIDs that start again.
func (f *folder) renumber(validity uint32) {
	fresh := make([]*Message, len(f.messages))
	for i, old := range f.messages {
		m := *old
		m.UID = uint32(i + 1)
		fresh[i] = &m
	}
	f.messages, f.validity, f.next = fresh, validity, uint32(len(fresh)+1)
	f.version++
}
