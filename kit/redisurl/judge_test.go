package redisurl

import "testing"

// What no server that is installed here would say.
func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		info map[string]string
		want string
	}{
		"old":         {map[string]string{"redis_version": "6.2.14"}, "version 6.2.14"},
		"new":         {map[string]string{"redis_version": "8.2.1"}, ""},
		"odd version": {map[string]string{"redis_version": "unstable"}, ""},
		"disk full":   {map[string]string{"aof_enabled": "1", "aof_last_write_status": "err"}, "appendonly failing"},
		"silent":      {map[string]string{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, f := range judge(tc.info) {
				got += f.Setting + " " + f.Is
			}
			if got != tc.want {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
		})
	}
}
