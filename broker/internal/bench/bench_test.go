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

func TestLines(t *testing.T) {
	for name, tc := range map[string]struct {
		r    result
		want string
	}{
		"at least, reached":  {result{name: "rate", ours: 20356.4, limit: 25000, ratio: 0.814, target: 0.8}, "bench: rate ours=20356 limit=25000 ratio=0.81 target=0.80 ok"},
		"at least, short":    {result{name: "rate", ours: 1, limit: 2, ratio: 0.5, target: 0.8}, "bench: rate ours=1 limit=2 ratio=0.50 target=0.80 short"},
		"at most, reached":   {result{name: "p99", ours: 12.34, limit: 10, ratio: 1.5, target: 1.5, atMost: true}, "bench: p99 ours=12.3 limit=10 ratio=1.50 target=1.50 ok"},
		"at most, short":     {result{name: "p99", ours: 1.234, limit: 0.5, ratio: 2.468, target: 1.5, atMost: true}, "bench: p99 ours=1.23 limit=0.50 ratio=2.47 target=1.50 short"},
		"against a number":   {against("start", 4.41, 5), "bench: start ours=4.41 limit=5 ratio=0.88 target=1.00 ok"},
		"against, one above": {against("requests", 2, 1), "bench: requests ours=2 limit=1 ratio=2.00 target=1.00 short"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.r.String(); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestLinesOfSeveralProgramsComeTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results")
	var out bytes.Buffer
	for _, name := range []string{"one", "two"} {
		if err := tell([]result{against(name, 1, 1)}, path, &out); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if want := fmt.Sprintln(against("one", 1, 1)) + fmt.Sprintln(against("two", 1, 1)); err != nil || string(b) != want || out.Len() > 0 {
		t.Errorf("file %q, printed %q, %v", b, &out, err)
	}
	if err := tell([]result{against("one", 1, 1)}, "", &out); err != nil || out.String() != fmt.Sprintln(against("one", 1, 1)) {
		t.Errorf("printed %q, %v", &out, err)
	}
}

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

func TestMedian(t *testing.T) {
	for name, tc := range map[string]struct {
		of   []float64
		want float64
	}{"none": {nil, 0}, "one": {[]float64{3}, 3}, "odd": {[]float64{9, 1, 2}, 2}, "even": {[]float64{8, 1, 4, 2}, 3}} {
		t.Run(name, func(t *testing.T) {
			if got := median(tc.of); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// A machine that was slow during one pair must not show in the ratio.
func TestRatiosAreOfNeighbours(t *testing.T) {
	got := pairs{{{rate: 80}, {rate: 100}}, {{rate: 8}, {rate: 10}}, {{rate: 90}, {rate: 100}}}.compare(slice.callsPerSecond)
	if got.ours != 80 || got.limit != 100 || got.ratio != 0.8 {
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
	if r := all.compare(slice.callsPerSecond); len(all) != 3 || !(r.ratio > 0) || all[0][0].p99 <= 0 {
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
