package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func sums(all ...string) (sums [][sha256.Size]byte) {
	for _, s := range all {
		sums = append(sums, sha256.Sum256([]byte(s)))
	}
	return sums
}

func TestCompare(t *testing.T) {
	for name, tc := range map[string]struct {
		found [][sha256.Size]byte
		want  row
	}{
		"all well": {sums("b", "a", "c"), row{messages: 3}},
		"lost":     {sums("a", "c"), row{messages: 3, lost: 1}},
		"doubled":  {sums("a", "b", "b", "b", "c"), row{messages: 3, doubled: 2}},
		"altered":  {sums("a", "b", "C"), row{messages: 3, lost: 1, altered: 1}},
		"nothing":  {nil, row{messages: 3, lost: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := compare(sums("a", "b", "c"), tc.found); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	for want, r := range map[string]row{
		"": {messages: 9}, "2 messages were lost": {lost: 2}, "1 messages were doubled": {doubled: 1},
		"none that arrived": {altered: 1}, "disposition": {unsettled: 1},
	} {
		err := result{rows: map[side]row{{"IMAP", "maildir"}: r, {"EWS", "webhook"}: {messages: 3}}}.judge()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
}

// TestLettersDiffer: two messages that are alike could not be told apart at the sink.
func TestLettersDiffer(t *testing.T) {
	seen := map[[sha256.Size]byte]bool{}
	for _, l := range write(5000, cast()) {
		if seen[l.sum()] {
			t.Fatal("two letters are alike")
		}
		seen[l.sum()] = true
	}
}

func TestReceiver(t *testing.T) {
	r := &receiver{key: []byte("0123456789abcdef01234567"), kept: map[string]arrived{}}
	server := httptest.NewServer(r)
	defer server.Close()
	post := func(id, key, body string) int {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(id + ".1700000000." + body))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {"1700000000"}, "Mailporter-Mailbox": {"a@contoso.example"},
			"Webhook-Signature": {"v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))}}
		res, err := server.Client().Do(req)
		if err != nil {
			return 0
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	for range 3 {
		if got := post("one", string(r.key), "Subject: 1\r\n\r\n"); got != http.StatusNoContent {
			t.Errorf("answered %d", got)
		}
	}
	if got := post("two", strings.Repeat("x", 24), "Subject: 2\r\n\r\n"); got != http.StatusUnauthorized {
		t.Errorf("a forged post: answered %d", got)
	}
	for n := 5; n <= unanswered; n++ { // four came before
		if got := post("one", string(r.key), "Subject: 1\r\n\r\n"); (got == 0) != (n == unanswered) {
			t.Errorf("post %d: answered %d", n, got)
		}
	}
	server.Close()
	kept, repeated := r.all()
	if len(kept) != 1 || repeated != unanswered-2 || r.forged != 1 || kept[0] != (arrived{"a@contoso.example", sha256.Sum256([]byte("Subject: 1\r\n\r\n"))}) {
		t.Errorf("kept %d, %d again, %d forged", len(kept), repeated, r.forged)
	}
}
