package main

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mailporter/broker/internal/store/seal"
	"mailporter/kit/redistest"
	"mailporter/sandbox"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

const (
	shortLife  = 20 * time.Second
	margin     = 10 * time.Second // the default
	renewEvery = shortLife / 10   // such short tokens are renewed after a tenth of their life
	fleetSize  = 2
)

// What a fleet promises while its Redis is in trouble.
//
//   - A caller of a grant that does not rotate hears nothing worse than "try again"; one of a grant that rotates hears that
//     the store is away, at the worst.
//   - Nobody gets a token inside its margin.
//   - No rotated refresh token is lost: another broker that knows only the store goes on with it.
//   - Each broker mints for itself while it has to, and one for all again afterwards.
func TestFleetInTrouble(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (url string, disturb func(*crowd)){
		"one server is killed and comes back": func(t *testing.T) (string, func(*crowd)) {
			r := redistest.Start(t)
			return r.URL(), func(c *crowd) {
				r.Kill()
				c.await(1, "app@contoso.example") // renewed without it
				r.Restart()
			}
		},
		"one server freezes": func(t *testing.T) (string, func(*crowd)) {
			r := redistest.Start(t)
			return r.URL(), func(c *crowd) {
				r.Stop()
				c.await(1, "app@contoso.example")
				r.Continue()
			}
		},
		"a primary fails over": func(t *testing.T) (string, func(*crowd)) {
			s := redistest.StartSentinel(t, "--min-replicas-to-write", "1")
			return s.URL(), func(*crowd) { s.Failover() }
		},
		"the slots of a cluster move": func(t *testing.T) (string, func(*crowd)) {
			c := redistest.StartCluster(t, 0)
			return c.URL(), func(*crowd) { moveAll(c) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, disturb := open(t)
			trouble(t, url, disturb)
		})
	}
}

// moveAll moves every slot that is in use, twice.
func moveAll(c *redistest.Cluster) {
	for range 2 {
		for _, slot := range c.Used() {
			c.Move(slot, nil)
		}
	}
}

func trouble(t *testing.T, url string, disturb func(*crowd)) {
	sb := provider(t, shortLife)
	fleet := fleetAt(t, sb, url)
	c := &crowd{t: t, mailboxes: map[string]*log{}}
	mailboxes := []string{"app@contoso.example", "entra@contoso.example"}
	for _, m := range mailboxes {
		c.mailboxes[m] = &log{generations: map[int64]bool{}}
	}
	stop := c.gather(fleet)
	c.await(2, mailboxes...)
	start := time.Now()
	disturb(c)
	c.await(2, mailboxes...)
	c.mints("during the trouble", sb, fleetSize, start)
	start = time.Now()
	c.await(3, mailboxes...)
	c.mints("after it", sb, 1, start)
	stop()
	outlive(t, sb, fleet)
}

// fleetAt is brokers that share a Redis and a keyset.
func fleetAt(t *testing.T, sb *sandbox.Sandbox, url string) (fleet []*site) {
	t.Helper()
	for i := range fleetSize {
		s := newSite(t, sb, url)
		if i == 0 {
			if err := seal.Make(filepath.Join(s.dir, "secrets/keyset.json")); err != nil {
				t.Fatal(err)
			}
		} else {
			s.write("secrets/keyset.json", fleet[0].read("secrets/keyset.json"))
		}
		s.start()
		fleet = append(fleet, s)
	}
	return fleet
}

// outlive ends the fleet and lets a broker go on whose configured refresh token is worth nothing.
func outlive(t *testing.T, sb *sandbox.Sandbox, fleet []*site) {
	t.Helper()
	heir := fleet[0]
	for _, s := range fleet {
		s.end()
		if strings.Contains(s.out.String(), "MARKER") {
			t.Error("a secret in the log")
		}
	}
	heir.write("secrets/entra-seed", "MARKER-worthless")
	heir.start()
	before := sb.TokenRequests().Client["web"]
	heir.mustServe(heir.connect(worker), "entra@contoso.example")
	if sb.TokenRequests().Client["web"] == before {
		t.Error("nobody was asked: that proves nothing")
	}
}

// crowd asks brokers for tokens all the time.
type crowd struct {
	t         *testing.T
	mailboxes map[string]*log
	mu        sync.Mutex
	asked     int // token requests so far, when mints was last called
}

// log is what callers of a mailbox got.
type log struct{ generations map[int64]bool }

// gather sets callers for every mailbox on every broker; the function ends it.
func (c *crowd) gather(fleet []*site) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	for _, s := range fleet {
		client := s.connect(worker)
		for mailbox := range c.mailboxes {
			for range 2 {
				running.Go(func() {
					for !c.over(done) {
						c.ask(client, mailbox)
					}
				})
			}
		}
	}
	end := sync.OnceFunc(func() {
		close(done)
		running.Wait()
	})
	c.t.Cleanup(end)
	return end
}

// over waits a moment and tells whether it is over.
func (c *crowd) over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(20 * time.Millisecond):
		return false
	}
}

func (c *crowd) ask(client brokerv1.TokenServiceClient, mailbox string) {
	asked := time.Now()
	resp, err := ask(client, mailbox, in)
	if err != nil {
		if status.Code(err) != codes.Unavailable {
			c.t.Errorf("%s: %s: %v", mailbox, reason(err), err)
		}
		return
	}
	got := resp.GetAccessToken()
	if left := got.GetExpireTime().AsTime().Sub(asked); left <= margin {
		c.t.Errorf("%s: a token with %v left", mailbox, left)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mailboxes[mailbox].generations[got.GetGeneration()] = true
}

// await waits until each of the mailboxes had so many new tokens.
func (c *crowd) await(n int, mailboxes ...string) {
	c.t.Helper()
	goal := map[string]int{}
	c.mu.Lock()
	for _, m := range mailboxes {
		goal[m] = len(c.mailboxes[m].generations) + n
	}
	c.mu.Unlock()
	for late := time.Now().Add(time.Minute); !c.reached(goal); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			c.t.Fatalf("no new tokens: %v wanted", goal)
		}
	}
}

func (c *crowd) reached(goal map[string]int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for m, n := range goal {
		if len(c.mailboxes[m].generations) < n {
			return false
		}
	}
	return true
}

// mints checks that no more tokens were asked for since the last time than so many brokers need who renew each for itself:
// one for each time that a token comes of age, and one more at the seams.
func (c *crowd) mints(when string, sb *sandbox.Sandbox, brokers int, since time.Time) {
	c.t.Helper()
	total := sb.TokenRequests().Total
	made, most := total-c.asked, brokers*len(c.mailboxes)*(int(time.Since(since)/renewEvery)+2)
	if c.asked > 0 && made > most {
		c.t.Errorf("%s: %d token requests in %v, want at most %d", when, made, time.Since(since), most)
	}
	c.t.Logf("%s: %d token requests in %v, at most %d", when, made, time.Since(since).Round(time.Millisecond), most)
	c.asked = total
}
