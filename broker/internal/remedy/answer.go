package remedy

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// About says whose request it was. Its words go into remedies; none of them is secret.
type About struct {
	Provider  string // microsoft or google
	Authority string // https://host
	Directory string
	Client    string
	User      string
	Number    string // of a service account: the numeric client id that an administrator delegates to
	AppOnly   bool   // no user takes part
}

// answer is what an error body says; numbers and words that it does not hold are zero.
type answer struct {
	Error       string        `json:"error"`
	Description string        `json:"error_description"`
	Suberror    string        `json:"suberror"`
	Subtype     string        `json:"error_subtype"` // Google
	Codes       []json.Number `json:"error_codes"`
	Correlation string        `json:"correlation_id"`
}

// FromAnswer classifies an HTTP answer that brought no token. Load is decided on the status alone; the rest on error and
// suberror, refined by the AADSTS numbers: Microsoft says that those may change, so an unknown one decides nothing.
func (t *Table) FromAnswer(a About, status int, header http.Header, body []byte) *Fault {
	said := parseAnswer(body)
	f := &Fault{Status: status, OAuth: word(said.Error), Suberror: word(said.suberror()), Codes: said.codes(), Trace: trace(said, header)}
	after, given := retryAfter(header, time.Now())
	f.After = after
	switch {
	case status == http.StatusTooManyRequests:
		t.fill(f, a, said, func(c Class) bool { return c == Throttled }, throttled)
	case status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooEarly:
		t.fill(f, a, said, func(c Class) bool { return c == Throttled || c == Transient }, unavailable)
	case status >= 300 && status < 400:
		f.set(redirected)
	case said.Error == "":
		f.set(unreadable) // no token endpoint's answer: some gateway's, and those come and go
	default:
		t.fill(f, a, said, func(Class) bool { return true }, unknown)
		if f.Reason == UnknownRefusal {
			f.Tries = patience
			f.Remedy = strings.ReplaceAll(f.Remedy, "{code}", f.code())
		}
	}
	if given && f.After < after {
		f.After = after
	}
	f.OfAudience = f.Class.Freezes() && ofAudience[f.Reason]
	return f
}

// What is said where the table has nothing.
var (
	throttled = row{class: Throttled, reason: Throttling,
		remedy: "Nobody must act now: the provider asks for a pause, and the broker waits."}
	unavailable = row{class: Transient, reason: Unavailable,
		remedy: "Nobody must act: the provider has a disturbance, and the broker tries again."}
	redirected = row{class: Transient, reason: Redirected,
		remedy: "Whoever configures the broker must check tenant-authority and the proxy: the token endpoint answered with a redirect, which is never followed."}
	unreadable = row{class: Transient, reason: Unreadable,
		remedy: "Whoever runs the broker must check tenant-authority and the proxy if this lasts: the answer did not come from a token endpoint."}
	unknown = row{class: Transient, reason: UnknownRefusal,
		remedy: "Whoever configures the broker must check client id, directory, grant-type and scope: the provider refused the request with {code}, which the table of remedies does not know."}
)

// patience is how often a refusal that nobody knows is tried before it is final.
const patience = 3

// code is what the provider calls its refusal, out of a safe alphabet.
func (f *Fault) code() string {
	switch {
	case len(f.Codes) > 0:
		return "AADSTS" + strconv.Itoa(f.Codes[0])
	case f.OAuth != "":
		return f.OAuth
	}
	return "status " + strconv.Itoa(f.Status)
}

// fill takes the table's row if its class is allowed, else what stands for it.
func (t *Table) fill(f *Fault, a About, said answer, allowed func(Class) bool, otherwise row) {
	r, ok := t.find(a.Provider, said.has(f, a))
	if !ok || !allowed(r.class) {
		r = otherwise
	}
	f.set(r)
	f.Remedy, f.Link = a.complete(r.remedy), a.complete(r.link)
}

func (f *Fault) set(r row) {
	f.Class, f.Reason, f.Remedy, f.Link = r.class, r.reason, r.remedy, r.link
	f.After = max(f.After, r.wait)
}

// has tells whether a word of the table is in the answer.
func (s answer) has(f *Fault, a About) func(string) bool {
	text := strings.ReplaceAll(strings.ToLower(s.Description), " ", "_")
	return func(w string) bool {
		if n, ok := strings.CutPrefix(w, "AADSTS"); ok {
			return contains(f.Codes, n)
		}
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "error":
			return f.OAuth == value
		case "suberror":
			return f.Suberror == value
		case "text":
			return strings.Contains(text, value)
		}
		return w == "app-only" && a.AppOnly
	}
}

func contains(codes []int, n string) bool {
	for _, c := range codes {
		if strconv.Itoa(c) == n {
			return true
		}
	}
	return false
}

// complete puts the request's words into a text of the table.
func (a About) complete(s string) string {
	if !strings.Contains(s, "{") {
		return s
	}
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	return strings.NewReplacer("{client}", a.Client, "{directory}", or(a.Directory, "organizations"), "{authority}", a.Authority,
		"{user}", or(a.User, "of the mailbox"), "{number}", or(a.Number, "(client_id in its key file)")).Replace(s)
}

func parseAnswer(body []byte) answer {
	var s answer
	if err := json.Unmarshal(body, &s); err == nil {
		return s
	}
	// One field of an odd type must not hide the others.
	var loose map[string]any
	if json.Unmarshal(body, &loose) != nil {
		return answer{}
	}
	text := func(key string) string { v, _ := loose[key].(string); return v }
	return answer{Error: text("error"), Description: text("error_description"), Suberror: text("suberror"),
		Subtype: text("error_subtype"), Correlation: text("correlation_id")}
}

func (s answer) suberror() string {
	if s.Suberror != "" {
		return s.Suberror
	}
	return s.Subtype
}

// codes are those of error_codes, or else the number that the description begins with.
func (s answer) codes() []int {
	var out []int
	for _, c := range s.Codes {
		if n, err := strconv.Atoi(c.String()); err == nil && n > 0 && len(out) < 8 {
			out = append(out, n)
		}
	}
	if rest, ok := strings.CutPrefix(s.Description, "AADSTS"); ok && len(out) == 0 {
		digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		if n, err := strconv.Atoi(digits); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	return out
}

// word is a protocol word, or empty: a server that sends anything else gets none of it into our logs.
func word(s string) string {
	if len(s) > 64 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-.") != "" {
		return ""
	}
	return s
}

// Trace is the provider's id of an exchange, out of its header, or empty.
func Trace(header http.Header) string { return trace(answer{}, header) }

func trace(s answer, header http.Header) string {
	for _, id := range []string{s.Correlation, header.Get("client-request-id"), header.Get("x-ms-request-id")} {
		if id = strings.ToLower(id); id != "" && len(id) <= 36 && strings.Trim(id, "0123456789abcdef-") == "" {
			return id
		}
	}
	return ""
}

// longestWait bounds what a Retry-After may ask for: a broken gateway must not silence a credential for a year.
const longestWait = 24 * time.Hour

// retryAfter reads RFC 9110 section 10.2.3: seconds or a date.
func retryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	v := strings.TrimSpace(header.Get("Retry-After"))
	if v == "" {
		return 0, false
	}
	if n, err := strconv.Atoi(v); err == nil {
		if n < 0 {
			return 0, false
		}
		return time.Duration(min(n, int(longestWait/time.Second))) * time.Second, true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), longestWait), true
}
