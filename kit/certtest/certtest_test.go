package certtest

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestIssue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in the year 2000
		ca, err := NewCA("test")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := ca.Issue(Options{CommonName: "w", DNS: []string{"w.example"}, URI: "spiffe://mail.example/w", IP: []net.IP{net.IPv6loopback}})
		if err != nil {
			t.Fatal(err)
		}
		cert, err := pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		leaf := cert.Leaf
		for _, name := range []string{"w.example", "::1"} {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: name}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("as client: %v", err)
		}
		if leaf.URIs[0].String() != "spiffe://mail.example/w" || leaf.Subject.CommonName != "w" {
			t.Errorf("%v %v", leaf.URIs, leaf.Subject)
		}
		if left := time.Until(leaf.NotAfter); left != 30*24*time.Hour {
			t.Errorf("valid for %v", left)
		}
	})
}

func TestIssueRefusesABadURI(t *testing.T) {
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Issue(Options{URI: "spiffe://%zz"}); err == nil {
		t.Error("a URI that cannot be parsed was taken")
	}
}

func TestWriteFiles(t *testing.T) {
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(Options{NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key, err := pair.WriteFiles(dir, "w")
	if err != nil || cert != filepath.Join(dir, "w.pem") || key != filepath.Join(dir, "w-key.pem") {
		t.Fatal(cert, key, err)
	}
	info, err := os.Stat(key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key may be read by others: %v %v", info.Mode(), err)
	}
	path, err := ca.WriteFile(dir, "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != string(ca.PEM()) {
		t.Error(err)
	}
	if _, _, err := pair.WriteFiles(filepath.Join(dir, "none"), "w"); err == nil {
		t.Error("wrote into a folder that is not there")
	}
}
