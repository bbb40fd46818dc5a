package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"mailporter/kit/secret"
)

// Text returns the option as it stands, or def.
func (m *Map) Text(key, def string) string {
	n, owner := m.find(key)
	if owner == nil {
		return def
	}
	if n.Kind != yaml.ScalarNode {
		m.Complain(key, "must be a single value", "write one text, no list and no mapping")
		return def
	}
	return n.Value
}

// Require is Text for an option that must be given and not be empty.
func (m *Map) Require(key, remedy string) string {
	s := m.Text(key, "")
	if s == "" {
		m.Complain(key, "is missing", remedy)
	}
	return s
}

// OneOf returns one of the allowed words, in the spelling of allowed; case does not matter.
func (m *Map) OneOf(key, def string, allowed ...string) string {
	s := m.Text(key, def)
	for _, a := range allowed {
		if strings.EqualFold(s, a) {
			return a
		}
	}
	if m.Has(key) {
		m.Complain(key, fmt.Sprintf("%q is not allowed", s), "use one of: "+strings.Join(allowed, ", "))
	}
	return def
}

// Bool returns true or false.
func (m *Map) Bool(key string, def bool) bool {
	switch s := strings.ToLower(m.Text(key, "")); s {
	case "":
		return def
	case "true":
		return true
	case "false":
		return false
	default:
		m.Complain(key, fmt.Sprintf("%q is neither true nor false", s), "write true or false")
		return def
	}
}

// Int returns a whole number from lowest to highest.
func (m *Map) Int(key string, def, lowest, highest int) int {
	s := m.Text(key, "")
	if s == "" {
		return def
	}
	v, err := strconv.Atoi(s)
	if err != nil || v < lowest || v > highest {
		m.Complain(key, fmt.Sprintf("%q is not a whole number from %d to %d", s, lowest, highest), fmt.Sprintf("write for example %d", def))
		return def
	}
	return v
}

// Size returns bytes: a whole number, optionally with k, M or G (1024-based): 25M.
func (m *Map) Size(key string, def int64) int64 {
	s := m.Text(key, "")
	if s == "" {
		return def
	}
	digits, unit := s, int64(1)
	if i := strings.IndexAny(s, "kKmMgG"); i > 0 && strings.TrimLeft(strings.ToLower(s[i+1:]), "ib") == "" {
		digits, unit = s[:i], map[byte]int64{'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30}[s[i]|0x20]
	}
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || v < 0 || v > 1<<40 {
		m.Complain(key, fmt.Sprintf("%q is not a size", s), "write bytes, or a number with k, M or G: 25M")
		return def
	}
	return v * unit
}

// Clock returns a length of time of the form hh:mm:ss from lowest to highest, both included.
func (m *Map) Clock(key string, def, lowest, highest time.Duration) time.Duration {
	s := m.Text(key, "")
	if s == "" {
		return def
	}
	d, ok := parseClock(s)
	if !ok {
		m.Complain(key, fmt.Sprintf("%q is not a time of the form hh:mm:ss", s), fmt.Sprintf("write for example %q", FormatClock(def)))
		return def
	}
	if d < lowest || d > highest {
		m.Complain(key, fmt.Sprintf("%q is out of range", s), fmt.Sprintf("write %q to %q", FormatClock(lowest), FormatClock(highest)))
		return def
	}
	return d
}

func parseClock(s string) (time.Duration, bool) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, false
	}
	var v [3]int
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 || len(p) > 4 || p[0] == '+' || i > 0 && n > 59 {
			return 0, false
		}
		v[i] = n
	}
	return time.Duration(v[0])*time.Hour + time.Duration(v[1])*time.Minute + time.Duration(v[2])*time.Second, true
}

// FormatClock writes d as hh:mm:ss.
func FormatClock(d time.Duration) string {
	s := int(d / time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// Texts returns a list; a single value stands for a list of one.
func (m *Map) Texts(key string) []string {
	n, owner := m.find(key)
	if owner == nil {
		return nil
	}
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}
	}
	if n.Kind != yaml.SequenceNode || slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return unwrap(c).Kind != yaml.ScalarNode }) {
		m.Complain(key, "must be a list of texts", "write [one, two]")
		return nil
	}
	var all []string
	for _, c := range n.Content {
		all = append(all, unwrap(c).Value)
	}
	return all
}

// Path returns a path, absolute to the folder of the file that names it.
func (m *Map) Path(key, def string) string {
	s := m.Text(key, def)
	if _, owner := m.find(key); owner != nil {
		return owner.Resolve(s)
	}
	return m.Resolve(s)
}

// Paths is Path for a list.
func (m *Map) Paths(key string) []string {
	all := m.Texts(key)
	_, owner := m.find(key)
	for i := range all {
		all[i] = owner.Resolve(all[i])
	}
	return all
}

// Address returns host:port.
func (m *Map) Address(key, def string) string {
	s := m.Text(key, def)
	if s == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(s)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
		m.Complain(key, fmt.Sprintf("%q is not host:port", s), "write for example 127.0.0.1:9090")
		return def
	}
	return s
}

// Secret returns a reference {file: ...} or {env: ...}. A literal is accepted with a warning.
func (m *Map) Secret(key string) secret.Ref {
	n, owner := m.find(key)
	if owner == nil {
		return secret.Ref{}
	}
	return owner.secretRef(n, owner.join(key))
}

// Secrets is Secret for a list; a single reference stands for a list of one.
func (m *Map) Secrets(key string) []secret.Ref {
	n, owner := m.find(key)
	if owner == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return []secret.Ref{owner.secretRef(n, owner.join(key))}
	}
	var all []secret.Ref
	for i, c := range n.Content {
		all = append(all, owner.secretRef(unwrap(c), fmt.Sprintf("%s[%d]", owner.join(key), i)))
	}
	return all
}

// Date is a day, 2027-03-01, or a moment, 2027-03-01T09:30:00Z; the zero time if it is absent. A day is its first moment in
// UTC: what ends on it is not to be counted on that day any more.
func (m *Map) Date(key string) time.Time {
	s := m.Text(key, "")
	if s == "" {
		return time.Time{}
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC()
		}
	}
	m.Complain(key, fmt.Sprintf("%q is no date", s), "write for example 2027-03-01")
	return time.Time{}
}

// places are the options of a reference.
var places = []string{"file", "env", "expires"}

const secretRemedy = "write {file: PATH} or {env: NAME}"

func (m *Map) secretRef(n *yaml.Node, path string) secret.Ref {
	if n.Kind == yaml.ScalarNode {
		if n.Value == "" {
			m.doc.add(n, path, "is empty", secretRemedy)
			return secret.Ref{}
		}
		m.doc.add(n, path, "a secret stands in the file itself", secretRemedy)
		m.doc.complaints[len(m.doc.complaints)-1].Warning = true
		return secret.Ref{Literal: secret.New(n.Value)}
	}
	sub := newMap(m.doc, n, path)
	sub.Know(places)
	ref := secret.Ref{File: sub.Path("file", ""), Env: sub.Text("env", ""), Expires: sub.Date("expires")}
	sub.Done()
	if (ref.File == "") == (ref.Env == "") {
		m.doc.add(n, path, "must name exactly one place", secretRemedy)
	}
	return ref
}
