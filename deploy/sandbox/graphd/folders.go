package graphd

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

var noFolder = fail(http.StatusNotFound, "ErrorFolderNotFound", "The specified folder could not be found in the store.")

// parent is the path of the folder that the request is about; "" = the root.
func (s *Server) parent(c *call) (path string, ok bool) {
	id := c.PathValue("folder")
	if id == "" || strings.EqualFold(id, rootName) {
		return "", true
	}
	f, ok := s.folder(c.mailbox, id)
	return f.Name, ok
}

// split parts a path into the folder above it and its display name.
func split(path string) (above, display string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// displayName: the inbox is the one folder whose name IMAP fixes.
func displayName(f mailstore.Folder) string {
	if f.Name == mailstore.Inbox {
		return "Inbox"
	}
	_, display := split(f.Name)
	return display
}

func (s *Server) folderJSON(f mailstore.Folder) map[string]any {
	unread := 0
	for _, m := range f.Messages {
		if !m.Has(`\Seen`) {
			unread++
		}
	}
	return map[string]any{
		"id": idOfFolder(f), "displayName": displayName(f), "totalItemCount": len(f.Messages), "unreadItemCount": unread, "isHidden": false,
	}
}

var nameFilter = regexp.MustCompile(`^displayName eq '((?:[^']|'')*)'$`)

func (s *Server) listFolders(c *call) fault.Answer {
	above, ok := s.parent(c)
	if !ok {
		return noFolder
	}
	filter, wanted := c.URL.Query().Get("$filter"), ""
	if filter != "" {
		m := nameFilter.FindStringSubmatch(filter)
		if m == nil {
			return fail(http.StatusBadRequest, "BadRequest", "Invalid filter clause")
		}
		wanted = strings.ReplaceAll(m[1], "''", "'")
	}
	all, err := s.config.Store.Folders(c.mailbox)
	if err != nil {
		return noFolder
	}
	value := []any{}
	for _, f := range all {
		path, _ := split(f.Name)
		if path == above && (filter == "" || strings.EqualFold(displayName(f), wanted)) {
			value = append(value, s.folderJSON(f))
		}
	}
	return jsonAnswer(http.StatusOK, map[string]any{"value": value})
}

func (s *Server) oneFolder(c *call) fault.Answer {
	f, ok := s.folder(c.mailbox, c.PathValue("folder"))
	if !ok {
		return noFolder
	}
	return jsonAnswer(http.StatusOK, s.folderJSON(f))
}

func (s *Server) makeFolder(c *call) fault.Answer {
	above, ok := s.parent(c)
	if !ok {
		return noFolder
	}
	var wish struct{ DisplayName string }
	if err := json.NewDecoder(c.Body).Decode(&wish); err != nil || wish.DisplayName == "" || strings.Contains(wish.DisplayName, "/") {
		return fail(http.StatusBadRequest, "ErrorInvalidRequest", "The folder needs a displayName.")
	}
	path := wish.DisplayName
	if above != "" {
		path = above + "/" + path
	}
	err := s.config.Store.CreateFolder(c.mailbox, mailstore.FolderSpec{Name: path})
	if errors.Is(err, mailstore.ErrExists) {
		return fail(http.StatusConflict, "ErrorFolderExists", "A folder with the specified name already exists.")
	}
	f, found := s.config.Store.Folder(c.mailbox, path)
	if err != nil || found != nil {
		return broken
	}
	return jsonAnswer(http.StatusCreated, s.folderJSON(f))
}

// broken is what the store could not do.
var broken = fail(http.StatusInternalServerError, "ErrorInternalServerError", "An internal server error occurred.")
