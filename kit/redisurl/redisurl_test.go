package redisurl

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestURLs(t *testing.T) {
	for name, tc := range map[string]struct {
		url   string
		addrs []string
		check func(*redis.UniversalOptions) bool
	}{
		"plain":       {"redis://h", []string{"h:6379"}, func(o *redis.UniversalOptions) bool { return o.DB == 0 && o.TLSConfig == nil }},
		"database":    {"redis://h:1/7", []string{"h:1"}, func(o *redis.UniversalOptions) bool { return o.DB == 7 }},
		"password":    {"redis://u:p%40:x@h", []string{"h:6379"}, func(o *redis.UniversalOptions) bool { return o.Username == "u" && o.Password == "p@:x" }},
		"IPv6":        {"redis://[::1]:6380", []string{"[::1]:6380"}, func(o *redis.UniversalOptions) bool { return true }},
		"IPv6 alone":  {"redis://[::1]", []string{"[::1]:6379"}, func(o *redis.UniversalOptions) bool { return true }},
		"TLS":         {"rediss://h", []string{"h:6379"}, func(o *redis.UniversalOptions) bool { return o.TLSConfig != nil }},
		"cluster":     {"redis+cluster://a:1,b", []string{"a:1", "b:6379"}, func(o *redis.UniversalOptions) bool { return o.IsClusterMode }},
		"cluster TLS": {"redis+cluster://a?tls=true", []string{"a:6379"}, func(o *redis.UniversalOptions) bool { return o.TLSConfig != nil }},
		"sentinel":    {"redis+sentinel://:p@a,b/2?master=m", []string{"a:26379", "b:26379"}, func(o *redis.UniversalOptions) bool { return o.MasterName == "m" && o.DB == 2 && o.Password == "p" }},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := Parse(tc.url, nil)
			if err != nil || !slices.Equal(o.Addrs, tc.addrs) || !tc.check(o) {
				t.Fatalf("%v %v", o, err)
			}
			if o.MaxRetries != -1 {
				t.Fatal("writes would be sent again")
			}
		})
	}
	for _, bad := range []string{"", "h:6379", "mysql://h", "redis://", "redis://a,b", "redis://h/x", "redis+sentinel://a", "redis+cluster://a/1",
		"redis://h?nonsense=1", "redis://u:secret@", "redis://h h", "redis://a:b:c"} {
		if _, err := Parse(bad, nil); err == nil {
			t.Errorf("%q is accepted", bad)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{"redis://u:p@h:1/2", "redis+sentinel://a,b/2?master=m", "redis+cluster://[::1]:1,b?tls=true", "x://@/?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := Parse(s, nil)
		if err == nil && (len(o.Addrs) == 0 || o.DB < 0 || slices.ContainsFunc(o.Addrs, func(a string) bool { return a == "" })) {
			t.Fatal(fmt.Sprint(s, o.Addrs))
		}
	})
}
