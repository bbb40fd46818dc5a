package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// worker tells of messages, given as the JSON of each, and notes what it was asked.
func worker(t *testing.T, status int, messages ...string) (address string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.String())
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "[%s]", strings.Join(messages, ","))
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), asked
}

const (
	large = `{"mailbox":"a@x","folder":"INBOX","id":"7:1","size_bytes":9000,"reason":"9000 bytes are more than maximum-msg-size, 5000","moved":true,"since":"2026-03-02T00:00:00Z"}`
	ugly  = `{"mailbox":"b@x","folder":"Größe","id":"7:2","size_bytes":-1,"reason":"too \u001b[31mugly","moved":false,"since":"2026-03-01T00:00:00Z"}`
)

func TestQuarantineList(t *testing.T) {
	one, asked := worker(t, 200, large, ugly)
	two, _ := worker(t, 200, ugly) // shares its state with the first
	code, out := brokerctl("quarantine", "list", "a@x", "--worker", one+",http://"+two+"/", "--limit", "7")
	want := []string{
		"SINCE                 MAILBOX  FOLDER  BYTES  WHERE  REASON",
		"2026-03-01T00:00:00Z  b@x      Größe   -      left   too ?[31mugly",
		"2026-03-02T00:00:00Z  a@x      INBOX   9000   moved  9000 bytes are more than maximum-msg-size, 5000",
		"2 messages", "",
	}
	if code != 0 || out != strings.Join(want, "\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if len(*asked) != 1 || (*asked)[0] != "/quarantine?mailbox=a%40x&max=7" {
		t.Errorf("asked for %v", *asked)
	}
}

func TestQuarantineListForPrograms(t *testing.T) {
	one, _ := worker(t, 200, large)
	none, _ := worker(t, 200)
	for address, n := range map[string]int{one: 1, none: 0} {
		var all []aside
		code, out := brokerctl("quarantine", "list", "--worker", address, "-o", "json")
		if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 || all == nil || len(all) != n {
			t.Errorf("exit %d, %v: %s", code, err, out)
		}
	}
}

func TestQuarantineListFails(t *testing.T) {
	away, _ := worker(t, 503, `"the quarantine cannot be read"`)
	other, _ := worker(t, 404)
	odd, _ := worker(t, 200, "odd")
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nobody there":   {[]string{"--worker", "127.0.0.1:1"}, 1, "--worker 127.0.0.1:1: "},
		"a store away":   {[]string{"--worker", away}, 1, "the quarantine cannot be read"},
		"another one":    {[]string{"--worker", other}, 1, "it keeps no quarantine"},
		"an odd answer":  {[]string{"--worker", odd}, 1, "no list of messages"},
		"an odd output":  {[]string{"-o", "xml"}, 2, "use one of: table, json"},
		"an odd limit":   {[]string{"--limit", "0"}, 2, "1 to 10000"},
		"two addresses":  {[]string{"a@x", "b@x"}, 2, "accepts at most 1 arg"},
		"a silly worker": {[]string{"--worker", "a b"}, 1, "--worker a b: "},
	} {
		t.Run(name, func(t *testing.T) {
			if code, out := brokerctl(append([]string{"quarantine", "list"}, tc.args...)...); code != tc.code || !strings.Contains(out, tc.want) {
				t.Errorf("exit %d: %s, want %d and %q", code, out, tc.code, tc.want)
			}
		})
	}
}
