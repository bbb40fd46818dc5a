package imap

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

func TestReplies(t *testing.T) {
	no := func(code goimap.ResponseCode, text string) error {
		return &goimap.Error{Type: goimap.StatusResponseTypeNo, Code: code, Text: text}
	}
	tests := []struct {
		name   string
		err    error
		bye    string
		kind   fault.Kind
		after  time.Duration
		reason string
	}{
		{"not connected", no("", "User is authenticated but not connected."), "", fault.Auth, 0, "AUTHENTICATED_NOT_CONNECTED"},
		{"throttled", no("", "Request is throttled. Suggested Backoff Time: 1500 milliseconds"), "", fault.Throttled, 1500 * time.Millisecond, "SERVER_THROTTLED"},
		{"throttled without a time", no("", "Request is throttled."), "", fault.Throttled, time.Minute, "SERVER_THROTTLED"},
		{"absurd time", no("", "Request is throttled. Suggested Backoff Time: 999999999 milliseconds"), "", fault.Throttled, time.Hour, "SERVER_THROTTLED"},
		{"gmail connections", no("ALERT", "Too many simultaneous connections. (Failure)"), "", fault.Throttled, 2 * time.Minute, "TOO_MANY_CONNECTIONS"},
		{"gmail bandwidth", no("OVERQUOTA", "Account exceeded command or bandwidth limits."), "", fault.Throttled, time.Hour, "BANDWIDTH_LIMIT"},
		{"gmail web login", no("ALERT", "Please log in via your web browser: https://support.example (Failure)"), "", fault.Auth, 0, "WEB_LOGIN_REQUIRED"},
		{"gmail off", no("ALERT", "IMAP access is disabled for your domain."), "", fault.Auth, 0, "IMAP_DISABLED"},
		{"unavailable", no("UNAVAILABLE", "later"), "", fault.Temporary, 0, "SERVER_UNAVAILABLE"},
		{"exchange busy", no("", "Server Unavailable. 15"), "", fault.Temporary, 0, "SERVER_UNAVAILABLE"},
		{"no folder", no("NONEXISTENT", "x"), "", fault.Gone, 0, "NO_SUCH_FOLDER"},
		{"expired command", no("", "Session invalidated - AccessTokenExpired"), "", fault.Temporary, 0, "ACCESS_TOKEN_EXPIRED"},
		{"expired by BYE", io.ErrUnexpectedEOF, "Session invalidated - AccessTokenExpired", fault.Temporary, 0, "ACCESS_TOKEN_EXPIRED"},
		{"other BYE", io.ErrUnexpectedEOF, "Connection is closed. 13", fault.Temporary, 0, ""},
		{"unknown", no("", "what?"), "", fault.Temporary, 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var e *fault.Error
			err := classify("select", test.err, test.bye)
			if !errors.As(err, &e) || e.Kind != test.kind || e.After != test.after || e.Reason != test.reason {
				t.Errorf("%v: %+v", err, e)
			}
			if planned := errors.Is(err, inbound.ErrSessionOver); planned != (test.reason == "ACCESS_TOKEN_EXPIRED") {
				t.Errorf("planned: %t", planned)
			}
		})
	}
}

func TestBye(t *testing.T) {
	tests := map[string]string{
		"* BYE Connection is closed. 13\r\n":                 "Connection is closed. 13",
		"* OK x\r\n* bye Session invalidated\r\nT3 NO x\r\n": "Session invalidated",
		"* BYE in a message\r\nand\r\nmore of it\r\n":        "",
		"Subject: x\r\n": "",
		"":               "",
	}
	for tail, want := range tests {
		if got := (&quirks{tail: []byte(tail)}).bye(); got != want {
			t.Errorf("%q: %q, want %q", tail, got, want)
		}
	}
}

func TestWithoutRev2(t *testing.T) {
	for line, want := range map[string]string{
		"* OK [CAPABILITY IMAP4rev2 IMAP4rev1 IDLE] hi\r\n": "* OK [CAPABILITY IMAP4rev1 IDLE] hi\r\n",
		"* CAPABILITY imap4rev1 imap4rev2\r\n":              "* CAPABILITY imap4rev1\r\n",
		"T1 OK [CAPABILITY IMAP4rev1 IMAP4rev2]\r\n":        "T1 OK [CAPABILITY IMAP4rev1]\r\n",
		"* CAPABILITY IMAP4rev1 IMAP4rev2X\r\n":             "* CAPABILITY IMAP4rev1 IMAP4rev2X\r\n",
		"* CAPABILITY IMAP4rev2 IDLE\r\n":                   "* CAPABILITY IMAP4rev2 IDLE\r\n", // there is nothing else
		"\r\n":                                              "\r\n",
	} {
		if got := string(withoutRev2([]byte(line))); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func FuzzResponseCode(f *testing.F) {
	for _, seed := range []string{"[LIMIT] too many", "[BADCHARSET (UTF-8)] no", "[]", "[", "no code", "[ALERT]x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		code, text := responseCode(line)
		if strings.ContainsAny(string(code), " ]") || len(code)+len(text) > len(line) {
			t.Errorf("%q: %q, %q", line, code, text)
		}
	})
}

func TestIdentity(t *testing.T) {
	tests := map[string]string{
		"Message-ID: <a@b>\r\n\r\n":                   "<a@b>",
		"Subject: x\r\nmessage-id:\r\n <a@b>\r\n\r\n": "<a@b>",
		"Message-ID: \r\nSubject: x\r\n\r\n":          "Message-ID: \r\nSubject: x\r\n\r\n",
		"\r\n":                                        "\r\n",
	}
	for header, want := range tests {
		if got := string(identity([]byte(header))); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func TestOrdinalsCountEquals(t *testing.T) {
	var r recent
	now := time.Unix(1e9, 0)
	for want := range 3 {
		if got := r.count("a", now); got != want {
			t.Errorf("ordinal %d, want %d", got, want)
		}
	}
	for i := range recentMost - 1 { // a flood within the same second
		r.count(fingerprintOf(nil, now, int64(i)), now)
	}
	if got := r.count("a", now); got != 3 {
		t.Errorf("ordinal %d behind a flood, want 3: the equal message would be taken for a second copy", got)
	}
}

func TestOrdinalsAreBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		every time.Duration
		want  int
	}{
		"one an hour":      {time.Hour, recentLeast},
		"all in a minute":  {0, recentMost},
		"one every second": {time.Second, recentLeast},
		"two every second": {time.Second / 2, 2*recentMemory + 2},
	} {
		t.Run(name, func(t *testing.T) {
			var r recent
			for i := range 2 * recentMost {
				at := time.Unix(1e9+int64(time.Duration(i)*tc.every/time.Second), 0)
				r.count(fingerprintOf(nil, at, int64(i)), at)
			}
			if len(r) != tc.want {
				t.Errorf("%d fingerprints are kept, want %d", len(r), tc.want)
			}
		})
	}
}

func FuzzReadCursor(f *testing.F) {
	f.Add([]byte(`{"v":1,"validity":7,"last":12,"recent":[{"f":"00","n":1}]}`), uint32(7))
	f.Add([]byte(`{"v":1}`), uint32(0))
	f.Add([]byte("\xff{"), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, validity uint32) {
		c, err := readCursor(b, validity)
		if err != nil {
			if b != nil && fault.Of(err) != fault.CursorLost {
				t.Errorf("%q: %v", b, err)
			}
			return
		}
		again, err := c.bytes()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := readCursor(again, validity); err != nil || back.Last != c.Last || len(back.Recent) != len(c.Recent) {
			t.Errorf("%q became %q: %v", b, again, err)
		}
	})
}

func FuzzReadHandle(f *testing.F) {
	f.Add("7:12", uint32(7))
	f.Add("7:", uint32(7))
	f.Add("07:1 x", uint32(7))
	f.Fuzz(func(t *testing.T, id string, validity uint32) {
		if uid, err := readHandle(id, validity); err == nil && handle(validity, uid) != id {
			t.Errorf("%q was read as %s", id, handle(validity, uid))
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add([]byte("Message-ID: <a@b>\r\n\r\n"))
	f.Add([]byte("message-id:\r\n\t<a>\r\nX: y"))
	f.Fuzz(func(t *testing.T, header []byte) {
		if len(identity(header)) > len(header) {
			t.Errorf("%q grew", header)
		}
	})
}
