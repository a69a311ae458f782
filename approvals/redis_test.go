package approvals_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"kgent/approvals"
	"kgent/approvals/approvalstest"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/executor/job"
)

func redisStore(t *testing.T, client redis.UniversalClient, secret byte) *approvals.Redis {
	t.Helper()
	s, err := approvals.NewRedis(client, bytes.Repeat([]byte{secret}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// As the user that a bot is.
func TestRedis(t *testing.T) {
	server := rdbtest.Start(t, rdbtest.Unix(), rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
	admin, client := server.Client(), server.ClientOf(bus.BotUser, "secret")
	approvalstest.Store(t, func(t *testing.T) approvals.Store {
		if err := admin.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return redisStore(t, client, 1)
	})
}

func TestCluster(t *testing.T) {
	cluster := rdbtest.StartCluster(t, 0, rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
	client := cluster.ClientOf(bus.BotUser, "secret")
	approvalstest.Store(t, func(t *testing.T) approvals.Store {
		cluster.FlushAll()
		return redisStore(t, client, 1)
	})
}

// Whoever can write to Redis cannot make a case say what no desk made it say.
func TestRedisSeal(t *testing.T) {
	client := rdbtest.Start(t, rdbtest.Unix()).Client()
	s := redisStore(t, client, 1)
	create := func(store *approvals.Redis, id string, state approvals.State) {
		t.Helper()
		if err := store.Create(t.Context(), approvals.Case{ID: id, State: state, Tier: approvals.Act, Opened: noon}, job.Program{ELF: []byte(id)}); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func() error{
		"state": func() error {
			content, err := client.HGet(t.Context(), "kgent:case:a", "case").Result()
			if err != nil {
				return err
			}
			return client.HSet(t.Context(), "kgent:case:a", "case", strings.Replace(content, "pending", "approved", 1)).Err()
		},
		"another case's content": func() error { return client.Copy(t.Context(), "kgent:case:b", "kgent:case:a", 0, true).Err() },
		"no seal":                func() error { return client.HDel(t.Context(), "kgent:case:a", "seal").Err() },
		"no content":             func() error { return client.HDel(t.Context(), "kgent:case:a", "case").Err() },
		"another key": func() error {
			if err := client.Del(t.Context(), "kgent:case:a").Err(); err != nil {
				return err
			}
			create(redisStore(t, client, 2), "a", approvals.Pending)
			return nil
		},
	} {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		create(s, "a", approvals.Pending)
		create(s, "b", approvals.Approved)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if c, err := s.Get(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "its seal does not hold") {
			t.Errorf("%s: case %+v, error %v", name, c, err)
		}
		// The others go on.
		if list, err := s.Undecided(t.Context()); err != nil || len(list) != 1 || list[0].ID != "b" {
			t.Errorf("%s: undecided %+v (%v)", name, list, err)
		}
	}
	// While a key is replaced, the one before is believed as well.
	create(s, "c", approvals.Pending)
	both, err := approvals.NewRedis(client, bytes.Repeat([]byte{9}, 32), bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	c, err := both.Get(t.Context(), "c")
	if err != nil {
		t.Fatalf("with the next secret: %v", err)
	}
	if err := both.Swap(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "c"); err == nil {
		t.Error("it does not seal with its own")
	}
	if _, err := approvals.NewRedis(client, bytes.Repeat([]byte{9}, 32), []byte("short")); err == nil {
		t.Error("a short other secret was taken")
	}
	if _, err := approvals.NewRedis(client, []byte("short")); err == nil {
		t.Error("a short secret was taken")
	}
}

// A case that was forgotten is no longer listed, and the list forgets it.
func TestRedisForgets(t *testing.T) {
	client := rdbtest.Start(t, rdbtest.Unix()).Client()
	s := redisStore(t, client, 1)
	if err := s.Create(t.Context(), approvals.Case{ID: "a", State: approvals.Pending, Tier: approvals.Observe}, job.Program{}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"kgent:case:a", "kgent:case:a:program"} {
		if ttl := client.TTL(t.Context(), key).Val(); ttl.Hours() < 29*24 || ttl.Hours() > 30*24 {
			t.Errorf("%s is kept for %v", key, ttl)
		}
	}
	if err := client.Del(t.Context(), "kgent:case:a").Err(); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Undecided(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("undecided %+v (%v)", list, err)
	}
	if n := client.ZCard(t.Context(), "kgent:case:undecided").Val(); n != 0 {
		t.Errorf("%d ids are kept", n)
	}
}

func TestKeySecret(t *testing.T) {
	a, err := approvals.NewKey(bytes.NewReader(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	same, err := approvals.NewKey(bytes.NewReader(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	other, err := approvals.NewKey(bytes.NewReader(bytes.Repeat([]byte{1}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	secret := func(k *approvals.Key, purpose string) string {
		b, err := k.Secret(purpose)
		if err != nil || len(b) != 32 {
			t.Fatalf("%x (%v)", b, err)
		}
		return string(b)
	}
	if secret(a, "x") != secret(same, "x") || secret(a, "x") == secret(a, "y") || secret(a, "x") == secret(other, "x") {
		t.Error("secrets do not follow from key and purpose alone")
	}
}
