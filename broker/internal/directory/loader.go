package directory

import (
	"crypto/tls"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"mailporter/broker/internal/policy"
	"mailporter/broker/internal/token"
	"mailporter/kit/config"
	"mailporter/kit/secret"
)

// loader reads one state of the files.
type loader struct {
	began        time.Time
	settings     Settings
	root         *config.Map // broker.yaml
	docs         []*config.Doc
	applications map[string]*config.Map
	defaults     map[string]*config.Map // pop-client and smtp-client of the one file that has defaults, or nil
	named        map[string]*config.Map // sections secret-<name>
	mailboxes    map[string]*Mailbox    // by lower-case address
	places       map[string]string      // where each was found
	credentials  map[string]*token.Credential
	audiences    map[string]token.Audience // by resource
	read         map[secret.Ref]secret.String
	ends         map[secret.Fingerprint]time.Time // of secrets whose references tell
	proofs       []string                         // files of certificates
	pairs        map[string]tls.Certificate       // those read, by their files
	robots       map[secret.Fingerprint]robot     // keys of service accounts that were understood
	extra        config.Complaints
}

// Load reads broker.yaml and everything that it names. The Config is usable if the complaints hold no more than warnings.
// more may complain about broker.yaml itself; nil = nothing more to say.
func Load(path string, more func(root *config.Map, s Settings)) (*Config, config.Complaints) {
	l := &loader{began: time.Now(), applications: map[string]*config.Map{}, named: map[string]*config.Map{}, mailboxes: map[string]*Mailbox{},
		places: map[string]string{}, credentials: map[string]*token.Credential{}, audiences: map[string]token.Audience{}, read: map[secret.Ref]secret.String{}, ends: map[secret.Fingerprint]time.Time{}, pairs: map[string]tls.Certificate{},
		robots: map[secret.Fingerprint]robot{}}
	l.readSettings(path)
	if more != nil {
		more(l.root, l.settings)
	}
	files := l.files()
	for _, f := range files {
		l.readShared(f)
	}
	for _, f := range files {
		l.readMailboxes(f)
	}
	for _, f := range files {
		l.finish(f)
	}
	return l.config(), l.complaints()
}

// file is one mailbox file.
type file struct {
	root *config.Map
	doc  *config.Doc
}

// files finds and parses the mailbox files, each once, in the order of the patterns.
func (l *loader) files() []file {
	docs := readAll(l.paths())
	l.docs = append(l.docs, docs...)
	all := make([]file, len(docs))
	for i, doc := range docs {
		all[i] = file{doc.Root(), doc}
	}
	return all
}

// readAll parses files side by side, as many as there are processors: a fifth of the time of a large configuration.
func readAll(paths []string) []*config.Doc {
	docs, free := make([]*config.Doc, len(paths)), make(chan struct{}, runtime.GOMAXPROCS(0))
	var running sync.WaitGroup
	for i, path := range paths {
		free <- struct{}{}
		running.Go(func() {
			docs[i] = config.Read(path)
			<-free
		})
	}
	running.Wait()
	return docs
}

// paths are the mailbox files.
func (l *loader) paths() []string {
	var all []string
	seen := map[string]bool{}
	for _, pattern := range l.settings.Patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			l.root.Warn("mailboxes", fmt.Sprintf("%s matches no file", pattern), "check the path; a pattern that matches nothing serves nobody")
		}
		for _, path := range paths {
			if !seen[path] {
				seen[path] = true
				all = append(all, path)
			}
		}
	}
	return all
}

// readShared reads what mailboxes of every file may name: applications, defaults and secret sections.
func (l *loader) readShared(f file) {
	for _, app := range f.root.Named("applications") {
		if _, twice := l.applications[app.Name]; twice {
			f.root.Map("applications").Complain(app.Name, "is defined twice", "keep one of them")
			continue
		}
		app.Map.Know(bothOptions, popOptions, smtpOptions)
		app.Map.Done()
		l.applications[app.Name] = app.Map
	}
	if f.root.Has("defaults") {
		if l.defaults != nil {
			f.root.Complain("defaults", "stand in another file as well: "+l.defaults["pop-client"].File(), "keep one of them")
		} else {
			l.defaults = readDefaults(f.root.Map("defaults"))
		}
	}
	for _, key := range f.root.Keys() {
		if strings.HasPrefix(key, "secret-") {
			l.named[key] = f.root.Map(key)
		}
	}
}

func (l *loader) readMailboxes(f file) {
	for _, m := range f.root.Maps("mailboxes") {
		l.readMailbox(m)
	}
}

func (l *loader) readMailbox(m *config.Map) {
	m.Know(bothOptions, popOptions, smtpOptions, mailboxOptions)
	address := m.Require("address", "write the mailbox's address")
	if address != "" && !isAddress(address) {
		m.Complain("address", fmt.Sprintf("%q is no address", address), "write local@domain and nothing else")
	}
	key := strings.ToLower(address)
	place := fmt.Sprintf("%s:%d", m.File(), m.Line())
	if first, twice := l.places[key]; twice && key != "" {
		m.Complain("address", fmt.Sprintf("%s is configured twice, first at %s", address, first), "keep one of them")
		return
	}
	l.places[key] = place
	box := &Mailbox{Address: address, Inbound: l.side(m, "pop-client", address, Inbound, nil)}
	box.Outbound = l.side(m, "smtp-client", address, Outbound, box.Inbound)
	if box.Inbound == nil && box.Outbound == nil {
		m.Complain("pop-client", "and smtp-client are both missing", "add one of them or both")
	}
	m.Done()
	l.mailboxes[key] = box
}

// side reads a section over its mailbox, its application and the defaults. inbound is the mailbox's other side, or nil.
func (l *loader) side(m *config.Map, name, address string, d Direction, inbound *Section) *Section {
	own := m.Map(name)
	if !own.Present() {
		return nil
	}
	if d == Inbound {
		own.Know(bothOptions, popOptions)
	} else {
		own.Know(bothOptions, smtpOptions)
	}
	layered := own.Over(m)
	defaults := l.defaults[name]
	if app := l.application(layered, defaults); app != nil {
		layered = layered.Over(app)
	}
	if defaults != nil {
		layered = layered.Over(defaults)
	}
	s := l.readSection(layered, address, d, inbound)
	own.Done()
	warnUnused(own, s.Protocol)
	return s
}

// application finds the one that the section, its mailbox or the defaults name.
func (l *loader) application(m, defaults *config.Map) *config.Map {
	at := m
	if !m.Has("application") && defaults != nil {
		at = defaults
	}
	name := at.Text("application", "")
	if name == "" {
		return nil
	}
	app, ok := l.applications[name]
	if !ok {
		at.Complain("application", fmt.Sprintf("there is no application %q", name), "define it under applications: of any mailbox file")
	}
	return app
}

// secret reads one secret; what cannot be read is a complaint and an empty secret.
func (l *loader) secret(m *config.Map, key string) secret.String {
	return l.fetch(m, key, m.Secret(key))
}

func (l *loader) secrets(m *config.Map, key string) []secret.String {
	var all []secret.String
	for _, ref := range m.Secrets(key) {
		if s := l.fetch(m, key, ref); !s.Empty() {
			all = append(all, s)
		}
	}
	return all
}

// fetch reads each place once: ten thousand mailboxes of one application name one file.
func (l *loader) fetch(m *config.Map, key string, ref secret.Ref) secret.String {
	if ref.IsZero() {
		return secret.String{}
	}
	if s, ok := l.read[ref]; ok && !s.Empty() {
		return s
	}
	s, err := ref.Read()
	if err != nil {
		m.Complain(key, err.Error(), "check the path, the permissions and the content")
	}
	l.read[ref] = s
	if !ref.Expires.IsZero() && !s.Empty() {
		l.ends[s.Fingerprint()] = ref.Expires
		warnSecretEnd(m, key, ref.Expires)
	}
	return s
}

// missing complains about a secret that is not given. One that is given and cannot be read was complained about already.
func (l *loader) missing(m *config.Map, key, problem, remedy string) {
	if !m.Has(key) && !(key == "secrets" && m.Has("password")) {
		m.Complain(key, problem, remedy)
	}
}

// finish complains about what nobody asked for.
func (l *loader) finish(f file) {
	for _, key := range f.root.Keys() {
		if strings.HasPrefix(key, "secret-") {
			section := f.root.Map(key)
			section.Know([]string{"password"})
			section.Done()
		}
	}
	f.root.Done()
}

// readDefaults reads the two sections that lie beneath those of every mailbox.
func readDefaults(m *config.Map) map[string]*config.Map {
	pop, smtp := m.Map("pop-client"), m.Map("smtp-client")
	pop.Know(bothOptions, popOptions)
	smtp.Know(bothOptions, smtpOptions)
	pop.Done()
	smtp.Done()
	m.Done()
	return map[string]*config.Map{"pop-client": pop, "smtp-client": smtp}
}

func (l *loader) config() *Config {
	c := &Config{Settings: l.settings, byAddress: l.mailboxes, live: l.credentials, began: l.began, replaced: make(chan struct{})}
	for _, key := range slices.Sorted(maps.Keys(l.mailboxes)) {
		c.Mailboxes = append(c.Mailboxes, l.mailboxes[key])
	}
	for ref := range l.read {
		if ref.File != "" {
			c.secrets = append(c.secrets, ref.File)
		}
	}
	c.secrets = append(c.secrets, l.proofs...)
	slices.Sort(c.secrets)
	c.secrets = slices.Compact(c.secrets)
	c.Policy = &policy.Policy{}
	if l.settings.PolicyFile != "" {
		p, complaints := policy.Load(l.settings.PolicyFile)
		c.Policy, l.extra = p, append(l.extra, complaints...)
	}
	return c
}

// complaints are those of all files. A shared layer that is wrong is complained about once, however many mailboxes use it.
func (l *loader) complaints() config.Complaints {
	all := l.extra
	for _, d := range l.docs {
		all = append(all, d.Complaints()...)
	}
	seen := map[config.Complaint]bool{}
	all = slices.DeleteFunc(all, func(c config.Complaint) bool {
		twice := seen[c]
		seen[c] = true
		return twice
	})
	all.Sort()
	return all
}
