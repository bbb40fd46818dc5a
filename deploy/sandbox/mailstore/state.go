package mailstore

import (
	"fmt"
	"slices"
	"sort"
)

// state is everything the journal rebuilds. It knows nothing of locks and disks.
type state struct {
	boxes    map[string]*box
	outbound []*Outbound
	// validity is the last UIDVALIDITY given out: they must never repeat, not even for a folder made anew.
	validity uint32
}

type box struct {
	folders []*folder
}

type folder struct {
	FolderSpec
	validity uint32
	next     uint32
	version  uint64
	messages []*Message
}

func newState() *state { return &state{boxes: map[string]*box{}} }

func (s *state) box(addr string) (*box, error) {
	b := s.boxes[Address(addr)]
	if b == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoMailbox, addr)
	}
	return b, nil
}

func (s *state) folder(addr, name string) (*folder, error) {
	b, err := s.box(addr)
	if err != nil {
		return nil, err
	}
	if f := b.folder(name); f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNoFolder, name)
}

func (b *box) folder(name string) *folder {
	name = folderName(name)
	for _, f := range b.folders {
		if f.Name == name {
			return f
		}
	}
	return nil
}

func (f *folder) snapshot() Folder {
	return Folder{
		Name: f.Name, Use: f.Use, UIDValidity: f.validity, UIDNext: f.next, Version: f.version,
		Messages: slices.Clone(f.messages),
	}
}

// find returns the index of the message with that UID, or -1.
func (f *folder) find(uid uint32) int {
	i := sort.Search(len(f.messages), func(i int) bool { return f.messages[i].UID >= uid })
	if i < len(f.messages) && f.messages[i].UID == uid {
		return i
	}
	return -1
}

// only keeps the UIDs that are in the folder.
func (f *folder) only(uids []uint32) []uint32 {
	var out []uint32
	for _, uid := range uids {
		if f.find(uid) >= 0 {
			out = append(out, uid)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (f *folder) add(m *Message) {
	f.messages = append(f.messages, m)
	f.next = max(f.next, m.UID+1)
	f.version++
}

func (f *folder) remove(uids []uint32) {
	gone := make(map[uint32]bool, len(uids))
	for _, uid := range uids {
		gone[uid] = true
	}
	f.messages = slices.DeleteFunc(slices.Clone(f.messages), func(m *Message) bool { return gone[m.UID] })
	f.version++
}
