package wire

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/broker/internal/remedy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const marker = "MARKER-77"

// serve starts a server over TLS and a Client that trusts it.
func serve(t *testing.T, o Options, h http.HandlerFunc) (*httptest.Server, *Client) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	o.Roots = x509.NewCertPool()
	o.Roots.AddCert(s.Certificate())
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseIdleConnections(); s.Close() })
	return s, c
}

func anyHost(string) bool { return true }

// exchange posts to address and reads the result.
func exchangeWith(ctx context.Context, c *Client, address string, allow func(string) bool) (Answer, error) {
	ctx, x := Record(ctx, allow)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("secret="+marker))
	if err != nil {
		return Answer{}, err
	}
	resp, err := c.Do(req)
	if err == nil {
		err = resp.Body.Close()
	}
	return x.Result(remedy.Default(), remedy.About{Provider: "microsoft"}, err)
}

func TestSlowAnswerCountsFromSending(t *testing.T) {
	s, c := serve(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(300 * time.Millisecond) // the time that a parser would add to the life
		fmt.Fprint(w, `{"access_token":"t","token_type":"Bearer","expires_in":100}`)
	})
	before := time.Now()
	a, err := exchangeWith(t.Context(), c, s.URL, anyHost)
	if err != nil {
		t.Fatal(err)
	}
	if late := a.Token.Expires.Sub(before.Add(100 * time.Second)); late < 0 || late > 250*time.Millisecond {
		t.Errorf("expires %s later than counted from sending", late)
	}
}

func TestTimeoutEndsAnExchange(t *testing.T) {
	over := make(chan struct{})
	s, c := serve(t, Options{Timeout: 50 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"access_token":"`)
		w.(http.Flusher).Flush()
		<-over // not the request's end: a handler that returns then would end the body in good order
	})
	defer close(over)
	_, err := exchangeWith(t.Context(), c, s.URL, anyHost)
	var f *remedy.Fault
	if !errors.As(err, &f) || f.Class != remedy.Transient || f.Detail != "no answer in time" {
		t.Errorf("%+v", f)
	}
}

// TestTrickleEndsWithTheTimeout: bytes that keep coming do not put the end off.
func TestTrickleEndsWithTheTimeout(t *testing.T) {
	for name, first := range map[string]string{"header": "HTTP/1.1 200 OK\r\nX-Slow: ", "body": "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{"} {
		t.Run(name, func(t *testing.T) {
			s, c := serve(t, Options{Timeout: 100 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				for _, err = conn.Write([]byte(first)); err == nil; _, err = conn.Write([]byte("x")) {
					<-time.After(time.Millisecond) // until the client leaves
				}
			})
			_, err := exchangeWith(t.Context(), c, s.URL, anyHost)
			var f *remedy.Fault
			if !errors.As(err, &f) || f.Class != remedy.Transient || f.Detail != "no answer in time" {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestADocumentMayBeLargerThanATokenAnswer: the metadata of federation servers are, and they come with GET.
func TestADocumentMayBeLargerThanATokenAnswer(t *testing.T) {
	for method, want := range map[string]map[int]bool{http.MethodGet: {maxAnswer + 1: true, maxDocument: true, maxDocument + 1: false}, http.MethodPost: {maxAnswer: true, maxAnswer + 1: false}} {
		for size, taken := range want {
			s, c := serve(t, Options{}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", size)) })
			ctx, x := Record(t.Context(), anyHost)
			req, err := http.NewRequestWithContext(ctx, method, s.URL+"/mex", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(req)
			if err == nil {
				err = resp.Body.Close()
			}
			last := x.Last()
			if (err == nil) != taken || TooLarge(last.Err) == taken || taken && len(last.Body) != size || last.Path != "/mex" || last.Host != Host(s.URL) {
				t.Errorf("%s of %d bytes: %v, %d bytes of %s%s", method, size, err, len(last.Body), last.Host, last.Path)
			}
		}
	}
}

// TestBoundLendsItsContext to a library that makes requests without one.
func TestBoundLendsItsContext(t *testing.T) {
	s, c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	ctx, x := Record(t.Context(), anyHost)
	resp, err := c.Bound(ctx).PostForm(s.URL, url.Values{"assertion": {marker}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if last := x.Last(); last.Status != http.StatusFound || last.Path != "" && last.Path != "/" {
		t.Errorf("noted %d %s", last.Status, last.Path)
	}
	gone, leave := context.WithCancel(t.Context())
	ctx, _ = Record(gone, anyHost)
	leave()
	if resp, err := c.Bound(ctx).PostForm(s.URL, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v %v", resp, err)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	asked := 0
	s, c := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	_, err := exchangeWith(t.Context(), c, s.URL, anyHost)
	var f *remedy.Fault
	if !errors.As(err, &f) || f.Reason != remedy.Redirected || asked != 1 {
		t.Errorf("%d requests, %+v", asked, f)
	}
}

func TestOnlyAllowedHostsAreReached(t *testing.T) {
	s, c := serve(t, Options{}, func(http.ResponseWriter, *http.Request) { t.Error("the request was sent") })
	for name, address := range map[string]string{"another host": s.URL, "plain text": strings.Replace(s.URL, "https:", "http:", 1)} {
		_, err := exchangeWith(t.Context(), c, address, func(h string) bool { return h == "login.microsoftonline.com" })
		var f *remedy.Fault
		if !errors.As(err, &f) || f.Reason != remedy.AuthorityNotAllowed || !f.Class.Freezes() {
			t.Errorf("%s: %+v", name, f)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := c.Do(req); !errors.Is(err, errNotAllowed) {
		t.Errorf("a request that nobody recorded: %v %v", resp, err)
	}
}

func TestUnknownCertificate(t *testing.T) {
	s, _ := serve(t, Options{}, func(http.ResponseWriter, *http.Request) {})
	stranger, err := New(Options{Roots: x509.NewCertPool()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = exchangeWith(t.Context(), stranger, s.URL, anyHost)
	var f *remedy.Fault
	if !errors.As(err, &f) || f.Reason != remedy.Untrusted {
		t.Errorf("%+v", f)
	}
}

func TestErrorWithStatus200(t *testing.T) {
	s, c := serve(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"error":"invalid_client","error_description":"`+marker+`","error_codes":[7000215]}`)
	})
	_, err := exchangeWith(t.Context(), c, s.URL, anyHost)
	var f *remedy.Fault
	if !errors.As(err, &f) || f.Reason != remedy.ClientSecretInvalid || strings.Contains(fmt.Sprintf("%+v", *f), marker) {
		t.Errorf("%+v", f)
	}
}

func TestHTTPProxy(t *testing.T) {
	var tunnels []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnels = append(tunnels, r.Method+" "+r.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	c, err := New(Options{Proxy: proxy.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = exchangeWith(t.Context(), c, "https://login.example/x", anyHost)
	var f *remedy.Fault
	if !errors.As(err, &f) || f.Class != remedy.Transient || len(tunnels) != 1 || tunnels[0] != "CONNECT login.example:443" {
		t.Errorf("%v, %+v", tunnels, f)
	}
}

func TestAllowed(t *testing.T) {
	names := []string{"login.example", "localhost:8443"}
	for host, want := range map[string]bool{
		"login.example": true, "LOGIN.example:443": true, "login.example:8443": false, "localhost:8443": true, "localhost": false,
		"evil-login.example": false, "login.example.evil": false, "": false,
	} {
		if got := Allowed(host, names); got != want {
			t.Errorf("%q: got %t", host, got)
		}
	}
}

func TestHost(t *testing.T) {
	for address, want := range map[string]string{
		"https://Login.example/x": "login.example", "https://localhost:8443": "localhost:8443", "http://login.example": "",
		"https://user@login.example": "", "login.example": "", "https://%": "",
	} {
		if got := Host(address); got != want {
			t.Errorf("%s: got %q", address, got)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"t","token_type":"Bearer","expires_in":"3599","refresh_in":1800}`))
	f.Add(200, []byte(`{"access_token":"t","expires_in":1e300}`))
	f.Add(400, []byte(`{"error":"invalid_grant"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := exchange{sent: time.Unix(0, 0), status: status, body: body}
		a, err := e.result(remedy.Default(), remedy.About{Provider: "google"}, &url.Error{Op: "Post", Err: errors.New("x")})
		if err == nil && (a.Token.Zero() || a.Token.Life() <= 0 || a.Token.Life() > longest || strings.ContainsAny(a.Token.Value.Reveal(), "\r\n \x00\x01")) {
			t.Fatalf("life %s", a.Token.Life())
		}
		var fault *remedy.Fault
		if err != nil && !errors.As(err, &fault) {
			t.Fatalf("no fault: %v", err)
		}
	})
}
