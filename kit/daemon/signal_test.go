package daemon

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// process is the program of TestMain, running.
type process struct {
	cmd *exec.Cmd
	log *bufio.Scanner
}

func start(t *testing.T, conf string) *process {
	t.Helper()
	path := write(t, filepath.Join(t.TempDir(), "porter.yaml"), conf)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // a process that hangs fails the test
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, "-config", path)
	cmd.Env = append(os.Environ(), "DAEMON_TEST_PROGRAM=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &process{cmd, bufio.NewScanner(stderr)}
}

// await reads the log up to a line with text.
func (p *process) await(t *testing.T, text string) string {
	t.Helper()
	for p.log.Scan() {
		if strings.Contains(p.log.Text(), text) {
			return p.log.Text()
		}
	}
	t.Fatalf("the log ended before %q", text)
	return ""
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// exit reads what is left of the log and returns the exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	for p.log.Scan() {
		t.Log(p.log.Text())
	}
	_ = p.cmd.Wait() // the code says it
	return p.cmd.ProcessState.ExitCode()
}

func TestSignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			p := start(t, "mode: drains")
			p.await(t, "carrying")
			p.signal(t, s)
			p.await(t, "draining")
			p.await(t, "put down")
			if code := p.exit(t); code != 0 {
				t.Errorf("exit %d", code)
			}
		})
	}
	t.Run("second one ends at once", func(t *testing.T) {
		p := start(t, "mode: hangs")
		p.await(t, "carrying")
		p.signal(t, syscall.SIGTERM)
		p.await(t, "draining")
		p.signal(t, syscall.SIGINT)
		p.await(t, "a second time")
		if code := p.exit(t); code != 1 {
			t.Errorf("exit %d", code)
		}
	})
	t.Run("hang-up reloads", func(t *testing.T) {
		p := start(t, "mode: drains")
		p.await(t, "carrying")
		for range 2 {
			p.signal(t, syscall.SIGHUP)
			p.await(t, `"reloaded"`)
		}
		p.signal(t, syscall.SIGTERM)
		if code := p.exit(t); code != 0 {
			t.Errorf("exit %d", code)
		}
	})
}

func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFrame("porter", discard)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l := life{frame: f, cancel: cancel, stopping: ctx.Done(), done: make(chan error), within: 25 * time.Second}
		begun := time.Now()
		if code := l.watch(); code != ExitWrong {
			t.Errorf("exit %d", code)
		}
		if took := time.Since(begun); took != 25*time.Second {
			t.Errorf("took %v", took)
		}
		if f.Health.Ready() {
			t.Error("ready while draining")
		}
	})
}

func TestAdminServer(t *testing.T) {
	f := NewFrame("porter", discard)
	end, err := f.listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	f.Handle("GET /bags", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "three") }))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) (int, string) {
		t.Helper()
		res, err := client.Get("http://" + f.AdminAddress() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	check := func(path string, wantCode int, want string) {
		t.Helper()
		if code, body := get(path); code != wantCode || !strings.Contains(body, want) {
			t.Errorf("%s: %d\n%s", path, code, body)
		}
	}
	check("/livez", 200, "alive")
	check("/readyz", 503, "not ready: starting")
	f.Health.Expect("broker")
	check("/readyz", 503, "not ready\nbroker: not ready yet")
	f.Health.SetReady("broker", nil)
	f.Health.SetReady("state", os.ErrDeadlineExceeded)
	check("/readyz", 503, "not ready\nbroker: ok\nstate: i/o timeout")
	f.Health.SetReady("state", nil)
	check("/readyz", 200, "ready\nbroker: ok\nstate: ok")
	check("/bags", 200, "three")
	check("/metrics", 200, `build_info{go="go1.`)
	check("/metrics", 200, `go_goroutines`)
	f.Metrics.MustRegister(dumb{})
	check("/metrics", 200, `go_goroutines`) // what cannot be asked takes nothing else along
	check("/none", 404, "")
	f.drain()
	check("/readyz", 503, "running: shutting down")
	if _, err := f.listen(f.AdminAddress()); err == nil {
		t.Error("listened twice at one address")
	}
}

// dumb is a metric that cannot tell its value.
type dumb struct{}

var speech = prometheus.NewDesc("speech", "What cannot be had.", nil, nil)

func (dumb) Describe(ch chan<- *prometheus.Desc) { ch <- speech }

func (dumb) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(speech, os.ErrDeadlineExceeded)
}
