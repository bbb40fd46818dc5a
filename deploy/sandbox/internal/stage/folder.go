package stage

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io/fs"
	mrand "math/rand/v2"
	"net"
	"os"
	"path"
	"path/filepath"
	"text/template"

	"mailporter/kit/certtest"
)

// Folder is where a run keeps certificates, configuration, logs and mail.
type Folder string

// NewFolder returns path made absolute, or a new temporary folder if it is empty.
func NewFolder(path string) (Folder, error) {
	if path == "" {
		dir, err := os.MkdirTemp("", "mailporter-")
		return Folder(dir), err
	}
	dir, err := filepath.Abs(path)
	return Folder(dir), err
}

// Path is the absolute path of name in the folder.
func (f Folder) Path(name string) string { return filepath.Join(string(f), name) }

// Write writes a file that only its owner may read.
func (f Folder) Write(name, content string) error {
	if err := os.MkdirAll(filepath.Dir(f.Path(name)), 0o700); err != nil {
		return err
	}
	return os.WriteFile(f.Path(name), []byte(content), 0o600)
}

// Secret returns the secret of that name, which it invents when it is asked for the first time. It stands in
// secrets/NAME, where configuration points to.
func (f Folder) Secret(name string) (string, error) {
	file := "secrets/" + name
	if b, err := os.ReadFile(f.Path(file)); err == nil {
		return string(b), nil
	}
	raw := make([]byte, 24)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	s := base64.RawURLEncoding.EncodeToString(raw)
	return s, f.Write(file, s)
}

// Certificates makes a CA (tls/ca.pem) and one certificate for each name (tls/NAME.pem, tls/NAME-key.pem) for localhost,
// whose identity is spiffe://demo.example/NAME.
func (f Folder) Certificates(names ...string) error {
	ca, err := certtest.NewCA("demo")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.Path("tls"), 0o700); err != nil {
		return err
	}
	if _, err := ca.WriteFile(f.Path("tls"), "ca.pem"); err != nil {
		return err
	}
	for _, name := range names {
		pair, err := ca.Issue(certtest.Options{CommonName: name, DNS: []string{"localhost"}, URI: "spiffe://demo.example/" + name})
		if err != nil {
			return err
		}
		if _, _, err := pair.WriteFiles(f.Path("tls"), name); err != nil {
			return err
		}
	}
	return nil
}

// Templates executes every template of a file system over data and writes the results under their base names.
func (f Folder) Templates(from fs.FS, data any) error {
	return fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		return f.Template(path.Base(name), string(text), data)
	})
}

// Template executes one template over data and writes the result.
func (f Folder) Template(name, text string, data any) error {
	t, err := template.New(name).Parse(text)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	return f.Write(name, b.String())
}

// FetchCA asks the sandbox's admin API for the CA certificate of its servers and writes it to tls/sandbox-ca.pem.
func FetchCA(ctx context.Context, adminPort int, f Folder) error {
	pem, err := fetch(ctx, fmt.Sprintf("http://127.0.0.1:%d/ca.pem", adminPort))
	if err != nil {
		return fmt.Errorf("fetch the sandbox's CA: %w", err)
	}
	return f.Write("tls/sandbox-ca.pem", string(pem))
}

// The ports that are given out lie below those that Linux takes for outgoing connections, where one could be taken while
// the program that it belongs to starts, or is killed and starts again.
const firstPort, lastPort = 12000, 32767

// FreePorts fills in loopback ports that are free now. They are fixed from then on: a program that is killed and started
// again comes back at the same place.
func FreePorts(into ...*int) error {
	for _, port := range into {
		l, err := listenSomewhere()
		if err != nil {
			return err
		}
		defer l.Close() // at the end of all, so that no port is given twice
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// listenSomewhere tries ports at random, so that two runs that start together hardly meet.
func listenSomewhere() (l net.Listener, err error) {
	for range 100 {
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+mrand.IntN(lastPort-firstPort+1)))
		if err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("no free port from %d to %d: %w", firstPort, lastPort, err)
}
