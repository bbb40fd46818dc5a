package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Complaint is one thing that is wrong with a configuration file, and what to do about it.
type Complaint struct {
	File    string
	Line    int    // 1-based; 0 = the file as a whole
	Column  int    // 1-based
	Option  string // path of the option: mailboxes[0].pop-client.cycle-time
	Problem string // what is wrong, without a secret
	Remedy  string // what to do
	Warning bool   // the file is usable all the same
}

// String is one line: file:line:column: option: problem; remedy.
func (c Complaint) String() string {
	var b strings.Builder
	b.WriteString(c.File)
	if c.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", c.Line, c.Column)
	}
	b.WriteString(": ")
	if c.Warning {
		b.WriteString("warning: ")
	}
	if c.Option != "" {
		b.WriteString(c.Option + ": ")
	}
	b.WriteString(c.Problem)
	if c.Remedy != "" {
		b.WriteString("; " + c.Remedy)
	}
	return b.String()
}

// Complaints is all that is wrong, in the order of the files.
type Complaints []Complaint

// Error lists every complaint on a line of its own.
func (cs Complaints) Error() string {
	lines := make([]string, len(cs))
	for i, c := range cs {
		lines[i] = c.String()
	}
	return strings.Join(lines, "\n")
}

// Err is the complaints that are no warnings as an error, or nil.
func (cs Complaints) Err() error {
	hard := slices.DeleteFunc(slices.Clone(cs), func(c Complaint) bool { return c.Warning })
	if len(hard) == 0 {
		return nil
	}
	return hard
}

// Sort orders by file and position.
func (cs Complaints) Sort() {
	slices.SortStableFunc(cs, func(a, b Complaint) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
