// Package redisurl is the way to a Redis as configuration names it: one server, Sentinels or a cluster. It reads the URL,
// makes the client that our stores need, and looks whether the server would lose what it acknowledges. The broker's store
// and the workers' state take the same forms.
package redisurl

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// ErrURL names the forms and not the text: it may hold a password.
var ErrURL = errors.New("the URL is none of redis://HOST:PORT/DB, rediss://HOST:PORT/DB, redis+cluster://HOST:PORT,HOST:PORT, " +
	"redis+sentinel://HOST:PORT,HOST:PORT/DB?master=NAME; all take USER:PASSWORD@ before the hosts, the last two ?tls=true")

// The library prints to standard error by itself, in lines that are no JSON. Every error that it prints is returned as
// well.
func init() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Parse turns a URL into options. Commands are never sent twice: a retry after a lost answer would repeat a write. roots
// may be nil. The error does not repeat the URL.
func Parse(raw string, roots *tls.Config) (*redis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, ErrURL
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	o := options()
	if err := hosts(o, authority); err != nil {
		return nil, err
	}
	query, err := path(o, tail)
	if err != nil {
		return nil, err
	}
	if err := mode(o, scheme, query); err != nil {
		return nil, err
	}
	if scheme == "rediss" || query.Get("tls") == "true" {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if roots != nil {
			o.TLSConfig = roots.Clone()
		}
	}
	return o, nil
}

// options are those that do not come from the URL. A dead Redis must be found out about quickly.
func options() *redis.UniversalOptions {
	return &redis.UniversalOptions{
		MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DisableIdentity: true,
		DialTimeout: 2 * time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second, PoolTimeout: 2 * time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}, // Redis 7.0 has none
	}
}

func hosts(o *redis.UniversalOptions, authority string) error {
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		user, err := url.Parse("x://" + authority[:i+1] + "h")
		if err != nil || user.User == nil {
			return ErrURL
		}
		o.Username = user.User.Username()
		o.Password, _ = user.User.Password()
		authority = authority[i+1:]
	}
	for _, h := range strings.Split(authority, ",") {
		host, port, err := net.SplitHostPort(h)
		if err != nil {
			host, port = strings.Trim(h, "[]"), "" // no port
		}
		if host == "" || strings.ContainsAny(host, " @") || port == "" && strings.Contains(host, ":") && !strings.HasPrefix(h, "[") {
			return ErrURL
		}
		o.Addrs = append(o.Addrs, net.JoinHostPort(host, port))
	}
	return nil
}

// path reads /DB?query.
func path(o *redis.UniversalOptions, tail string) (url.Values, error) {
	db, raw, _ := strings.Cut(tail, "?")
	if db = strings.Trim(db, "/"); db != "" {
		n, err := strconv.Atoi(db)
		if err != nil || n < 0 {
			return nil, ErrURL
		}
		o.DB = n
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, ErrURL
	}
	for key := range query {
		if key != "master" && key != "tls" {
			return nil, ErrURL
		}
	}
	return query, nil
}

func mode(o *redis.UniversalOptions, scheme string, query url.Values) error {
	port := "6379"
	switch scheme {
	case "redis", "rediss":
		if len(o.Addrs) != 1 {
			return ErrURL
		}
	case "redis+sentinel":
		port, o.MasterName = "26379", query.Get("master")
		if o.MasterName == "" {
			return ErrURL
		}
	case "redis+cluster":
		o.IsClusterMode = true
		if o.DB != 0 {
			return ErrURL // a cluster has database 0 only
		}
	default:
		return ErrURL
	}
	for i, a := range o.Addrs {
		if strings.HasSuffix(a, ":") {
			o.Addrs[i] = a + port
		}
	}
	return nil
}
