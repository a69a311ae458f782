package bus_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/executor/bus"
	"kgent/executor/bus/bustest"
	"kgent/executor/bus/rdb/rdbtest"
)

// users are buses of a server's users: a node's methods as the node's own
// user, the control side's as the bot's.
type users struct {
	bus.Control
	t *testing.T
	s *rdbtest.Server // of a cluster: none
	// admin may do everything.
	admin redis.UniversalClient
	// do sends the server, or all of them, a command; as connects as a user.
	do func(args ...any)
	as func(user string) redis.UniversalClient

	mu    *sync.Mutex
	nodes map[string]*bus.Redis
}

const password = "a-password"

func newUsers(t *testing.T, options ...rdbtest.Option) users {
	t.Helper()
	s := rdbtest.Start(t, append(options, rdbtest.ACL(), rdbtest.Config("enable-debug-command yes"))...)
	admin := s.Client()
	u := users{t: t, s: s, admin: admin, mu: &sync.Mutex{}, nodes: map[string]*bus.Redis{}}
	u.do = func(args ...any) {
		if err := admin.Do(context.Background(), args...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	u.as = func(user string) redis.UniversalClient { return s.ClientOf(user, password) }
	u.Control = bus.NewRedis(u.user(bus.BotUser, bus.BotRules()))
	return u
}

// clusterUsers are those of a cluster.
func clusterUsers(t *testing.T, c *rdbtest.Cluster) users {
	t.Helper()
	u := users{t: t, admin: c.Client(), mu: &sync.Mutex{}, nodes: map[string]*bus.Redis{}, do: c.Do}
	u.as = func(user string) redis.UniversalClient { return c.ClientOf(user, password) }
	u.Control = bus.NewRedis(u.user(bus.BotUser, bus.BotRules()))
	return u
}

// user makes a user and connects as it.
func (u users) user(name string, rules []string) redis.UniversalClient {
	u.t.Helper()
	args := []any{"ACL", "SETUSER", name, "reset", "on", ">" + password}
	for _, r := range rules {
		args = append(args, r)
	}
	u.do(args...)
	return u.as(name)
}

// client connects as the user of a node.
func (u users) client(node string) redis.UniversalClient {
	u.t.Helper()
	rules, err := bus.NodeRules(node)
	if err != nil {
		u.t.Fatal(err)
	}
	return u.user(bus.NodeUser(node), rules)
}

func (u users) node(name string) *bus.Redis {
	if bus.CheckName(name) != nil {
		name = "any"
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b := u.nodes[name]
	if b == nil {
		b = bus.NewRedis(u.client(name))
		u.nodes[name] = b
	}
	return b
}

// Refuse implements [bustest.Refuser].
func (u users) Refuse(node string) (again func()) {
	key := "job:" + node
	if err := u.admin.Set(context.Background(), key, "no queue", 0).Err(); err != nil {
		u.t.Fatal(err)
	}
	return func() {
		if err := u.admin.Del(context.Background(), key).Err(); err != nil {
			u.t.Fatal(err)
		}
	}
}

func (u users) Consume(ctx context.Context, node, consumer string, each func(bus.Job)) error {
	return u.node(node).Consume(ctx, node, consumer, each)
}
func (u users) Ack(ctx context.Context, node, id string) error {
	return u.node(node).Ack(ctx, node, id)
}
func (u users) Publish(ctx context.Context, c bus.Chunk) error { return u.node(c.Node).Publish(ctx, c) }
func (u users) Announce(ctx context.Context, n bus.NodeInfo, ttl time.Duration) error {
	return u.node(n.Name).Announce(ctx, n, ttl)
}
func (u users) Lease(ctx context.Context, run string) (bus.Lease, error) {
	return u.node("any").Lease(ctx, run)
}
func (u users) Stops(ctx context.Context) (<-chan string, error) { return u.node("any").Stops(ctx) }
func (u users) PublishFacts(ctx context.Context, hash string, blob []byte) error {
	return u.node("any").PublishFacts(ctx, hash, blob)
}

// The contract, with users that may do no more than they must.
func TestRedis(t *testing.T) {
	u := newUsers(t, rdbtest.Unix())
	bustest.Run(t, func(*testing.T) bus.Bus { return u })
}

// A connection that is encrypted and shows a certificate carries the same.
func TestRedisTLS(t *testing.T) {
	u := newUsers(t, rdbtest.TLS())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for what, err := range map[string]error{
		"Announce": u.Announce(ctx, bus.NodeInfo{Name: "a"}, time.Minute),
		"Submit":   u.Submit(ctx, []byte("job"), "a"),
		"Publish":  u.Publish(ctx, bus.Chunk{Run: "r", Node: "a", Seq: 1}),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	enough := errors.New("enough")
	if err := u.Follow(ctx, "r", []string{"a"}, func(bus.Chunk) error { return enough }); err != enough {
		t.Errorf("Follow: %v", err)
	}
	taken, done := context.WithCancel(ctx)
	if err := u.Consume(taken, "a", "c", func(j bus.Job) {
		if string(j.Envelope) == "job" {
			done()
		}
	}); ctx.Err() != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("Consume: %v", err)
	}
}

// commands are lines as one types them into redis-cli.
func refusedAll(t *testing.T, client redis.UniversalClient, commands string) {
	t.Helper()
	for line := range strings.Lines(commands) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		var args []any
		for _, f := range strings.Fields(line) {
			args = append(args, f)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := client.Do(ctx, args...).Err()
		cancel()
		if err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%s: %v, want NOPERM", line, err)
		}
	}
}

// What a node's user is not allowed, on a server where all of it exists.
func TestRedisNodeIsConfined(t *testing.T) {
	u := newUsers(t, rdbtest.Unix())
	ctx := t.Context()
	for _, n := range []string{"a", "b"} {
		for what, err := range map[string]error{
			"Announce": u.Announce(ctx, bus.NodeInfo{Name: n}, time.Minute),
			"Submit":   u.Submit(ctx, []byte("job"), n),
			"Publish":  u.Publish(ctx, bus.Chunk{Run: "r", Node: n, Seq: 1}),
			"Renew":    u.Renew(ctx, "r", time.Minute),
		} {
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	u.s.Client().Set(ctx, "kgent:case:1", "secret", 0)
	refusedAll(t, u.client("a"), `
		XREADGROUP GROUP exec c STREAMS job:b >
		XREADGROUP GROUP exec c STREAMS job:a job:b > >
		XAUTOCLAIM job:b exec c 0 0-0
		XACK job:b exec 1-1
		XDEL job:b 1-1
		XRANGE job:b - +
		XREAD STREAMS job:b 0
		XLEN job:b
		XINFO STREAM job:a
		XINFO GROUPS job:a
		XINFO CONSUMERS job:a exec
		XGROUP CREATE job:b other 0
		XGROUP DESTROY job:b exec
		XGROUP DESTROY job:a exec
		XGROUP SETID job:a exec 0
		XGROUP DELCONSUMER job:a exec c

		XADD job:a * envelope forged
		XADD job:b * envelope forged
		SET job:a x
		DEL job:a
		DEL job:b
		EXPIRE job:b 1

		XADD out:r:b * head {}
		XADD out:r:ab * head {}
		XADD out:r * head {}
		XADD out:r:a:b * head {}
		XADD out * head {}
		XREAD STREAMS out:r:b 0
		XREAD STREAMS out:r:a 0
		XRANGE out:r:b - +
		XTRIM out:r:a MAXLEN 0
		XTRIM out:r:b MAXLEN 0
		DEL out:r:a
		DEL out:r:b
		EXPIRE out:r:b 1

		SET lease:r live
		SET lease:r stopped
		DEL lease:r
		EXPIRE lease:r 1000
		PEXPIRE lease:r 1000
		PERSIST lease:r
		GETSET lease:r live
		GETDEL lease:r
		GETEX lease:r PERSIST
		SETNX lease:new live

		PUBLISH stops r
		PUBLISH ctl:b r
		SUBSCRIBE kgent:wake
		SUBSCRIBE stops other
		PSUBSCRIBE *
		SSUBSCRIBE stops
		PUBSUB CHANNELS

		SET node:b {}
		DEL node:b
		GET node:b
		GET node:ab
		MGET node:a node:b
		SMEMBERS nodes
		SREM nodes b
		SADD nodes:other b
		DEL nodes

		GET facts:x
		SET facts:x y
		DEL facts:x
		EXPIRE facts:x 1
		SETNX facts kgent
		RENAME facts:x facts:y
		COPY facts:x facts:y

		GET kgent:case:1
		SET kgent:case:1 x
		DEL kgent:case:1
		EXISTS kgent:case:1
		SETNX kgent:case:2 x
		XADD kgent:inbox * a b
		XADD kgent:outbox:a * a b
		XREAD STREAMS kgent:inbox 0
		XREADGROUP GROUP workers w STREAMS kgent:inbox >
		HGETALL kgent:request:1
		RENAME kgent:case:1 job:a
		COPY kgent:case:1 job:a
		OBJECT ENCODING kgent:case:1
		DUMP kgent:case:1
		TYPE kgent:case:1

		FLUSHALL
		FLUSHDB
		KEYS *
		SCAN 0
		RANDOMKEY
		DBSIZE
		SELECT 1
		SWAPDB 0 1
		MOVE job:a 1
		CONFIG GET *
		CONFIG SET dir /tmp
		ACL LIST
		ACL WHOAMI
		ACL SETUSER node-a allcommands
		EVAL return 0
		EVALSHA x 0
		SCRIPT LOAD x
		FUNCTION LIST
		FCALL f 0
		MULTI
		WATCH job:a
		CLIENT LIST
		CLIENT KILL TYPE normal
		CLIENT PAUSE 1000
		CLIENT NO-EVICT on
		CLIENT TRACKING on BCAST
		DEBUG SLEEP 1
		INFO
		MONITOR
		COMMAND
		LATENCY LATEST
		MEMORY USAGE job:a
		SLOWLOG GET
		REPLICAOF 127.0.0.1 1
		SYNC
		PSYNC ? -1
		MODULE LIST
		MIGRATE 127.0.0.1 1 job:a 0 1
		RESTORE job:a 0 x
		SAVE
		BGSAVE
		BGREWRITEAOF
		SHUTDOWN NOSAVE
		WAIT 0 1
		CLUSTER INFO
		FAILOVER
	`)
	// Nobody has noticed.
	if v := u.s.Client().Get(ctx, "kgent:case:1").Val(); v != "secret" {
		t.Errorf("the case is now %q", v)
	}
}

// The bot's user may use its own state and the bus, and nothing of the server.
func TestRedisBotIsConfined(t *testing.T) {
	u := newUsers(t, rdbtest.Unix())
	bot := u.s.ClientOf(bus.BotUser, password)
	for _, args := range [][]any{
		{"SET", "kgent:x", "1"}, {"EVAL", "return redis.call('GET', KEYS[1])", 1, "kgent:x"}, {"HSET", "kgent:h", "a", "b"},
		{"XADD", "kgent:inbox", "*", "a", "b"}, {"XGROUP", "CREATE", "kgent:inbox", "g", "0"}, {"ZADD", "kgent:z", 1, "a"},
		{"PUBLISH", "kgent:wake", "x"}, {"DEL", "kgent:x"}, {"SCAN", 0, "MATCH", "kgent:*"}, {"WATCH", "kgent:x"}, {"UNWATCH"},
	} {
		if err := bot.Do(t.Context(), args...).Err(); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	refusedAll(t, bot, `
		SET node:a {}
		XADD out:r:a * head {}
		XADD other:stream * a b
		GET other
		SET other x
		DEL other
		PUBLISH other x
		SUBSCRIBE other
		FLUSHALL
		FLUSHDB
		KEYS *
		CONFIG GET *
		ACL LIST
		ACL SETUSER kgent-bot allkeys
		SHUTDOWN NOSAVE
		DEBUG SLEEP 1
		REPLICAOF NO ONE
		CLIENT KILL TYPE normal
		MONITOR
		SCRIPT FLUSH
		FUNCTION FLUSH
		FUNCTION LOAD x
		FCALL f 0
		INFO
		SAVE
		MIGRATE 127.0.0.1 1 kgent:x 0 1
		SWAPDB 0 1
	`)
	if err := bot.Do(t.Context(), "EVAL", "return redis.call('GET', 'other')", 0).Err(); err == nil {
		t.Error("a script reads what its user may not")
	}
}

// A user's name, a node's name and a key cannot be confused.
func TestNodeRules(t *testing.T) {
	for _, bad := range []string{"", "a b", "*", "a) (~*", "a:b", "?"} {
		if rules, err := bus.NodeRules(bad); err == nil {
			t.Errorf("%q has rules %q", bad, rules)
		}
	}
	if bus.NodeUser("bot") == bus.BotUser || strings.HasPrefix(bus.BotUser, bus.NodeUser("")) {
		t.Error("a node can have the bot's user")
	}
}

// Whatever becomes of the server's data, jobs sent afterwards arrive, through
// the consumer that was there before.
func TestRedisDataLost(t *testing.T) {
	u := newUsers(t)
	ctx, cancel := context.WithCancel(t.Context())
	jobs := make(chan bus.Job, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := u.Consume(ctx, "n", "c", func(j bus.Job) { jobs <- j }); ctx.Err() == nil {
				t.Logf("the consumer begins again after: %v", err)
				time.Sleep(20 * time.Millisecond) // the server is starting
			}
		}
	}()
	defer func() { cancel(); <-done }()
	for i, lose := range []func(){
		func() {},
		func() { u.s.Client().FlushAll(ctx) },
		func() { u.s.Client().Del(ctx, "job:n") },
		func() { u.s.Client().XGroupDestroy(ctx, "job:n", "exec") },
	} {
		lose()
		want := fmt.Sprint("job ", i)
		if err := u.Submit(ctx, []byte(want), "n"); err != nil {
			t.Fatal(err)
		}
		for got := ""; got != want; {
			select {
			case j := <-jobs:
				got = string(j.Envelope)
				u.Ack(ctx, "n", j.ID)
			case <-time.After(time.Minute):
				t.Fatalf("%s did not arrive", want)
			}
		}
	}
}

// What queues did not take a job is said by name, and others have it.
func TestRedisUnsent(t *testing.T) {
	u := newUsers(t, rdbtest.Unix())
	ctx := t.Context()
	u.s.Client().Set(ctx, "job:b", "no queue", 0)
	err := u.Submit(ctx, []byte("job"), "a", "b", "c")
	unsent, ok := errors.AsType[bus.Unsent](err)
	if !ok || len(unsent) != 1 || unsent["b"] == nil || !strings.Contains(err.Error(), "for b: WRONGTYPE") {
		t.Fatalf("%v", err)
	}
	if n := u.s.Client().XLen(ctx, "job:c").Val(); n != 1 {
		t.Errorf("c has %d jobs", n)
	}
	u.s.Kill()
	if unsent, ok := errors.AsType[bus.Unsent](u.Submit(ctx, make([]byte, 3<<20), "a", "c")); !ok || len(unsent) != 2 {
		t.Errorf("without a server: %v", unsent)
	}
}

// A server that hangs is an error in bounded time, not a wait.
func TestRedisPaused(t *testing.T) {
	s := rdbtest.Start(t)
	b := bus.NewRedis(s.Client())
	if err := b.Renew(t.Context(), "r", time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := b.Submit(t.Context(), []byte("job"), "n"); err != nil { // it knows the script
		t.Fatal(err)
	}
	s.Pause()
	var wg sync.WaitGroup
	// What was asked of it is maybe done, and nobody waits for it again and again.
	wg.Go(func() {
		err := b.Submit(t.Context(), make([]byte, 3<<20), "n", "m", "o")
		unsent, _ := errors.AsType[bus.Unsent](err)
		if len(unsent) != 3 || !errors.Is(unsent["n"], bus.ErrUnheard) || unsent["o"] == nil || errors.Is(unsent["o"], bus.ErrUnheard) {
			t.Errorf("Submit: %v, %v", err, map[string]error(unsent))
		}
	})
	for what, call := range map[string]func() error{
		"Publish": func() error { return b.Publish(t.Context(), bus.Chunk{Run: "r", Node: "n"}) },
		"Lease":   func() error { _, err := b.Lease(t.Context(), "r"); return err },
		"Consume": func() error { return b.Consume(t.Context(), "n", "c", func(bus.Job) {}) },
		"Follow": func() error {
			return b.Follow(t.Context(), "r", []string{"n"}, func(bus.Chunk) error { return nil })
		},
	} {
		wg.Go(func() {
			start := time.Now()
			err := call()
			if d := time.Since(start); err == nil || d > time.Minute {
				t.Errorf("%s: %v after %v", what, err, d)
			}
		})
	}
	wg.Wait()
	s.Resume()
	if l, err := b.Lease(t.Context(), "r"); err != nil || l != bus.LeaseLive {
		t.Errorf("when it goes on: %v, %v", l, err)
	}
}

// What is read was written by nodes that may not be honest.
func TestRedisDistrusts(t *testing.T) {
	s := rdbtest.Start(t, rdbtest.Unix())
	raw := s.Client()
	b := bus.NewRedis(raw)
	ctx := t.Context()

	// A node cannot speak for another, in its list or in its output.
	raw.Set(ctx, "node:a", `{"name":"b","kernel":"a's"}`, 0)
	raw.Set(ctx, "node:c", `not json`, 0)
	raw.Set(ctx, "node:d", `{"kernel":"`+strings.Repeat("x", 1<<20)+`"}`, 0)
	raw.SAdd(ctx, "nodes", "a", "c", "d", "gone", "*", "e f", "\x1b[31m")
	nodes, err := b.Nodes(ctx)
	if err != nil || len(nodes) != 3 || nodes[0].Name != "a" || nodes[0].Kernel != "a's" {
		t.Errorf("listed %+v, %v", nodes, err)
	}
	for _, n := range nodes[1:] { // people look for a node that they have started
		if n.Drained != "what it announces of itself cannot be read" || n.Kernel != "unknown" || n.Labels != nil {
			t.Errorf("listed %+v", n)
		}
	}
	// Nor can it put into messages and grants what no node of ours says.
	raw.Set(ctx, "node:a", `{"kernel":"6.18\u202e","arch":"`+strings.Repeat("x", 400)+`","version":"1\n2","labels":{"env":"prod","e v":"x","x":"<!channel>\u0007","y":"`+strings.Repeat("z", 400)+`","":"q"},
		"kinds":{"kprobe":"no","`+"`"+`":""},"capabilities":["CAP_BPF","@everyone"]}`, 0)
	nodes, err = b.Nodes(ctx)
	if err != nil || len(nodes) != 3 || nodes[0].Kernel != "unknown" || nodes[0].Arch != "unknown" || nodes[0].Version != "unknown" ||
		len(nodes[0].Labels) != 1 || nodes[0].Labels["env"] != "prod" || len(nodes[0].Kinds) != 1 || !slices.Equal(nodes[0].Capabilities, []string{"CAP_BPF"}) {
		t.Errorf("listed %+v, %v", nodes, err)
	}
	left := raw.SMembers(ctx, "nodes").Val()
	slices.Sort(left)
	if want := []string{"a", "c", "d"}; !slices.Equal(left, want) {
		t.Errorf("the set has %q, want %q: names behind which is nothing go", left, want)
	}
	raw.XAdd(ctx, &redis.XAddArgs{Stream: "out:r:a", Values: []any{"head", `garbage`}})
	raw.XAdd(ctx, &redis.XAddArgs{Stream: "out:r:a", Values: []any{"other", `field`}})
	raw.XAdd(ctx, &redis.XAddArgs{Stream: "out:r:a", Values: []any{"head", `{"seq":7,"node":"b","run":"s"}`, "lines", "x\n"}})
	enough := errors.New("enough")
	err = b.Follow(ctx, "r", []string{"a"}, func(c bus.Chunk) error {
		if c.Node != "a" || c.Run != "r" || c.Seq != 7 || string(c.Lines) != "x\n" {
			t.Errorf("got chunk %+v", c)
		}
		return enough
	})
	if err != enough {
		t.Errorf("Follow: %v", err)
	}

	// Facts under a wrong hash are taken away, so that the right ones can come.
	blob := []byte("facts")
	hash := bus.FactsHash(blob)
	raw.Set(ctx, "facts:"+hash, "poison", 0)
	if _, err := b.Facts(ctx, hash); !errors.Is(err, bus.ErrNoFacts) {
		t.Errorf("poisoned facts: %v", err)
	}
	if err := b.PublishFacts(ctx, hash, blob); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Facts(ctx, hash); err != nil || string(got) != string(blob) {
		t.Errorf("facts: %q, %v", got, err)
	}
	// Once they are there, a node cannot replace them.
	if err := raw.Do(ctx, "SETNX", "facts:"+hash, "poison").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Facts(ctx, hash); err != nil {
		t.Errorf("facts: %v", err)
	}
}

// Everything that nodes and the bot leave on a server expires, but for the
// set of names, which is emptied as it is read.
func TestRedisExpires(t *testing.T) {
	s := rdbtest.Start(t, rdbtest.Unix())
	raw := s.Client()
	b := bus.NewRedis(raw)
	ctx := t.Context()
	blob := []byte("facts")
	for what, err := range map[string]error{
		"Submit":       b.Submit(ctx, []byte("job"), "n"),
		"Publish":      b.Publish(ctx, bus.Chunk{Run: "r", Node: "n"}),
		"Renew":        b.Renew(ctx, "r", time.Minute),
		"Stop":         b.Stop(ctx, "s"),
		"PublishFacts": b.PublishFacts(ctx, bus.FactsHash(blob), blob),
		"Announce":     b.Announce(ctx, bus.NodeInfo{Name: "n", Facts: bus.FactsHash(blob)}, time.Minute),
	} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if _, err := b.Nodes(ctx); err != nil {
		t.Fatal(err)
	}
	want := map[string]time.Duration{
		"job:n": time.Hour, "out:r:n": bus.OutputKept, "lease:r": time.Minute, "lease:s": bus.StopKept,
		"node:n": time.Minute, "facts:" + bus.FactsHash(blob): bus.FactsKept, "nodes": -1,
	}
	for key, ttl := range want {
		if got := raw.TTL(ctx, key).Val(); got > ttl || got < ttl-10*time.Second {
			t.Errorf("%s is kept %v, want %v", key, got, ttl)
		}
	}
	if n := raw.DBSize(ctx).Val(); int(n) != len(want) {
		t.Errorf("%d keys, want %q", n, slices.Sorted(maps.Keys(want)))
	}
}

// Who listens for stops hears them again after the server was away.
func TestRedisStopsAfterRestart(t *testing.T) {
	s := rdbtest.Start(t)
	b := bus.NewRedis(s.Client())
	ctx, cancel := context.WithCancel(t.Context())
	heard, err := b.Stops(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.Restart()
	limit := time.After(time.Minute)
	for again := true; again; {
		b.Stop(ctx, "r") // the client's connections may have to be made anew
		select {
		case run, ok := <-heard:
			if !ok || run != "r" {
				t.Fatalf("heard %q, %v", run, ok)
			}
			again = false
		case <-limit:
			t.Fatal("nothing is heard any more")
		case <-time.After(50 * time.Millisecond):
		}
	}
	cancel()
	for range heard {
	}
}

// A node whose user is taken away is cut off at once, in mid-command.
func TestRedisNodeRevoked(t *testing.T) {
	u := newUsers(t, rdbtest.Unix())
	done := make(chan error, 1)
	b := u.node("a")
	go func() { done <- b.Consume(t.Context(), "a", "c", func(bus.Job) {}) }()
	admin := u.s.Client()
	waiting := func() bool { return strings.Contains(admin.ClientList(t.Context()).Val(), "cmd=xreadgroup") }
	for limit := time.Now().Add(time.Minute); !waiting(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the node does not wait for jobs")
		}
	}
	// The file knows the test's own user only.
	if err := admin.Do(t.Context(), "ACL", "LOAD").Err(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err == nil {
			t.Error("Consume returned without error")
		}
	case <-time.After(time.Minute):
		t.Fatal("it still takes jobs")
	}
	if _, err := b.Lease(t.Context(), "r"); err == nil || !strings.HasPrefix(errors.Unwrap(err).Error(), "WRONGPASS") {
		t.Errorf("it may still ask: %v", err)
	}
}

// A process finds out who else has the name of its node.
func TestRedisAnnounced(t *testing.T) {
	u := newUsers(t, rdbtest.Unix())
	b := u.node("a")
	if n, ok, err := b.Announced(t.Context(), "a"); ok || err != nil {
		t.Errorf("nobody: %+v, %v, %v", n, ok, err)
	}
	if err := b.Announce(t.Context(), bus.NodeInfo{Name: "a", Instance: "i"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if n, ok, err := b.Announced(t.Context(), "a"); !ok || err != nil || n.Instance != "i" {
		t.Errorf("announced: %+v, %v, %v", n, ok, err)
	}
	if _, _, err := b.Announced(t.Context(), "b"); err == nil {
		t.Error("a node can ask about another")
	}
}

// What older and newer executors write is understood as far as it can be, and otherwise said.
func TestRedisFormats(t *testing.T) {
	s := rdbtest.Start(t, rdbtest.Unix())
	raw := s.Client()
	b := bus.NewRedis(raw)
	ctx := t.Context()
	for node, says := range map[string]string{
		"older":   `{"name":"older","kernel":"6.1.0"}`,
		"more":    `{"name":"more","kernel":"6.1.0","labels":{"env":"dev"},"temperature":{"cpu":[70,71]}}`,
		"same":    `{"format":1,"name":"same","kernel":"6.1.0"}`,
		"newer":   `{"format":2,"name":"newer","kernel":{"release":"9.0"},"labels":["env=dev"],"version":"v9"}`,
		"newest":  `{"format":3,"version":9}`,
		"strange": `{"format":"x","kernel":"6.1.0"}`,
	} {
		raw.Set(ctx, "node:"+node, says, 0)
		raw.SAdd(ctx, "nodes", node)
	}
	nodes, err := b.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, n := range nodes {
		listed[n.Name] = n.Kernel + " " + n.Version + " " + n.Labels["env"] + " " + n.Drained
	}
	for node, want := range map[string]string{
		"older":   "6.1.0   ",
		"more":    "6.1.0  dev ",
		"same":    "6.1.0   ",
		"newer":   "unknown v9  it announces itself in format 2, and this kgent reads up to format 1: the node's is newer; update this one",
		"newest":  "unknown   it announces itself in format 3, and this kgent reads up to format 1: the node's is newer; update this one",
		"strange": "unknown unknown  what it announces of itself cannot be read",
	} {
		if listed[node] != want {
			t.Errorf("%s is listed as %q, want %q", node, listed[node], want)
		}
	}

	for _, head := range []string{
		`{"seq":1,"counters":{"produced":2,"delivered":1}}`, // older: it says less
		`{"seq":2,"events":1,"counters":{"produced":3,"delivered":2,"teleported":7},"attached_ns":5,"weather":"fine"}`,
		`{"format":1,"seq":3}`,
		`{"format":2,"seq":"three and a half"}`,
		`{"seq":4,"final":true}`,
	} {
		raw.XAdd(ctx, &redis.XAddArgs{Stream: "out:r:a", Values: []any{"head", head, "lines", "x\n", "more", "fields"}})
	}
	enough := errors.New("enough")
	var got []string
	err = b.Follow(ctx, "r", []string{"a"}, func(c bus.Chunk) error {
		got = append(got, fmt.Sprintf("%d/%d/%d/%s", c.Format, c.Seq, c.Counters.Produced, c.Lines))
		if c.Final {
			return enough
		}
		return nil
	})
	if want := []string{"0/1/2/x\n", "0/2/3/x\n", "1/3/0/x\n", "2/0/0/", "0/4/0/x\n"}; err != enough || !slices.Equal(got, want) {
		t.Errorf("chunks %q, want %q; %v", got, want, err)
	}

	// A job of a bus that writes it elsewhere is one without an envelope, which its
	// node refuses; what stands beside an envelope is passed over.
	raw.XAdd(ctx, &redis.XAddArgs{Stream: "job:a", Values: []any{"envelope_v2", "e"}})
	raw.XAdd(ctx, &redis.XAddArgs{Stream: "job:a", Values: []any{"envelope", "e", "priority", "7"}})
	ctx, cancel := context.WithCancel(ctx)
	var jobs []string
	b.Consume(ctx, "a", "c", func(j bus.Job) {
		if jobs = append(jobs, string(j.Envelope)); len(jobs) == 2 {
			cancel()
		}
	})
	if !slices.Equal(jobs, []string{"", "e"}) {
		t.Errorf("jobs %q", jobs)
	}
}

// pages notes how much output each answer has.
type pages struct {
	redis.Hook
	mu      sync.Mutex
	most    int // bytes of one answer
	entries int // at most
	answers int
}

func (p *pages) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p *pages) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (p *pages) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		read, ok := cmd.(*redis.XStreamSliceCmd)
		if !ok || cmd.Name() != "xread" {
			return err
		}
		bytes, entries := 0, 0
		for _, s := range read.Val() {
			entries += len(s.Messages)
			for _, m := range s.Messages {
				lines, _ := m.Values["lines"].(string)
				bytes += len(lines)
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.most, p.entries, p.answers = max(p.most, bytes), max(p.entries, entries), p.answers+1
		return err
	}
}

// Whoever takes over a run on many nodes whose streams are full does not read them all at
// once, and small ones not one by one.
func TestRedisPagesAreBounded(t *testing.T) {
	const nodes, each = 100, 3
	for _, tt := range []struct {
		name             string
		line             int
		most, entries, n int // bytes and entries of an answer, answers
	}{
		{"large", 300 << 10, 8 << 20, 32, nodes * each},
		{"small", 100, 32 * 100, 32, 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := rdbtest.Start(t)
			client := s.Client()
			b := bus.NewRedis(client)
			var all []string
			lines := []byte(strings.Repeat("x", tt.line))
			for i := range nodes {
				all = append(all, fmt.Sprint("n", i))
				for seq := range uint64(each) {
					if err := b.Publish(t.Context(), bus.Chunk{Run: "r", Node: all[i], Seq: seq + 1, Lines: lines}); err != nil {
						t.Fatal(err)
					}
				}
			}
			p := &pages{}
			client.AddHook(p)
			enough, got := errors.New("enough"), 0
			err := b.Follow(t.Context(), "r", all, func(c bus.Chunk) error {
				if got++; got == nodes*each {
					return enough
				}
				return nil
			})
			if !errors.Is(err, enough) {
				t.Fatal(err)
			}
			if p.most > tt.most || p.entries > tt.entries || p.answers > tt.n {
				t.Errorf("%d bytes at once, %d chunks at once, in %d answers; want at most %d, %d, %d", p.most, p.entries, p.answers, tt.most, tt.entries, tt.n)
			}
			t.Logf("%d bytes at once, %d chunks at once, in %d answers", p.most, p.entries, p.answers)
		})
	}
}

// What Redis needs for a run that many nodes flood, and nobody reads, is what is documented.
func TestRedisFloodIsBounded(t *testing.T) {
	s := rdbtest.Start(t)
	client := s.Client()
	b := bus.NewRedis(client)
	used := func() int {
		t.Helper()
		info, err := client.Info(t.Context(), "memory").Result()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(info) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory_dataset:"); ok {
				n, err := strconv.Atoi(v)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatal("Redis does not say what it uses")
		return 0
	}
	// A tenth of the nodes of a run on 500 send what a hundredth of them could: the
	// bound of these is a tenth of the run's.
	const nodes, named, each = 50, 500, 20
	lines := []byte(strings.Repeat("x", 64<<10))
	before := used()
	for i := range nodes {
		for seq := range uint64(each) {
			c := bus.Chunk{Run: "r", Node: fmt.Sprint("n", i), Nodes: named, Seq: seq + 1, Lines: lines}
			if err := b.Publish(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	const bound = bus.RunBytes * nodes / named
	took := used() - before
	if took > bound*4/3 || took < bound/2 {
		t.Errorf("%d nodes sent %d MiB, of which Redis keeps %d MiB; the bound is %d MiB", nodes, nodes*each*len(lines)>>20, took>>20, bound>>20)
	}
	t.Logf("%d nodes sent %d MiB, of which Redis keeps %d MiB; the bound is %d MiB", nodes, nodes*each*len(lines)>>20, took>>20, bound>>20)
}
