package daemon

import (
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// TestRootsTLSTakesUpAnotherCA: the file is watched, and a bad one changes nothing.
func TestRootsTLSTakesUpAnotherCA(t *testing.T) {
	old, fresh := newCA(t), newCA(t)
	served := t.TempDir()
	files := issue(t, served, fresh, loopbackName)
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	address := greeter(t, &tls.Config{Certificates: []tls.Certificate{pair}})
	dir := t.TempDir()
	path, err := old.WriteFile(dir, "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	conf, err := RootsTLS(t.Context(), path, "localhost", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	dial := func() error {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, conf)
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := dial(); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Fatalf("the authority is not known yet: %v", err)
	}
	if _, err := fresh.WriteFile(dir, "ca.pem"); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(30 * time.Second); dial() != nil; {
		if time.Now().After(late) {
			t.Fatal("the new authority was not taken up")
		}
		time.Sleep(10 * time.Millisecond)
	}
	wrong, err := RootsTLS(t.Context(), path, "elsewhere.example", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.Dial("tcp", address, wrong); err == nil || !strings.Contains(err.Error(), "elsewhere.example") {
		t.Fatalf("another name: %v", err)
	}
	if _, err := RootsTLS(t.Context(), dir, "localhost", slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("a folder was taken for a certificate")
	}
}
