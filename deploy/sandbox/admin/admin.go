// Package admin is the sandbox's HTTP API for looking in and for making things go wrong. It has no authentication and is
// served on loopback only; it hands out mail, but no token, secret or password.
package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/imapd"
	"mailporter/sandbox/mailstore"
	"mailporter/sandbox/smtpd"
)

// Stats is what GET /stats answers.
type Stats struct {
	TokenRequests idp.Requests `json:"token_requests"`
	IMAP          imapd.Stats  `json:"imap"`
	GmailIMAP     imapd.Stats  `json:"gmail_imap"`
	SMTP          smtpd.Stats  `json:"smtp"`
	GmailSMTP     smtpd.Stats  `json:"gmail_smtp"`
	Outbound      int          `json:"outbound"`
}

// A Sandbox is what the API looks into.
type Sandbox interface {
	CAPEM() []byte
	Store() *mailstore.Store
	Faults() *fault.Plan
	Issuer() *idp.Issuer
	Stats() Stats
	Endpoints() map[string]string
}

// maxBody bounds what a request may carry: a message or a rule.
const maxBody = 256 << 20

type api struct{ sandbox Sandbox }

// New returns the API.
func New(s Sandbox) http.Handler {
	a := &api{s}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, "text/plain", []byte("ok\n")) })
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) { text(w, "application/x-pem-file", s.CAPEM()) })
	mux.HandleFunc("GET /endpoints", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Endpoints()) })
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Stats()) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Faults().Rules()) })
	mux.HandleFunc("POST /faults", a.addFault)
	mux.HandleFunc("DELETE /faults", a.clearFaults)
	mux.HandleFunc("DELETE /faults/{id}", a.removeFault)
	mux.HandleFunc("GET /mailboxes", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Store().Mailboxes()) })
	mux.HandleFunc("GET /mailboxes/{addr}/messages", a.messages)
	mux.HandleFunc("POST /mailboxes/{addr}/messages", a.inject)
	mux.HandleFunc("GET /mailboxes/{addr}/messages/{id}", a.raw)
	mux.HandleFunc("POST /mailboxes/{addr}/renumber", a.renumber)
	mux.HandleFunc("GET /outbound", a.outbound)
	mux.HandleFunc("POST /tokens/revoke", a.revoke)
	return http.MaxBytesHandler(local(mux), maxBody)
}

// local refuses requests for other host names: a web page must not reach the API through a name that it made resolve to
// loopback.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if i := strings.LastIndexByte(host, ':'); i >= 0 {
			host = host[:i]
		}
		if !slices.Contains([]string{"127.0.0.1", "localhost", "[::1]"}, host) {
			refuse(w, http.StatusForbidden, fmt.Errorf("host %q: use 127.0.0.1 or localhost", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func text(w http.ResponseWriter, kind string, b []byte) {
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(b) // whoever hung up does not miss it
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // whoever hung up does not miss it
}

func refuse(w http.ResponseWriter, status int, err error) {
	answer(w, status, map[string]string{"error": err.Error()})
}

// fail answers with the status that fits the store's error.
func fail(w http.ResponseWriter, err error) {
	if errors.Is(err, mailstore.ErrNoMailbox) || errors.Is(err, mailstore.ErrNoFolder) {
		refuse(w, http.StatusNotFound, err)
		return
	}
	refuse(w, http.StatusInternalServerError, err)
}

func (a *api) addFault(w http.ResponseWriter, r *http.Request) {
	var rule fault.Rule
	if err := json.NewDecoder(r.Body).Decode(&rule); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	id, err := a.sandbox.Faults().TryAdd(rule)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	answer(w, http.StatusCreated, map[string]string{"id": id})
}

func (a *api) clearFaults(w http.ResponseWriter, _ *http.Request) {
	a.sandbox.Faults().Clear()
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) removeFault(w http.ResponseWriter, r *http.Request) {
	if !a.sandbox.Faults().Remove(r.PathValue("id")) {
		refuse(w, http.StatusNotFound, fmt.Errorf("no fault %q", r.PathValue("id")))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

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

// revocation names a token, or a user with all of his.
type revocation struct {
	Token  string `json:"token"`
	Tenant string `json:"tenant"`
	User   string `json:"user"`
}

func (a *api) revoke(w http.ResponseWriter, r *http.Request) {
	var v revocation
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	var err error
	switch {
	case v.Token != "":
		err = a.sandbox.Issuer().RevokeToken(v.Token)
	case v.User != "" && v.Tenant != "":
		err = a.sandbox.Issuer().RevokeUser(v.Tenant, v.User)
	default:
		refuse(w, http.StatusBadRequest, errors.New("give a token, or tenant (a directory id or google) and user"))
		return
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
