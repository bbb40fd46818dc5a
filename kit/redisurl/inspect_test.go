package redisurl_test

import (
	"slices"
	"strings"
	"testing"

	"mailporter/kit/redistest"
	"mailporter/kit/redisurl"
)

func inspected(t *testing.T, url string) (settings, unknown []string) {
	t.Helper()
	r, err := redisurl.Inspect(t.Context(), open(t, url, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Server == "" || f.ShouldBe == "" || f.Because == "" {
			t.Errorf("a finding that says too little: %+v", f)
		}
		settings = append(settings, f.Setting+" "+f.Is)
	}
	return settings, r.Unknown
}

func TestInspect(t *testing.T) {
	for name, tc := range map[string]struct {
		args, want []string
		unknown    string
		rights     string // of the user that looks; empty: all
	}{
		"good":                {nil, nil, "", ""},
		"no file":             {[]string{"--appendonly", "no"}, []string{"appendonly no"}, "", ""},
		"seldom synced":       {[]string{"--appendfsync", "everysec"}, []string{"appendfsync everysec"}, "", ""},
		"never synced":        {[]string{"--appendfsync", "no"}, []string{"appendfsync no"}, "", ""},
		"evicts":              {[]string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, []string{"maxmemory-policy allkeys-lru"}, "", ""},
		"CONFIG is forbidden": {nil, nil, "appendfsync (CONFIG GET)", "+@all -config"},
		"INFO is forbidden":   {nil, nil, "version, appendonly, maxmemory-policy, replicas (INFO)", "+get"},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t, tc.args...)
			url := s.URL()
			if tc.rights != "" {
				s.User("u", "p", "~* "+tc.rights)
				url = "redis://u:p@" + s.Addr()
			}
			got, unknown := inspected(t, url)
			if !slices.Equal(got, tc.want) || strings.Join(unknown, "") != tc.unknown {
				t.Fatalf("found %q, unknown %q", got, unknown)
			}
		})
	}
}

func TestInspectEveryPrimary(t *testing.T) {
	c := redistest.StartCluster(t, 1, "--appendonly", "no")
	got, _ := inspected(t, c.URL())
	slices.Sort(got)
	want := []string{"appendonly no", "appendonly no", "appendonly no", "min-replicas-to-write 0", "min-replicas-to-write 0", "min-replicas-to-write 0"}
	if !slices.Equal(got, want) {
		t.Fatalf("found %q", got)
	}
	if got, _ = inspected(t, redistest.StartSentinel(t, "--min-replicas-to-write", "1").URL()); len(got) != 0 {
		t.Fatalf("a guarded primary is complained about: %q", got)
	}
}
