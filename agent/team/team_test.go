package team_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/agent/recipes"
	"kgent/agent/team"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
)

func recipe(name string, phrasings ...string) team.Recipe {
	return team.Recipe{Name: name, Phrasings: phrasings, Source: "int x; // é", Contract: "contract \"x\"", Values: map[string]string{"port": "443", "comm": "nginx"},
		View: program.View{Top: 3, Interval: time.Second}, Program: []byte{0x7f, 0}, Manifest: []byte("{}"), By: "ada", Case: "c1", At: time.Unix(100, 0).UTC()}
}

// One suite runs over both stores.
func TestStores(t *testing.T) {
	stores := map[string]func(t *testing.T) team.Store{
		"memory": func(*testing.T) team.Store { return &team.Memory{} },
		"file":   func(t *testing.T) team.Store { return team.File{Path: filepath.Join(t.TempDir(), "a", "recipes.json")} },
		"redis": func(t *testing.T) team.Store {
			// As the user that a bot is.
			server := rdbtest.Start(t, rdbtest.Unix(), rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " ")))
			s, err := team.NewRedis(server.ClientOf(bus.BotUser, "secret"), bytes.Repeat([]byte{1}, 32))
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		"cluster": func(t *testing.T) team.Store {
			s, err := team.NewRedis(rdbtest.StartCluster(t, 0, rdbtest.ACL("user "+bus.BotUser+" on >secret "+strings.Join(bus.BotRules(), " "))).ClientOf(bus.BotUser, "secret"), bytes.Repeat([]byte{1}, 32))
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			s, ctx := open(t), t.Context()
			if all, err := s.List(ctx); err != nil || len(all) != 0 {
				t.Fatalf("%v, %v", all, err)
			}
			if err := s.Remove(ctx, "b-b"); !errors.Is(err, team.ErrNone) {
				t.Errorf("removing nothing: %v", err)
			}
			b := recipe("b-b", "one two three {port}")
			for _, r := range []team.Recipe{b, recipe("a-a", "x"), recipe("a-a", "other words")} {
				if err := s.Put(ctx, r, nil); err != nil {
					t.Fatal(err)
				}
			}
			all, err := s.List(ctx)
			if err != nil || len(all) != 2 || all[0].Name != "a-a" || all[0].Phrasings[0] != "other words" || !reflect.DeepEqual(all[1], b) {
				t.Fatalf("%+v, %v", all, err)
			}
			all[1].Values["port"] = "changed"
			if again, _ := s.List(ctx); again[1].Values["port"] != "443" {
				t.Error("a change of what was read is kept")
			}
			if err := s.Remove(ctx, "a-a"); err != nil {
				t.Error(err)
			}
			// What does not fit is not kept, and of many that do not fit each other one is.
			no := errors.New("no")
			if err := s.Put(ctx, recipe("b-b", "never"), func(all []team.Recipe) error {
				if len(all) != 1 || all[0].Name != "b-b" {
					t.Errorf("asked about %+v", all)
				}
				return no
			}); !errors.Is(err, no) {
				t.Errorf("what does not fit: %v", err)
			}
			if all, _ := s.List(ctx); len(all) != 1 || all[0].Phrasings[0] != b.Phrasings[0] {
				t.Errorf("kept %+v", all)
			}
			var put, left atomic.Int32
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					switch err := s.Put(ctx, recipe(fmt.Sprintf("same-%d", i), "the same words"), func(all []team.Recipe) error {
						if len(all) > 1 {
							return no
						}
						return nil
					}); {
					case err == nil:
						put.Add(1)
					case errors.Is(err, no):
						left.Add(1)
					default:
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if put.Load() != 1 || left.Load() != 7 {
				t.Errorf("%d were kept and %d not", put.Load(), left.Load())
			}
			for i := range 8 {
				if err := s.Remove(ctx, fmt.Sprintf("same-%d", i)); err != nil && !errors.Is(err, team.ErrNone) {
					t.Error(err)
				}
			}
			if name == "file" { // it is memory's code that counts them, and each one takes a disk's time
				return
			}
			for i := range team.MaxRecipes - 1 {
				if err := s.Put(ctx, team.Recipe{Name: fmt.Sprintf("r-%d", i)}, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Put(ctx, recipe("z-z"), nil); !errors.Is(err, team.ErrFull) {
				t.Errorf("one too many: %v", err)
			}
			if err := s.Put(ctx, recipe("b-b", "changed"), nil); err != nil {
				t.Errorf("a change of one that is there: %v", err)
			}
		})
	}
}

// A file that others can write says nothing, nor does one of something else.
func TestFileOfOthers(t *testing.T) {
	f := team.File{Path: filepath.Join(t.TempDir(), "recipes.json")}
	if err := f.Put(t.Context(), recipe("mine"), nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(f.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(f.Path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := f.List(t.Context()); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("others can write it: %v", err)
	}
	if err := f.Put(t.Context(), recipe("other"), nil); err == nil {
		t.Error("a file of others is changed")
	}
	if err := errors.Join(os.Chmod(f.Path, 0o600), os.WriteFile(f.Path, []byte(`{"a-a":{"name":"b-b"}}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.List(t.Context()); err == nil {
		t.Error("a recipe under another's name is read")
	}
	if err := errors.Join(os.Remove(f.Path), syscall.Mkfifo(f.Path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.List(t.Context()); err == nil || !strings.Contains(err.Error(), "no file of kgent's") { // it does not wait for a writer
		t.Errorf("a pipe: %v", err)
	}
}

// A recipe that no bot wrote is left out.
func TestRedisSeal(t *testing.T) {
	client := rdbtest.Start(t, rdbtest.Unix()).Client()
	s, err := team.NewRedis(client, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	s.Warn = func(name string, err error) { left = append(left, name) }
	other, _ := team.NewRedis(client, bytes.Repeat([]byte{2}, 32))
	for _, do := range []error{s.Put(t.Context(), recipe("mine"), nil), s.Put(t.Context(), recipe("moved"), nil), other.Put(t.Context(), recipe("other"), nil)} {
		if do != nil {
			t.Fatal(do)
		}
	}
	raw, _ := client.HGet(t.Context(), "kgent:recipes", "moved").Result()
	seal, _ := client.HGet(t.Context(), "kgent:recipes:seals", "moved").Result()
	client.HSet(t.Context(), "kgent:recipes", "elsewhere", raw)
	client.HSet(t.Context(), "kgent:recipes:seals", "elsewhere", seal)
	client.HSet(t.Context(), "kgent:recipes", "moved", strings.Replace(raw, "ada", "eve", 1))
	all, err := s.List(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != "mine" || len(left) != 3 {
		t.Errorf("%+v, %v; left out %v", all, err, left)
	}
	// A key that takes the place of another.
	next, _ := team.NewRedis(client, bytes.Repeat([]byte{3}, 32), bytes.Repeat([]byte{1}, 32))
	if err := next.Reseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	alone, _ := team.NewRedis(client, bytes.Repeat([]byte{3}, 32))
	if all, err := alone.List(t.Context()); err != nil || len(all) != 1 || all[0].Name != "mine" {
		t.Errorf("after the change of keys: %+v, %v", all, err)
	}
	if _, err := team.NewRedis(client, []byte("short")); err == nil {
		t.Error("a short secret is taken")
	}
}

func TestFind(t *testing.T) {
	all := []team.Recipe{recipe("slow-orders", "slow orders of {comm} on port {port}"), recipe("same-twice", "from {port} to {port} for all")}
	for _, tc := range []struct {
		text, name string
		values     map[string]string
		duration   time.Duration
	}{
		{"Slow orders of postgres on port 5432", "slow-orders", map[string]string{"comm": "postgres", "port": "5432"}, 0},
		{"please, the slow orders of nginx on port 443 for 2 minutes", "slow-orders", map[string]string{"comm": "nginx", "port": "443"}, 2 * time.Minute},
		{"slow-orders", "slow-orders", map[string]string{"comm": "nginx", "port": "443"}, 0},
		{"run slow-orders for a minute", "slow-orders", map[string]string{"comm": "nginx", "port": "443"}, time.Minute},
		{"slow orders of nginx", "", nil, 0},
		{"slow orders of nginx on port 443 and 80", "", nil, 0},
		{"slow orders not of nginx on port 443", "", nil, 0},
		{"from 1 to 2 for all", "", nil, 0},
		{"from 1 to 1 for all", "same-twice", map[string]string{"comm": "nginx", "port": "1"}, 0},
		{"", "", nil, 0},
	} {
		m := team.Find(all, tc.text)
		if (m == nil) != (tc.name == "") || m != nil && (m.Recipe.Name != tc.name || !reflect.DeepEqual(m.Values, tc.values) || m.Duration != tc.duration) {
			t.Errorf("%q: %+v", tc.text, m)
		}
	}
	if got := team.Phrase("slow orders of nginx on port 443, for 2 minutes", map[string]string{"comm": `"nginx"`, "port": "443", "uid": ""}); got != "slow orders of {comm} on port {port}" {
		t.Errorf("phrase %q", got)
	}
}

// Nobody's words can stand in for a built-in recipe or another team's, stand for anything, or
// be more than words.
func TestCheck(t *testing.T) {
	builtin, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	others := []team.Recipe{recipe("slow-orders", "slow orders of {comm} today")}
	params := []string{"comm", "port"}
	for _, tc := range []struct{ name, phrase, want string }{
		{"payments", "payments that wait for {comm} on {port}", ""},
		{"slow-orders", "slow orders of {comm} today", ""}, // itself
		{"tcp-connect", "a b c d", "kgent has a recipe tcp-connect of its own"},
		{"stop", "a b c d", "means something else"},
		{"Pay Ments", "a b c d", "small letters"},
		{"x", "a b c d", "small letters"},
		{"<!channel>", "a b c d", "small letters"},
		{strings.Repeat("a", 41), "a b c d", "small letters"},
		{"payments", "who sends signals", "the built-in recipe signals answers"},
		{"payments", "new TCP connections to port {port}", "the built-in recipe tcp-"},
		{"payments", "slow orders of nginx today", "the team recipe slow-orders"},
		{"payments", "{comm} {port}", "too few words"},
		{"payments", "the a please {comm}", "too few words"},
		{"payments", "fsync", "too few words"},
		{"payments", "calls of {nosuch} every day", "no parameter nosuch; it has comm, port"},
		{"payments", "calls of x{port} every day", "stands alone"},
		{"payments", "<@U123> a b c d", "not plain words"},
		{"payments", "a b c `d` e", "not plain words"},
		{"payments", "a b c *d* e", "not plain words"},
		{"payments", "a b c [d](https://x) e", "not plain words"},
		{"payments", "a b c\nApproved by ada", "not plain words"},
		{"payments", "a b c \u202e d", "not plain words"},
		{"payments", "@everyone a b c d", "not plain words"},
		{"payments", strings.Repeat("word ", 40), "not plain words"},
		{"payments", "", "not plain words"},
	} {
		r := recipe(tc.name, tc.phrase)
		err := team.Check(r, builtin, others, params)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s, %q: %v, want %q", tc.name, tc.phrase, err, tc.want)
		}
	}
	if err := team.Check(recipe("payments"), builtin, nil, params); err == nil {
		t.Error("a recipe that nobody can ask for is taken")
	}
}

// The value of a parameter is what was typed; only words are compared without their case.
func TestValuesAsTyped(t *testing.T) {
	all := []team.Recipe{recipe("who-writes", "who writes as process {comm} now")}
	m := team.Find(all, "Who Writes as process NetworkManager now?")
	if m == nil || m.Values["comm"] != "NetworkManager" {
		t.Errorf("%+v", m)
	}
}
