package graphd

import (
	"encoding/json"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailporter/sandbox/allowance"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
)

// Config is what a Server is made of.
type Config struct {
	Directory *idp.Directory
	Issuer    *idp.Issuer
	Store     *mailstore.Store
	Faults    *fault.Plan
	// Concurrency is how many requests a mailbox takes at a time from one application; 0 is any number.
	Concurrency int
	// Sending is what mailboxes may send; nil is everything.
	Sending *allowance.Sending
	// Uploads is how many bytes an application may bring into a mailbox; nil is any number.
	Uploads *allowance.Window
	// NoDelta leaves delta rounds out, as the cloud in China does.
	NoDelta bool
	Log     *slog.Logger
}

// Stats counts what was asked.
type Stats struct {
	Requests  int            `json:"requests"`
	Throttled int            `json:"throttled"`
	Refused   int            `json:"refused"` // tokens
	Sent      map[string]int `json:"sent"`    // messages, by the mailbox that sent them
	Peak      map[string]int `json:"peak"`    // most requests at a time, by mailbox
}

// A Server answers requests; it does not listen by itself.
type Server struct {
	config   Config
	mux      *http.ServeMux
	began    time.Time
	rounds   rounds
	drafts   drafts
	sessions uploads

	mu    sync.Mutex
	open  map[string]int // running requests by application and mailbox
	stats Stats
}

// New returns a server.
func New(c Config) *Server {
	s := &Server{config: c, mux: http.NewServeMux(), began: time.Now(), open: map[string]int{}, stats: Stats{Peak: map[string]int{}, Sent: map[string]int{}}}
	for pattern, e := range map[string]endpoint{
		"GET mailFolders":                                    {"folders", readScope, s.listFolders},
		"POST mailFolders":                                   {"folders", writeScope, s.makeFolder},
		"GET mailFolders/{folder}":                           {"folders", readScope, s.oneFolder},
		"GET mailFolders/{folder}/childFolders":              {"folders", readScope, s.listFolders},
		"POST mailFolders/{folder}/childFolders":             {"folders", writeScope, s.makeFolder},
		"GET mailFolders/{folder}/messages":                  {"list", readScope, s.listMessages},
		"GET mailFolders/{folder}/messages/delta":            {"delta", readScope, s.delta},
		"GET messages/{id}":                                  {"get", readScope, s.oneMessage},
		"GET messages/{id}/$value":                           {"value", readScope, s.value},
		"PATCH messages/{id}":                                {"update", writeScope, s.update},
		"POST messages/{id}/move":                            {"move", writeScope, s.move},
		"DELETE messages/{id}":                               {"delete", writeScope, s.remove},
		"POST messages/{id}/permanentDelete":                 {"delete", writeScope, s.remove},
		"POST messages":                                      {"draft", writeScope, s.draft},
		"POST messages/{id}/attachments":                     {"attach", writeScope, s.attach},
		"POST messages/{id}/attachments/createUploadSession": {"attach", writeScope, s.openUpload},
		"POST messages/{id}/send":                            {"send", sendScope, s.sendDraft},
		"POST sendMail":                                      {"send", sendScope, s.sendMail},
		"GET mailFolders/{folder}/messages/{id}":             {"get", readScope, s.oneMessage},
		"PATCH mailFolders/{folder}/messages/{id}":           {"update", writeScope, s.update},
	} {
		method, path, _ := strings.Cut(pattern, " ")
		s.mux.HandleFunc(method+" /v1.0/users/{user}/"+path, s.serve(e))
		s.mux.HandleFunc(method+" /v1.0/me/"+path, s.serve(e))
	}
	s.mux.HandleFunc("PUT "+uploadPath+"{session}", s.upload)
	s.mux.HandleFunc("GET "+uploadPath+"{session}", s.upload)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		(*fault.Rule)(nil).Serve(w, r, func() fault.Answer {
			return fail(http.StatusBadRequest, "BadRequest", "Resource not found for the segment '"+lastSegment(r.URL.Path)+"'.")
		})
	})
	return s
}

func lastSegment(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Peak, st.Sent = maps.Clone(s.stats.Peak), maps.Clone(s.stats.Sent)
	return st
}

// Forget voids all delta links and upload sessions.
func (s *Server) Forget() {
	s.rounds.forget()
	s.sessions.forget()
}

// endpoint is one operation: its step for faults, what it needs, what it does.
type endpoint struct {
	step   string
	need   permission
	answer func(*call) fault.Answer
}

// call is one request of somebody who may make it.
type call struct {
	*http.Request
	mailbox   string
	claims    idp.Claims
	immutable bool // Prefer: IdType="ImmutableId"
	pageSize  int  // Prefer: odata.maxpagesize; 0 = none
}

// maxBody is what Graph takes in a request: about 4 MB.
const maxBody = 4 << 20

func (s *Server) serve(e endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		c := &call{Request: r}
		c.readPrefer()
		claims, denied := s.admit(c, e.need)
		c.claims = claims
		rule := s.config.Faults.Take(fault.Point{Target: fault.Graph, Step: e.step, Mailbox: c.mailbox, Client: claims.Client})
		switch {
		case rule == nil:
		case rule.Action == fault.Forget:
			s.Forget()
		case rule.Action == fault.RefuseToken:
			denied = refused("Lifetime validation failed, the token is expired.")
		}
		leave, full := s.enter(claims.Client, c.mailbox, denied != nil)
		defer leave()
		rule.Serve(w, r, func() fault.Answer {
			switch {
			case denied != nil:
				return *denied
			case full != nil:
				return *full
			case r.ContentLength > maxBody:
				return tooLarge
			}
			if full := s.brings(c.claims.Client, c.mailbox, r); full != nil {
				return *full
			}
			return e.answer(c)
		})
	}
}

// enter counts a request; full is the answer if too many of the mailbox run already.
func (s *Server) enter(client, mailbox string, denied bool) (leave func(), full *fault.Answer) {
	key := client + " " + mailbox
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Requests++
	switch {
	case denied:
		s.stats.Refused++
		return func() {}, nil
	case s.config.Concurrency > 0 && s.open[key] >= s.config.Concurrency:
		s.stats.Throttled++
		a := fail(http.StatusTooManyRequests, "ApplicationThrottled", "Application is over its MailboxConcurrency limit.")
		a.Header.Set("Retry-After", "1")
		return func() {}, &a
	}
	s.open[key]++
	s.stats.Peak[mailbox] = max(s.stats.Peak[mailbox], s.open[key])
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open[key]--
	}, nil
}

// brings counts what a request uploads; full is the answer if that is too much.
func (s *Server) brings(client, mailbox string, r *http.Request) (full *fault.Answer) {
	if r.Method == http.MethodGet || r.ContentLength <= 0 {
		return nil
	}
	wait := s.config.Uploads.Take(client+" "+mailbox, r.ContentLength)
	if wait == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Throttled++
	a := fail(http.StatusTooManyRequests, "ApplicationThrottled", "Application is over its MailboxUploadSize limit.")
	a.Header.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	return &a
}

func jsonAnswer(status int, v any) fault.Answer {
	b, err := json.Marshal(v)
	if err != nil { // maps of texts and numbers only
		panic("graphd: " + err.Error())
	}
	return fault.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json;odata.metadata=minimal;odata.streaming=true"}}, Body: b}
}

// fail is an error as Graph writes it.
func fail(status int, code, message string) fault.Answer {
	return jsonAnswer(status, map[string]any{"error": map[string]any{
		"code": code, "message": message,
		"innerError": map[string]string{"request-id": "6f8a5c2e-0000-4000-8000-000000000000", "date": "2026-01-05T09:30:00"},
	}})
}
