package rdbtest

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/executor/bus/rdb"
)

// primaries is how many there are in a cluster, each with a third of the slots.
const primaries = 3

// slots is how many a cluster has.
const slots = 16384

// nodeTimeout is after how long without a word the others of a cluster take a
// server for dead.
const nodeTimeout = time.Second

// Cluster is a Redis Cluster of this machine: three primaries, each with as many
// replicas as was asked for.
type Cluster struct {
	t testing.TB
	// Primaries are the servers that were made such; after a failover one of
	// Replicas has taken a place. Replicas are by primary.
	Primaries []*Server
	Replicas  [][]*Server
}

// StartCluster starts a cluster that ends with the test, each of whose servers
// has these options. It takes two seconds of waiting, so that a package's tests
// should share one.
func StartCluster(t testing.TB, replicas int, options ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t, Primaries: make([]*Server, primaries), Replicas: make([][]*Server, primaries)}
	options = append(options, func(s *Server) { s.cluster = true })
	for i := range c.Primaries {
		c.Primaries[i] = Start(t, options...)
		for range replicas {
			c.Replicas[i] = append(c.Replicas[i], Start(t, options...))
		}
	}
	for i, s := range c.Primaries {
		c.must(s, "CLUSTER", "ADDSLOTSRANGE", i*slots/primaries, (i+1)*slots/primaries-1)
		c.must(s, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	all := c.Servers()
	for i, s := range all {
		for _, other := range all[:i] {
			host, port, _ := net.SplitHostPort(other.addr)
			c.must(s, "CLUSTER", "MEET", host, port, other.bus)
		}
	}
	// Whoever knows all the others can be told whose replica it is.
	c.wait(func() string {
		for _, s := range all {
			if known := c.ask(s, "CLUSTER", "NODES"); strings.Count(known, " connected") != len(all) {
				return "the servers have not met: " + known
			}
		}
		return ""
	})
	for i, s := range c.Primaries {
		id := c.ask(s, "CLUSTER", "MYID")
		for _, r := range c.Replicas[i] {
			c.must(r, "CLUSTER", "REPLICATE", id)
		}
	}
	c.Settled()
	return c
}

// Servers returns all that were started.
func (c *Cluster) Servers() []*Server {
	all := append([]*Server(nil), c.Primaries...)
	for _, r := range c.Replicas {
		all = append(all, r...)
	}
	return all
}

// Settled waits until every server that runs takes commands and knows whom else
// there is, and replicas have what their primaries have.
func (c *Cluster) Settled() {
	c.t.Helper()
	c.wait(func() string {
		for _, s := range c.Servers() {
			if !s.alive() {
				continue
			}
			info := c.ask(s, "CLUSTER", "INFO")
			if !strings.Contains(info, "cluster_state:ok") {
				return s.addr + ": " + info
			}
			role := c.ask(s, "INFO", "replication")
			if strings.Contains(role, "role:slave") && !strings.Contains(role, "master_link_status:up") {
				return s.addr + ": " + role
			}
		}
		for i := range c.Primaries {
			if c.Primary(i) == nil {
				return fmt.Sprintf("slots from %d on are nobody's", i*slots/primaries)
			}
		}
		return ""
	})
}

// Primary returns which server has the i-th third of the slots; nil when none
// that runs knows.
func (c *Cluster) Primary(i int) *Server {
	for _, s := range c.Servers() {
		if !s.alive() {
			continue
		}
		role := c.ask(s, "CLUSTER", "NODES")
		for line := range strings.Lines(role) {
			f := strings.Fields(line)
			if len(f) > 8 && strings.Contains(f[2], "myself") && strings.Contains(f[2], "master") && strings.HasPrefix(f[8], fmt.Sprint(i*slots/primaries, "-")) {
				return s
			}
		}
	}
	return nil
}

// Holder returns the server that has a key.
func (c *Cluster) Holder(key string) *Server {
	c.t.Helper()
	var slot int64
	for _, s := range c.Servers() {
		if s.alive() {
			n, err := s.Client().ClusterKeySlot(c.t.Context(), key).Result()
			if err != nil {
				c.t.Fatalf("rdbtest: asking for the slot of %q: %v", key, err)
			}
			slot = n
			break
		}
	}
	for i := range c.Primaries {
		if slot < int64((i+1)*slots/primaries) {
			return c.Primary(i)
		}
	}
	return nil
}

// Failover kills the server that has a key, and waits until a replica has taken
// its place. Without replicas the test fails.
func (c *Cluster) Failover(key string) (killed *Server) {
	c.t.Helper()
	killed = c.Holder(key)
	killed.Kill()
	c.Settled()
	return killed
}

// Do sends a command to each server that runs.
func (c *Cluster) Do(args ...any) {
	c.t.Helper()
	for _, s := range c.Servers() {
		if s.alive() {
			c.must(s, args...)
		}
	}
}

// FlushAll empties the cluster.
func (c *Cluster) FlushAll() {
	c.t.Helper()
	var wg sync.WaitGroup
	for i := range c.Primaries {
		s := c.Primary(i)
		wg.Go(func() {
			if err := s.own().FlushAll(c.t.Context()).Err(); err != nil {
				c.t.Errorf("rdbtest: emptying %s: %v", s.addr, err)
			}
		})
	}
	wg.Wait()
}

// Config is how to connect, as a user who may do everything.
func (c *Cluster) Config() rdb.Config { return c.config(c.Primaries[0].Config()) }

// ConfigOf is how to connect as a user.
func (c *Cluster) ConfigOf(user, password string) rdb.Config {
	return c.config(c.Primaries[0].ConfigOf(user, password))
}

// config names the other primaries, too, so that any one of them can be away.
func (c *Cluster) config(one rdb.Config) rdb.Config {
	for _, s := range c.Primaries[1:] {
		one.URL += "," + s.addr
	}
	return one
}

// Client connects as a user who may do everything, until the test ends.
func (c *Cluster) Client() *redis.ClusterClient {
	c.t.Helper()
	return open(c.t, c.Config()).(*redis.ClusterClient)
}

// ClientOf connects as a user, until the test ends.
func (c *Cluster) ClientOf(user, password string) *redis.ClusterClient {
	c.t.Helper()
	return open(c.t, c.ConfigOf(user, password)).(*redis.ClusterClient)
}

// wait waits until nothing is missing any more, or fails the test with it.
func (c *Cluster) wait(missing func() string) {
	c.t.Helper()
	limit := time.Now().Add(2 * patience)
	for why := missing(); why != ""; why = missing() {
		if time.Now().After(limit) {
			c.t.Fatalf("rdbtest: the cluster is not ready: %s", why)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *Cluster) must(s *Server, args ...any) {
	c.t.Helper()
	if err := s.own().Do(c.t.Context(), args...).Err(); err != nil {
		c.t.Fatalf("rdbtest: %v on %s: %v", args, s.addr, err)
	}
}

// ask returns what a server answers; "" when it does not.
func (c *Cluster) ask(s *Server, args ...any) string {
	answer, _ := s.own().Do(c.t.Context(), args...).Text()
	return answer
}
