package ews

import (
	"context"
	"fmt"
	"slices"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// batch is how many items one request is about: a request runs for a minute at most.
const batch = 10

// Settle implements inbound.Source.
func (s *Source) Settle(ctx context.Context, ids []string) error {
	in := s.config.Settings.Inbound
	if len(ids) == 0 || in.After == tokenclient.Keep {
		return nil
	}
	s.ahead.Stop() // its requests would be in the way
	if in.After == tokenclient.Move {
		return s.move(ctx, ids, in.AfterFolder)
	}
	for part := range slices.Chunk(ids, batch) {
		var err error
		if in.After == tokenclient.MarkRead {
			err = s.markRead(ctx, part)
		} else {
			err = s.all(ctx, request{what: "delete messages", body: deleteBody(part)})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteBody: soft-deleted items can be recovered for as long as the server keeps them. Exchange wants the two last
// attributes if an item could be a meeting or a task.
func deleteBody(ids []string) string {
	return `<m:DeleteItem DeleteType="SoftDelete" SendMeetingCancellations="SendToNone" AffectedTaskOccurrences="AllOccurrences" SuppressReadReceipts="true">` +
		itemIDs(ids...) + "</m:DeleteItem>"
}

// all sends a request about many items. Those that left are done with; the first other error is returned.
func (s *Source) all(ctx context.Context, r request) error {
	answers, err := s.call(ctx, r)
	if err != nil {
		return err
	}
	for _, m := range answers {
		if err := m.fault(); err != nil && !left(err) {
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	return nil
}

// left says that a message is no longer there; a missing folder is something else.
func left(err error) bool {
	return fault.Of(err) == fault.Gone && !hasReason(err, "ErrorToFolderNotFound")
}

// markRead needs the current change keys, which it asks for first.
func (s *Source) markRead(ctx context.Context, ids []string) error {
	r := request{what: "look at messages", body: keysBody(ids)}
	answers, err := s.call(ctx, r)
	if err != nil {
		return err
	}
	var there []item
	for _, m := range answers {
		switch err := m.fault(); {
		case err == nil:
			there = append(there, m.Items.All...)
		case !left(err):
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	if len(there) == 0 {
		return nil
	}
	return s.all(ctx, request{what: "mark messages", body: updateBody(there)})
}

func keysBody(ids []string) string {
	return "<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>" + itemIDs(ids...) + "</m:GetItem>"
}

func updateBody(all []item) string {
	body := `<m:UpdateItem ConflictResolution="AlwaysOverwrite" MessageDisposition="SaveOnly" SuppressReadReceipts="true"><m:ItemChanges>`
	for _, it := range all {
		body += `<t:ItemChange><t:ItemId Id="` + escape(it.ID.ID) + `" ChangeKey="` + escape(it.ID.ChangeKey) + `"/><t:Updates><t:SetItemField>` +
			`<t:FieldURI FieldURI="message:IsRead"/><t:Message><t:IsRead>true</t:IsRead></t:Message></t:SetItemField></t:Updates></t:ItemChange>`
	}
	return body + "</m:ItemChanges></m:UpdateItem>"
}

// move moves messages to a folder, which is made if it is missing.
func (s *Source) move(ctx context.Context, ids []string, path string) error {
	to, err := s.ensure(ctx, path)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(ids, batch) {
		r := request{what: "move messages", body: moveBody(to, part)}
		if err := s.all(ctx, r); err != nil {
			return s.forget(err) // somebody may have removed the folder: it is made again next time
		}
	}
	return nil
}

func moveBody(folder string, ids []string) string {
	return "<m:MoveItem><m:ToFolderId>" + folder + "</m:ToFolderId>" + itemIDs(ids...) + "</m:MoveItem>"
}

// SetAside implements inbound.SetterAside.
func (s *Source) SetAside(ctx context.Context, id string) (bool, error) {
	to := s.config.Settings.Inbound.FailedFolder
	if to == "" {
		return false, nil
	}
	err := s.move(ctx, []string{id}, to)
	return err == nil, err
}
