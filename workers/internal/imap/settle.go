package imap

import (
	"context"
	"errors"
	"slices"

	goimap "github.com/emersion/go-imap/v2"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// Settle implements inbound.Source.
func (s *Source) Settle(ctx context.Context, ids []string) error {
	in := s.config.Settings.Inbound
	if in.After == tokenclient.Keep || len(ids) == 0 {
		return nil
	}
	sess, err := s.opened(ctx)
	if err != nil {
		return err
	}
	set, err := sess.uids(ids)
	if err != nil {
		return err
	}
	if in.After == tokenclient.MarkRead {
		return sess.flag(ctx, set, goimap.FlagSeen)
	}
	if set = s.whole(set); len(set) == 0 {
		return nil
	}
	if in.After == tokenclient.Move {
		return s.move(ctx, sess, set, in.AfterFolder)
	}
	return s.remove(ctx, sess, set)
}

// whole leaves those out whose equals are not all settled. The ordinal in a key counts equals, so one that goes while
// another stays behind would lend its key to that one, and the sink would take them for one. They are settled together
// on the next pass.
func (s *Source) whole(set goimap.UIDSet) goimap.UIDSet {
	uids, _ := set.Nums()
	var held []uint32
	for _, group := range s.page {
		if slices.ContainsFunc(group, func(u uint32) bool { return !set.Contains(goimap.UID(u)) }) {
			held = append(held, group...)
		}
	}
	var out goimap.UIDSet
	for _, uid := range uids {
		if !slices.Contains(held, uint32(uid)) {
			out.AddNum(uid)
		}
	}
	return out
}

// SetAside implements inbound.SetterAside.
func (s *Source) SetAside(ctx context.Context, id string) (bool, error) {
	to := s.config.Settings.Inbound.FailedFolder
	if to == "" {
		return false, nil
	}
	sess, err := s.opened(ctx)
	if err != nil {
		return false, err
	}
	set, err := sess.uids([]string{id})
	if err != nil {
		return false, err
	}
	if err := s.move(ctx, sess, set, to); err != nil {
		return false, err
	}
	s.forget(set)
	return true, nil
}

// forget takes messages out of the page: their equals are not to wait for them.
func (s *Source) forget(set goimap.UIDSet) {
	for f, group := range s.page {
		s.page[f] = slices.DeleteFunc(group, func(u uint32) bool { return set.Contains(goimap.UID(u)) })
	}
}

// leavesDeleted says whether settled messages stay in the folder, flagged \Deleted.
func (s *Source) leavesDeleted(sess *session) bool {
	after := s.config.Settings.Inbound.After
	return (after == tokenclient.Delete || after == tokenclient.Move) && !sess.caps.Has(goimap.CapUIDPlus) && !sess.caps.Has(goimap.CapMove)
}

func (s *session) flag(ctx context.Context, set goimap.UIDSet, f goimap.Flag) error {
	return s.do(ctx, "store", func() error {
		return s.client.Store(set, &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{f}}, nil).Close()
	})
}

// remove deletes messages.
func (s *Source) remove(ctx context.Context, sess *session, set goimap.UIDSet) error {
	if trash, err := s.gmailTrash(ctx, sess); err != nil || trash != "" {
		if err != nil {
			return err
		}
		return s.moveTo(ctx, sess, set, trash)
	}
	if err := sess.flag(ctx, set, goimap.FlagDeleted); err != nil {
		return err
	}
	return sess.expunge(ctx, set)
}

// expunge removes what is flagged in set. Without UIDPLUS it cannot be done without taking what others flagged with it:
// then the flag is all.
func (s *session) expunge(ctx context.Context, set goimap.UIDSet) error {
	if !s.caps.Has(goimap.CapUIDPlus) {
		return nil
	}
	return s.do(ctx, "expunge", func() error { return s.client.UIDExpunge(set).Close() })
}

// move moves messages to a folder by its name in the settings, which is made if it is missing.
func (s *Source) move(ctx context.Context, sess *session, set goimap.UIDSet, wanted string) error {
	to, there, err := s.locate(ctx, sess, wanted)
	if err != nil {
		return err
	}
	if to == sess.selected { // the settings may call it by two names
		return sameFolderError(wanted)
	}
	if !there {
		if err := sess.create(ctx, to); err != nil {
			return err
		}
		s.names[wanted] = to
	}
	err = s.moveTo(ctx, sess, set, to)
	if fault.Of(err) == fault.Gone {
		delete(s.names, wanted) // somebody removed the folder: make it again next time
	}
	return err
}

// moveTo moves messages to a folder that is there. Those that left already are no error.
func (s *Source) moveTo(ctx context.Context, sess *session, set goimap.UIDSet, to string) error {
	err := sess.moveNow(ctx, set, to)
	if err == nil || !sess.alive() {
		return err
	}
	if there, e := sess.present(ctx, set); e == nil && there == 0 {
		return nil // some servers say NO to messages that are gone
	}
	return err
}

// moveNow uses MOVE where it is offered. The library's own fallback would end in a plain EXPUNGE.
func (s *session) moveNow(ctx context.Context, set goimap.UIDSet, to string) error {
	if s.caps.Has(goimap.CapMove) {
		return s.do(ctx, "move", func() error {
			_, err := s.client.Move(set, to).Wait()
			return err
		})
	}
	err := s.do(ctx, "copy", func() error {
		_, err := s.client.Copy(set, to).Wait()
		return err
	})
	if err != nil {
		return err
	}
	if err := s.flag(ctx, set, goimap.FlagDeleted); err != nil {
		return err
	}
	return s.expunge(ctx, set)
}

// create makes a folder; somebody may have been faster.
func (s *session) create(ctx context.Context, name string) error {
	err := s.do(ctx, "create "+name, func() error { return s.client.Create(name, nil).Wait() })
	var said *goimap.Error
	if errors.As(err, &said) && said.Code == goimap.ResponseCodeAlreadyExists {
		return nil
	}
	return err
}
