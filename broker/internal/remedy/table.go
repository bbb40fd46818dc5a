package remedy

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed table.txt
var builtIn string

// Table knows what answers mean. It is not changed once made; any number of goroutines may ask it.
type Table struct{ rows map[string]row } // by provider and match

type row struct {
	match  []string // sorted words
	class  Class
	reason string
	wait   time.Duration
	remedy string
	link   string
}

// Default is the table that comes with the program.
func Default() *Table { return builtInTable }

var builtInTable = func() *Table {
	t, err := (&Table{}).With(strings.NewReader(builtIn))
	if err != nil {
		panic("built-in table of remedies: " + err.Error()) // the package's tests read the same file
	}
	return t
}()

// With is the table and the lines of r, which win over those of the same match. The error names every bad line.
func (t *Table) With(r io.Reader) (*Table, error) {
	rows := make(map[string]row, len(t.rows))
	for k, v := range t.rows {
		rows[k] = v
	}
	var errs []error
	provider := ""
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case line == "[microsoft]" || line == "[google]":
			provider = strings.Trim(line, "[]")
		default:
			if err := parseLine(rows, provider, line); err != nil {
				errs = append(errs, fmt.Errorf("line %d: %w", n, err))
			}
		}
	}
	if err := errors.Join(append(errs, lines.Err())...); err != nil {
		return nil, err
	}
	return &Table{rows}, nil
}

func parseLine(rows map[string]row, provider, line string) error {
	if provider == "" {
		return errors.New("write [microsoft] or [google] before the first line")
	}
	cells := strings.Split(line, "|")
	if len(cells) < 5 || len(cells) > 6 {
		return fmt.Errorf("%d columns: write match | class | reason | wait | remedy | link", len(cells))
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	r := row{class: Class(cells[1]), reason: cells[2], remedy: cells[4]}
	if len(cells) == 6 {
		r.link = cells[5]
	}
	if err := r.complete(cells[3]); err != nil {
		return err
	}
	return addMatches(rows, provider, cells[0], r)
}

func (r *row) complete(wait string) error {
	if !slices.Contains([]Class{NeedsAdmin, NeedsUser, WrongConfig, Throttled, Transient}, r.class) {
		return fmt.Errorf("class %q: use needs-admin, needs-user, wrong-config, throttled or transient", r.class)
	}
	if r.reason == "" || strings.Trim(r.reason, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return fmt.Errorf("reason %q: use capital letters, digits and _", r.reason)
	}
	if r.remedy == "" {
		return errors.New("the remedy is missing: say who must do what")
	}
	if wait == "" {
		return nil
	}
	d, err := time.ParseDuration(wait)
	if err != nil || d < 0 {
		return fmt.Errorf("wait %q: write for example 5m", wait)
	}
	r.wait = d
	return nil
}

// addMatches makes one row of each AADSTS number, with the line's other words.
func addMatches(rows map[string]row, provider, match string, r row) error {
	var numbers, words []string
	for _, w := range strings.Fields(match) {
		if n, ok := strings.CutPrefix(w, "AADSTS"); ok {
			if _, err := strconv.Atoi(n); err != nil {
				return fmt.Errorf("match %q: no number", w)
			}
			numbers = append(numbers, w)
			continue
		}
		key, value, _ := strings.Cut(w, "=")
		if w != "app-only" && (value == "" || !slices.Contains([]string{"error", "suberror", "text"}, key)) {
			return fmt.Errorf("match %q: use AADSTS and a number, error=, suberror=, text= or app-only", w)
		}
		words = append(words, strings.ToLower(w))
	}
	if len(numbers)+len(words) == 0 {
		return errors.New("the match is missing")
	}
	if len(numbers) == 0 {
		numbers = []string{""}
	}
	for _, n := range numbers {
		r.match = slices.DeleteFunc(append([]string{n}, words...), func(s string) bool { return s == "" })
		slices.Sort(r.match)
		rows[provider+" "+strings.Join(r.match, " ")] = r
	}
	return nil
}

// find is the row with the most words of which all are in the answer; a number counts more than any words.
func (t *Table) find(provider string, has func(word string) bool) (row, bool) {
	var best row
	score := 0
	for key, r := range t.rows {
		if !strings.HasPrefix(key, provider+" ") || r.weight() < score || !all(r.match, has) {
			continue
		}
		// Rows of equal weight are taken in the order of their words, so that the answer is the same every time.
		if r.weight() > score || slices.Compare(r.match, best.match) < 0 {
			best, score = r, r.weight()
		}
	}
	return best, score > 0
}

func (r row) weight() int {
	w := 0
	for _, m := range r.match {
		switch {
		case strings.HasPrefix(m, "AADSTS"):
			w += 1000
		case strings.HasPrefix(m, "suberror="):
			w += 100 // it says more than the error that it stands beside
		case strings.HasPrefix(m, "text="):
			w += min(10+len(m), 90) // the longer text says more
		default:
			w++
		}
	}
	return w
}

func all(words []string, has func(string) bool) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !has(w) })
}
