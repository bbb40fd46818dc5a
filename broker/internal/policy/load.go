package policy

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/time/rate"

	"mailporter/kit/config"
	"mailporter/kit/identity"
)

// Load reads a policy file. The Policy is usable if the complaints hold no more than warnings.
func Load(path string) (*Policy, config.Complaints) {
	doc := config.Read(path)
	p := read(doc)
	return p, doc.Complaints()
}

func read(doc *config.Doc) *Policy {
	root := doc.Root()
	p := &Policy{}
	for _, m := range root.Maps("rules") {
		r := readRule(m)
		if i := slices.IndexFunc(p.Rules, r.same); i >= 0 {
			m.Warn("identity", "stands in the same rule at "+p.Rules[i].Where+" already", "remove one of the two")
		}
		p.Rules = append(p.Rules, r)
	}
	if len(p.Rules) == 0 && root.Present() {
		root.Warn("rules", "there is no rule, so everything is denied", "add a rule with identity, mailboxes and verbs")
	}
	root.Done()
	return p
}

func readRule(m *config.Map) Rule {
	r := Rule{
		Identity:   m.Require("identity", "write the worker's SPIFFE id, service account, DNS name or common name; * stands for one segment"),
		Mailboxes:  lower(m.Texts("mailboxes")),
		TenantWide: m.Bool("tenant-wide", false),
		Rate:       readRate(m),
		Where:      fmt.Sprintf("%s:%d", filepath.Base(m.File()), m.Line()),
	}
	checkPatterns(m, r)
	r.Protocols = words(m, "protocols", protocols)
	for _, v := range words(m, "verbs", verbs) {
		r.Verbs = append(r.Verbs, Verb(v))
	}
	if len(r.Verbs) == 0 && !m.Has("verbs") {
		m.Complain("verbs", "is missing", "write for example [token, settings, report]")
	}
	m.Done()
	return r
}

// checkPatterns complains about what could never match anything.
func checkPatterns(m *config.Map, r Rule) {
	const remedy = `write patterns of addresses: ["*@contoso.com"]`
	if len(r.Mailboxes) == 0 {
		m.Complain("mailboxes", "names no mailbox", remedy)
	}
	for _, pattern := range r.Mailboxes {
		if pattern != "*" && strings.Count(pattern, "@") != 1 {
			m.Complain("mailboxes", fmt.Sprintf("%q matches no address", pattern), remedy)
		}
	}
	if strings.HasPrefix(r.Identity, "system:") && identity.IsName(r.Identity) {
		m.Complain("identity", fmt.Sprintf("%q matches no caller", r.Identity), "write system:serviceaccount:NAMESPACE:NAME; * stands for either")
	}
}

// same says whether the other rule says nothing else.
func (r Rule) same(other Rule) bool {
	return r.Identity == other.Identity && r.TenantWide == other.TenantWide && r.Rate == other.Rate && sameWords(r.Mailboxes, other.Mailboxes) &&
		sameWords(r.Protocols, other.Protocols) && sameWords(r.Verbs, other.Verbs)
}

// sameWords compares without regard to the order.
func sameWords[W ~string](a, b []W) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// words reads a list of which each entry is one of the allowed words, in their spelling.
func words(m *config.Map, key string, allowed []string) []string {
	var all []string
	for _, s := range m.Texts(key) {
		i := slices.IndexFunc(allowed, func(a string) bool { return strings.EqualFold(a, s) })
		if i < 0 {
			m.Complain(key, fmt.Sprintf("%q is not allowed", s), "use some of: "+strings.Join(allowed, ", "))
			continue
		}
		all = append(all, allowed[i])
	}
	return all
}

func lower(all []string) []string {
	for i := range all {
		all[i] = strings.ToLower(all[i])
	}
	return all
}

// readRate reads calls a second: 100/s. Minutes and hours are accepted too.
func readRate(m *config.Map) rate.Limit {
	s := m.Text("rate", "")
	if s == "" {
		return 0
	}
	count, unit, _ := strings.Cut(s, "/")
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	n, err := strconv.ParseFloat(count, 64)
	if err != nil || seconds == 0 || !(n > 0 && n <= 1e6) {
		m.Complain("rate", fmt.Sprintf("%q is no rate", s), "write for example 100/s, 600/m or 1000/h")
		return 0
	}
	return rate.Limit(n / seconds)
}
