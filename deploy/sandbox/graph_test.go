package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
)

// graph speaks to Graph with one token.
type graph struct {
	sandbox *sandbox.Sandbox
	client  *http.Client
	token   string
	prefer  string
}

func newGraph(t *testing.T, sb *sandbox.Sandbox, c idp.Claims) *graph {
	t.Helper()
	c.Tenant = tenantID
	if c.Audience == "" {
		c.Audience = idp.Graph
	}
	token, _, err := sb.Issuer().Access(c)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig(sb)}}
	t.Cleanup(client.CloseIdleConnections)
	return &graph{sandbox: sb, client: client, token: token}
}

// graphAnswer is one of Graph's.
type graphAnswer struct {
	status int
	header http.Header
	raw    []byte
	Value  []map[string]any
	ID     string
	IsRead bool
	Next   string `json:"@odata.nextLink"`
	Delta  string `json:"@odata.deltaLink"`
	Error  struct{ Code, Message string }
}

func (g *graph) do(t *testing.T, method, path, body string) graphAnswer {
	t.Helper()
	if !strings.HasPrefix(path, "https://") {
		path = g.sandbox.GraphURL() + "/v1.0/" + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if g.token != "" {
		req.Header.Set("Authorization", "Bearer "+g.token)
	}
	req.Header.Set("Prefer", g.prefer)
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := graphAnswer{status: res.StatusCode, header: res.Header, raw: b}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(b, &a); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	}
	return a
}

func (a graphAnswer) want(t *testing.T, what string, status int, code string) {
	t.Helper()
	if a.status != status || a.Error.Code != code {
		t.Errorf("%s: %d %s %s, want %d %s", what, a.status, a.Error.Code, a.Error.Message, status, code)
	}
}

const inboxPath = "users/" + support + "/mailFolders/inbox/messages"

func app(roles ...string) idp.Claims { return idp.Claims{Client: service, Roles: roles} }

func fill(t *testing.T, sb *sandbox.Sandbox, n int) {
	t.Helper()
	for i := range n {
		raw := fmt.Appendf(nil, "Message-ID: <%d@x>\r\nSubject: %d\r\n\r\n%d\r\n", i, i, i)
		at := time.Date(2026, 3, 1, 12, 0, i, 0, time.UTC)
		if _, err := sb.Store().Deliver(raw, []mailstore.Target{{Mailbox: support, Folder: mailstore.Inbox, Received: at}}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGraphAccess(t *testing.T) {
	sb := start(t, contoso())
	for name, tc := range map[string]struct {
		claims idp.Claims
		path   string
		status int
		code   string
	}{
		"an application":         {app("Mail.ReadWrite"), inboxPath, 200, ""},
		"to read":                {app("Mail.Read"), inboxPath, 200, ""},
		"without the role":       {app("Mail.Send"), inboxPath, 403, "ErrorAccessDenied"},
		"without the mailbox":    {idp.Claims{Client: "one-mailbox", Roles: []string{"Mail.ReadWrite"}}, "users/" + sales + "/mailFolders/inbox/messages", 403, "ErrorAccessDenied"},
		"Exchange's audience":    {idp.Claims{Client: service, Audience: idp.Outlook365, Roles: []string{"Mail.ReadWrite"}}, inboxPath, 401, "InvalidAuthenticationToken"},
		"a user":                 {idp.Claims{Client: public, User: support, Scopes: []string{"Mail.ReadWrite"}}, "me/mailFolders/inbox/messages", 200, ""},
		"a user at another's":    {idp.Claims{Client: public, User: sales, Scopes: []string{"Mail.ReadWrite"}}, inboxPath, 403, "ErrorAccessDenied"},
		"a shared mailbox":       {idp.Claims{Client: public, User: support, Scopes: []string{"Mail.ReadWrite.Shared"}}, "users/" + shared + "/mailFolders/inbox/messages", 200, ""},
		"nobody":                 {app("Mail.ReadWrite"), "users/nobody@contoso.example/mailFolders/inbox/messages", 404, "ErrorInvalidUser"},
		"me without a user":      {app("Mail.ReadWrite"), "me/mailFolders/inbox/messages", 400, "BadRequest"},
		"no folder":              {app("Mail.ReadWrite"), "users/" + support + "/mailFolders/nowhere/messages", 404, "ErrorFolderNotFound"},
		"no message":             {app("Mail.ReadWrite"), "users/" + support + "/messages/nothing", 400, "ErrorInvalidIdMalformed"},
		"no such segment":        {app("Mail.ReadWrite"), "users/" + support + "/calendars", 400, "BadRequest"},
		"a filter it knows not":  {app("Mail.ReadWrite"), inboxPath + "?$filter=" + url.QueryEscape("subject eq 'x'"), 400, "BadRequest"},
		"a filter by id":         {app("Mail.ReadWrite"), inboxPath + "?$filter=" + url.QueryEscape("internetMessageId eq '<it''s@x>'"), 200, ""},
		"a stray apostrophe":     {app("Mail.ReadWrite"), inboxPath + "?$filter=" + url.QueryEscape("internetMessageId eq '<it's@x>'"), 400, "BadRequest"},
		"a page that is too big": {app("Mail.ReadWrite"), inboxPath + "?$top=1001", 400, "BadRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			newGraph(t, sb, tc.claims).do(t, "GET", tc.path, "").want(t, name, tc.status, tc.code)
		})
	}
	anybody := newGraph(t, sb, app("Mail.ReadWrite"))
	anybody.token = ""
	anybody.do(t, "GET", inboxPath, "").want(t, "no token", 401, "InvalidAuthenticationToken")
	reader := newGraph(t, sb, app("Mail.Read"))
	reader.do(t, "DELETE", "users/"+support+"/messages/x", "").want(t, "a reader deletes", 403, "ErrorAccessDenied")
}

// TestGraphRevoked: a token that was revoked is answered with a claims challenge.
func TestGraphRevoked(t *testing.T) {
	sb := start(t, contoso())
	g := newGraph(t, sb, app("Mail.ReadWrite"))
	if err := sb.Issuer().RevokeToken(g.token); err != nil {
		t.Fatal(err)
	}
	a := g.do(t, "GET", inboxPath, "")
	a.want(t, "revoked", 401, "InvalidAuthenticationToken")
	if !strings.Contains(a.header.Get("WWW-Authenticate"), `claims="`) {
		t.Errorf("no claims in %q", a.header.Get("WWW-Authenticate"))
	}
}

// TestGraphIDs: an ordinary id is void once the message moved, an immutable one is not; both must be escaped.
func TestGraphIDs(t *testing.T) {
	sb := start(t, contoso())
	fill(t, sb, 1)
	g := newGraph(t, sb, app("Mail.ReadWrite"))
	ids := map[string]string{}
	for name, prefer := range map[string]string{"ordinary": "", "immutable": `IdType="ImmutableId"`} {
		g.prefer = prefer
		ids[name] = g.do(t, "GET", inboxPath, "").Value[0]["id"].(string)
		if !strings.ContainsAny(ids[name], "+/=") {
			t.Errorf("%s id %q needs no escaping", name, ids[name])
		}
	}
	at := func(name string) string { return "users/" + support + "/messages/" + url.PathEscape(ids[name]) }
	if a := g.do(t, "GET", at("immutable")+"/$value", ""); a.status != 200 || !bytes.HasPrefix(a.raw, []byte("Message-ID: <0@x>\r\n")) {
		t.Errorf("%d %q", a.status, a.raw)
	}
	g.do(t, "POST", at("ordinary")+"/move", `{"destinationId":"archive"}`).want(t, "move", 201, "")
	g.do(t, "GET", at("ordinary"), "").want(t, "ordinary id after the move", 404, "ErrorItemNotFound")
	g.do(t, "PATCH", at("immutable"), `{"isRead":true}`).want(t, "immutable id after the move", 200, "")
	g.do(t, "DELETE", at("immutable"), "").want(t, "delete", 204, "")
	g.do(t, "DELETE", at("immutable"), "").want(t, "delete again", 404, "ErrorItemNotFound")
}

// TestGraphDelta: rounds list what came since, the newest first and some again, until the server forgets them.
func TestGraphDelta(t *testing.T) {
	sb := start(t, contoso())
	fill(t, sb, 5)
	g := newGraph(t, sb, app("Mail.ReadWrite"))
	g.prefer = `IdType="ImmutableId", odata.maxpagesize=2`
	first := g.do(t, "GET", inboxPath+"/delta?$select=id,isRead", "")
	if len(first.Value) != 2 || first.Next == "" || first.Delta != "" || first.Value[0]["receivedDateTime"] != nil {
		t.Fatalf("first page: %s", first.raw)
	}
	seen, a := map[any]int{first.Value[0]["id"]: 1, first.Value[1]["id"]: 1}, first
	for a.Next != "" {
		a = g.do(t, "GET", a.Next, "")
		for _, v := range a.Value {
			seen[v["id"]]++
		}
	}
	if len(seen) != 5 || seen[first.Value[1]["id"]] != 2 {
		t.Errorf("the round listed %v", seen)
	}
	id := first.Value[0]["id"].(string)
	g.do(t, "PATCH", "users/"+support+"/messages/"+url.PathEscape(id), `{"isRead":true}`).want(t, "update", 200, "")
	g.do(t, "DELETE", "users/"+support+"/messages/"+url.PathEscape(first.Value[1]["id"].(string)), "").want(t, "delete", 204, "")
	next := g.do(t, "GET", a.Delta, "")
	var removed, changed int
	for _, v := range next.Value {
		if v["@removed"] != nil {
			removed++
		} else if v["isRead"] == true {
			changed++
		}
	}
	if removed != 1 || changed != 1 {
		t.Errorf("next round: %s", next.raw)
	}
	sb.ForgetDelta()
	g.do(t, "GET", next.Delta, "").want(t, "a link that was forgotten", 410, "SyncStateNotFound")
}

// TestGraphConcurrency: a fifth request at a time is refused.
func TestGraphConcurrency(t *testing.T) {
	sb := start(t, contoso())
	g := newGraph(t, sb, app("Mail.ReadWrite"))
	sb.Faults().Add(fault.Rule{Target: fault.Graph, Step: "list", Action: fault.Delay, Delay: 300 * time.Millisecond})
	var all sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for range 8 {
		all.Go(func() {
			a := g.do(t, "GET", inboxPath, "")
			mu.Lock()
			defer mu.Unlock()
			codes[a.status]++
			if a.status == 429 && a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
	all.Wait()
	if st := sb.Stats().Graph; codes[200]+codes[429] != 8 || codes[429] == 0 || st.Peak[support] != 4 || st.Throttled != codes[429] {
		t.Errorf("answers %v, stats %+v", codes, st)
	}
}
