package rdb_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
)

// A cluster is found by any of its servers, and survives one of them.
func TestCluster(t *testing.T) {
	c := rdbtest.StartCluster(t, 1)
	ctx := t.Context()
	client, err := rdb.Open(ctx, c.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 30 {
		if err := client.Set(ctx, fmt.Sprint("k", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	used := 0
	for i := range c.Primaries {
		if n := c.Primary(i).Client().DBSize(ctx).Val(); n > 0 {
			used++
		}
	}
	if used != 3 {
		t.Errorf("keys are on %d servers", used)
	}
	single := c.Primaries[0].Config()
	if _, err := rdb.Open(ctx, single); err == nil || !strings.Contains(err.Error(), "?cluster=true") {
		t.Errorf("without saying that it is one: %v", err)
	}
	single.URL += "?cluster=true"
	if one, err := rdb.Open(ctx, single); err != nil {
		t.Errorf("by one of its servers: %v", err)
	} else {
		one.Close()
	}
	plain := rdbtest.Start(t).Config()
	plain.URL += "?cluster=true"
	if _, err := rdb.Open(ctx, plain); err == nil || !strings.Contains(err.Error(), "none of a cluster") {
		t.Errorf("a server that is none: %v", err)
	}

	start := time.Now()
	c.Failover("k1")
	t.Logf("a replica took over after %v", time.Since(start))
	// The client finds out by itself.
	limit := time.Now().Add(time.Minute)
	for err = errors.New("not tried"); err != nil && time.Now().Before(limit); {
		_, err = client.Get(ctx, "k1").Result()
	}
	if err != nil {
		t.Errorf("after the failover: %v", err)
	}
}

// Keys that move are followed, and what may have been done is not done again.
func TestClusterMoves(t *testing.T) {
	c := rdbtest.StartCluster(t, 0)
	ctx := t.Context()
	client := c.Client()
	const key = "moving"
	if err := client.Set(ctx, key, "before", 0).Err(); err != nil {
		t.Fatal(err)
	}
	slot := client.ClusterKeySlot(ctx, key).Val()
	from := c.Holder(key)
	to := c.Primaries[0]
	if to == from {
		to = c.Primaries[1]
	}
	do := func(s *rdbtest.Server, args ...any) {
		t.Helper()
		if err := s.Client().Do(ctx, args...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	id := func(s *rdbtest.Server) string { return s.Client().Do(ctx, "CLUSTER", "MYID").Val().(string) }
	do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", id(from))
	do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", id(to))
	// ASK: a new key of the slot is made where it goes to.
	other := "{" + key + "}2"
	if err := client.Set(ctx, other, "asked", 0).Err(); err != nil {
		t.Fatalf("a key of a slot that moves: %v", err)
	}
	if _, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Get(ctx, key)
		p.Append(ctx, other, "!")
		return nil
	}); err != nil {
		t.Fatalf("many of a slot that moves: %v", err)
	}
	host, port, _ := strings.Cut(strings.TrimPrefix(to.URL(), "redis://"), ":")
	do(from, "MIGRATE", host, port, key, 0, 5000)
	for _, s := range []*rdbtest.Server{to, from} {
		do(s, "CLUSTER", "SETSLOT", slot, "NODE", id(to))
	}
	// MOVED.
	got, err := client.MGet(ctx, key, other).Result()
	if err != nil || fmt.Sprint(got) != "[before asked!]" {
		t.Errorf("after the move: %v, %v", got, err)
	}

	// A server that hangs up in the middle of a command: whoever sent it hears of
	// that, and it is not sent once more.
	waits := c.Holder("queue")
	heard := make(chan error, 1)
	go func() { heard <- client.BLPop(ctx, 0, "queue").Err() }()
	waiting := func() bool { return strings.Contains(waits.Client().ClientList(ctx).Val(), "cmd=blpop") }
	for limit := time.Now().Add(time.Minute); !waiting(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the client does not wait")
		}
	}
	do(waits, "CLIENT", "KILL", "TYPE", "normal")
	select {
	case err := <-heard:
		if err == nil || errors.Is(err, redis.Nil) {
			t.Errorf("a connection that was cut: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the command was sent again")
		do(waits, "LPUSH", "queue", "x")
		<-heard
	}
}
