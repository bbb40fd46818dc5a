package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"text/template"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"mailporter/broker/internal/store/seal"
	"mailporter/kit/certtest"
	"mailporter/kit/daemon"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

//go:embed files/*.yaml
var files embed.FS

const (
	tenant = "5b0c9d7e-3f21-4a88-9c1e-d2f3a4b5c6d7"
	client = "9e8d7c6b-5a49-4382-b1a0-f0e1d2c3b4a5"
	caller = "spiffe://bench.example/imap-worker"
)

// stage is a temporary folder with certificates, configuration and logs, a running sandbox, and what was started beside it.
type stage struct {
	dir       string
	bin       string
	out       io.Writer
	identity  int // port of the sandbox's identity provider
	admin     int // port of its admin API
	processes []*process
}

// newStage makes the folder and starts the sandbox.
func newStage(ctx context.Context, bin string, out io.Writer) (_ *stage, err error) {
	dir, err := os.MkdirTemp("", "mailporter-bench-")
	if err != nil {
		return nil, err
	}
	st := &stage{dir: dir, bin: bin, out: out}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close(true))
		}
	}()
	for _, step := range []func() error{st.certificates, st.secrets, func() error { return st.fill("policy.yaml", "policy.yaml", nil) }} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return st, st.startSandbox(ctx)
}

// close ends all processes, the last one first, and removes the folder unless it is to be kept.
func (st *stage) close(keep bool) error {
	err := st.stopSince(0)
	if keep {
		fmt.Fprintln(st.out, "configuration and logs are in", st.dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(st.dir))
}

// stopSince ends the processes from the n-th on.
func (st *stage) stopSince(n int) error {
	var all []error
	for _, p := range slices.Backward(st.processes[n:]) {
		all = append(all, p.stop())
	}
	st.processes = st.processes[:n]
	return errors.Join(all...)
}

func (st *stage) path(name string) string { return filepath.Join(st.dir, name) }

// write writes a file as if it had been there for a while: a broker reads files twice that may have changed while it read.
func (st *stage) write(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(st.path(name)), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(st.path(name), text, 0o600); err != nil {
		return err
	}
	return os.Chtimes(st.path(name), time.Time{}, time.Now().Add(-time.Hour))
}

// fill executes a template of files over data and writes the result.
func (st *stage) fill(name, from string, data any) error {
	t, err := template.ParseFS(files, "files/"+from)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	return st.write(name, b.Bytes())
}

func (st *stage) certificates() error {
	ca, err := certtest.NewCA("bench")
	if err != nil {
		return err
	}
	if err := st.write("tls/ca.pem", ca.PEM()); err != nil {
		return err
	}
	for name, o := range map[string]certtest.Options{
		"server": {CommonName: "server", DNS: []string{"localhost"}},
		"caller": {CommonName: "caller", URI: caller},
	} {
		pair, err := ca.Issue(o)
		if err != nil {
			return err
		}
		if _, _, err := pair.WriteFiles(st.path("tls"), name); err != nil {
			return err
		}
	}
	return nil
}

func (st *stage) secrets() error {
	if err := st.write("secrets/app", []byte(rand.Text())); err != nil {
		return err
	}
	return seal.Make(st.path("secrets/keyset.json"))
}

// start starts a program and returns how long it took to be ready.
func (st *stage) start(ctx context.Context, name string, ready func(context.Context) bool, argv ...string) (*process, time.Duration, error) {
	p, err := startProcess(st.path(name+".log"), name, argv...)
	if err != nil {
		return nil, 0, err
	}
	st.processes = append(st.processes, p)
	took, err := p.await(ctx, ready)
	return p, took, err
}

func (st *stage) startSandbox(ctx context.Context) error {
	if err := freePorts(&st.identity, &st.admin); err != nil {
		return err
	}
	secret, err := os.ReadFile(st.path("secrets/app"))
	if err != nil {
		return err
	}
	data := map[string]any{"Identity": st.identity, "Admin": st.admin, "Tenant": tenant, "Client": client, "Secret": string(secret)}
	if err := st.fill("sandbox.yaml", "sandbox.yaml", data); err != nil {
		return err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d", st.admin)
	if _, _, err := st.start(ctx, "sandbox", answers(url+"/healthz"), filepath.Join(st.bin, "sandbox"), "-config", st.path("sandbox.yaml")); err != nil {
		return err
	}
	pem, err := get(ctx, url+"/ca.pem")
	if err != nil {
		return fmt.Errorf("fetch the sandbox's CA: %w", err)
	}
	return st.write("tls/sandbox-ca.pem", pem)
}

// tokenRequests is how many the sandbox has counted.
func (st *stage) tokenRequests(ctx context.Context) (int, error) {
	b, err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d/stats", st.admin))
	if err != nil {
		return 0, err
	}
	var stats struct {
		Requests struct {
			Total int `json:"total"`
		} `json:"token_requests"`
	}
	return stats.Requests.Total, json.Unmarshal(b, &stats)
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// broker is a running broker.
type broker struct {
	*process
	port  int
	ready time.Duration // from its start
}

// startBroker starts one over mailbox files (a glob) and a store.
func (st *stage) startBroker(ctx context.Context, name, store, mailboxes string) (*broker, error) {
	b := &broker{}
	var admin int
	if err := freePorts(&b.port, &admin); err != nil {
		return nil, err
	}
	data := map[string]any{"Name": name, "Port": b.port, "AdminPort": admin, "Store": store, "Mailboxes": mailboxes, "Identity": st.identity}
	if err := st.fill(name+".yaml", "broker.yaml", data); err != nil {
		return nil, err
	}
	var err error
	b.process, b.ready, err = st.start(ctx, name, answers(fmt.Sprintf("http://127.0.0.1:%d/readyz", admin)),
		filepath.Join(st.bin, "broker"), "-config", st.path(name+".yaml"))
	return b, err
}

// dial opens connections to a server on this machine. grpc opens each with its first call.
func (st *stage) dial(ctx context.Context, port, connections int) ([]*grpc.ClientConn, error) {
	files := daemon.TLSFiles{Certificate: st.path("tls/caller.pem"), Key: st.path("tls/caller-key.pem"), CA: st.path("tls/ca.pem")}
	conf, err := daemon.ClientTLS(ctx, files, "", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, err
	}
	all := make([]*grpc.ClientConn, connections)
	for i := range all {
		if all[i], err = grpc.NewClient(fmt.Sprintf("localhost:%d", port), grpc.WithTransportCredentials(credentials.NewTLS(conf))); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func clients(conns []*grpc.ClientConn) []brokerv1.TokenServiceClient {
	all := make([]brokerv1.TokenServiceClient, len(conns))
	for i, c := range conns {
		all[i] = brokerv1.NewTokenServiceClient(c)
	}
	return all
}

func hangUp(conns []*grpc.ClientConn) {
	for _, c := range conns {
		_ = c.Close() // only of a connection that is closed already
	}
}

// freePorts fills in loopback ports that are free now.
func freePorts(into ...*int) error {
	for _, port := range into {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close() // at the end of all, so that no port is given twice
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}
