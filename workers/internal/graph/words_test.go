package graph

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

func testClient() *client {
	return &client{config: Config{Settings: tokenclient.Settings{Endpoint: tokenclient.Endpoint{Server: "graph.microsoft.com", Port: 443}}}}
}

func TestExpected(t *testing.T) {
	c := testClient()
	for link, want := range map[string]bool{
		"https://graph.microsoft.com/v1.0/users/x/mailFolders/inbox/messages/delta?$deltatoken=a": true,
		"https://GRAPH.microsoft.com/v1.0/x":                                                      true,
		"http://graph.microsoft.com/v1.0/x":                                                       false,
		"https://graph.microsoft.com.evil.example/x":                                              false,
		"https://graph.microsoft.com:444/x":                                                       false,
		"https://user@graph.microsoft.com/x":                                                      false,
		"//graph.microsoft.com/x":                                                                 false,
		"https://evil.example/graph.microsoft.com":                                                false,
		"%zz": false,
		"":    false,
	} {
		if err := c.expected(link); (err == nil) != want {
			t.Errorf("%q: %v", link, err)
		}
	}
}

func TestClaims(t *testing.T) {
	good := base64.StdEncoding.EncodeToString([]byte(`{"access_token":{}}`))
	for header, want := range map[string]string{
		`Bearer realm="", error="insufficient_claims", claims="` + good + `"`: `{"access_token":{}}`,
		`Bearer realm=""`:              "",
		`Bearer claims="%%%"`:          "",
		`Bearer claims="bm8gSlNPTg=="`: "",
		"":                             "",
	} {
		if got := claims(http.Header{"Www-Authenticate": {header}}); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func FuzzCursor(f *testing.F) {
	for _, s := range []string{
		`{"v":1,"link":"https://graph.microsoft.com/v1.0/x"}`, `{"v":1,"since":"2026-03-01T12:00:00Z","seen":["a"],"start":true}`, `{"v":1,"start":true}`, "", "null", `{"v":2}`,
		`{"v":1,"link":"https://graph.microsoft.com/x","rest":[{"id":"a","receivedDateTime":"2026-03-01T12:00:00Z"}],"more":true}`,
	} {
		f.Add([]byte(s))
	}
	c := testClient()
	f.Fuzz(func(t *testing.T, b []byte) {
		at, err := c.readCursor(b)
		if err != nil {
			if fault.Of(err) != fault.CursorLost {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		if at.Link != "" && c.expected(at.Link) != nil {
			t.Fatalf("%q leads elsewhere", b)
		}
		again, err := at.bytes()
		if err != nil {
			t.Fatal(err)
		}
		if two, err := c.readCursor(again); err != nil || two.Link != at.Link || !two.Since.Equal(at.Since) || len(two.Rest) != len(at.Rest) {
			t.Fatalf("%s is read as %+v, %v", again, two, err)
		}
	})
}

// FuzzError: whatever a server answers, the error is bounded and printable.
func FuzzError(f *testing.F) {
	f.Add(401, `{"error":{"code":"InvalidAuthenticationToken","message":"Lifetime validation failed"}}`, "")
	f.Add(429, "<html>", "12")
	f.Add(403, `{"error":{"code":"ErrorAccessDenied","innerError":{"code":"x","request-id":"y"}}}`, "Sun, 01 Mar 2026 09:31:30 GMT")
	c := testClient()
	f.Fuzz(func(t *testing.T, status int, body, after string) {
		res := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}, "Www-Authenticate": {body}}}
		err := c.refused(res, strings.NewReader(body))
		if err == nil || len(err.Error()) > 1500 || strings.ContainsAny(err.Error(), "\r\n") {
			t.Fatalf("%d bytes: %.100q", len(err.Error()), err)
		}
		if d := fault.After(err); d < 0 || d > 24*time.Hour {
			t.Fatalf("wait %v", d)
		}
	})
}

// TestEntries: the form that Graph sends, removed ones included.
func TestEntries(t *testing.T) {
	var p page
	text := `{"@odata.deltaLink":"https://graph.microsoft.com/v1.0/d","value":[
		{"@odata.etag":"W/\"x\"","id":"AAA+/=","receivedDateTime":"2026-03-01T12:00:00Z"},
		{"id":"BBB","@removed":{"reason":"deleted"}},{"receivedDateTime":"2026-03-01T12:00:00Z"}]}`
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	found, link, more, err := (&Source{client: testClient()}).follow(p)
	if err != nil || more || link == "" || len(found) != 1 || found[0].item().Key != "graph:AAA+/=" {
		t.Errorf("%+v, %q, %t, %v", found, link, more, err)
	}
}
