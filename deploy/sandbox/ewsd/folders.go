package ewsd

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

var noFolder = message{code: "ErrorFolderNotFound", text: "The specified folder could not be found in the store."}

// distinguished are the names that stand for folders in any language.
var distinguished = map[string]string{
	"sentitems": mailstore.UseSent, "drafts": mailstore.UseDrafts, "deleteditems": mailstore.UseTrash,
	"junkemail": mailstore.UseJunk, "archive": mailstore.UseArchive,
}

func isRoot(r folderRef) bool {
	return r.Distinguished != nil && r.Distinguished.ID == "msgfolderroot"
}

// folder is a folder of some mailbox that the caller may open.
type folder struct {
	mailstore.Folder
	owner string
}

// folder finds what a request names.
func (s *Server) folder(c *call, r folderRef) (folder, bool) {
	switch {
	case r.Distinguished != nil:
		return s.named(c, *r.Distinguished)
	case r.FolderID != nil:
		return s.byID(c, r.FolderID.ID)
	}
	return folder{}, false
}

// named finds a folder by what it is for: in the caller's own mailbox, or in the one that is named.
func (s *Server) named(c *call, r distinguishedRef) (folder, bool) {
	owner, name := c.mailbox, mailstore.Inbox
	if r.Mailbox != "" {
		owner = mailstore.Address(r.Mailbox)
	}
	if r.ID != "inbox" {
		name = s.config.Store.Used(owner, distinguished[r.ID])
	}
	f, err := s.config.Store.Folder(owner, name)
	return folder{f, owner}, err == nil && name != "" && s.opens(c, owner)
}

// opens tells whether the caller has access to a mailbox beside his own.
func (s *Server) opens(c *call, owner string) bool {
	return owner == c.mailbox || c.claims.User != "" && s.config.Directory.MayOpen(c.claims, owner)
}

// idOfFolder never changes as long as the folder lives.
func idOfFolder(f mailstore.Folder) string {
	return base64.StdEncoding.EncodeToString(append([]byte("folder:"), binary.BigEndian.AppendUint32(nil, f.UIDValidity)...))
}

func (s *Server) byID(c *call, id string) (folder, bool) {
	return s.search(c, func(f mailstore.Folder) bool { return idOfFolder(f) == id })
}

// search looks through the caller's mailbox and then through those that he has access to.
func (s *Server) search(c *call, is func(mailstore.Folder) bool) (folder, bool) {
	for _, owner := range append([]string{c.mailbox}, s.config.Store.Mailboxes()...) {
		if !s.opens(c, owner) {
			continue
		}
		all, err := s.config.Store.Folders(owner)
		if i := slices.IndexFunc(all, is); err == nil && i >= 0 {
			return folder{all[i], owner}, true
		}
	}
	return folder{}, false
}

func split(path string) (above, display string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

func displayName(f mailstore.Folder) string {
	if f.Name == mailstore.Inbox {
		return "Inbox"
	}
	_, display := split(f.Name)
	return display
}

func folderXML(f mailstore.Folder) string {
	return fmt.Sprintf(`<t:Folder><t:FolderId Id="%s" ChangeKey="AQAAAA=="/><t:DisplayName>%s</t:DisplayName><t:TotalCount>%d</t:TotalCount></t:Folder>`,
		idOfFolder(f), escape(displayName(f)), len(f.Messages))
}

func (s *Server) getFolder(c *call) fault.Answer {
	f, ok := s.folder(c, c.soap.Body.GetFolder.Folders)
	if !ok {
		m := noFolder
		m.content = "<m:Folders/>"
		return answers("GetFolder", m)
	}
	return answers("GetFolder", message{content: "<m:Folders>" + folderXML(f.Folder) + "</m:Folders>"})
}

// above is the path of a folder whose children are meant.
func (s *Server) above(c *call, r folderRef) (string, bool) {
	if isRoot(r) {
		return "", true
	}
	f, ok := s.folder(c, r)
	return f.Name, ok
}

func (s *Server) findFolder(c *call) fault.Answer {
	q := c.soap.Body.FindFolder
	above, ok := s.above(c, q.Parents)
	if !ok {
		return answers("FindFolder", noFolder)
	}
	if q.Traversal != "Shallow" || q.Name.URI.URI != "folder:DisplayName" {
		return refuse("ErrorUnsupportedPathForQuery", "The sandbox finds folders by DisplayName only.", 0)
	}
	all, err := s.config.Store.Folders(c.mailbox)
	if err != nil {
		return answers("FindFolder", broken)
	}
	found, n := "", 0
	for _, f := range all {
		if path, _ := split(f.Name); path == above && strings.EqualFold(displayName(f), q.Name.Constant.Value) {
			found += folderXML(f)
			n++
		}
	}
	return answers("FindFolder", message{content: fmt.Sprintf(`<m:RootFolder TotalItemsInView="%d" IncludesLastItemInRange="true"><t:Folders>%s</t:Folders></m:RootFolder>`, n, found)})
}

func (s *Server) createFolder(c *call) fault.Answer {
	q := c.soap.Body.CreateFolder
	above, ok := s.above(c, q.Parent)
	if !ok || len(q.Names) != 1 || q.Names[0] == "" {
		return answers("CreateFolder", noFolder)
	}
	path := q.Names[0]
	if above != "" {
		path = above + "/" + path
	}
	err := s.config.Store.CreateFolder(c.mailbox, mailstore.FolderSpec{Name: path})
	if errors.Is(err, mailstore.ErrExists) {
		return answers("CreateFolder", message{code: "ErrorFolderExists", text: "A folder with the specified name already exists.", content: "<m:Folders/>"})
	}
	f, found := s.config.Store.Folder(c.mailbox, path)
	if err != nil || found != nil {
		return answers("CreateFolder", broken)
	}
	return answers("CreateFolder", message{content: "<m:Folders>" + folderXML(f) + "</m:Folders>"})
}

var broken = message{code: "ErrorInternalServerError", text: "An internal server error occurred. The operation failed."}
