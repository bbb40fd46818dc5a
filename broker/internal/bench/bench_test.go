package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for name, tc := range map[string]struct {
		of    []time.Duration
		share float64
		want  time.Duration
	}{
		"none":         {nil, 0.99, 0},
		"one":          {[]time.Duration{7}, 0.99, 7},
		"of a hundred": {hundred, 0.99, 100},
		"the middle":   {hundred, 0.5, 51},
		"all of them":  {hundred, 1, 100},
	} {
		t.Run(name, func(t *testing.T) {
			if got := percentile(slices.Clone(tc.of), tc.share); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// A machine that was slow during one pair must not show in the ratio.
func TestRatiosAreOfNeighbours(t *testing.T) {
	got := pairs{{{rate: 80}, {rate: 100}}, {{rate: 8}, {rate: 10}}, {{rate: 90}, {rate: 100}}}.compare(slice.callsPerSecond)
	if got.Ours != 80 || got.Limit != 100 || got.Ratio != 0.8 {
		t.Errorf("%+v", got)
	}
}

func TestBareServerAnswersAsMuchAsIsAskedFor(t *testing.T) {
	small, large := madeUp(10, address(0)), madeUp(1500, address(0))
	if n := len(large.GetAccessToken().GetValue()); n != 1500 {
		t.Errorf("a token of %d bytes", n)
	}
	if d := proto.Size(large) - proto.Size(small); d < 1490 || d > 1495 { // and two lengths that take a byte more
		t.Errorf("%d bytes apart", d)
	}
}

// TestDuelOfEquals runs both sides of the comparison against the same bare server.
func TestDuelOfEquals(t *testing.T) {
	st := &stage{dir: t.TempDir()}
	if err := st.certificates(); err != nil {
		t.Fatal(err)
	}
	var port int
	if err := freePorts(&port); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	listen, served := fmt.Sprintf("127.0.0.1:%d", port), make(chan error, 1)
	go func() {
		served <- serveEcho(ctx, []string{"-listen", listen, "-tls", st.path("tls"), "-token-bytes", "1000"})
	}()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: "self", cmd: &exec.Cmd{Process: self}, began: time.Now()}
	if _, err := p.await(ctx, listening(listen)); err != nil {
		t.Fatal(err)
	}
	c, err := st.contender(ctx, p, port)
	if err != nil {
		t.Fatal(err)
	}
	all, err := duel(ctx, c, c, 32, options{pairs: 3, slice: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r := all.compare(slice.callsPerSecond); len(all) != 3 || !(r.Ratio > 0) || all[0][0].p99 <= 0 {
		t.Errorf("%+v", all)
	}
	if took, err := stampede(ctx, c.clients, 100); err != nil || took <= 0 {
		t.Errorf("%v, %v", took, err)
	}
	hangUp(c.conns)
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := c.askFor(t.Context(), 4, 10, time.Second); err == nil {
		t.Error("a server that is gone was measured")
	}
}

func TestUsage(t *testing.T) {
	for name, args := range map[string][]string{"unknown flag": {"-none"}, "argument": {"now"}, "no pairs": {"-pairs", "0"}, "no time": {"-slice", "0s"}} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), args, &out, &out); code != 2 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// A program that does not start, or ends before it is ready, is named with its log.
func TestMissingPrograms(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // a run that failed leaves its logs
	var out bytes.Buffer
	if code := run(t.Context(), []string{"-bin", t.TempDir()}, &out, &out); code != 1 || !bytes.Contains(out.Bytes(), []byte("bench: start sandbox:")) {
		t.Errorf("exit code %d: %s", code, &out)
	}
	p, err := startProcess(filepath.Join(t.TempDir(), "log"), "false", "false")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.await(t.Context(), func(context.Context) bool { return false }); err == nil {
		t.Error("a program that ended counts as ready")
	}
	if err := p.stop(); err == nil {
		t.Error("a program that ended early ended well")
	}
}
