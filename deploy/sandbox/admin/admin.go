// Package admin is the sandbox's HTTP API for looking in and for making things go wrong. It has no authentication and is
// served on loopback only; it hands out mail, but no token, secret or password.
package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mailporter/sandbox/ewsd"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/graphd"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/imapd"
	"mailporter/sandbox/mailstore"
	"mailporter/sandbox/pop3d"
	"mailporter/sandbox/smtpd"
)

// Stats is what GET /stats answers.
type Stats struct {
	TokenRequests idp.Requests `json:"token_requests"`
	IMAP          imapd.Stats  `json:"imap"`
	GmailIMAP     imapd.Stats  `json:"gmail_imap"`
	POP3          pop3d.Stats  `json:"pop3"`
	GmailPOP3     pop3d.Stats  `json:"gmail_pop3"`
	SMTP          smtpd.Stats  `json:"smtp"`
	GmailSMTP     smtpd.Stats  `json:"gmail_smtp"`
	Graph         graphd.Stats `json:"graph"`
	EWS           ewsd.Stats   `json:"ews"`
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
