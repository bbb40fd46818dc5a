package sandbox_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"mailporter/sandbox"
	"mailporter/sandbox/idp"
)

// ews speaks to Exchange Web Services.
type ews struct {
	sandbox     *sandbox.Sandbox
	client      *http.Client
	token       string
	impersonate string
	anchor      string
}

func newEWS(t *testing.T, sb *sandbox.Sandbox, c idp.Claims) *ews {
	t.Helper()
	c.Tenant = tenantID
	if c.Audience == "" {
		c.Audience = idp.Outlook365
	}
	token, _, err := sb.Issuer().Access(c)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig(sb)}}
	t.Cleanup(client.CloseIdleConnections)
	e := &ews{sandbox: sb, client: client, token: token, anchor: support}
	if c.User == "" {
		e.impersonate = support
	}
	return e
}

func (e *ews) do(t *testing.T, body string) (status int, text string) {
	t.Helper()
	status, text, err := e.post(t, body)
	if err != nil {
		t.Fatal(err)
	}
	return status, text
}

// try is for requests whose answer is not to come.
func (e *ews) try(t *testing.T, body string) error {
	t.Helper()
	_, _, err := e.post(t, body)
	return err
}

func (e *ews) post(t *testing.T, body string) (status int, text string, err error) {
	t.Helper()
	header := ""
	if e.impersonate != "" {
		header = "<t:ExchangeImpersonation><t:ConnectingSID><t:SmtpAddress>" + e.impersonate + "</t:SmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>"
	}
	envelope := `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">` +
		`<s:Header><t:RequestServerVersion Version="Exchange2013_SP1"/>` + header + "</s:Header><s:Body>" + body + "</s:Body></s:Envelope>"
	req, err := http.NewRequestWithContext(t.Context(), "POST", e.sandbox.EWSURL(), strings.NewReader(envelope))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+e.token)
	if e.anchor != "" {
		req.Header.Set("X-AnchorMailbox", e.anchor)
	}
	res, err := e.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

const syncInbox = `<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:SyncFolderId><t:DistinguishedFolderId Id="inbox"/></m:SyncFolderId>%s<m:MaxChangesReturned>%d</m:MaxChangesReturned></m:SyncFolderItems>`

func TestEWSAccess(t *testing.T) {
	sb := start(t, contoso())
	service := idp.Claims{Client: service, Roles: []string{"full_access_as_app"}}
	user := idp.Claims{Client: public, User: support, Scopes: []string{"EWS.AccessAsUser.All"}}
	for name, tc := range map[string]struct {
		claims idp.Claims
		change func(*ews)
		status int
		code   string
	}{
		"an application":        {service, func(*ews) {}, 200, "NoError"},
		"without impersonation": {service, func(e *ews) { e.impersonate = "" }, 500, "ErrorInvalidLogonType"},
		"without anchor":        {service, func(e *ews) { e.anchor = "" }, 503, ""},
		"nobody":                {service, func(e *ews) { e.impersonate = "nobody@contoso.example" }, 500, "ErrorNonExistentMailbox"},
		"without the role":      {idp.Claims{Client: service.Client, Roles: []string{"Mail.ReadWrite"}}, func(*ews) {}, 500, "ErrorAccessDenied"},
		"without the mailbox":   {idp.Claims{Client: "one-mailbox", Roles: service.Roles}, func(e *ews) { e.impersonate = sales }, 500, "ErrorImpersonateUserDenied"},
		"Graph's audience":      {idp.Claims{Client: service.Client, Audience: idp.Graph, Roles: service.Roles}, func(*ews) {}, 401, ""},
		"a user":                {user, func(*ews) {}, 200, "NoError"},
		"a user impersonates":   {user, func(e *ews) { e.impersonate = support }, 500, "ErrorImpersonateUserDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEWS(t, sb, tc.claims)
			tc.change(e)
			status, text := e.do(t, fmt.Sprintf(syncInbox, "", 10))
			if status != tc.status || tc.code != "" && !strings.Contains(text, ">"+tc.code+"<") {
				t.Errorf("%d %s, want %d %s", status, text, tc.status, tc.code)
			}
		})
	}
	e := newEWS(t, sb, service)
	if status, text := e.do(t, "<m:NoSuchThing/>"); status != 500 || !strings.Contains(text, "ErrorSchemaValidation") {
		t.Errorf("an operation that it knows not: %d %s", status, text)
	}
}

// TestEWSSwitchedOff is the retirement: a bare 403.
func TestEWSSwitchedOff(t *testing.T) {
	c := contoso()
	c.Tenants[0].Users[0].EWSDisabled = true
	e := newEWS(t, start(t, c), idp.Claims{Client: service, Roles: []string{"full_access_as_app"}})
	if status, text := e.do(t, fmt.Sprintf(syncInbox, "", 10)); status != 403 || text != "" {
		t.Errorf("%d %q", status, text)
	}
}

var syncState = regexp.MustCompile(`<m:SyncState>([^<]*)</m:SyncState>`)

// TestEWSSync: rounds in pages, the newest first, until the server forgets them; changes come as changes.
func TestEWSSync(t *testing.T) {
	sb := start(t, contoso())
	fill(t, sb, 5)
	e := newEWS(t, sb, idp.Claims{Client: service, Roles: []string{"full_access_as_app"}})
	state, created := "", 0
	for _, want := range []string{"false", "false", "true"} {
		_, text := e.do(t, fmt.Sprintf(syncInbox, state, 2))
		created += strings.Count(text, "<t:Create>")
		if !strings.Contains(text, "<m:IncludesLastItemInRange>"+want) {
			t.Fatalf("want %s: %s", want, text)
		}
		state = syncState.FindString(text)
	}
	if created != 5 || len(state) < 1000 {
		t.Errorf("%d items, a state of %d bytes", created, len(state))
	}
	id := regexp.MustCompile(`ItemId Id="([^"]*)" ChangeKey="([^"]*)"`)
	_, text := e.do(t, fmt.Sprintf(syncInbox, "", 512))
	items := id.FindAllStringSubmatch(text, -1)
	_, text = e.do(t, `<m:DeleteItem DeleteType="HardDelete"><m:ItemIds><t:ItemId Id="`+items[0][1]+`"/></m:ItemIds></m:DeleteItem>`)
	if !strings.Contains(text, "ErrorSendMeetingCancellationsRequired") {
		t.Errorf("a delete that could be a meeting's: %s", text)
	}
	e.do(t, `<m:DeleteItem DeleteType="HardDelete" SendMeetingCancellations="SendToNone" AffectedTaskOccurrences="AllOccurrences"><m:ItemIds><t:ItemId Id="`+items[0][1]+`"/></m:ItemIds></m:DeleteItem>`)
	_, text = e.do(t, fmt.Sprintf(syncInbox, state, 10))
	if !strings.Contains(text, `<t:Delete><t:ItemId Id="`+items[0][1]) {
		t.Errorf("a removal: %s", text)
	}
	sb.ForgetSync()
	if _, text = e.do(t, fmt.Sprintf(syncInbox, state, 10)); !strings.Contains(text, "ErrorInvalidSyncStateData") {
		t.Errorf("a state that was forgotten: %s", text)
	}
}

// TestEWSMove: an id is void once the message moved.
func TestEWSMove(t *testing.T) {
	sb := start(t, contoso())
	fill(t, sb, 1)
	e := newEWS(t, sb, idp.Claims{Client: service, Roles: []string{"full_access_as_app"}})
	_, text := e.do(t, fmt.Sprintf(syncInbox, "", 10))
	id := regexp.MustCompile(`ItemId Id="([^"]*)"`).FindStringSubmatch(text)[1]
	move := `<m:MoveItem><m:ToFolderId><t:DistinguishedFolderId Id="archive"/></m:ToFolderId><m:ItemIds><t:ItemId Id="` + id + `"/></m:ItemIds></m:MoveItem>`
	if _, text = e.do(t, move); !strings.Contains(text, "NoError") || strings.Contains(text, id) {
		t.Errorf("move: %s", text)
	}
	if _, text = e.do(t, move); !strings.Contains(text, "ErrorItemNotFound") {
		t.Errorf("again: %s", text)
	}
}
