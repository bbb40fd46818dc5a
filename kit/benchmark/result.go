package benchmark

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Result is one measured number against its limit.
type Result struct {
	Name        string
	Ours, Limit float64
	Ratio       float64 // Ours / Limit, or the median of such; Limit / Ours where less is better
	Target      float64 // for the ratio
	AtMost      bool    // the ratio may not be more than the target; else not less
}

// Against is a result whose limit is a number that the design gives: the ratio may not be more than 1.
func Against(name string, ours, limit float64) Result {
	return Result{Name: name, Ours: ours, Limit: limit, Ratio: ours / limit, Target: 1, AtMost: true}
}

// Compare is the median of what was measured on each side, and the median of the ratios of neighbours: ours[i] and limit[i]
// were measured one after the other, so that a noisy machine slows both.
func Compare(ours, limit []float64) Result {
	ratio := make([]float64, len(ours))
	for i := range ours {
		ratio[i] = ours[i] / limit[i]
	}
	return Result{Ours: Median(ours), Limit: Median(limit), Ratio: Median(ratio)}
}

// Reached says whether the ratio is on the right side of the target.
func (r Result) Reached() bool {
	if r.AtMost {
		return r.Ratio <= r.Target
	}
	return r.Ratio >= r.Target
}

// String is the line that programs may read.
func (r Result) String() string {
	word := "short"
	if r.Reached() {
		word = "ok"
	}
	return fmt.Sprintf("bench: %s ours=%s limit=%s ratio=%.2f target=%.2f %s", r.Name, Number(r.Ours), Number(r.Limit), r.Ratio, r.Target, word)
}

// Number writes three digits or more, and never an exponent.
func Number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// Tell prints the lines, or appends them to the file at path for whoever prints those of several programs together.
func Tell(all []Result, path string, out io.Writer) error {
	var b strings.Builder
	for _, r := range all {
		fmt.Fprintln(&b, r)
	}
	if path == "" {
		_, err := io.WriteString(out, b.String())
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(b.String()); err != nil {
		_ = f.Close() // the error that counts is the other
		return err
	}
	return f.Close()
}

// Median is the middle value, or the mean of the two in the middle; 0 of none.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
