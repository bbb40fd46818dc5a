package redistest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

const slots = 16384

// Cluster is three primaries, with replicas if wanted. One goroutine at a time.
type Cluster struct {
	t     testing.TB
	nodes []*node // the primaries in front
}

// node is a server of a cluster.
type node struct {
	*Server
	bus string // port on which the nodes talk
	id  string
}

const primaries = 3

// StartCluster runs a cluster until the test ends, with so many replicas for each of its three primaries; more arguments
// go to every server. When it returns, all slots are served and every node knows all others.
func StartCluster(t testing.TB, replicas int, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i := range primaries * (1 + replicas) {
		n := startNode(t, args...)
		n.must("CLUSTER", "SET-CONFIG-EPOCH", i+1) // else they quarrel over who is newer
		c.nodes = append(c.nodes, n)
	}
	for i, n := range c.nodes[:primaries] {
		n.must("CLUSTER", "ADDSLOTSRANGE", i*slots/primaries, (i+1)*slots/primaries-1)
	}
	for _, n := range c.nodes[1:] {
		c.nodes[0].must("CLUSTER", "MEET", "127.0.0.1", n.port(), n.bus)
	}
	for _, n := range c.nodes {
		eventually(t, func() error {
			return n.says([]string{"cluster_state:ok", fmt.Sprint("cluster_known_nodes:", len(c.nodes))}, "CLUSTER", "INFO")
		})
	}
	for i, n := range c.nodes[primaries:] {
		n.must("CLUSTER", "REPLICATE", c.nodes[i%primaries].id)
		eventually(t, func() error { return n.says([]string{"master_link_status:up"}, "INFO", "replication") })
	}
	return c
}

func startNode(t testing.TB, args ...string) *node {
	t.Helper()
	var bus string
	s := start(t, "Ready to accept connections", func(s *Server) []string {
		if bus == "" { // the usual one, 10000 above the server's, may not exist
			var err error
			if bus, err = freePort(); err != nil {
				t.Fatal(err)
			}
		}
		return append(append(s.defaults(), "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "5000",
			"--repl-diskless-sync-delay", "0"), args...)
	})
	return &node{Server: s, bus: bus, id: fmt.Sprint(s.must("CLUSTER", "MYID"))}
}

// URL is redis+cluster://host:port,host:port,host:port.
func (c *Cluster) URL() string {
	var addresses []string
	for _, n := range c.nodes[:primaries] {
		addresses = append(addresses, n.address)
	}
	return "redis+cluster://" + strings.Join(addresses, ",")
}

// User makes a user on every node; see Server.User.
func (c *Cluster) User(name, password, rules string) {
	c.t.Helper()
	for _, n := range c.nodes {
		n.User(name, password, rules)
	}
}

// Slot is that of a key.
func (c *Cluster) Slot(key string) int {
	c.t.Helper()
	slot, _ := c.nodes[0].must("CLUSTER", "KEYSLOT", key).(int64)
	return int(slot)
}

// Used are the slots that have keys now.
func (c *Cluster) Used() (all []int) {
	c.t.Helper()
	seen := map[int]bool{}
	for _, n := range c.nodes[:primaries] {
		keys, _ := n.must("KEYS", "*").([]any)
		for _, k := range keys {
			if slot := c.Slot(fmt.Sprint(k)); !seen[slot] {
				seen[slot] = true
				all = append(all, slot)
			}
		}
	}
	return all
}

// Owner is the primary that serves a slot.
func (c *Cluster) Owner(slot int) *Server {
	c.t.Helper()
	return c.owner(slot).Server
}

func (c *Cluster) owner(slot int) (found *node) {
	c.t.Helper()
	eventually(c.t, func() error {
		for _, n := range c.nodes {
			if n.running != nil && n.serves(slot) {
				found = n
				return nil
			}
		}
		return fmt.Errorf("nobody serves slot %d", slot)
	})
	return found
}

// Failover kills the primary that serves a slot and returns when its replica has taken its place, and everybody knows.
func (c *Cluster) Failover(slot int) {
	c.t.Helper()
	old := c.owner(slot)
	old.Kill()
	next := c.owner(slot)
	for _, n := range c.nodes {
		if n.running == nil {
			continue
		}
		eventually(c.t, func() error {
			if !n.knows(next, slot) {
				return fmt.Errorf("%s does not know of the failover yet", n.address)
			}
			return n.says([]string{"cluster_state:ok"}, "CLUSTER", "INFO")
		})
	}
}

// serves says whether a node holds a slot for its own.
func (n *node) serves(slot int) bool { return n.knows(n, slot) }

// knows says whether a node holds another one for the owner of a slot.
func (n *node) knows(other *node, slot int) bool {
	all, err := n.Do("CLUSTER", "NODES")
	if err != nil {
		return false
	}
	for line := range strings.Lines(fmt.Sprint(all)) {
		if fields := strings.Fields(line); len(fields) > 8 && fields[0] == other.id {
			return strings.Contains(fields[2], "master") && covers(fields[8:], slot)
		}
	}
	return false
}

// covers reads what CLUSTER NODES says about slots: "0-5460", "7000", and "[7000->-ID]" for one that is on its way.
func covers(ranges []string, slot int) bool {
	for _, r := range ranges {
		first, last, isRange := strings.Cut(r, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, errTo := strconv.Atoi(last)
		if err == nil && errTo == nil && from <= slot && slot <= to {
			return true
		}
	}
	return false
}

// Move takes a slot from the primary that serves it to the next one, key by key, as resharding does. The slot stays in
// use: who asks for a key that has gone is sent after it. between, if not nil, is called while the slot belongs to both: once
// before the first key, and after each.
func (c *Cluster) Move(slot int, between func()) {
	c.t.Helper()
	if between == nil {
		between = func() {}
	}
	from := c.owner(slot)
	to := c.after(from)
	to.must("CLUSTER", "SETSLOT", slot, "IMPORTING", from.id)
	from.must("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
	between()
	for {
		keys, _ := from.must("CLUSTER", "GETKEYSINSLOT", slot, 1).([]any)
		if len(keys) == 0 {
			break
		}
		from.must("MIGRATE", "127.0.0.1", to.port(), "", 0, 5000, "KEYS", keys[0]) // NOKEY: it lapsed just now
		between()
	}
	for _, n := range []*node{to, from} { // the new owner first: nobody is sent to one that knows nothing yet
		n.must("CLUSTER", "SETSLOT", slot, "NODE", to.id)
	}
}

func (c *Cluster) after(n *node) *node {
	for i := range primaries {
		if c.nodes[i] == n {
			return c.nodes[(i+1)%primaries]
		}
	}
	return c.nodes[0]
}

// Files returns everything that the servers have on disk, for a search through it.
func (c *Cluster) Files() (all []byte) {
	c.t.Helper()
	for _, n := range c.nodes {
		all = append(all, n.Files()...)
	}
	return all
}
