package admin

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mailporter/sandbox/mailstore"
)

// message is one line of the list of messages.
type message struct {
	ID       string    `json:"id"`
	Folder   string    `json:"folder"`
	UID      uint32    `json:"uid"`
	Flags    []string  `json:"flags"`
	Received time.Time `json:"received"`
	Size     int64     `json:"size"`
}

// messages lists a folder (?folder=), or all of them.
func (a *api) messages(w http.ResponseWriter, r *http.Request) {
	folders, err := a.folders(r)
	if err != nil {
		fail(w, err)
		return
	}
	list := []message{}
	for _, f := range folders {
		for _, m := range f.Messages {
			list = append(list, message{ID: m.ID, Folder: f.Name, UID: m.UID, Flags: m.Flags, Received: m.Received, Size: m.Size})
		}
	}
	answer(w, http.StatusOK, list)
}

func (a *api) folders(r *http.Request) ([]mailstore.Folder, error) {
	if name := r.URL.Query().Get("folder"); name != "" {
		f, err := a.sandbox.Store().Folder(r.PathValue("addr"), name)
		return []mailstore.Folder{f}, err
	}
	return a.sandbox.Store().Folders(r.PathValue("addr"))
}

func (a *api) raw(w http.ResponseWriter, r *http.Request) {
	folders, err := a.folders(r)
	if err != nil {
		fail(w, err)
		return
	}
	for _, f := range folders {
		for _, m := range f.Messages {
			if m.ID == r.PathValue("id") {
				b, err := m.Raw()
				if err != nil {
					fail(w, err)
					return
				}
				text(w, "message/rfc822", b)
				return
			}
		}
	}
	refuse(w, http.StatusNotFound, fmt.Errorf("no message %q", r.PathValue("id")))
}

// inject puts the body of the request, byte for byte, into a folder (?folder=, default INBOX; ?flags=\Seen,\Flagged).
func (a *api) inject(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	t := mailstore.Target{Mailbox: r.PathValue("addr"), Folder: r.URL.Query().Get("folder")}
	if t.Folder == "" {
		t.Folder = mailstore.Inbox
	}
	if flags := r.URL.Query().Get("flags"); flags != "" {
		t.Flags = strings.Split(flags, ",")
	}
	uids, err := a.sandbox.Store().Deliver(raw, []mailstore.Target{t}, nil)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusCreated, map[string]uint32{"uid": uids[0]})
}

// renumber gives a folder (?folder=, default INBOX) a new UIDVALIDITY.
func (a *api) renumber(w http.ResponseWriter, r *http.Request) {
	folder := r.URL.Query().Get("folder")
	if folder == "" {
		folder = mailstore.Inbox
	}
	if err := a.sandbox.Store().Renumber(r.PathValue("addr"), folder); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// sent is one line of the list of outbound mail.
type sent struct {
	From string    `json:"from"`
	To   []string  `json:"to"`
	At   time.Time `json:"at"`
	Size int64     `json:"size"`
}

// outbound lists what left for foreign domains; with ?n= it answers the bytes of the nth, from 0.
func (a *api) outbound(w http.ResponseWriter, r *http.Request) {
	all := a.sandbox.Store().Outbound()
	if n := r.URL.Query().Get("n"); n != "" {
		i, err := strconv.Atoi(n)
		if err != nil || i < 0 || i >= len(all) {
			refuse(w, http.StatusNotFound, fmt.Errorf("n=%q: there are %d", n, len(all)))
			return
		}
		b, err := all[i].Raw()
		if err != nil {
			fail(w, err)
			return
		}
		text(w, "message/rfc822", b)
		return
	}
	list := []sent{}
	for _, o := range all {
		list = append(list, sent{From: o.From, To: o.To, At: o.At, Size: o.Size})
	}
	answer(w, http.StatusOK, list)
}
