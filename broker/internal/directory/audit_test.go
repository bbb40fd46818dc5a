package directory

import (
	"path/filepath"
	"testing"
)

func TestAuditForms(t *testing.T) {
	for name, tc := range map[string]struct {
		audit, file string
		sync        bool
	}{
		"absent":   {"", "", false},
		"stdout":   {"audit: stdout\n", "", false},
		"file":     {"audit: {file: a.jsonl}\n", "a.jsonl", false},
		"not sync": {"audit: {file: a.jsonl, sync: false}\n", "a.jsonl", false},
		"sync":     {"audit: {file: a.jsonl, sync: true}\n", "a.jsonl", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.write("broker.yaml", "policy: policy.yaml\nmailboxes: [mailboxes.d/*.yaml]\n"+tc.audit)
			c := s.good("mailboxes: []")
			want := tc.file
			if want != "" {
				want = filepath.Join(s.dir, want)
			}
			if c.AuditFile != want || c.AuditSync != tc.sync {
				t.Errorf("file %q, sync %t", c.AuditFile, c.AuditSync)
			}
		})
	}
}
