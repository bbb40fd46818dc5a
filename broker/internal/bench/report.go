package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// result is one measured number against its limit.
type result struct {
	name        string
	ours, limit float64
	ratio       float64 // ours / limit, or the median of such
	target      float64 // for the ratio
	atMost      bool    // the ratio may not be more than the target; else not less
}

// against is a result whose limit is a number that the design gives: the ratio may not be more than 1.
func against(name string, ours, limit float64) result {
	return result{name: name, ours: ours, limit: limit, ratio: ours / limit, target: 1, atMost: true}
}

func (r result) reached() bool {
	if r.atMost {
		return r.ratio <= r.target
	}
	return r.ratio >= r.target
}

// String is the line that programs may read.
func (r result) String() string {
	word := "short"
	if r.reached() {
		word = "ok"
	}
	return fmt.Sprintf("bench: %s ours=%s limit=%s ratio=%.2f target=%.2f %s", r.name, number(r.ours), number(r.limit), r.ratio, r.target, word)
}

// number writes three digits or more, and never an exponent.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// tell prints the lines, or appends them to a file for whoever prints those of several programs together.
func tell(all []result, path string, out io.Writer) error {
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
