package ewsd

import (
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"mailporter/sandbox/allowance"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
)

// Path is where the service is reached.
const Path = "/EWS/Exchange.asmx"

// Config is what a Server is made of.
type Config struct {
	Directory *idp.Directory
	Issuer    *idp.Issuer
	Store     *mailstore.Store
	Faults    *fault.Plan
	// Concurrency is how many requests a mailbox takes at a time; 0 is any number. Streams of events do not count.
	Concurrency int
	// Sending is what mailboxes may send; nil is everything.
	Sending *allowance.Sending
	// MaxSize is the largest message in bytes.
	MaxSize int64
	Log     *slog.Logger
}

// Stats counts what was asked.
type Stats struct {
	Requests  int            `json:"requests"`
	Throttled int            `json:"throttled"`
	Refused   int            `json:"refused"`  // tokens and passwords
	Streams   int            `json:"streams"`  // of events, open now
	Peak      map[string]int `json:"peak"`     // most requests at a time, by mailbox
	Accepted  map[string]int `json:"accepted"` // messages, by the mailbox that sent them
}

// A Server answers requests; it does not listen by itself.
type Server struct {
	config        Config
	states        states
	subscriptions subscriptions

	sending sync.Mutex // held while a message goes out: it goes out once

	mu    sync.Mutex
	open  map[string]int
	stats Stats
}

// New returns a server.
func New(c Config) *Server {
	return &Server{config: c, open: map[string]int{}, stats: Stats{Peak: map[string]int{}, Accepted: map[string]int{}}}
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Peak, st.Accepted = maps.Clone(st.Peak), maps.Clone(st.Accepted)
	return st
}

// Forget voids all sync states.
func (s *Server) Forget() { s.states.forget() }

// call is one request of somebody who may make it.
type call struct {
	*http.Request
	soap    envelope
	claims  idp.Claims // of the token; zero with a password
	mailbox string
}

// maxRequest bounds a request, in bytes: base64 makes four of three, and there is something around it.
func (s *Server) maxRequest() int64 { return s.config.MaxSize/3*4 + 1<<20 }

var errTooLarge = errors.New("the request is too large")

// read takes in a request, to its end in any case: who is refused early would find a broken connection, not an answer. What
// is no XML leaves the call without an envelope.
func (s *Server) read(c *call) error {
	body, err := io.ReadAll(io.LimitReader(c.Body, s.maxRequest()+1))
	if err == nil && int64(len(body)) > s.maxRequest() {
		_, err = io.Copy(io.Discard, c.Body)
		return errors.Join(errTooLarge, err)
	}
	if err == nil && xml.Unmarshal(body, &c.soap) != nil {
		c.soap = envelope{}
	}
	return err
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.URL.Path, Path) || r.Method != http.MethodPost {
		http.Error(w, "404", http.StatusNotFound)
		return
	}
	c := &call{Request: r}
	switch err := s.read(c); {
	case errors.Is(err, errTooLarge):
		http.Error(w, "413", http.StatusRequestEntityTooLarge) // so says the web server in front, without any SOAP
	case err != nil:
		panic(http.ErrAbortHandler) // whoever hung up in the middle hears nothing
	default:
		s.serve(w, c)
	}
}

// serve does what a request asks for.
func (s *Server) serve(w http.ResponseWriter, c *call) {
	step, operation := c.operation()
	denied := s.admit(c)
	if c.soap.XMLName.Space != envelopeSpace || operation == nil {
		denied = answer(refuse("ErrorSchemaValidation", "The request failed schema validation.", 0))
	}
	rule := s.config.Faults.Take(fault.Point{Target: fault.EWS, Step: step, Mailbox: c.mailbox})
	denied = s.apply(rule, step, denied)
	leave, full := s.enter(c, step, denied)
	defer leave()
	if denied == nil && full == nil && step == "events" && (rule == nil || rule.Action == fault.Delay || rule.Action == fault.Forget) {
		s.stream(w, c)
		return
	}
	rule.Serve(w, c.Request, func() fault.Answer {
		switch {
		case denied != nil:
			return *denied
		case full != nil:
			return *full
		}
		return operation(s, c)
	})
}

// apply does what a rule does to the server rather than to the answer.
func (s *Server) apply(rule *fault.Rule, step string, denied *fault.Answer) *fault.Answer {
	switch {
	case rule == nil || denied != nil:
	case rule.Action == fault.RefuseToken:
		return refusedToken("The token has expired.")
	case rule.Action == fault.Forget && step == "events":
		s.subscriptions.forget()
	case rule.Action == fault.Forget:
		s.Forget()
	case rule.Action == fault.Reply && rule.Text != "":
		rule.Action = "" // the answer stands in for the step's
		return answer(refuse(rule.Text, "The sandbox was told to say so.", rule.RetryAfter))
	}
	return denied
}

func answer(a fault.Answer) *fault.Answer { return &a }

// enter counts a request; full is the answer if too many of the mailbox run already.
func (s *Server) enter(c *call, step string, denied *fault.Answer) (leave func(), full *fault.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Requests++
	switch {
	case denied != nil && denied.Status == http.StatusUnauthorized:
		s.stats.Refused++
		return func() {}, nil
	case denied != nil || step == "events":
		return func() {}, nil
	case s.config.Concurrency > 0 && s.open[c.mailbox] >= s.config.Concurrency:
		s.stats.Throttled++
		return func() {}, answer(refuse("ErrorExceededConnectionCount", "You have exceeded the available concurrent connections for your account.", time.Second))
	}
	s.open[c.mailbox]++
	s.stats.Peak[c.mailbox] = max(s.stats.Peak[c.mailbox], s.open[c.mailbox])
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open[c.mailbox]--
	}, nil
}

type operation func(*Server, *call) fault.Answer

// operation is what the body asks for, and its step.
func (c *call) operation() (step string, do operation) {
	b := &c.soap.Body
	switch {
	case b.GetFolder != nil:
		return "folders", (*Server).getFolder
	case b.FindFolder != nil:
		return "folders", (*Server).findFolder
	case b.CreateFolder != nil:
		return "folders", (*Server).createFolder
	case b.SyncFolderItems != nil:
		return "sync", (*Server).syncItems
	case b.FindItem != nil:
		return "find", (*Server).findItem
	case b.GetItem != nil && b.GetItem.Shape.IncludeMIME:
		return "value", (*Server).getItem
	case b.GetItem != nil:
		return "get", (*Server).getItem
	case b.MoveItem != nil:
		return "move", (*Server).moveItem
	case b.DeleteItem != nil:
		return "delete", (*Server).deleteItem
	case b.UpdateItem != nil:
		return "update", (*Server).updateItem
	case b.CreateItem != nil:
		return "create", (*Server).createItem
	case b.SendItem != nil:
		return "send", (*Server).sendItem
	case b.Subscribe != nil:
		return "subscribe", (*Server).subscribe
	case b.Unsubscribe != nil:
		return "subscribe", (*Server).unsubscribe
	case b.GetStreamingEvents != nil:
		return "events", func(*Server, *call) fault.Answer { return fault.Answer{Status: http.StatusOK} }
	}
	return "", nil
}

// admit says what to answer somebody who may not, or nil. It finds out whose mailbox is meant.
func (s *Server) admit(c *call) *fault.Answer {
	impersonated := ""
	if i := c.soap.Header.Impersonation; i != nil {
		impersonated = strings.ToLower(i.SID.SMTPAddress + i.SID.PrimarySMTPAddress + i.SID.PrincipalName)
	}
	c.mailbox = impersonated
	var claims idp.Claims
	token, bearer := strings.CutPrefix(c.Request.Header.Get("Authorization"), "Bearer ")
	if bearer {
		var err error
		claims, err = s.config.Issuer.Verify(token)
		switch {
		case errors.Is(err, idp.ErrExpired):
			return refusedToken("The token has expired.")
		case err != nil || !claims.ForExchange():
			return refusedToken("The token has invalid signature or audience.")
		}
		if c.claims = claims; c.mailbox == "" {
			c.mailbox = strings.ToLower(claims.User)
		}
	} else {
		user, password, ok := c.BasicAuth()
		c.mailbox = strings.ToLower(user)
		if !ok || impersonated != "" || !s.config.Directory.Password(user, password) {
			return refusedToken("Unknown user or wrong password.")
		}
	}
	return s.mayOpen(c, claims, impersonated)
}

func (s *Server) mayOpen(c *call, claims idp.Claims, impersonated string) *fault.Answer {
	u, known := s.config.Directory.User(c.mailbox)
	switch {
	case known && u.EWSDisabled:
		return answer(fault.Answer{Status: http.StatusForbidden})
	case c.Request.Header.Get("X-AnchorMailbox") == "":
		return answer(fault.Answer{Status: http.StatusServiceUnavailable})
	case claims.ID != "" && !claims.Permits("full_access_as_app", "EWS.AccessAsUser.All"):
		return answer(refuse("ErrorAccessDenied", "Access is denied. Check credentials and try again.", 0))
	case claims.ID != "" && claims.User == "" && impersonated == "":
		return answer(refuse("ErrorInvalidLogonType", "The token has no user: impersonate one.", 0))
	case claims.User != "" && impersonated != "":
		return answer(refuse("ErrorImpersonateUserDenied", "The account does not have permission to impersonate the requested user.", 0))
	case !known || !s.config.Store.Exists(c.mailbox):
		return answer(refuse("ErrorNonExistentMailbox", "The SMTP address has no mailbox associated with it.", 0))
	case claims.ID != "" && !s.config.Directory.MayOpen(claims, c.mailbox):
		return answer(refuse("ErrorImpersonateUserDenied", "The account does not have permission to impersonate the requested user.", 0))
	}
	return nil
}

func refusedToken(why string) *fault.Answer {
	h := http.Header{"Www-Authenticate": {`Bearer client_id="00000002-0000-0ff1-ce00-000000000000", error="invalid_token"`}}
	h.Set("X-Ms-Diagnostics", `2000010;reason="`+why+`";error_category="invalid_token"`)
	return &fault.Answer{Status: http.StatusUnauthorized, Header: h}
}
