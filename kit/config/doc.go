// Package config reads YAML configuration so that a person can mend it: every option is read through a Map by its name,
// with its default, its form and its limits in one place, and whatever is wrong becomes a Complaint with file, line,
// column, option and remedy. Nothing stops at the first error. Options that nobody asked for are complaints too.
//
//	doc := config.Read("worker.yaml")
//	root := doc.Root()
//	listen := root.Text("admin", "127.0.0.1:9091")
//	every := root.Map("polling").Clock("cycle-time", time.Minute, time.Second, time.Hour)
//	root.Done()
//	if err := doc.Complaints().Err(); err != nil { ... }
//
// A reader returns the default after a complaint, so that reading can go on; the caller must look at Complaints before it
// uses anything.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4" // gives positions for nodes and for all syntax errors; viper and koanf have none
)

// maxFile bounds a configuration file, in bytes. A hundred thousand mailboxes fit.
const maxFile = 256 << 20

// Doc is one configuration file and the complaints about it.
type Doc struct {
	name       string
	dir        string // relative paths start here
	root       *yaml.Node
	complaints Complaints
}

// Read reads a file. A file that cannot be read or parsed is a complaint; its Root is then empty.
func Read(path string) *Doc {
	d := &Doc{name: path, dir: filepath.Dir(path)}
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		d.add(nil, "", "cannot be read: "+reason(err), "check the path and the permissions")
		return d
	}
	d.parse(b)
	return d
}

// Parse reads YAML text; name stands for the file in complaints, relative paths start at dir.
func Parse(name, dir string, text []byte) *Doc {
	d := &Doc{name: name, dir: dir}
	d.parse(text)
	return d
}

func (d *Doc) parse(text []byte) {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		d.add(nil, "", err.Error(), "")
		return
	}
	var doc yaml.Node
	if err := loader.Load(&doc); err != nil && !errors.Is(err, io.EOF) {
		d.syntax(err)
		return
	}
	d.root = unwrap(&doc)
	var next yaml.Node
	switch err := loader.Load(&next); {
	case err == nil:
		d.add(unwrap(&next), "", "a second YAML document starts here and would be ignored", "keep one document in the file: remove the --- line")
	case !errors.Is(err, io.EOF):
		d.syntax(err)
	}
}

func (d *Doc) syntax(err error) {
	var many *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &many):
		for _, e := range many.Errors {
			d.syntax(e)
		}
	case errors.As(err, &one):
		d.complaints = append(d.complaints, Complaint{File: d.name, Line: one.Mark.Line, Column: one.Mark.Column,
			Problem: "is not YAML: " + one.Message, Remedy: "check indentation, colons and quotes around this place"})
	default:
		d.add(nil, "", "is not YAML: "+err.Error(), "check indentation, colons and quotes")
	}
}

// Root is the file's top level. It is empty if the file is.
func (d *Doc) Root() *Map { return newMap(d, d.root, "") }

// Complaints returns everything found so far, in the order of the file.
func (d *Doc) Complaints() Complaints {
	d.complaints.Sort()
	return d.complaints
}

func (d *Doc) add(at *yaml.Node, option, problem, remedy string) {
	c := Complaint{File: d.name, Option: option, Problem: problem, Remedy: remedy}
	if at != nil {
		c.Line, c.Column = at.Line, at.Column
	}
	d.complaints = append(d.complaints, c)
}

// reason drops the path from an *os.PathError: the complaint names the file already.
func reason(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// unwrap steps through documents and aliases to the node that has the content.
func unwrap(n *yaml.Node) *yaml.Node {
	for n != nil {
		switch {
		case n.Kind == yaml.DocumentNode && len(n.Content) > 0:
			n = n.Content[0]
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		case n.Kind == 0 || n.Kind == yaml.DocumentNode:
			return nil
		default:
			return n
		}
	}
	return nil
}
