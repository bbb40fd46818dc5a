// Package house holds the import rules of the workspace: which room a package is, and what a room may reach.
//
// Imports go down only: wiring -> edges -> engines -> words. Edges never import edges. The modules know each other in one
// direction: gen <- kit <- {broker, workers, sandbox}; broker and workers meet over gRPC alone.
package house

import (
	"fmt"
	"slices"
	"strings"
)

// Layer is how high a package stands.
type Layer int

const (
	Word   Layer = iota // plain values and pure functions
	Engine              // order, retries, time; no I/O
	Edge                // one outside system
	Wiring              // puts the others together
)

// rooms maps import path prefixes to layers; the longest prefix wins.
var rooms = map[string]Layer{
	"mailporter/broker/internal/token":          Word,
	"mailporter/broker/internal/remedy":         Word,
	"mailporter/broker/internal/policy":         Word,
	"mailporter/broker/internal/keeper":         Engine,
	"mailporter/broker/internal/clock":          Engine,
	"mailporter/broker/internal/triage":         Engine,
	"mailporter/broker/internal/directory":      Edge,
	"mailporter/broker/internal/grant":          Edge,
	"mailporter/broker/internal/store":          Edge,
	"mailporter/broker/internal/audit":          Edge,
	"mailporter/broker/internal/service":        Edge,
	"mailporter/broker/internal/serviceaccount": Edge,
	"mailporter/broker/internal/bench":          Wiring,
	"mailporter/broker/cmd":                     Wiring,

	"mailporter/workers/internal/mail":     Word,
	"mailporter/workers/internal/fault":    Word,
	"mailporter/workers/internal/sasl":     Word,
	"mailporter/workers/internal/wire":     Word,
	"mailporter/workers/internal/esmtp":    Word,
	"mailporter/workers/internal/web":      Word,
	"mailporter/workers/internal/redact":   Word,
	"mailporter/workers/internal/slots":    Word,
	"mailporter/workers/internal/inbound":  Engine,
	"mailporter/workers/internal/outbound": Engine,
	"mailporter/workers/internal/imap":     Edge,
	"mailporter/workers/internal/pop3":     Edge,
	"mailporter/workers/internal/smtp":     Edge,
	"mailporter/workers/internal/graph":    Edge,
	"mailporter/workers/internal/ews":      Edge,
	"mailporter/workers/internal/sink":     Edge,
	"mailporter/workers/internal/state":    Edge,
	"mailporter/workers/internal/intake":   Edge,
	"mailporter/workers/internal/report":   Edge,
	"mailporter/workers/internal/setup":    Wiring,
	"mailporter/workers/internal/program":  Wiring,
	"mailporter/workers/internal/straight": Wiring,
	"mailporter/workers/cmd":               Wiring,
}

// sharedByEdges may be imported by the edges beside it: what one family of edges has in common.
var sharedByEdges = []string{
	"mailporter/broker/internal/grant/wire",
	"mailporter/broker/internal/store/seal",
	"mailporter/broker/internal/directory", // the service answers from it
	"mailporter/broker/internal/audit",     // and writes every decision down
	"mailporter/workers/internal/sink",     // the name of a delivery
	"mailporter/workers/internal/intake",   // who may send as whom, and what a message must be
}

// only says which packages alone may import an outside module.
var only = map[string][]string{
	"github.com/redis/go-redis/": {"mailporter/broker/internal/store/redis", "mailporter/workers/internal/state/redis", "mailporter/workers/internal/sink/stream",
		"mailporter/kit/redisurl", "mailporter/kit/redistest", "mailporter/sandbox/cmd/fleet"},
	"mailporter/gen/": {"mailporter/broker/internal/service", "mailporter/broker/internal/bench", "mailporter/broker/cmd/brokerctl", "mailporter/kit/tokenclient", "mailporter/workers/internal/intake/grpc",
		"mailporter/sandbox/cmd/demo"},
	"google.golang.org/grpc": {"mailporter/broker/internal/service", "mailporter/broker/internal/bench", "mailporter/broker/cmd/broker", "mailporter/broker/cmd/brokerctl", "mailporter/kit/tokenclient",
		"mailporter/workers/internal/intake/grpc", "mailporter/sandbox/cmd/demo"},
	"github.com/emersion/go-imap/": {"mailporter/workers/internal/imap", "mailporter/sandbox"},
	"github.com/AzureAD/":          {"mailporter/broker/internal/grant/microsoft"},
	"github.com/coreos/go-oidc/":   {"mailporter/broker/internal/serviceaccount"},
	"golang.org/x/oauth2":          {"mailporter/broker/internal/grant"},
	"modernc.org/sqlite":           {"mailporter/broker/internal/store/file", "mailporter/workers/internal/state/file", "mailporter/sandbox"},
}

// modules says which modules of ours a module may reach outside its tests.
var modules = map[string][]string{
	"mailporter/gen":     {},
	"mailporter/kit":     {"mailporter/gen"},
	"mailporter/broker":  {"mailporter/gen", "mailporter/kit"},
	"mailporter/workers": {"mailporter/gen", "mailporter/kit"},
	"mailporter/sandbox": {"mailporter/gen", "mailporter/kit"},
}

// Package is one package and what it imports outside its tests.
type Package struct {
	Path    string
	Imports []string
}

// Judge lists what a package imports against the rules, with the rule.
func Judge(p Package) []string {
	if isSuite(p.Path) {
		return nil // contract suites and fakes: test code that tests of other packages share
	}
	var faults []string
	for _, imported := range p.Imports {
		for _, rule := range []func(string, string) string{crossModule, monopoly, upward} {
			if why := rule(p.Path, imported); why != "" {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", p.Path, imported, why))
			}
		}
	}
	return faults
}

func isSuite(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return strings.HasSuffix(s, "test") })
}

func module(path string) string {
	for m := range modules {
		if path == m || strings.HasPrefix(path, m+"/") {
			return m
		}
	}
	return ""
}

func crossModule(from, to string) string {
	ours, theirs := module(from), module(to)
	if theirs == "" || ours == theirs || slices.Contains(modules[ours], theirs) {
		return ""
	}
	return fmt.Sprintf("%s may reach only %v", ours, modules[ours])
}

func monopoly(from, to string) string {
	for outside, allowed := range only {
		if !strings.HasPrefix(to, outside) || module(from) == "mailporter/gen" {
			continue
		}
		if !slices.ContainsFunc(allowed, func(a string) bool { return from == a || strings.HasPrefix(from, a+"/") }) {
			return fmt.Sprintf("only %v may", allowed)
		}
	}
	return ""
}

func upward(from, to string) string {
	if module(from) != module(to) {
		return ""
	}
	lower, known := layer(from)
	higher, both := layer(to)
	if !known && (strings.Contains(from, "/broker/") || strings.Contains(from, "/workers/")) {
		return "the importing package is no known room: add it to the table"
	}
	switch {
	case !known || !both || strings.HasPrefix(to, from+"/") || lower > higher:
		return ""
	case lower == higher && (lower == Word || lower == Wiring || slices.Contains(sharedByEdges, to)):
		return ""
	}
	return "imports go down only, and edges never import edges"
}

func layer(path string) (Layer, bool) {
	best, found := "", false
	for prefix := range rooms {
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && len(prefix) > len(best) {
			best, found = prefix, true
		}
	}
	return rooms[best], found
}
