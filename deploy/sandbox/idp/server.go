package idp

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"mailporter/sandbox/fault"
)

// Config is what a Server is made of.
type Config struct {
	Directory *Directory
	Issuer    *Issuer
	Seeds     []Seed
	// Base is the URL under which the server is reached, without a final slash.
	Base string
	// Federation is the URL under which the same server is the federation server; its host is another one than Base's.
	Federation string
	// RefreshIn is sent as refresh_in; 0 leaves it out, as Entra does for short-lived tokens.
	RefreshIn time.Duration
	// RefreshLife is how long an unused Entra refresh token lives.
	RefreshLife time.Duration
	// SingleUse voids an Entra refresh token at its use, and the whole family when it is used again.
	SingleUse bool
	// LoopLimit is how many identical requests within 5 minutes end in AADSTS50196; 0 is any number.
	LoopLimit int
	Faults    *fault.Plan
	Log       *slog.Logger
}

// A Server is the HTTP half of the identity provider.
type Server struct {
	config  Config
	dir     *Directory
	issuer  *Issuer
	counter *counter
	// asserted are the client assertions that came.
	asserted asserted
	started  time.Time
	mux      *http.ServeMux
}

// New returns a server; it does not listen by itself.
func New(c Config) *Server {
	s := &Server{
		config: c, dir: c.Directory, issuer: c.Issuer, counter: newCounter(), asserted: asserted{seen: map[string]time.Time{}}, started: time.Now(), mux: http.NewServeMux(),
	}
	s.mux.HandleFunc("/{tenant}/oauth2/v2.0/token", s.step("token", s.entraToken))
	s.mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.step("metadata", s.entraMetadata))
	s.mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.step("keys", s.entraKeys))
	s.mux.HandleFunc("GET /common/discovery/instance", s.step("metadata", s.instance))
	s.mux.HandleFunc("GET /common/UserRealm/{user}", s.step("realm", s.userRealm))
	s.mux.HandleFunc("GET /{domain}"+mexPath, s.step("mex", s.mex))
	s.mux.HandleFunc("POST "+trustPath, s.step("trust", s.trust))
	s.mux.HandleFunc("/google/token", s.step("google-token", s.googleToken))
	s.mux.HandleFunc("GET /google/.well-known/openid-configuration", s.step("metadata", s.googleMetadata))
	s.mux.HandleFunc("/google/tokeninfo", s.step("metadata", s.googleTokenInfo))
	s.mux.HandleFunc("POST /google/revoke", s.step("metadata", s.googleRevoke))
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Requests returns the counts of token requests so far.
func (s *Server) Requests() Requests { return s.counter.snapshot() }

// A reply is a whole HTTP answer, made before anything is written, so that faults can spoil it.
type reply struct {
	status int
	kind   string
	header map[string]string
	body   []byte
}

// maxForm is far above any token request that a provider would take.
const maxForm = 1 << 20

// step wraps an endpoint with the faults that may happen there.
func (s *Server) step(name string, answer func(*http.Request) reply) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		malformed := r.ParseForm() != nil
		client, user := s.who(r)
		if name == "token" || name == "google-token" {
			s.counter.asked(client, r.PostForm.Get("grant_type"), user)
		}
		rule := s.config.Faults.Take(fault.Point{Target: fault.Identity, Step: name, Mailbox: user, Client: client})
		if rule != nil && !s.before(w, r, rule) {
			return
		}
		var rep reply
		if rule != nil && rule.Action == fault.Trickle && (rule.Status != 0 || rule.AADSTS != 0) {
			rep = s.spoiled(r, rule)
		} else if malformed {
			rep = refuse(9002313).reply(s.config.Base, r.Header.Get("client-request-id"))
		} else {
			rep = answer(r)
		}
		s.write(w, r, rule, rep)
	}
}

// who returns client id and user of a request, as far as it tells.
func (s *Server) who(r *http.Request) (client, user string) {
	client, user = r.PostForm.Get("client_id"), r.PostForm.Get("username")
	if id, _, ok := basic(r); ok && client == "" {
		client = id
	}
	if g, err := s.grantOf(r.PostForm.Get("refresh_token")); err == nil {
		user = g.User
	}
	if c, err := peek(r.PostForm.Get("assertion")); err == nil && r.PostForm.Get("grant_type") == jwtGrant {
		client, user = c.Issuer, c.Subject
	}
	return client, user
}

// basic reads client id and secret from the Authorization header, form-encoded as RFC 6749 section 2.3.1 wants.
func basic(r *http.Request) (id, secret string, ok bool) {
	id, secret, ok = r.BasicAuth()
	if !ok {
		return "", "", false
	}
	if d, err := url.QueryUnescape(id); err == nil {
		id = d
	}
	if d, err := url.QueryUnescape(secret); err == nil {
		secret = d
	}
	return id, secret, true
}

// before does what a rule does instead of the step; true: go on with it.
func (s *Server) before(w http.ResponseWriter, r *http.Request, rule *fault.Rule) bool {
	switch rule.Action {
	case fault.Delay:
		fault.Wait(r.Context(), rule.Delay)
		return true
	case fault.Stall:
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // net/http would answer a handler that returns
	case fault.Reset:
		reset(w)
		return false
	case fault.Reply:
		s.counter.refused(rule.AADSTS)
		s.write(w, r, nil, s.spoiled(r, rule))
		return false
	}
	return true
}

func (s *Server) spoiled(r *http.Request, rule *fault.Rule) reply {
	rep := reply{status: rule.Status, kind: "text/html", body: []byte(rule.Body)}
	if rule.AADSTS != 0 {
		rep = refuse(rule.AADSTS).reply(s.config.Base, r.Header.Get("client-request-id"))
		if rule.Status != 0 {
			rep.status = rule.Status
		}
	} else if len(rule.Body) > 0 && rule.Body[0] == '{' {
		rep.kind = "application/json; charset=utf-8"
	}
	rep.header = map[string]string{}
	if rule.RetryAfter > 0 {
		rep.header["Retry-After"] = strconv.Itoa(int((rule.RetryAfter + time.Second - 1) / time.Second))
	}
	for k, v := range rule.Header {
		rep.header[k] = v
	}
	return rep
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, rule *fault.Rule, rep reply) {
	if rule != nil && rule.Action == fault.LoseAnswer {
		reset(w)
		return
	}
	h := w.Header()
	h.Set("Content-Type", rep.kind)
	h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("x-ms-request-id", guid())
	if id := r.Header.Get("client-request-id"); id != "" && r.Header.Get("return-client-request-id") == "true" {
		h.Set("client-request-id", id)
	}
	for k, v := range rep.header {
		h.Set(k, v)
	}
	if rule != nil && rule.Action == fault.SkewDate {
		h.Set("Date", time.Now().Add(rule.Skew).UTC().Format(http.TimeFormat))
	}
	if rule != nil && rule.Action == fault.Trickle {
		trickle(w, r, rule, rep)
		return
	}
	w.WriteHeader(rep.status)
	if rule != nil && rule.Action == fault.Cut {
		_, _ = w.Write(rep.body[:min(rule.Bytes, len(rep.body))]) // it is to be cut: whether all of it arrives does not matter
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if _, err := w.Write(rep.body); err != nil {
		s.config.Log.Debug("answer not written", "error", err)
	}
}

// trickle writes an answer slowly, until it is whole, or until the client or the sandbox leaves.
func trickle(w http.ResponseWriter, r *http.Request, rule *fault.Rule, rep reply) {
	w.Header().Set("Connection", "close") // the server cannot take it back
	head := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", rep.status, http.StatusText(rep.status))
	var header bytes.Buffer
	_ = w.Header().Write(&header) // a Buffer takes everything
	raw := slices.Concat(head, header.Bytes(), []byte("\r\n"), rep.body)
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // the connection is gone already
		panic(http.ErrAbortHandler)
	}
	defer c.Close()
	pause := rule.Delay
	if pause == 0 {
		pause = 10 * time.Millisecond
	}
	at := min(rule.Bytes, len(raw))
	_, err = c.Write(raw[:at])
	for ; err == nil && at < len(raw) && r.Context().Err() == nil; at++ {
		fault.Wait(r.Context(), pause)
		_, err = c.Write(raw[at : at+1])
	}
}

func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // the connection is gone already: that was the aim
		panic(http.ErrAbortHandler)
	}
	fault.ResetConn(c)
}

// guid makes a random UUID (RFC 9562 section 5.4).
func guid() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // crypto/rand.Read never returns an error
	return formatGUID(b)
}

// objectID is the id of an object in a tenant: always the same for the same name.
func objectID(tenant, name string) string {
	sum := sha256.Sum256([]byte(lower(tenant) + " " + lower(name)))
	return formatGUID([16]byte(sum[:16]))
}

func formatGUID(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
