package mailstore

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A FlagMode says what a flag change does to the flags that are there.
type FlagMode string

// The three forms of IMAP STORE.
const (
	FlagsSet    FlagMode = "set"
	FlagsAdd    FlagMode = "add"
	FlagsRemove FlagMode = "remove"
)

func (m FlagMode) merge(old, flags []string) []string {
	switch m {
	case FlagsAdd:
		return canonicalFlags(append(slices.Clone(old), flags...))
	case FlagsRemove:
		gone := canonicalFlags(flags)
		return slices.DeleteFunc(slices.Clone(old), func(f string) bool { return slices.Contains(gone, f) })
	default:
		return canonicalFlags(flags)
	}
}

// nextValidity never repeats and, like real servers', looks like a time.
func (s *state) nextValidity(n int) uint32 {
	return max(s.validity, uint32(time.Now().Unix())) + uint32(n)
}

// Create makes a mailbox with the given folders. A mailbox that exists is left as it is.
func (s *Store) Create(addr string, folders []FolderSpec) error {
	return s.commit(func(st *state) (*record, []byte, error) {
		if st.boxes[Address(addr)] != nil {
			return nil, nil, nil
		}
		return &record{
			Op: opMailbox, Mailbox: Address(addr), Folders: slices.Clone(folders), Validity: st.nextValidity(len(folders)),
		}, nil, nil
	})
}

// CreateFolder adds a folder to a mailbox, or returns ErrExists.
func (s *Store) CreateFolder(addr string, spec FolderSpec) error {
	return s.commit(func(st *state) (*record, []byte, error) {
		b, err := st.box(addr)
		if err != nil {
			return nil, nil, err
		}
		if b.folder(spec.Name) != nil {
			return nil, nil, fmt.Errorf("%w: %s", ErrExists, spec.Name)
		}
		return &record{
			Op: opFolder, Mailbox: Address(addr), Folders: []FolderSpec{spec}, Validity: st.nextValidity(1),
		}, nil, nil
	})
}

// DropFolder removes a folder and all that is in it.
func (s *Store) DropFolder(addr, name string) error {
	return s.onFolder(addr, name, func(*state, *folder) (*record, error) { return &record{Op: opDrop}, nil })
}

// RenameFolder gives a folder another name; its UIDVALIDITY stays.
func (s *Store) RenameFolder(addr, name, to string) error {
	return s.onFolder(addr, name, func(st *state, _ *folder) (*record, error) {
		if _, err := st.folder(addr, to); err == nil {
			return nil, fmt.Errorf("%w: %s", ErrExists, to)
		}
		return &record{Op: opRename, To: to}, nil
	})
}

// Deliver stores raw once and puts it into every target; with out it is also noted as sent to foreign domains. Either all
// of that happens or none. It returns the UIDs in the order of the targets; nil error means durable.
func (s *Store) Deliver(raw []byte, targets []Target, out *Outbound) ([]uint32, error) {
	var uids []uint32
	err := s.commit(func(st *state) (*record, []byte, error) {
		r := &record{Op: opDeliver}
		next := map[*folder]uint32{}
		for _, t := range targets {
			f, err := st.folder(t.Mailbox, t.Folder)
			if err != nil {
				return nil, nil, err
			}
			uid := max(next[f], f.next)
			next[f] = uid + 1
			r.Placed = append(r.Placed, t.place(uid))
			uids = append(uids, uid)
		}
		if out != nil {
			r.Out = &sent{From: out.From, To: out.To, At: time.Now()}
		}
		return r, raw, nil
	})
	return uids, err
}

func (t Target) place(uid uint32) placed {
	if t.Received.IsZero() {
		t.Received = time.Now()
	}
	return placed{
		Mailbox: Address(t.Mailbox), Folder: folderName(t.Folder), ID: rand.Text(), UID: uid,
		Flags: canonicalFlags(t.Flags), Received: t.Received, Properties: maps.Clone(t.Properties),
	}
}

// SetFlags changes the flags of the messages that are still there.
func (s *Store) SetFlags(addr, name string, uids []uint32, mode FlagMode, flags []string) error {
	return s.onFolder(addr, name, func(_ *state, f *folder) (*record, error) {
		there := f.only(uids)
		if len(there) == 0 {
			return nil, nil
		}
		return &record{Op: opFlags, UIDs: there, Mode: mode, Flags: flags}, nil
	})
}

// Expunge removes the messages that are still there for good and returns their UIDs.
func (s *Store) Expunge(addr, name string, uids []uint32) ([]uint32, error) {
	var gone []uint32
	err := s.onFolder(addr, name, func(_ *state, f *folder) (*record, error) {
		if gone = f.only(uids); len(gone) == 0 {
			return nil, nil
		}
		return &record{Op: opExpunge, UIDs: gone}, nil
	})
	return gone, err
}

// A Moved says under which UIDs messages are found in the other folder; From and To are of one length.
type Moved struct {
	Validity uint32
	From, To []uint32
}

// Copy copies the messages that are still there; the copies get ids of their own.
func (s *Store) Copy(addr, name string, uids []uint32, to string) (Moved, error) {
	return s.transfer(opCopy, addr, name, uids, to)
}

// Move moves the messages that are still there; they keep their ids.
func (s *Store) Move(addr, name string, uids []uint32, to string) (Moved, error) {
	return s.transfer(opMove, addr, name, uids, to)
}

func (s *Store) transfer(op, addr, name string, uids []uint32, to string) (Moved, error) {
	var moved Moved
	err := s.onFolder(addr, name, func(st *state, f *folder) (*record, error) {
		dest, err := st.folder(addr, to)
		if err != nil {
			return nil, err
		}
		moved = Moved{Validity: dest.validity, From: f.only(uids)}
		r := &record{Op: op, UIDs: moved.From, To: dest.Name}
		for i := range moved.From {
			r.NewUIDs = append(r.NewUIDs, dest.next+uint32(i))
			if op == opCopy {
				r.NewIDs = append(r.NewIDs, rand.Text())
			}
		}
		moved.To = r.NewUIDs
		if len(moved.From) == 0 {
			return nil, nil
		}
		return r, nil
	})
	return moved, err
}

// Renumber gives a folder a new UIDVALIDITY and its messages UIDs from 1 on: all that clients remember is void.
func (s *Store) Renumber(addr, name string) error {
	return s.onFolder(addr, name, func(st *state, _ *folder) (*record, error) {
		return &record{Op: opRenumber, Validity: st.nextValidity(1)}, nil
	})
}

// onFolder commits a change of one folder; f fills in all but the folder's name.
func (s *Store) onFolder(addr, name string, f func(*state, *folder) (*record, error)) error {
	return s.commit(func(st *state) (*record, []byte, error) {
		fo, err := st.folder(addr, name)
		if err != nil {
			return nil, nil, err
		}
		r, err := f(st, fo)
		if err != nil || r == nil {
			return nil, nil, err
		}
		r.Mailbox, r.Folder = Address(addr), fo.Name
		return r, nil, nil
	})
}

// Replace gives a message other bytes; it keeps its id and UID, as a draft does that is written on. A message that is
// gone stays so.
func (s *Store) Replace(addr, name string, uid uint32, raw []byte) error {
	return s.commit(func(st *state) (*record, []byte, error) {
		f, err := st.folder(addr, name)
		if err != nil || f.find(uid) < 0 {
			return nil, nil, err
		}
		return &record{Op: opReplace, Mailbox: Address(addr), Folder: f.Name, UIDs: []uint32{uid}}, raw, nil
	})
}
