package ews

import (
	"context"
	"errors"
	"strings"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// Folders that are the same in every language.
const (
	inbox = "INBOX" // as configurations write it

	inboxID = `<t:DistinguishedFolderId Id="inbox"/>`
	junkID  = `<t:DistinguishedFolderId Id="junkemail"/>`
	rootID  = `<t:DistinguishedFolderId Id="msgfolderroot"/>`
)

func split(path string) (above, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// folder is the id, as XML, of the folder at a path of display names, such as INBOX/Orders. fault.Gone if there is none.
func (s *Source) folder(ctx context.Context, path string) (string, error) {
	if path == inbound.JunkFolder {
		return junkID, nil
	}
	if id, known := s.folders[path]; known {
		return id, nil
	}
	above, name := split(path)
	if above == "" && strings.EqualFold(name, inbox) {
		return inboxID, nil
	}
	parent, err := s.parent(ctx, above, s.folder)
	if err != nil {
		return "", err
	}
	id, err := s.child(ctx, parent, name)
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", &fault.Error{Kind: fault.Gone, Reason: "ErrorFolderNotFound", Err: errors.New("the mailbox has no folder " + path), Remedy: noFolderRemedy}
	}
	s.folders[path] = id
	return id, nil
}

// parent is the id of the folder above, found by look.
func (s *Source) parent(ctx context.Context, above string, look func(context.Context, string) (string, error)) (string, error) {
	if above == "" {
		return rootID, nil
	}
	return look(ctx, above)
}

// child is the id of a folder by its display name, or empty.
func (s *Source) child(ctx context.Context, parent, name string) (string, error) {
	m, err := s.one(ctx, request{what: "look up a folder", body: findFolderBody(parent, name)})
	if err != nil {
		return "", s.forget(err)
	}
	if len(m.RootFolder.Folders) == 0 {
		return "", nil
	}
	return `<t:FolderId Id="` + escape(m.RootFolder.Folders[0].ID.ID) + `"/>`, nil
}

func findFolderBody(parent, name string) string {
	return `<m:FindFolder Traversal="Shallow"><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape>` +
		`<m:Restriction><t:IsEqualTo><t:FieldURI FieldURI="folder:DisplayName"/><t:FieldURIOrConstant><t:Constant Value="` + escape(name) + `"/></t:FieldURIOrConstant></t:IsEqualTo></m:Restriction>` +
		"<m:ParentFolderIds>" + parent + "</m:ParentFolderIds></m:FindFolder>"
}

// ensure is the id of a folder that is made if it is missing.
func (s *Source) ensure(ctx context.Context, path string) (string, error) {
	id, err := s.folder(ctx, path)
	if err == nil || fault.Of(err) != fault.Gone {
		return id, err
	}
	above, name := split(path)
	parent, err := s.parent(ctx, above, s.ensure)
	if err != nil {
		return "", err
	}
	_, err = s.one(ctx, request{what: "make a folder", body: createFolderBody(parent, name)})
	if err != nil && !hasReason(err, folderExists) { // another worker may have made it meanwhile
		return "", err
	}
	return s.folder(ctx, path)
}

func createFolderBody(parent, name string) string {
	return "<m:CreateFolder><m:ParentFolderId>" + parent + "</m:ParentFolderId><m:Folders><t:Folder><t:DisplayName>" + escape(name) + "</t:DisplayName></t:Folder></m:Folders></m:CreateFolder>"
}

const countBody = "<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>" +
	`<t:FieldURI FieldURI="folder:TotalCount"/></t:AdditionalProperties></m:FolderShape><m:FolderIds>` + junkID + "</m:FolderIds></m:GetFolder>"

const oldestBody = `<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>` +
	`<t:FieldURI FieldURI="item:DateTimeReceived"/></t:AdditionalProperties></m:ItemShape><m:IndexedPageItemView MaxEntriesReturned="1" Offset="0" BasePoint="Beginning"/>` +
	`<m:SortOrder><t:FieldOrder Order="Ascending"><t:FieldURI FieldURI="item:DateTimeReceived"/></t:FieldOrder></m:SortOrder><m:ParentFolderIds>` + junkID + "</m:ParentFolderIds></m:FindItem>"

// CountJunk implements inbound.JunkCounter.
func (s *Source) CountJunk(ctx context.Context) (n int, oldest time.Time, err error) {
	m, err := s.one(ctx, request{what: "look at the junk folder", body: countBody})
	if fault.Of(err) == fault.Gone {
		return 0, time.Time{}, nil
	}
	if err != nil || len(m.Folders) == 0 || m.Folders[0].TotalCount == 0 {
		return 0, time.Time{}, err
	}
	first, err := s.one(ctx, request{what: "look at the junk folder", body: oldestBody})
	if err != nil || len(first.RootFolder.Items.All) == 0 {
		return 0, time.Time{}, err
	}
	return m.Folders[0].TotalCount, first.RootFolder.Items.All[0].Received, nil
}
