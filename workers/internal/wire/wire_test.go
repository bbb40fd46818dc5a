package wire_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/certtest"
	"mailporter/workers/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs handle for each connection to a fresh port of 127.0.0.1 until the test ends.
func serve(t *testing.T, handle func(net.Conn)) (host string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	return "127.0.0.1", l.Addr().(*net.TCPAddr).Port
}

func greet(c net.Conn) { _, _ = io.WriteString(c, "hello\r\n") }

func dial(t *testing.T, o wire.Options) *wire.Conn {
	t.Helper()
	c, err := wire.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func line(t *testing.T, r io.Reader) string {
	t.Helper()
	s, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

func authority(t *testing.T) (server *tls.Config, ca []byte) {
	t.Helper()
	a, err := certtest.NewCA("wire")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := a.Issue(certtest.Options{CommonName: "mail", IP: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}, a.PEM()
}

func TestTLSTrustsTheAddedAuthorityOnly(t *testing.T) {
	secure, ca := authority(t)
	host, port := serve(t, func(c net.Conn) { greet(tls.Server(c, secure)) })
	roots, err := wire.Roots(ca)
	if err != nil {
		t.Fatal(err)
	}
	if got := line(t, dial(t, wire.Options{Host: host, Port: port, Roots: roots})); got != "hello" {
		t.Errorf("read %q", got)
	}
	if _, err := wire.Dial(t.Context(), wire.Options{Host: host, Port: port}); err == nil {
		t.Error("a certificate of a foreign authority was trusted")
	}
	if _, err := wire.Roots([]byte("no PEM")); err == nil {
		t.Error("an empty file was taken for certificates")
	}
}

func TestStartTLSAfterPlainText(t *testing.T) {
	secure, ca := authority(t)
	host, port := serve(t, func(c net.Conn) {
		greet(c)
		greet(tls.Server(c, secure))
	})
	roots, err := wire.Roots(ca)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, wire.Options{Host: host, Port: port, Security: wire.StartTLS, Roots: roots})
	if _, err := io.ReadFull(c, make([]byte, len("hello\r\n"))); err != nil {
		t.Fatal(err)
	}
	if err := c.StartTLS(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := line(t, c); got != "hello" {
		t.Errorf("read %q", got)
	}
}

func TestPlainTextStaysOnLoopback(t *testing.T) {
	host, port := serve(t, greet)
	if got := line(t, dial(t, wire.Options{Host: host, Port: port, Security: wire.Plain})); got != "hello" {
		t.Errorf("read %q", got)
	}
	_, err := wire.Dial(t.Context(), wire.Options{Host: host, Port: port, Security: wire.Plain, Proxy: "http://127.0.0.1:1"})
	if !errors.Is(err, wire.ErrPlainText) {
		t.Errorf("plain text through a proxy: %v", err)
	}
}

// pass copies both ways until one side ends.
func pass(a, b net.Conn) {
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(a, b); _ = a.Close() })
	both.Go(func() { _, _ = io.Copy(b, a); _ = b.Close() })
	both.Wait()
}

func httpProxy(t *testing.T, login string) string {
	host, port := serve(t, func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		if login != "" && req.Header.Get("Proxy-Authorization") != login {
			_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
			return
		}
		target, err := net.Dial("tcp", req.Host)
		if err != nil {
			_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\nX-Pad: 1\r\n\r\n")
		pass(c, target)
	})
	return fmt.Sprintf("%s:%d", host, port)
}

// socksProxy speaks the part of RFC 1928 that a CONNECT without login needs.
func socksProxy(t *testing.T) string {
	host, port := serve(t, func(c net.Conn) {
		head := make([]byte, 2)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, c, int64(head[1]))
		_, _ = c.Write([]byte{5, 0})
		ask := make([]byte, 10) // version, CONNECT, 0, IPv4, address, port
		if _, err := io.ReadFull(c, ask); err != nil || ask[3] != 1 {
			return
		}
		target, err := net.Dial("tcp", net.JoinHostPort(net.IP(ask[4:8]).String(), strconv.Itoa(int(ask[8])<<8|int(ask[9]))))
		if err != nil {
			return
		}
		_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		pass(c, target)
	})
	return fmt.Sprintf("%s:%d", host, port)
}

func TestProxies(t *testing.T) {
	secure, ca := authority(t)
	host, port := serve(t, func(c net.Conn) { greet(tls.Server(c, secure)) })
	roots, err := wire.Roots(ca)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, proxy, wrong string }{
		{"http", "http://" + httpProxy(t, ""), ""},
		{"http with login", "http://ann:pw@" + httpProxy(t, "Basic YW5uOnB3"), ""},
		{"socks5", "socks5://" + socksProxy(t), ""},
		{"http refuses", "http://ann:wrong@" + httpProxy(t, "Basic YW5uOnB3"), "407"},
		{"unknown scheme", "ftp://127.0.0.1:1", "use http or socks5"},
		{"no URL", "http://ann:marker@\x00", "no URL"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := wire.Dial(t.Context(), wire.Options{Host: host, Port: port, Roots: roots, Proxy: test.proxy})
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) || strings.Contains(err.Error(), "marker") {
					t.Errorf("Dial() = %v, want %q without the password", err, test.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := line(t, c); got != "hello" {
				t.Errorf("read %q", got)
			}
		})
	}
}

func TestConnectTimeout(t *testing.T) {
	host, port := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }) // never shakes hands
	_, err := wire.Dial(t.Context(), wire.Options{Host: host, Port: port, ConnectTimeout: 50 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial() = %v, want a time-out", err)
	}
}

func TestSilenceIsBoundedAndProgressIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := wire.Wrap(near, wire.Options{})
		defer c.Close()
		c.Await(time.Minute)
		go func() {
			for range 10 { // ten slow bytes: nine minutes in all
				_, _ = far.Write([]byte("x"))
				time.Sleep(50 * time.Second)
			}
		}()
		if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
			t.Fatalf("a slow peer was cut off: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a silent peer: %v", err)
		}
		if _, err := c.Write([]byte("nobody reads")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a peer that does not read: %v", err)
		}
	})
}

func TestAwaitBindsAReadThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := wire.Wrap(near, wire.Options{})
		defer c.Close()
		ended := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
		time.Sleep(time.Hour) // unbounded at first
		c.Await(time.Minute)
		start := time.Now()
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("ended after %s with %v", time.Since(start), err)
		}
	})
}

func TestTheEarlierDeadlineCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := wire.Wrap(near, wire.Options{})
		defer c.Close()
		c.Await(time.Hour)
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(start) != time.Minute {
			t.Errorf("ended after %s with %v", time.Since(start), err)
		}
	})
}

func TestTraceHidesCredentials(t *testing.T) {
	host, port := serve(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	var mu sync.Mutex
	var seen bytes.Buffer
	trace := wire.TraceLines(func(direction, text string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&seen, direction, text)
	})
	c := dial(t, wire.Options{Host: host, Port: port, Security: wire.Plain, Trace: trace})
	for _, step := range []struct {
		private bool
		text    string
	}{{false, "NOOP"}, {true, "marker"}, {false, "QUIT"}} {
		c.Private(step.private)
		if _, err := io.WriteString(c, step.text); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, len(step.text))); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	want := "> NOOP\n< NOOP\n> [6 bytes hidden]\n< [6 bytes hidden]\n> QUIT\n< QUIT\n"
	if seen.String() != want {
		t.Errorf("trace:\n%s", seen.String())
	}
}

func TestAbortEndsAWaitingRead(t *testing.T) {
	host, port := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	c := dial(t, wire.Options{Host: host, Port: port, Security: wire.Plain})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	}()
	c.Abort()
	if err := <-ended; err == nil {
		t.Error("Read returned without an error")
	}
}
