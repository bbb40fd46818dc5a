package sandbox_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"
)

// call makes a request to the admin API and returns status and body.
func call(t *testing.T, sb *sandbox.Sandbox, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, sb.AdminURL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := httpClient(t, sb).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func decode[T any](t *testing.T, s string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return v
}

func TestAdminAnswers(t *testing.T) {
	sb := start(t, contoso())
	tests := []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{"GET", "/healthz", "", 200, "ok"},
		{"GET", "/ca.pem", "", 200, "BEGIN CERTIFICATE"},
		{"GET", "/endpoints", "", 200, sb.IMAPAddr()},
		{"GET", "/mailboxes", "", 200, support},
		{"GET", "/stats", "", 200, `"token_requests"`},
		{"GET", "/outbound", "", 200, "[]"},
		{"GET", "/outbound?n=0", "", 404, "there are 0"},
		{"GET", "/faults", "", 200, "[]"},
		{"POST", "/faults", `{"target":"imap","step":"fetch","action":"cut","bytes":10,"count":1}`, 201, `"id"`},
		{"POST", "/faults", `{"id":"slow","target":"identity","action":"delay","delay":"20ms"}`, 201, `"slow"`},
		{"POST", "/faults", `{"target":"imap","step":"token","action":"cut"}`, 400, "imap has connect"},
		{"POST", "/faults", `{"target":"imap","action":"explode"}`, 400, "imap can"},
		{"POST", "/faults", `{"target":"imap","action":"cut","colour":"red"}`, 400, "colour"},
		{"POST", "/faults", `{"target":"smtp","action":"reply","text":"hello"}`, 400, "400 to 599"},
		{"POST", "/faults", `{"target":"identity","action":"delay","delay":"soon"}`, 400, "delay"},
		{"DELETE", "/faults/slow", "", 204, ""},
		{"DELETE", "/faults/slow", "", 404, "no fault"},
		{"DELETE", "/faults", "", 204, ""},
		{"GET", "/mailboxes/nobody@contoso.example/messages", "", 404, "no such mailbox"},
		{"GET", "/mailboxes/" + support + "/messages?folder=Nowhere", "", 404, "no such folder"},
		{"GET", "/mailboxes/" + support + "/messages/none", "", 404, "no message"},
		{"POST", "/mailboxes/nobody@contoso.example/messages", "x", 404, "no such mailbox"},
		{"POST", "/mailboxes/" + support + "/renumber", "", 204, ""},
		{"POST", "/mailboxes/nobody@contoso.example/renumber", "", 404, "no such mailbox"},
		{"POST", "/tokens/revoke", `{}`, 400, "give a token"},
		{"POST", "/tokens/revoke", `{"nonsense":1}`, 400, "nonsense"},
		{"POST", "/tokens/revoke", `{"tenant":"google","user":"` + gmailUser + `"}`, 204, ""},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			status, body := call(t, sb, test.method, test.path, test.body)
			if status != test.status || !strings.Contains(body, test.contains) {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
}

func TestAdminIsForThisMachineOnly(t *testing.T) {
	sb := start(t, contoso())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, sb.AdminURL()+"/stats", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.example"
	resp, err := httpClient(t, sb).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if a := readAnswer(t, resp); a.status != http.StatusForbidden {
		t.Errorf("got %d", a.status)
	}
}

func TestInjectedMailIsFetchedByIMAPAndByAdmin(t *testing.T) {
	sb := start(t, contoso())
	if status, body := call(t, sb, "POST", "/mailboxes/"+support+"/messages?folder=Junk+Email&flags=%5CSeen,%5CFlagged", awkward); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	if got := fetchAll(t, openIMAP(t, sb, support, appToken(t, sb, service), nil), "Junk Email"); len(got) != 1 || string(got[0]) != awkward {
		t.Errorf("%d messages by IMAP", len(got))
	}
	_, body := call(t, sb, "GET", "/mailboxes/"+support+"/messages", "")
	list := decode[[]struct {
		ID, Folder string
		Flags      []string
		Size       int
	}](t, body)
	if len(list) != 1 || list[0].Folder != "Junk Email" || list[0].Size != len(awkward) || len(list[0].Flags) != 2 {
		t.Fatalf("list %+v", list)
	}
	if _, raw := call(t, sb, "GET", "/mailboxes/"+support+"/messages/"+list[0].ID, ""); raw != awkward {
		t.Errorf("raw message differs")
	}
	stats := sb.Stats()
	if stats.IMAP.Fetched[support] != 1 || stats.IMAP.Logins != 1 || stats.TokenRequests.Grant["client_credentials"] != 1 {
		t.Errorf("stats %+v", stats)
	}
}

func TestRevokedAccessTokenNoLongerLogsIn(t *testing.T) {
	sb := start(t, contoso())
	token := appToken(t, sb, service)
	openIMAP(t, sb, support, token, nil)
	if status, body := call(t, sb, "POST", "/tokens/revoke", fmt.Sprintf(`{"token":%q}`, token)); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	if err := dialIMAP(t, sb, sb.IMAPAddr(), nil).Authenticate(&bearer{user: support, token: token}); err == nil {
		t.Error("it does")
	}
}

func TestFaultsOverHTTPHappen(t *testing.T) {
	sb := start(t, contoso())
	call(t, sb, "POST", "/faults", `{"target":"identity","step":"token","action":"reply","aadsts":90055,"retry_after":"2s","after":1,"count":1}`)
	client := httpClient(t, sb)
	for i, want := range []int{200, 429, 200} {
		a, err := ask(t, sb, client)
		if err != nil || a.status != want || (want == 429) != (a.header.Get("Retry-After") == "2") {
			t.Errorf("request %d: %d %v, %v", i, a.status, a.header, err)
		}
	}
	_, body := call(t, sb, "GET", "/faults", "")
	rules := decode[[]fault.Rule](t, strings.ReplaceAll(body, "\n", ""))
	if len(rules) != 1 || rules[0].Fired != 1 || rules[0].RetryAfter != 2e9 {
		t.Errorf("rules %s", body)
	}
}
