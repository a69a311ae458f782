package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"kgent/agent/recipes/recipetest"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
)

// What deploy/redis says an operator does gives a server that the bot and a
// node can use, each as itself only.
func TestDeployRedis(t *testing.T) {
	rdb.Quiet()
	deploy, err := filepath.Abs(filepath.Join("..", "..", "deploy", "redis"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if out, err := exec.Command(filepath.Join(deploy, "certificates"), filepath.Join(dir, "tls"), "127.0.0.1", "bot", "db-1").CombinedOutput(); err != nil {
		t.Fatalf("making certificates: %v\n%s", err, out)
	}
	// Again it changes nothing; for a server of another name it makes none.
	if out, err := exec.Command(filepath.Join(deploy, "certificates"), filepath.Join(dir, "tls"), "127.0.0.1", "bot", "db-1").CombinedOutput(); err != nil {
		t.Errorf("again: %v\n%s", err, out)
	}
	for _, other := range []string{"redis.example.com", "127.0.0.2"} {
		if out, err := exec.Command(filepath.Join(deploy, "certificates"), filepath.Join(dir, "tls"), other, "db-1").CombinedOutput(); err == nil || !strings.Contains(string(out), "is not for "+other) {
			t.Errorf("for %s: %v\n%s", other, err, out)
		}
	}
	file := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	certificate := func(name string) rdbtest.Certificate {
		return rdbtest.Certificate{CertFile: file("tls", name+".crt"), KeyFile: file("tls", name+".key")}
	}
	f := &fleet{t: t, bin: recipetest.Binary(t), dir: dir}
	s := rdbtest.Start(t, rdbtest.Base(filepath.Join(deploy, "redis.conf")),
		rdbtest.TLSWith(file("tls", "ca.crt"), certificate("redis"), certificate("bot")),
		rdbtest.ACL(
			f.kgent("keys", "acl", "--bot", "--password-file", file("bot.password")),
			f.kgent("keys", "acl", "--node", "db-1", "--password-file", file("db-1.password")),
		))
	connect := func(user, name string) *bus.Redis {
		t.Helper()
		cert := certificate(name)
		client, err := rdb.Open(t.Context(), rdb.Config{
			URL: strings.Replace(s.URLOf(user, ""), ":@", "@", 1), PasswordFile: file(name + ".password"),
			CAFile: file("tls", "ca.crt"), CertFile: cert.CertFile, KeyFile: cert.KeyFile,
		})
		if err != nil {
			t.Fatalf("connecting as %s: %v", user, err)
		}
		t.Cleanup(func() { client.Close() })
		return bus.NewRedis(client)
	}
	bot, node := connect(bus.BotUser, "bot"), connect(bus.NodeUser("db-1"), "db-1")
	for what, err := range map[string]error{
		"Submit":  bot.Submit(t.Context(), []byte("job"), "db-1"),
		"Publish": node.Publish(t.Context(), bus.Chunk{Run: "r", Node: "db-1", Seq: 1}),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"a node's Submit":             node.Submit(t.Context(), []byte("job"), "db-1"),
		"a node's Publish as another": node.Publish(t.Context(), bus.Chunk{Run: "r", Node: "db-2", Seq: 1}),
		"the bot's Publish":           bot.Publish(t.Context(), bus.Chunk{Run: "r", Node: "db-1", Seq: 1}),
	} {
		if err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%s: %v, want NOPERM", what, err)
		}
	}
	// Who made the users as written there has all of it after a restart.
	readme, err := os.ReadFile(filepath.Join(deploy, "README.md"))
	if err != nil || !strings.Contains(string(readme), "echo '"+rdbtest.DefaultUser+"' > users.acl") {
		t.Errorf("README.md does not say %q (%v)", rdbtest.DefaultUser, err)
	}
	admin := s.Client()
	if _, err := admin.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Set(t.Context(), "k", "v", 0)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// Redis writes its file at the latest when an fsync that is under way has
	// ended; a crash before that is not what this is about.
	for written := false; !written; {
		info, err := admin.Info(t.Context(), "persistence").Result()
		if err != nil {
			t.Fatal(err)
		}
		written = strings.Contains(info, "aof_buffer_length:0\r") && strings.Contains(info, "aof_pending_bio_fsync:0\r")
	}
	s.Restart()
	admin = s.Client() // the connections of the old one are gone
	if v, err := admin.Get(t.Context(), "k").Result(); v != "v" {
		t.Errorf("after a restart there is %q (%v), want v", v, err)
	}
	for name, want := range map[string]string{"maxmemory-policy": "noeviction", "appendonly": "yes", "tls-auth-clients": "yes", "port": "0"} {
		if got := admin.ConfigGet(t.Context(), name).Val()[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"tls/ca.key", "tls/db-1.key", "db-1.password"} {
		if info, err := os.Stat(file(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestExamineRedis(t *testing.T) {
	rdb.Quiet()
	s := rdbtest.Start(t, rdbtest.Unix())
	for _, c := range []struct{ url, state, detail string }{
		{"", stateOptional, "not set"},
		{s.URL(), stateOK, "unix://"},
		{"unix:///nowhere/redis.sock", stateMissing, "nothing listens there"},
		{"http://x", stateMissing, "scheme"},
	} {
		f := examineRedis(t.Context(), func(name string) string { return map[string]string{"REDIS_URL": c.url}[name] })
		if f.State != c.state || !strings.Contains(f.Detail, c.detail) {
			t.Errorf("%q: %+v, want %s, %s", c.url, f, c.state, c.detail)
		}
	}
}
