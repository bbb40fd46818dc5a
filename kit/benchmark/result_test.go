package benchmark

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestLines(t *testing.T) {
	for name, tc := range map[string]struct {
		r    Result
		want string
	}{
		"at least, reached":  {Result{Name: "rate", Ours: 20356.4, Limit: 25000, Ratio: 0.814, Target: 0.8}, "bench: rate ours=20356 limit=25000 ratio=0.81 target=0.80 ok"},
		"at least, short":    {Result{Name: "rate", Ours: 1, Limit: 2, Ratio: 0.5, Target: 0.8}, "bench: rate ours=1 limit=2 ratio=0.50 target=0.80 short"},
		"at most, reached":   {Result{Name: "p99", Ours: 12.34, Limit: 10, Ratio: 1.5, Target: 1.5, AtMost: true}, "bench: p99 ours=12.3 limit=10 ratio=1.50 target=1.50 ok"},
		"at most, short":     {Result{Name: "p99", Ours: 1.234, Limit: 0.5, Ratio: 2.468, Target: 1.5, AtMost: true}, "bench: p99 ours=1.23 limit=0.50 ratio=2.47 target=1.50 short"},
		"against a number":   {Against("start", 4.41, 5), "bench: start ours=4.41 limit=5 ratio=0.88 target=1.00 ok"},
		"against, one above": {Against("requests", 2, 1), "bench: requests ours=2 limit=1 ratio=2.00 target=1.00 short"},
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
		if err := Tell([]Result{Against(name, 1, 1)}, path, &out); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if want := fmt.Sprintln(Against("one", 1, 1)) + fmt.Sprintln(Against("two", 1, 1)); err != nil || string(b) != want || out.Len() > 0 {
		t.Errorf("file %q, printed %q, %v", b, &out, err)
	}
	if err := Tell([]Result{Against("one", 1, 1)}, "", &out); err != nil || out.String() != fmt.Sprintln(Against("one", 1, 1)) {
		t.Errorf("printed %q, %v", &out, err)
	}
}

func TestMedian(t *testing.T) {
	for name, tc := range map[string]struct {
		of   []float64
		want float64
	}{"none": {nil, 0}, "one": {[]float64{3}, 3}, "odd": {[]float64{9, 1, 2}, 2}, "even": {[]float64{8, 1, 4, 2}, 3}} {
		t.Run(name, func(t *testing.T) {
			if got := Median(tc.of); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// A machine that was slow during one pair must not show in the ratio.
func TestRatiosAreOfNeighbours(t *testing.T) {
	got := Compare([]float64{80, 8, 90}, []float64{100, 10, 100})
	if got.Ours != 80 || got.Limit != 100 || got.Ratio != 0.8 {
		t.Errorf("%+v", got)
	}
}
