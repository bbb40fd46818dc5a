package daemon

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mailporter/kit/certtest"
	"mailporter/kit/config"
)

func newCA(t *testing.T) *certtest.CA {
	t.Helper()
	ca, err := certtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// issue writes a certificate, its key and the authority's certificate to dir, over what is there.
func issue(t *testing.T, dir string, ca *certtest.CA, o certtest.Options) TLSFiles {
	t.Helper()
	pair, err := ca.Issue(o)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := pair.WriteFiles(dir, "own")
	if err != nil {
		t.Fatal(err)
	}
	caFile, err := ca.WriteFile(dir, "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	return TLSFiles{cert, key, caFile}
}

var loopbackName = certtest.Options{CommonName: "first", DNS: []string{"localhost"}, IP: []net.IP{net.IPv4(127, 0, 0, 1)}}

// greeter accepts connections, says hello after the handshake and hangs up.
func greeter(t *testing.T, conf *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello")) // a refused client is what the test is about
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String()
}

// greet shakes hands and returns the common name of the server's certificate.
func greet(address string, conf *tls.Config) (string, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", address, conf)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 5)); err != nil { // with TLS 1.3 the server's refusal comes here
		return "", err
	}
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func bubble(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return ctx
}

func TestHandshakes(t *testing.T) {
	ca, foreign := newCA(t), newCA(t)
	ctx := bubble(t)
	serverConf, err := ServerTLS(ctx, issue(t, t.TempDir(), ca, loopbackName), discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := greeter(t, serverConf)
	good := issue(t, t.TempDir(), ca, certtest.Options{CommonName: "client"})
	client := func(files TLSFiles, name string) *tls.Config {
		t.Helper()
		conf, err := ClientTLS(ctx, files, name, discard, nil)
		if err != nil {
			t.Fatal(err)
		}
		return conf
	}
	old := client(good, "localhost")
	old.MaxVersion = tls.VersionTLS11
	old.MinVersion = tls.VersionTLS10
	for name, tc := range map[string]struct {
		conf *tls.Config
		want string // in the error; empty = it works
	}{
		"by name":               {client(good, "localhost"), ""},
		"by address":            {client(good, "127.0.0.1"), ""},
		"another name":          {client(good, "broker"), "not broker"},
		"another address":       {client(good, "127.0.0.2"), "not 127.0.0.2"},
		"name of the dial":      {named(client(good, ""), "localhost"), ""},
		"no name to verify":     {named(client(good, ""), "127.0.0.1"), "no server name"},
		"wrong name, dialled":   {named(client(good, ""), "broker"), "not broker"},
		"foreign server":        {client(issue(t, t.TempDir(), foreign, certtest.Options{}), "localhost"), "unknown authority"},
		"foreign client":        {client(trusting(good.CA, issue(t, t.TempDir(), foreign, certtest.Options{})), "localhost"), "unknown certificate authority"},
		"no client certificate": {&tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}, "certificate required"},
		"old version":           {old, "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := greet(address, tc.conf)
			if tc.want == "" {
				if err != nil || got != "first" {
					t.Fatal(got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%v, want %q", err, tc.want)
			}
		})
	}
}

// named is conf with the server name that a dialer fills in.
func named(conf *tls.Config, name string) *tls.Config {
	conf.ServerName = name
	return conf
}

// trusting is f with another authority's certificate to trust.
func trusting(caFile string, f TLSFiles) TLSFiles {
	f.CA = caFile
	return f
}

func TestReload(t *testing.T) {
	oldCA, nextCA := newCA(t), newCA(t)
	ctx, log := bubble(t), newLines()
	reg := prometheus.NewRegistry()
	serverDir, clientDir := t.TempDir(), t.TempDir()
	serverConf, err := ServerTLS(ctx, issue(t, serverDir, oldCA, loopbackName), log.logger(), reg)
	if err != nil {
		t.Fatal(err)
	}
	address := greeter(t, serverConf)
	clientConf, err := ClientTLS(ctx, issue(t, clientDir, oldCA, certtest.Options{CommonName: "client"}), "127.0.0.1", log.logger(), reg)
	if err != nil {
		t.Fatal(err)
	}
	want := func(name, refusal string) {
		t.Helper()
		got, err := greet(address, clientConf)
		if refusal == "" && (err != nil || got != name) || refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)) {
			t.Fatalf("%q, %v; want %q %q", got, err, name, refusal)
		}
	}
	want("first", "")

	second := loopbackName
	second.CommonName = "second"
	second.NotAfter = time.Now().Add(time.Hour).Truncate(time.Second)
	replaceAll(t, serverDir, nextCA, second)
	log.await(t, "TLS files were taken up")
	want("", "unknown authority") // the client trusts the old authority alone
	if got := gauge(t, reg, filepath.Join(serverDir, "own.pem")); got != float64(second.NotAfter.Unix()) {
		t.Errorf("not after %v", got)
	}

	replaceAll(t, clientDir, nextCA, certtest.Options{CommonName: "client"})
	log.await(t, "TLS files were taken up")
	want("second", "")

	write(t, filepath.Join(serverDir, "own.pem"), "rubbish")
	if line := log.await(t, "the old ones stay"); !strings.Contains(line, "own.pem is not PEM") {
		t.Errorf("does not say what is wrong: %s", line)
	}
	want("second", "")
}

// replaceAll writes new files next to the old ones and swaps them in, as a careful tool does.
func replaceAll(t *testing.T, dir string, ca *certtest.CA, o certtest.Options) {
	t.Helper()
	next := filepath.Join(dir, "next")
	if err := os.MkdirAll(next, 0o755); err != nil {
		t.Fatal(err)
	}
	issue(t, next, ca, o)
	for _, name := range []string{"own.pem", "own-key.pem", "ca.pem"} {
		rename(t, filepath.Join(next, name), filepath.Join(dir, name))
	}
}

func gauge(t *testing.T, reg *prometheus.Registry, file string) float64 {
	t.Helper()
	return testutil.ToFloat64(notAfter(reg, file))
}

func TestTLSProblems(t *testing.T) {
	ca := newCA(t)
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, f *TLSFiles)
		want  []string
	}{
		"good":    {func(*testing.T, *TLSFiles) {}, nil},
		"not PEM": {func(t *testing.T, f *TLSFiles) { write(t, f.Certificate, "hello") }, []string{"certificate: own.pem is not PEM"}},
		"missing": {func(_ *testing.T, f *TLSFiles) { f.Key += ".none" }, []string{"key: own-key.pem.none cannot be read: no such file or directory"}},
		"huge":    {func(t *testing.T, f *TLSFiles) { write(t, f.CA, strings.Repeat("x", maxPEM+1)) }, []string{"ca: ca.pem is larger than 1048576 bytes"}},
		"other key": {func(t *testing.T, f *TLSFiles) { f.Key = issue(t, t.TempDir(), ca, certtest.Options{}).Key },
			[]string{"key: own-key.pem is no private key that matches"}},
		"swapped": {func(_ *testing.T, f *TLSFiles) { f.Certificate, f.Key = f.Key, f.Certificate },
			[]string{"certificate: own-key.pem has no CERTIFICATE block"}},
		"expired": {func(t *testing.T, f *TLSFiles) {
			*f = issue(t, filepath.Dir(f.CA), ca, certtest.Options{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Minute)})
		}, []string{"certificate: own.pem expired at 20"}},
		"not yet": {func(t *testing.T, f *TLSFiles) {
			*f = issue(t, filepath.Dir(f.CA), ca, certtest.Options{NotBefore: time.Now().Add(time.Hour)})
		}, []string{"certificate: own.pem is not valid before 20"}},
		"empty bundle": {func(t *testing.T, f *TLSFiles) { f.CA = f.Key }, []string{"ca: own-key.pem has no CERTIFICATE block"}},
		"broken certificate": {func(t *testing.T, f *TLSFiles) {
			write(t, f.CA, "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n")
		}, []string{"ca: ca.pem has a certificate that cannot be parsed"}},
		"all": {func(_ *testing.T, f *TLSFiles) { *f = TLSFiles{} }, []string{"certificate:  is not named", "ca:  is not named"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := issue(t, t.TempDir(), ca, certtest.Options{})
			tc.spoil(t, &f)
			problems := f.Check()
			if len(problems) != len(tc.want) {
				t.Fatalf("%d problems: %v", len(problems), problems)
			}
			for i, p := range problems {
				p.File = filepath.Base(p.File)
				if p.File == "." {
					p.File = ""
				}
				if got := p.Option + ": " + p.Error(); !strings.HasPrefix(got, tc.want[i]) || p.Remedy == "" {
					t.Errorf("%s, want %s", got, tc.want[i])
				}
			}
			if _, err := ServerTLS(bubble(t), f, discard, nil); (err == nil) != (len(tc.want) == 0) {
				t.Errorf("ServerTLS: %v", err)
			}
		})
	}
}

func TestReadTLS(t *testing.T) {
	dir := t.TempDir()
	want := issue(t, dir, newCA(t), certtest.Options{})
	read := func(text string) (TLSFiles, string) {
		d := config.Parse("f.yaml", dir, []byte(text))
		f := ReadTLS(d.Root(), "client-ca")
		return f, d.Complaints().Error()
	}
	if got, complaints := read("certificate: own.pem\nkey: own-key.pem\nclient-ca: ca.pem"); got != want || complaints != "" {
		t.Errorf("%v\n%s", got, complaints)
	}
	_, complaints := read("certificate: own.pem\nkey: ca.pem\nclient-ca: none.pem\nsni: x")
	contains(t, "complaints", complaints, []string{"f.yaml:2:6: key: " + dir + "/ca.pem is no private key", "f.yaml:3:12: client-ca: " + dir + "/none.pem cannot be read", "f.yaml:4:1: sni"})
	_, complaints = read("key: own-key.pem")
	contains(t, "complaints", complaints, []string{"certificate: is missing; name a PEM file", "client-ca: is missing"})
}

func FuzzCertificates(f *testing.F) {
	ca, err := certtest.NewCA("fuzz")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ca.PEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN X-----\n-----END X-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := certificates(text)
		if err != nil && certs != nil {
			t.Error("certificates beside an error")
		}
	})
}
