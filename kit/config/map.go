package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Map is a YAML mapping whose options are read one by one. An absent mapping is an empty Map.
type Map struct {
	doc    *Doc
	node   *yaml.Node // the mapping, or nil
	path   string
	given  []option       // in the order of the file
	index  map[string]int // into given, when there are many
	absent *[]string      // asked for and not given; shared with the layers made of this mapping
	known  [][]string     // declared by Know
	under  *Map           // what to ask when an option is absent here
}

// option is one that is given. A file of a hundred thousand mailboxes has half a million small mappings, so theirs are
// slices: maps took most of the time to load it.
type option struct {
	name       string
	key, value *yaml.Node
	asked      bool
}

// few is how many options are searched one by one.
const few = 16

func newMap(d *Doc, n *yaml.Node, path string) *Map {
	m := &Map{doc: d, path: path, absent: new([]string)}
	n = unwrap(n)
	if n == nil || isNull(n) {
		return m
	}
	if n.Kind != yaml.MappingNode {
		d.add(n, path, "must be a mapping of options", "write `option: value` lines")
		return m
	}
	m.node = n
	m.given = make([]option, 0, len(n.Content)/2)
	if cap(m.given) > few {
		m.index = make(map[string]int, cap(m.given))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		m.put(n.Content[i], unwrap(n.Content[i+1]))
	}
	return m
}

func (m *Map) put(key, value *yaml.Node) {
	if m.at(key.Value) != nil {
		m.doc.add(key, m.join(key.Value), "is given twice", "keep one of them")
		return
	}
	if m.index != nil {
		m.index[key.Value] = len(m.given)
	}
	m.given = append(m.given, option{name: key.Value, key: key, value: value})
}

// at is the option of that name in this mapping itself, or nil.
func (m *Map) at(name string) *option {
	if m.index != nil {
		if i, ok := m.index[name]; ok {
			return &m.given[i]
		}
		return nil
	}
	for i := range m.given {
		if m.given[i].name == name {
			return &m.given[i]
		}
	}
	return nil
}

// ask is at, and notes that the option is known.
func (m *Map) ask(name string) *option {
	o := m.at(name)
	if o != nil {
		o.asked = true
		return o
	}
	if m.known != nil {
		return nil // Know has said all names
	}
	if *m.absent == nil {
		*m.absent = make([]string, 0, 4*few)
	}
	if !slices.Contains(*m.absent, name) {
		*m.absent = append(*m.absent, name)
	}
	return nil
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (m *Map) join(key string) string {
	if m.path == "" {
		return key
	}
	return m.path + "." + key
}

// Over returns a Map that asks m first and, for options that are absent there, under. Complaints point to where the
// option stands.
func (m *Map) Over(under *Map) *Map {
	if m.under == nil {
		layered := *m
		layered.under = under
		return &layered
	}
	layered := *m
	layered.under = m.under.Over(under)
	return &layered
}

// Present says whether the mapping itself is in the file.
func (m *Map) Present() bool { return m.node != nil || m.under != nil && m.under.Present() }

// Where is the mapping's place in its file: mailboxes[0].pop-client.
func (m *Map) Where() string { return m.path }

// Line is where the mapping begins in its file, 1-based; 0 if it is absent.
func (m *Map) Line() int {
	if m.node == nil {
		return 0
	}
	return m.node.Line
}

// File is the name of the file.
func (m *Map) File() string { return m.doc.name }

// Keys lists the options in the order of the file, those of the layers beneath left out.
func (m *Map) Keys() []string {
	names := make([]string, len(m.given))
	for i, o := range m.given {
		names[i] = o.name
	}
	return names
}

// Has says whether the option is given, here or beneath.
func (m *Map) Has(key string) bool {
	_, owner := m.find(key)
	return owner != nil
}

// IsText says whether the option is given as a single value, no list and no mapping.
func (m *Map) IsText(key string) bool {
	n, owner := m.find(key)
	return owner != nil && n.Kind == yaml.ScalarNode
}

// IsList says whether the option is given as a list.
func (m *Map) IsList(key string) bool {
	n, owner := m.find(key)
	return owner != nil && n.Kind == yaml.SequenceNode
}

// HasHere says whether the option is given in this mapping itself.
func (m *Map) HasHere(key string) bool {
	o := m.ask(key)
	return o != nil && o.value != nil && !isNull(o.value)
}

// find returns the option's node and the layer that has it.
func (m *Map) find(key string) (*yaml.Node, *Map) {
	var node *yaml.Node
	var owner *Map
	for at := m; at != nil; at = at.under { // to the end: every layer learns that the option is known
		if at.HasHere(key) && owner == nil {
			node, owner = at.at(key).value, at
		}
	}
	return node, owner
}

// Complain adds a complaint about an option, at its place if it is given, else at the mapping's.
func (m *Map) Complain(key, problem, remedy string) {
	if n, owner := m.find(key); owner != nil {
		owner.doc.add(n, owner.join(key), problem, remedy)
		return
	}
	m.doc.add(m.node, m.join(key), problem, remedy)
}

// Warn is Complain for what does not make the file unusable.
func (m *Map) Warn(key, problem, remedy string) {
	owner := m
	if _, o := m.find(key); o != nil {
		owner = o
	}
	m.Complain(key, problem, remedy)
	owner.doc.complaints[len(owner.doc.complaints)-1].Warning = true
}

// Know declares options: Done takes them for known whether they are asked for or not. Call it before Over. Where a
// hundred thousand mappings have the same options, it also saves each from noting what was asked of it.
func (m *Map) Know(lists ...[]string) { m.known = append(m.known, lists...) }

func (m *Map) declared(name string) bool {
	return slices.ContainsFunc(m.known, func(list []string) bool { return slices.Contains(list, name) })
}

// Done complains about every option of this mapping that nobody asked for, and names the nearest known one.
func (m *Map) Done() {
	for _, o := range m.given {
		if !o.asked && !m.declared(o.name) {
			m.doc.add(o.key, m.join(o.name), "is no known option here", m.suggest(o.name))
		}
	}
}

func (m *Map) suggest(key string) string {
	known := slices.Concat(append(m.known[:len(m.known):len(m.known)], *m.absent)...)
	for _, o := range m.given {
		if o.asked {
			known = append(known, o.name)
		}
	}
	slices.Sort(known)
	known = slices.Compact(known)
	best, distance := "", 4
	for _, k := range known {
		if d := levenshtein(strings.ToLower(key), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known here: " + strings.Join(known, ", ")
}

// Map returns the mapping under key; an empty one if it is absent. Each layer's mapping lies over the one beneath.
func (m *Map) Map(key string) *Map {
	var value *yaml.Node
	if o := m.ask(key); o != nil {
		value = o.value
	}
	sub := newMap(m.doc, value, m.join(key))
	if m.under != nil {
		return sub.Over(m.under.Map(key))
	}
	return sub
}

// Maps returns the list of mappings under key, of the topmost layer that has it.
func (m *Map) Maps(key string) []*Map {
	n, owner := m.find(key)
	if owner == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		m.Complain(key, "must be a list", "write each entry with a leading dash")
		return nil
	}
	subs := make([]*Map, len(n.Content))
	for i, c := range n.Content {
		subs[i] = newMap(owner.doc, c, fmt.Sprintf("%s[%d]", owner.join(key), i))
	}
	return subs
}

// Named returns the mappings under key by their names, in the order of the file: `applications: {contoso: {...}}`.
func (m *Map) Named(key string) []Named {
	parent := m.Map(key)
	var all []Named
	for _, name := range parent.Keys() {
		all = append(all, Named{name, parent.Map(name)})
	}
	return all
}

// Named is a mapping that has a name.
type Named struct {
	Name string
	Map  *Map
}

// Resolve lets a relative path start at the folder of the file that names it. Empty stays empty.
func (m *Map) Resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(m.doc.dir, path)
}
