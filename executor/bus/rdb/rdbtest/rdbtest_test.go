package rdbtest_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
)

func TestMain(m *testing.M) {
	rdb.Quiet()
	goleak.VerifyTestMain(m)
}

func get(t *testing.T, s *rdbtest.Server) string {
	t.Helper()
	v, err := s.Client().Get(t.Context(), "k").Result()
	if err != nil && err != redis.Nil {
		t.Fatal(err)
	}
	return v
}

func set(t *testing.T, s *rdbtest.Server, v string) {
	t.Helper()
	if err := s.Client().Set(t.Context(), "k", v, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

// Killed and restarted, a server has what it kept.
func TestRestart(t *testing.T) {
	forgetful, lasting := rdbtest.Start(t), rdbtest.Start(t, rdbtest.AppendOnly(), rdbtest.Unix())
	closed := rdbtest.Start(t, rdbtest.AppendOnly(), rdbtest.ACL("user somebody off"))
	for _, s := range []*rdbtest.Server{forgetful, lasting, closed} {
		set(t, s, "v")
		if _, err := s.Client().TxPipelined(t.Context(), func(p redis.Pipeliner) error {
			p.Set(t.Context(), "in a transaction", "v", 0)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.Client().Eval(t.Context(), `redis.call('SET', KEYS[1], 'v') return redis.call('SET', KEYS[2], 'v')`, []string{"by a script", "and more"}).Err(); err != nil {
			t.Fatal(err)
		}
		s.Kill()
		if err := s.Client().Ping(t.Context()).Err(); err == nil {
			t.Fatal("a killed server answers")
		}
		s.Restart()
	}
	if v := get(t, forgetful); v != "" {
		t.Errorf("without AppendOnly there is still %q", v)
	}
	if v := get(t, lasting); v != "v" {
		t.Errorf("with AppendOnly there is %q, want v", v)
	}
	for _, s := range []*rdbtest.Server{lasting, closed} {
		if got := s.Client().MGet(t.Context(), "k", "in a transaction", "by a script", "and more").Val(); !slices.Equal(got, []any{"v", "v", "v", "v"}) {
			t.Errorf("with AppendOnly there is %v, want v of each", got)
		}
	}
	lasting.RestartEmpty()
	if v := get(t, lasting); v != "" {
		t.Errorf("after RestartEmpty there is still %q", v)
	}
}

// A paused server does not answer, and does when resumed.
func TestPause(t *testing.T) {
	s := rdbtest.Start(t)
	client := s.Client()
	set(t, s, "v")
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Fatal("a paused server answers")
	}
	s.Resume()
	if v := get(t, s); v != "v" {
		t.Errorf("got %q, want v", v)
	}
}
