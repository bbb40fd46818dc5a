package graph

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// Names of folders that are the same in every language.
const (
	inbox     = "INBOX" // as configurations write it
	inboxName = "inbox"
	junkName  = "junkemail"
)

// folderInfo is what is wanted of a folder.
type folderInfo struct {
	ID             string `json:"id"`
	TotalItemCount int    `json:"totalItemCount"`
}

// folder is the id of the folder at a path of display names, such as INBOX/Orders. fault.Gone if there is none.
func (s *Source) folder(ctx context.Context, path string) (string, error) {
	if path == inbound.JunkFolder {
		return junkName, nil
	}
	if id, known := s.folders[path]; known {
		return id, nil
	}
	above, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		above, name = path[:i], path[i+1:]
	}
	if above == "" && strings.EqualFold(name, inbox) {
		return inboxName, nil
	}
	parent := ""
	if above != "" {
		var err error
		if parent, err = s.folder(ctx, above); err != nil {
			return "", err
		}
	}
	id, err := s.child(ctx, parent, name)
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", &fault.Error{Kind: fault.Gone, Reason: noSuchFolder, Err: errNoFolder(path), Remedy: "create the folder or correct folder-path"}
	}
	s.folders[path] = id
	return id, nil
}

type errNoFolder string

func (e errNoFolder) Error() string { return "the mailbox has no folder " + string(e) }

// children is the URL of the folders below one; parent "" is the root.
func (s *Source) children(parent, query string) string {
	if parent == "" {
		return s.url(query, "mailFolders")
	}
	return s.url(query, "mailFolders", parent, "childFolders")
}

// child is the id of a folder by its display name, or empty.
func (s *Source) child(ctx context.Context, parent, name string) (string, error) {
	query := url.Values{"$filter": {"displayName eq '" + strings.ReplaceAll(name, "'", "''") + "'"}, "includeHiddenFolders": {"true"}}
	var found struct{ Value []folderInfo }
	err := s.read(ctx, request{what: "look up a folder", method: http.MethodGet, url: s.children(parent, query.Encode())}, &found)
	if err != nil || len(found.Value) == 0 {
		return "", s.forget(err)
	}
	return found.Value[0].ID, nil
}

// ensure is the id of a folder that is made if it is missing.
func (s *Source) ensure(ctx context.Context, path string) (string, error) {
	id, err := s.folder(ctx, path)
	if fault.Of(err) != fault.Gone || err == nil {
		return id, err
	}
	above, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		above, name = path[:i], path[i+1:]
	}
	parent := ""
	if above != "" {
		if parent, err = s.ensure(ctx, above); err != nil {
			return "", err
		}
	}
	r := request{what: "make a folder", method: http.MethodPost, url: s.children(parent, ""), body: map[string]string{"displayName": name}}
	if err := s.read(ctx, r, nil); err != nil && !isConflict(err) { // another worker may have made it meanwhile
		return "", err
	}
	return s.folder(ctx, path)
}

// CountJunk implements inbound.JunkCounter.
func (s *Source) CountJunk(ctx context.Context) (n int, oldest time.Time, err error) {
	var junk folderInfo
	err = s.read(ctx, request{what: "look at the junk folder", method: http.MethodGet, url: s.url("", "mailFolders", junkName)}, &junk)
	if fault.Of(err) == fault.Gone {
		return 0, time.Time{}, nil
	}
	if err != nil || junk.TotalItemCount == 0 {
		return 0, time.Time{}, err
	}
	query := url.Values{"$select": {"id,receivedDateTime"}, "$orderby": {"receivedDateTime asc"}, "$top": {"1"}}
	var first page
	err = s.read(ctx, request{what: "look at the junk folder", method: http.MethodGet, url: s.url(query.Encode(), "mailFolders", junkName, "messages")}, &first)
	if err != nil || len(first.Value) == 0 {
		return 0, time.Time{}, err
	}
	return junk.TotalItemCount, first.Value[0].Received, nil
}
