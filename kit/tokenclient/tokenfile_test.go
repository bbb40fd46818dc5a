package tokenclient_test

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mailporter/kit/certtest"
	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
)

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTokenFile(t *testing.T) {
	for name, tc := range map[string]struct{ text, problem string }{
		"a token":           {"a.b.c", ""},
		"with a line break": {"a.b.c\n", ""},
		"empty":             {"\n", "it is empty"},
		"two lines":         {"MARKER\nMARKER", "it holds more than a token"},
		"two words":         {"Bearer MARKER", "it holds more than a token"},
		"binary":            {"MARKER\xff", "it holds more than a token"},
		"too large":         {strings.Repeat("MARKER", 4<<10), "more than 16384 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			path := tokenFile(t, tc.text)
			c := tokenclient.TokenFile(path)
			got, err := c.GetRequestMetadata(t.Context())
			if tc.problem == "" {
				if err != nil || got["authorization"] != "Bearer a.b.c" || !c.RequireTransportSecurity() {
					t.Fatal(got, err)
				}
				return
			}
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), tc.problem) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "MARKER") {
				t.Fatal(err)
			}
			if err := tokenclient.CheckTokenFile(path); err == nil {
				t.Fatal("the check finds nothing")
			}
		})
	}
}

// TestTokenFileIsReadAnew: the kubelet swaps a link; the next call has the new token.
func TestTokenFileIsReadAnew(t *testing.T) {
	path := tokenFile(t, "first")
	c := tokenclient.TokenFile(path)
	for _, want := range []string{"first", "second"} {
		if err := os.WriteFile(path+".new", []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if got, err := c.GetRequestMetadata(t.Context()); err != nil || got["authorization"] != "Bearer "+want {
			t.Fatal(got, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetRequestMetadata(t.Context()); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), path+": no such file") {
		t.Fatal(err)
	}
}

func TestTokenInPlaceOfACertificate(t *testing.T) {
	ca, err := certtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.New(t)
	b.SetMailboxes(settings(tokenclient.XOAUTH2))
	served := files(t, ca, certtest.Options{CommonName: "broker", DNS: []string{"localhost"}})
	pair, err := tls.LoadX509KeyPair(served.Certificate, served.Key)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(b.Listen(t, &tls.Config{Certificates: []tls.Certificate{pair}}), ":")
	other := files(t, ca, certtest.Options{CommonName: "x"})
	foreign, err := certtest.NewCA("foreign")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		config tokenclient.Config
		want   string // in the error of Dial or of the call; empty = it works
	}{
		"good":           {tokenclient.Config{TLS: daemon.TLSFiles{CA: served.CA}, TokenFile: tokenFile(t, "a.b.c")}, ""},
		"no such file":   {tokenclient.Config{TLS: daemon.TLSFiles{CA: served.CA}, TokenFile: "none"}, "token-file none: no such file"},
		"no CA":          {tokenclient.Config{TokenFile: "none"}, "tls ca"},
		"foreign server": {tokenclient.Config{TLS: daemon.TLSFiles{CA: files(t, foreign, certtest.Options{}).CA}, TokenFile: "none"}, "unknown authority"},
		"half a pair":    {tokenclient.Config{TLS: daemon.TLSFiles{CA: served.CA, Certificate: other.Certificate}, TokenFile: "none"}, "tls key"},
		"plain text":     {tokenclient.Config{Insecure: true, TokenFile: "none"}, "a token file needs tls"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.config.Address = "localhost:" + port
			c, err := tokenclient.Dial(tc.config, quiet)
			if err == nil {
				defer c.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				_, err = c.Acquire(ctx, support)
			}
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%v, want %q", err, tc.want)
			}
		})
	}
}
