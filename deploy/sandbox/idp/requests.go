package idp

import (
	"maps"
	"sync"
	"time"
)

// Requests counts token requests. Every request that reached the token endpoint counts, refused ones too, and those that
// a fault answered.
type Requests struct {
	Total   int            `json:"total"`
	Refused int            `json:"refused"`
	Client  map[string]int `json:"client"`
	Grant   map[string]int `json:"grant"`
	// User counts by the user of password and refresh_token requests, and by the subject of assertions.
	User map[string]int `json:"user"`
	// Code counts refusals by AADSTS number (Entra).
	Code map[int]int `json:"code"`
}

type counter struct {
	mu sync.Mutex
	Requests
	loops map[string][]time.Time
}

func newCounter() *counter {
	return &counter{
		Requests: Requests{Client: map[string]int{}, Grant: map[string]int{}, User: map[string]int{}, Code: map[int]int{}},
		loops:    map[string][]time.Time{},
	}
}

func (c *counter) asked(client, grant, user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Total++
	c.Client[client]++
	c.Grant[grant]++
	if user != "" {
		c.User[lower(user)]++
	}
}

func (c *counter) refused(code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Refused++
	if code != 0 {
		c.Code[code]++
	}
}

// loopWindow is over how long identical requests are counted.
const loopWindow = 5 * time.Minute

// looping counts a request and tells whether more than limit identical ones came within the window; limit 0 never does.
func (c *counter) looping(key string, limit int) bool {
	if limit == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	recent := c.loops[key][:0]
	for _, t := range c.loops[key] {
		if now.Sub(t) < loopWindow {
			recent = append(recent, t)
		}
	}
	c.loops[key] = append(recent, now)
	return len(c.loops[key]) > limit
}

func (c *counter) snapshot() Requests {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.Requests
	r.Client, r.Grant, r.User, r.Code = maps.Clone(r.Client), maps.Clone(r.Grant), maps.Clone(r.User), maps.Clone(r.Code)
	return r
}
