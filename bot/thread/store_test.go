package thread_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/bot/thread"
	"kgent/bot/thread/threadtest"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
)

func TestMemory(t *testing.T) {
	threadtest.Run(t, time.Now, func(_ *testing.T, visibility time.Duration) thread.Store {
		s := thread.NewMemory(time.Now)
		thread.SetVisibility(s, visibility)
		return s
	})
}

func TestRedis(t *testing.T) {
	// As the user that a bot is given.
	server := rdbtest.Start(t, rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
	admin, db := server.Client(), server.ClientOf(bus.BotUser, "secret")
	threadtest.Run(t, time.Now, func(t *testing.T, visibility time.Duration) thread.Store {
		if err := admin.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return redisStore(t, db, visibility)
	})
}

func TestCluster(t *testing.T) {
	cluster := rdbtest.StartCluster(t, 0, rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
	db := cluster.ClientOf(bus.BotUser, "secret")
	threadtest.Run(t, time.Now, func(t *testing.T, visibility time.Duration) thread.Store {
		cluster.FlushAll()
		return redisStore(t, db, visibility)
	})
}

func redisStore(t *testing.T, db redis.UniversalClient, visibility time.Duration) thread.Store {
	t.Helper()
	s, err := thread.NewRedis(db, secret, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	thread.SetVisibility(s, visibility)
	return s
}

var secret = bytes.Repeat([]byte{7}, 32)

// Somebody who can write to Redis puts no words into anybody's mouth, and
// nothing else on a card.
func TestForged(t *testing.T) {
	server := rdbtest.Start(t)
	db := server.Client()
	open := func(secret []byte) *thread.Redis {
		s, err := thread.NewRedis(db, secret, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good, bad := open(secret), open(bytes.Repeat([]byte{8}, 32))
	ctx := t.Context()
	if _, err := bad.Receive(ctx, thread.Event{Key: "e", Kind: thread.Click, Verb: "approve"}); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		var found bool
		if _, found, err = good.Take(ctx, "w"); found {
			t.Fatal("a forged event was taken")
		}
	}
	if !errors.Is(err, thread.ErrSeal) {
		t.Errorf("taking a forged event: %v", err)
	}
	if _, found, err := good.Take(ctx, "w"); found || err != nil {
		t.Errorf("it is still there: %v", err)
	}
	r := thread.Request{ID: "r", State: thread.Pending, Place: thread.Place{Surface: "slack"}}
	m := thread.Message{Key: "m", Place: thread.Place{Surface: "slack"}}
	if _, err := bad.Update(ctx, r, m); err != nil {
		t.Fatal(err)
	}
	if _, err := good.Load(ctx, "r"); !errors.Is(err, thread.ErrSeal) {
		t.Errorf("loading a forged request: %v", err)
	}
	if _, err := good.Due(ctx, "slack", time.Now(), 1); !errors.Is(err, thread.ErrSeal) {
		t.Errorf("sending a forged message: %v", err)
	}
	// Another one's seal does not fit either.
	if _, err := good.Update(ctx, thread.Request{ID: "a", Text: "mine"}); err != nil {
		t.Fatal(err)
	}
	all, err := db.HGetAll(ctx, "kgent:req:a").Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.HSet(ctx, "kgent:req:b", all).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := good.Load(ctx, "b"); !errors.Is(err, thread.ErrSeal) {
		t.Errorf("loading a copy under another name: %v", err)
	}
	// What cannot be read is nobody's work any more.
	if err := db.Set(ctx, "kgent:req:c", "no hash", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := bad.Update(ctx, thread.Request{ID: "d"}); err != nil {
		t.Fatal(err)
	}
	if err := db.ZAdd(ctx, "kgent:open", redis.Z{Member: "c"}).Err(); err != nil {
		t.Fatal(err)
	}
	if lost, err := good.SetAside(ctx); err != nil || !slices.Equal(lost, []string{"d", "c"}) {
		t.Errorf("set aside %v, %v", lost, err)
	}
	if ids, err := good.Open(ctx); err != nil || !slices.Equal(ids, []string{"a"}) {
		t.Errorf("to work on there is %v, %v", ids, err)
	}
	// While a key is replaced, the one before is believed as well.
	both, err := thread.NewRedis(db, bytes.Repeat([]byte{9}, 32), time.Now, secret)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := both.Load(ctx, "a"); err != nil || r.Text != "mine" {
		t.Errorf("with the next secret: %+v, %v", r, err)
	}
	if _, err := both.Update(ctx, thread.Request{ID: "n"}); err != nil {
		t.Fatal(err)
	}
	if _, err := good.Load(ctx, "n"); !errors.Is(err, thread.ErrSeal) {
		t.Errorf("it does not seal with its own: %v", err)
	}
	if _, err := thread.NewRedis(db, secret, time.Now, []byte("short")); err == nil {
		t.Error("a short other secret will do")
	}
	if _, err := thread.NewRedis(db, []byte("short"), time.Now); err == nil {
		t.Error("a short secret will do")
	}
}
