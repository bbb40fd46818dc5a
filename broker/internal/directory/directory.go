package directory

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mailporter/kit/config"
)

// Find returns the mailbox of an address, whatever its case, or nil.
func (c *Config) Find(address string) *Mailbox { return c.byAddress[strings.ToLower(address)] }

// Live says whether some mailbox uses this version of the credential.
func (c *Config) Live(credential, version string) bool { return c.live[credential+version] != nil }

// SmallestMargin is the smallest expiry margin of a section that uses tokens; the default if there is none.
func (c *Config) SmallestMargin() time.Duration {
	least := time.Duration(0)
	for _, m := range c.Mailboxes {
		for _, s := range m.Sides() {
			if s.Credential != nil && (least == 0 || s.Margin < least) {
				least = s.Margin
			}
		}
	}
	return cmp.Or(least, marginDefault)
}

// Replaced is closed once another Config has taken this one's place.
func (c *Config) Replaced() <-chan struct{} { return c.replaced }

// Paths are the files and globs that the Config came from: watch them, and reload when one changes.
func (c *Config) Paths() []string {
	paths := append([]string{c.File}, c.Patterns...)
	paths = append(paths, c.secrets...)
	if c.PolicyFile != "" {
		paths = append(paths, c.PolicyFile)
	}
	return slices.Compact(paths)
}

// Stale says whether a file may have changed since reading began. File systems tell the time coarsely: a file that is as
// young as that counts as changed.
func (c *Config) Stale() bool {
	for _, pattern := range c.Paths() {
		files, err := filepath.Glob(pattern)
		if err != nil {
			files = nil // it did not match when it was loaded either
		}
		for _, f := range append(files, pattern) {
			if info, err := os.Stat(f); err == nil && info.ModTime().After(c.began.Add(-time.Second)) {
				return true
			}
		}
	}
	return false
}

// Directory keeps the current Config. Any number of goroutines may ask; Now never blocks.
type Directory struct {
	path string
	log  *slog.Logger
	now  atomic.Pointer[Config]
	one  sync.Mutex // one Reload at a time
}

// Open keeps c, which was loaded from path without hard complaints.
func Open(path string, c *Config, log *slog.Logger) *Directory {
	d := &Directory{path: path, log: log}
	d.now.Store(c)
	return d
}

// Now is the current Config.
func (d *Directory) Now() *Config { return d.now.Load() }

// Reload reads the files again. A good state replaces the old one whole; a bad one is refused, its complaints are logged
// and returned, and the old one stays.
func (d *Directory) Reload() config.Complaints {
	d.one.Lock()
	defer d.one.Unlock()
	fresh, complaints := Load(d.path, nil)
	for _, c := range complaints {
		d.log.Warn("configuration complaint", "complaint", c.String())
	}
	if complaints.Err() != nil {
		d.log.Error("configuration refused, the old one stays", "complaints", len(complaints))
		return complaints
	}
	old := d.now.Swap(fresh)
	close(old.replaced)
	if restartNeeded(old.Settings, fresh.Settings) {
		d.log.Warn("a changed setting takes effect at the next start", "file", d.path)
	}
	d.log.Info("configuration loaded", "mailboxes", len(fresh.Mailboxes), "rules", len(fresh.Policy.Rules))
	return complaints
}

// restartNeeded compares what only the start looks at.
func restartNeeded(a, b Settings) bool {
	start := func(s Settings) []string {
		return append([]string{s.Listen, s.Admin, s.TLS.Certificate, s.TLS.Key, s.TLS.CA, s.Store, s.Keyset, s.AuditFile, s.IdentityVia, s.Remedies},
			s.TrustedCA...)
	}
	return !slices.Equal(start(a), start(b)) || a.Kubernetes != b.Kubernetes || a.AuditSync != b.AuditSync
}
