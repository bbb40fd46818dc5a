package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Targets: the servers that can fail.
const (
	Identity = "identity"
	IMAP     = "imap"
	POP3     = "pop3"
	SMTP     = "smtp"
	Graph    = "graph"
	EWS      = "ews"
)

// steps are the moments at which each target asks the plan.
var steps = map[string][]string{
	Identity: {"token", "google-token", "metadata", "realm", "keys", "mex", "trust"},
	IMAP: {
		"connect", "authenticate", "login", "select", "list", "status", "create", "append", "fetch", "search",
		"store", "copy", "move", "expunge", "idle",
	},
	POP3:  {"connect", "capa", "auth", "stat", "list", "uidl", "retr", "top", "dele", "noop", "rset", "quit"},
	SMTP:  {"greeting", "connect", "starttls", "auth", "mail", "rcpt", "body", "data", "accepted", "reset"},
	Graph: {"folders", "list", "delta", "get", "value", "update", "move", "delete", "draft", "attach", "upload", "send"},
	EWS: {
		"folders", "sync", "find", "get", "value", "update", "move", "delete", "create", "send", "subscribe", "events",
	},
}

// An Action is what a rule does to a step.
type Action string

// What can go wrong, and which fields of the Rule say how.
const (
	// Reply answers with an error instead of doing the step. identity: Status and Body, or AADSTS alone for the real
	// error of that number; RetryAfter and Header as given. graph: likewise, without AADSTS. ews: the same, or a
	// response code in Text ("ErrorServerBusy"), RetryAfter as its BackOffMilliseconds. imap: Text after the tag ("NO [LIMIT] slow down"; without NO
	// or BAD, NO is put before it). smtp: Text ("451 4.3.0 try later"). pop3: Text ("-ERR [SYS/TEMP] later").
	Reply Action = "reply"
	// Delay waits for Delay and then does the step.
	Delay Action = "delay"
	// Stall never answers; the connection stays open until the client closes it.
	Stall Action = "stall"
	// HoldAnswer does the step and never answers; the connection stays open until the client closes it (graph, ews; at
	// smtp's accepted Stall is the same).
	HoldAnswer Action = "hold-answer"
	// Reset resets the connection instead of doing the step.
	Reset Action = "reset"
	// LoseAnswer does the step and resets the connection instead of answering: sent, but nobody was told. With Status
	// (graph, ews) it answers that instead: 504 is a gateway that lost patience.
	LoseAnswer Action = "lose-answer"
	// Cut ends the answer after Bytes bytes: of the HTTP body (identity, graph, ews), of the first literal of an IMAP FETCH,
	// or of a message that POP3 hands out.
	Cut Action = "cut"
	// Trickle sends the answer a byte at a time, header and all, with Delay (default 10 ms) between them, after the first
	// Bytes bytes at once. With Status or AADSTS the answer is that of Reply.
	Trickle Action = "trickle"
	// Bye ends an IMAP session with "* BYE " and Text.
	Bye Action = "bye"
	// RefuseToken treats a good access token or password as a bad one (imap authenticate and login, pop3 and smtp auth, graph, ews).
	RefuseToken Action = "refuse-token"
	// SkewDate does the step and answers with a Date header that is off by Skew (identity).
	SkewDate Action = "skew-date"
	// Forget voids all delta links and upload sessions (graph), all sync states (ews sync) or subscriptions (ews events).
	Forget Action = "forget"
	// Renumber gives the mailbox's INBOX a new UIDVALIDITY just before the step (imap select).
	Renumber Action = "renumber"
)

var actions = map[string][]Action{
	Identity: {Reply, Delay, Stall, Reset, LoseAnswer, Cut, SkewDate, Trickle},
	IMAP:     {Reply, Delay, Stall, Reset, LoseAnswer, Cut, Bye, RefuseToken, Renumber},
	POP3:     {Reply, Delay, Stall, Reset, LoseAnswer, Cut, RefuseToken},
	SMTP:     {Reply, Delay, Stall, Reset, LoseAnswer, RefuseToken},
	Graph:    {Reply, Delay, Stall, HoldAnswer, Reset, LoseAnswer, Cut, RefuseToken, Forget},
	EWS:      {Reply, Delay, Stall, HoldAnswer, Reset, LoseAnswer, Cut, RefuseToken, Forget},
}

// A Rule says where, to whom, how often and how a server fails. Empty match fields match everything.
type Rule struct {
	// ID is given by Plan.Add when it is empty.
	ID string `json:"id,omitempty"`
	// Target is identity, imap, pop3, smtp, graph or ews.
	Target string `json:"target"`
	// Step is when: identity token, google-token, metadata, realm, keys, mex, trust; imap connect, authenticate, login, select, list,
	// status, create, append, fetch, search, store, copy, move, expunge, idle; pop3 connect, capa, auth, stat, list, uidl, retr, top, dele, noop,
	// rset, quit; smtp greeting (nothing is said yet), connect (EHLO), starttls (the handshake), auth, mail, rcpt, body (inside the
	// message, Bytes of which have come in), data (the message has come in, nothing is stored), accepted (it is stored, the 250 is
	// not sent yet), reset (RSET); graph folders, list, delta,
	// get, value, update, move, delete, draft, attach, upload, send; ews folders, sync, find, get, value, update, move,
	// delete, create, send, subscribe, events.
	Step string `json:"step,omitempty"`
	// Mailbox is the address that logged in, or the user of a token request.
	Mailbox string `json:"mailbox,omitempty"`
	// Client is the application's client id.
	Client string `json:"client,omitempty"`
	// After lets so many matching steps pass first.
	After int `json:"after,omitempty"`
	// Count is how often the rule happens; 0 is until it is removed.
	Count int `json:"count,omitempty"`

	Action     Action            `json:"action"`
	Status     int               `json:"status,omitempty"`
	Body       string            `json:"body,omitempty"`
	Header     map[string]string `json:"header,omitempty"`
	AADSTS     int               `json:"aadsts,omitempty"`
	Text       string            `json:"text,omitempty"`
	Bytes      int               `json:"bytes,omitempty"`
	RetryAfter time.Duration     `json:"-"`
	Delay      time.Duration     `json:"-"`
	Skew       time.Duration     `json:"-"` // negative: the server's clock is behind

	// Fired counts how often it happened; set by the plan.
	Fired int `json:"fired"`
}

// plain has the fields of Rule without its methods.
type plain Rule

// wire adds the durations as people write them: "1m30s".
type wire struct {
	plain
	RetryAfter string `json:"retry_after,omitempty"`
	Delay      string `json:"delay,omitempty"`
	Skew       string `json:"skew,omitempty"`
}

// MarshalJSON writes durations as text.
func (r Rule) MarshalJSON() ([]byte, error) {
	w := wire{plain: plain(r)}
	if r.RetryAfter != 0 {
		w.RetryAfter = r.RetryAfter.String()
	}
	if r.Delay != 0 {
		w.Delay = r.Delay.String()
	}
	if r.Skew != 0 {
		w.Skew = r.Skew.String()
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON writes; an unknown field is an error.
func (r *Rule) UnmarshalJSON(b []byte) error {
	var w wire
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return err
	}
	*r = Rule(w.plain)
	var errs [3]error
	r.RetryAfter, errs[0] = duration("retry_after", w.RetryAfter)
	r.Delay, errs[1] = duration("delay", w.Delay)
	r.Skew, errs[2] = duration("skew", w.Skew)
	return errors.Join(errs[:]...)
}

func duration(field, s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", field, err)
	}
	return d, nil
}

// Validate returns every complaint about the rule.
func (r *Rule) Validate() error {
	known, ok := steps[r.Target]
	if !ok {
		return fmt.Errorf("target %q: use identity, imap, pop3, smtp, graph or ews", r.Target)
	}
	var errs []error
	if r.Step != "" && !slices.Contains(known, r.Step) {
		errs = append(errs, fmt.Errorf("step %q: %s has %s", r.Step, r.Target, strings.Join(known, ", ")))
	}
	if !slices.Contains(actions[r.Target], r.Action) {
		errs = append(errs, fmt.Errorf("action %q: %s can %v", r.Action, r.Target, actions[r.Target]))
	}
	if r.Count < 0 || r.After < 0 || r.Bytes < 0 || r.Delay < 0 || r.RetryAfter < 0 {
		errs = append(errs, errors.New("count, after, bytes, delay and retry_after cannot be negative"))
	}
	if r.Target == SMTP && slices.Contains(wordless, r.Step) && !slices.Contains(mute, r.Action) {
		errs = append(errs, fmt.Errorf("action %q: at step %s smtp can %v", r.Action, r.Step, mute))
	}
	return errors.Join(append(errs, r.validateReply())...)
}

// wordless are the steps of smtp at which the server under the sandbox says what it says; mute is what can happen to them.
var (
	wordless = []string{"greeting", "starttls", "body", "reset"}
	mute     = []Action{Delay, Stall, Reset}
)

func (r *Rule) validateReply() error {
	if r.Action == LoseAnswer && r.Status != 0 && (r.Target != Graph && r.Target != EWS || r.Status < 400 || r.Status > 599) {
		return fmt.Errorf("status %d: the answer in place of one that is lost is of 400 to 599, and of graph or ews", r.Status)
	}
	if r.Action != Reply {
		return nil
	}
	switch {
	case r.Target == Identity && r.AADSTS == 0 && (r.Status < 200 || r.Status > 599):
		return fmt.Errorf("status %d: a reply of identity needs a status of 200 to 599, or aadsts", r.Status)
	case r.Target == EWS && r.Text != "":
	case (r.Target == Graph || r.Target == EWS) && (r.Status < 200 || r.Status > 599):
		return fmt.Errorf("status %d: a reply of %s needs a status of 200 to 599", r.Status, r.Target)
	case (r.Target == IMAP || r.Target == POP3) && r.Text == "":
		return fmt.Errorf("text: a reply of %s needs one", r.Target)
	case r.Target == SMTP:
		_, _, _, err := ParseReply(r.Text)
		return err
	}
	return nil
}
