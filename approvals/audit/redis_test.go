package audit_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/approvals/audit"
	"kgent/approvals/audit/audittest"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
)

func noon() time.Time { return audittest.Noon }

func TestLogs(t *testing.T) {
	server := rdbtest.Start(t, rdbtest.Unix(), rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
	admin, client := server.Client(), server.ClientOf(bus.BotUser, "secret") // as the user that a bot is
	cluster := rdbtest.StartCluster(t, 0, rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
	member := cluster.ClientOf(bus.BotUser, "secret")
	for name, open := range map[string]func(*testing.T) audittest.Log{
		"Memory": func(*testing.T) audittest.Log { return &audit.Memory{Now: noon} },
		"File": func(t *testing.T) audittest.Log {
			l, err := audit.Open(t.Context(), filepath.Join(t.TempDir(), "audit.jsonl"), noon)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return l
		},
		"Redis": func(t *testing.T) audittest.Log {
			if err := admin.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			return audit.NewRedis(client, noon)
		},
		"Cluster": func(*testing.T) audittest.Log {
			cluster.FlushAll()
			return audit.NewRedis(member, noon)
		},
	} {
		t.Run(name, func(t *testing.T) { audittest.Run(t, open) })
	}
}

func add(t *testing.T, l *audit.Redis, details ...string) {
	t.Helper()
	for _, d := range details {
		if err := l.Append(t.Context(), audit.Entry{Kind: audit.Vote, Detail: d}); err != nil {
			t.Fatal(err)
		}
	}
}

// Several bots write one chain.
func TestRedisShared(t *testing.T) {
	server := rdbtest.Start(t, rdbtest.Unix())
	var wg sync.WaitGroup
	for w := range 3 {
		l := audit.NewRedis(server.Client(), noon)
		wg.Go(func() {
			for i := range 10 {
				if err := l.Append(t.Context(), audit.Entry{Kind: audit.Vote, Detail: fmt.Sprint(w, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := audittest.Entries(t, audit.NewRedis(server.Client(), noon)); len(got) != 30 {
		t.Errorf("%d entries", len(got))
	}
}

// More lines than are read at a time.
func TestRedisPages(t *testing.T) {
	server := rdbtest.Start(t, rdbtest.Unix())
	l := audit.NewRedis(server.Client(), noon)
	for i := range 450 {
		add(t, l, fmt.Sprint(i))
	}
	got := audittest.Entries(t, l)
	if len(got) != 450 || got[449].Detail != "449" {
		t.Errorf("%d entries", len(got))
	}
}

// Entries that Redis has lost are missed by whoever wrote them.
func TestRedisLoses(t *testing.T) {
	server := rdbtest.Start(t, rdbtest.Unix())
	client := server.Client()
	for name, lose := range map[string]func() error{
		"all":      func() error { return client.FlushAll(t.Context()).Err() },
		"the last": func() error { return client.LTrim(t.Context(), "kgent:audit", 0, 1).Err() },
		"the last, and others followed": func() error {
			if err := client.LTrim(t.Context(), "kgent:audit", 0, 1).Err(); err != nil {
				return err
			}
			add(t, audit.NewRedis(client, noon), "other", "other", "other")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			l := audit.NewRedis(client, noon)
			add(t, l, "one", "two", "three")
			had, err := l.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := lose(); err != nil {
				t.Fatal(err)
			}
			add(t, l, "next", "and next")
			got := audittest.Entries(t, l)
			told := 0
			for _, e := range got {
				if e.Kind == audit.Recovered && strings.Contains(e.Detail, "entry 3") && strings.Contains(string(e.Data), had.Hash) {
					told++
				}
			}
			if told != 1 || got[len(got)-1].Detail != "and next" || got[len(got)-2].Detail != "next" {
				t.Errorf("told %d times: %+v", told, got)
			}
			r, err := l.Reader(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var broken *audit.BrokenError
			if _, err := audit.Verify(r, had); !errors.As(err, &broken) {
				t.Errorf("the noted head was not missed: %v", err)
			}
		})
	}
}

// What does not hold together is not written to, and verified as broken.
func TestRedisTampered(t *testing.T) {
	server := rdbtest.Start(t, rdbtest.Unix())
	client := server.Client()
	lines := func() []string {
		out, err := client.LRange(t.Context(), "kgent:audit", 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, c := range map[string]struct {
		change func() error
		append bool // goes on, because its end is in order
	}{
		"a line of nothing": {change: func() error { return client.RPush(t.Context(), "kgent:audit", "hello").Err() }},
		"a line twice":      {change: func() error { return client.RPush(t.Context(), "kgent:audit", lines()[1]).Err() }},
		"the last changed": {change: func() error {
			return client.LSet(t.Context(), "kgent:audit", 1, strings.Replace(lines()[1], "two", "too", 1)).Err()
		}},
		"the first changed": {append: true, change: func() error {
			return client.LSet(t.Context(), "kgent:audit", 0, strings.Replace(lines()[0], "one", "won", 1)).Err()
		}},
		"a line feed in a line": {append: true, change: func() error {
			return client.LSet(t.Context(), "kgent:audit", 0, lines()[0]+"\n").Err()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			l := audit.NewRedis(client, noon)
			add(t, l, "one", "two")
			if err := c.change(); err != nil {
				t.Fatal(err)
			}
			var broken *audit.BrokenError
			if err := l.Append(t.Context(), audit.Entry{Kind: audit.Vote}); c.append != (err == nil) || err != nil && !errors.As(err, &broken) {
				t.Errorf("appending: %v", err)
			}
			r, err := l.Reader(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := audit.Verify(r); !errors.As(err, &broken) {
				t.Errorf("verifying: %v", err)
			}
		})
	}
}

func TestRedisAway(t *testing.T) {
	server := rdbtest.Start(t, rdbtest.Unix())
	l := audit.NewRedis(server.Client(), noon)
	server.Kill()
	if err := l.Append(t.Context(), audit.Entry{Kind: audit.Vote}); err == nil || !strings.HasPrefix(err.Error(), "writing audit log: ") {
		t.Errorf("error %v", err)
	}
}
