package retrieval_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/retrieval"
	"kgent/retrieval/embed"
)

// bags is an embedder for tests: texts that share words are near. It counts what it is asked.
type bags struct {
	texts *atomic.Int64
	name  string
}

func newBags() bags { return bags{new(atomic.Int64), "bags"} }

func (b bags) Name() string { return b.name }
func (b bags) Dim() int     { return 64 }

func (b bags) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	b.texts.Add(int64(len(texts)))
	out := make([][]float32, len(texts))
	for i, text := range texts {
		v := make([]float32, b.Dim())
		for _, w := range strings.Fields(strings.ToLower(text)) {
			h := fnv.New32a()
			h.Write([]byte(w))
			v[h.Sum32()%64]++
			v[h.Sum32()>>8%64]--
		}
		embed.Normalize(v)
		out[i] = v
	}
	return out, ctx.Err()
}

var _ embed.Embedder = bags{}

func hook(name string, texts ...string) retrieval.Document {
	category, event, _ := strings.Cut(name, "/")
	d := retrieval.Document{Kind: retrieval.Hook, Name: name, Texts: texts, Places: []retrieval.Place{{Kind: "tracepoint", Target: category + ":" + event}, {Kind: "tp_btf", Target: event}}}
	if event == "" {
		d.Places = []retrieval.Place{{Kind: "fentry", Target: name}, {Kind: "kprobe", Target: name}}
	}
	if len(texts) > 0 {
		d.Title = texts[0]
	}
	return d
}

// Two kernels, and what is on both.
var (
	older = []retrieval.Document{
		hook("tcp/tcp_retransmit_skb", "a TCP segment is sent again because it was not acknowledged"),
		hook("oom/mark_victim", "the OOM killer has chosen the process that it kills"),
		hook("do_unlinkat", "a file is deleted"),
		hook("xfs_iext_rec_clear"),
		{Kind: retrieval.Helper, Name: "bpf_get_current_comm", Title: "the name of the current process", Texts: []string{"the name of the current process"}},
		{Kind: retrieval.Type, Name: "sock_common", Words: []string{"skc_dport", "skc_family"}},
	}
	newer = []retrieval.Document{
		older[0], older[1],
		hook("filename_unlinkat", "a file is deleted"),
		hook("sched/sched_switch", "a processor switches from one thread to another"),
		older[4], older[5],
		{Kind: retrieval.Kfunc, Name: "bpf_task_acquire", Title: "a reference to a task", Texts: []string{"a reference to a task"}},
	}
	common = []retrieval.Document{
		hook("libc.so.6:malloc", "a program asks for memory"),
		retrieval.RecipeDocument("off-cpu", "Time spent off the CPU", "A table. It does not say why.", []string{"which threads are blocked the longest?", "time spent blocked"},
			[]retrieval.Place{{Kind: "tp_btf", Target: "sched_switch"}}),
	}
)

func names(hits []retrieval.Hit) (list []string) {
	for _, h := range hits {
		list = append(list, string(h.Kind)+" "+h.Name)
	}
	return list
}

// What holds of every index.
func testIndex(t *testing.T, open func(t *testing.T) retrieval.Index) {
	filled := func(t *testing.T) retrieval.Index {
		t.Helper()
		ix := open(t)
		for kernel, docs := range map[string][]retrieval.Document{"": common, "older-kernel-hash-1": older, "newer-kernel-hash-2": newer} {
			if err := ix.Add(t.Context(), kernel, docs); err != nil {
				t.Fatal(err)
			}
		}
		return ix
	}
	search := func(t *testing.T, ix retrieval.Index, q retrieval.Query) []string {
		t.Helper()
		hits, err := ix.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return names(hits)
	}
	t.Run("finds", func(t *testing.T) {
		ix := filled(t)
		for _, c := range []struct {
			text string
			want string // the first
		}{
			{"retransmitted segments", "hook tcp/tcp_retransmit_skb"},
			{"retransmisions", "hook tcp/tcp_retransmit_skb"},
			{"oomkiller", "hook oom/mark_victim"},
			{"who rm's my files", "hook do_unlinkat"},
			{"xfs_iext_rec_clear", "hook xfs_iext_rec_clear"},
			{"comm", "helper bpf_get_current_comm"},
			{"skc_dport", "type sock_common"},
			{"malloc", "hook libc.so.6:malloc"},
			{"blocked threads", "recipe off-cpu"},
		} {
			if got := search(t, ix, retrieval.Query{Text: c.text, Kernel: "older-kernel-hash-1", Limit: 3}); len(got) == 0 || got[0] != c.want {
				t.Errorf("%q found %q, want %s first", c.text, got, c.want)
			}
		}
	})
	t.Run("kernels", func(t *testing.T) {
		ix := filled(t)
		for kernel, want := range map[string]string{"older-kernel-hash-1": "do_unlinkat", "newer-kernel-hash-2": "filename_unlinkat"} {
			got := search(t, ix, retrieval.Query{Text: "a file is deleted", Kernel: kernel, Kinds: []retrieval.Kind{retrieval.Hook}, Limit: 20})
			for _, name := range []string{"do_unlinkat", "filename_unlinkat"} {
				if slices.Contains(got, "hook "+name) != (name == want) {
					t.Errorf("kernel %s: found %q", kernel, got)
				}
			}
		}
		if got := search(t, ix, retrieval.Query{Text: "a file is deleted", Limit: 20}); !slices.Contains(got, "hook do_unlinkat") || !slices.Contains(got, "hook filename_unlinkat") {
			t.Errorf("on any kernel: found %q", got)
		}
		if _, err := ix.Search(t.Context(), retrieval.Query{Text: "x", Kernel: "no-such-kernel"}); !errors.Is(err, retrieval.ErrNoKernel) {
			t.Errorf("an unknown kernel: %v", err)
		}
	})
	t.Run("kinds", func(t *testing.T) {
		ix := filled(t)
		for _, k := range retrieval.Kinds() {
			for _, name := range search(t, ix, retrieval.Query{Text: "process task thread file memory blocked skc_dport", Kinds: []retrieval.Kind{k}, Limit: 20}) {
				if !strings.HasPrefix(name, string(k)+" ") {
					t.Errorf("of kind %s: %s", k, name)
				}
			}
		}
		if _, err := ix.Search(t.Context(), retrieval.Query{Text: "x", Kinds: []retrieval.Kind{"place"}}); err == nil {
			t.Error("a kind that does not exist: no error")
		}
	})
	t.Run("recipes raise their hooks", func(t *testing.T) {
		ix := filled(t)
		hits, err := ix.Search(t.Context(), retrieval.Query{Text: "time spent blocked", Kinds: []retrieval.Kind{retrieval.Hook}, Kernel: "newer-kernel-hash-2", Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(hits) != 1 || hits[0].Name != "sched/sched_switch" || hits[0].Recipes == 0 {
			t.Errorf("found %+v", hits)
		}
	})
	t.Run("again", func(t *testing.T) {
		ix := filled(t)
		if has, err := ix.Has(t.Context(), "older-kernel-hash-1"); err != nil || !has {
			t.Errorf("Has: %v, %v", has, err)
		}
		if has, err := ix.Has(t.Context(), "no-such-kernel"); err != nil || has {
			t.Errorf("Has: %v, %v", has, err)
		}
		// What a kernel has now takes the place of what it had.
		if err := ix.Add(t.Context(), "older-kernel-hash-1", older[:2]); err != nil {
			t.Fatal(err)
		}
		for _, q := range []retrieval.Query{{Text: "a file is deleted", Kernel: "older-kernel-hash-1"}, {Text: "a file is deleted"}} {
			if got := search(t, ix, q); slices.Contains(got, "hook do_unlinkat") {
				t.Errorf("kernel %q: found %q", q.Kernel, got)
			}
		}
		// Back as it was.
		if err := ix.Add(t.Context(), "older-kernel-hash-1", older); err != nil {
			t.Fatal(err)
		}
		if got := search(t, ix, retrieval.Query{Text: "a file is deleted", Kernel: "older-kernel-hash-1"}); !slices.Contains(got, "hook do_unlinkat") {
			t.Errorf("found %q", got)
		}
	})
	t.Run("bounds", func(t *testing.T) {
		ix := filled(t)
		for _, text := range []string{"", "  ", "\n"} {
			if _, err := ix.Search(t.Context(), retrieval.Query{Text: text}); !errors.Is(err, retrieval.ErrEmpty) {
				t.Errorf("%q: %v", text, err)
			}
		}
		for _, n := range []int{-1, retrieval.MaxLimit + 1} {
			if _, err := ix.Search(t.Context(), retrieval.Query{Text: "x", Limit: n}); err == nil {
				t.Errorf("limit %d: no error", n)
			}
		}
		for _, text := range []string{strings.Repeat("delete the file ", 10_000), "\xff\xfe", "'; DROP TABLE", `"] or true`, "½ 日本語 \x00", strings.Repeat("x", 5000)} {
			hits, err := ix.Search(t.Context(), retrieval.Query{Text: text, Limit: 2})
			if err != nil || len(hits) > 2 {
				t.Errorf("%.20q: %d hits, %v", text, len(hits), err)
			}
			for _, h := range hits {
				if math.IsNaN(h.Score) || math.IsInf(h.Score, 0) {
					t.Errorf("%.20q: the score of %s is %v", text, h.Name, h.Score)
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ix.Search(ctx, retrieval.Query{Text: "file"}); !errors.Is(err, context.Canceled) {
			t.Errorf("a search that was cancelled: %v", err)
		}
	})
	t.Run("at once", func(t *testing.T) {
		ix := filled(t)
		var wait sync.WaitGroup
		for i := range 4 {
			wait.Go(func() {
				if err := ix.Add(t.Context(), fmt.Sprintf("kernel-%d", i%2), older[i%2:]); err != nil {
					t.Error(err)
				}
				for range 5 {
					if _, err := ix.Search(t.Context(), retrieval.Query{Text: "deleted files", Kernel: "newer-kernel-hash-2"}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		want := search(t, ix, retrieval.Query{Text: "deleted files of a process"})
		for range 3 {
			if got := search(t, ix, retrieval.Query{Text: "deleted files of a process"}); !slices.Equal(got, want) {
				t.Errorf("the order differs: %q and %q", want, got)
			}
		}
	})
}

func TestMemory(t *testing.T) {
	for name, options := range map[string]retrieval.Options{"words": {}, "words and meaning": {Embedder: newBags()}} {
		t.Run(name, func(t *testing.T) {
			testIndex(t, func(t *testing.T) retrieval.Index {
				ix, err := retrieval.Open(options)
				if err != nil {
					t.Fatal(err)
				}
				return ix
			})
		})
	}
}

// Documents that are the same on several kernels are kept once.
func TestShared(t *testing.T) {
	b := newBags()
	ix, err := retrieval.Open(retrieval.Options{Embedder: b})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := ix.Add(t.Context(), fmt.Sprintf("kernel %d", i), older); err != nil {
			t.Fatal(err)
		}
	}
	if got := ix.Size().Documents; got != len(older) {
		t.Errorf("%d documents are kept of %d", got, len(older))
	}
	// More kernels than an index in memory tells apart: the last ones are there.
	for i := range 100 {
		if err := ix.Add(t.Context(), fmt.Sprintf("more %d", i), older); err != nil {
			t.Fatal(err)
		}
	}
	for kernel, want := range map[string]bool{"more 99": true, "more 60": true, "kernel 0": false} {
		if has, err := ix.Has(t.Context(), kernel); err != nil || has != want {
			t.Errorf("%s: %v, %v", kernel, has, err)
		}
	}
	if hits, err := ix.Search(t.Context(), retrieval.Query{Text: "oom", Kernel: "more 99"}); err != nil || len(hits) == 0 {
		t.Errorf("found %v, %v", hits, err)
	}
}

// startRedis is a Redis with vector sets, as the user that a bot is; without one the test is
// skipped.
func startRedis(t testing.TB) *redis.Client {
	t.Helper()
	server := rdbtest.Start(t, rdbtest.Unix())
	client := server.Client()
	if has, err := retrieval.HasVectorSets(t.Context(), client); err != nil {
		t.Fatal(err)
	} else if has {
		line := strings.Fields("ACL SETUSER " + bus.BotUser + " on >secret " + strings.Join(append(bus.BotRules(), retrieval.Rules()...), " ") + " +flushall")
		args := make([]any, len(line))
		for i, x := range line {
			args[i] = x
		}
		if err := client.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
		client = server.ClientOf(bus.BotUser, "secret")
	}
	_, err := retrieval.OpenRedis(t.Context(), client, retrieval.Options{Embedder: newBags()}, retrieval.Bytes)
	if errors.Is(err, retrieval.ErrNoVectorSets) {
		t.Skipf("%v; make test-redis8 runs this", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestRedis(t *testing.T) {
	client := startRedis(t)
	testIndex(t, func(t *testing.T) retrieval.Index {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		ix, err := retrieval.OpenRedis(t.Context(), client, retrieval.Options{Embedder: newBags()}, retrieval.Floats)
		if err != nil {
			t.Fatal(err)
		}
		return ix
	})
	t.Run("as in memory", func(t *testing.T) {
		client.FlushAll(t.Context())
		options := retrieval.Options{Embedder: newBags()}
		in, err := retrieval.Open(options)
		if err != nil {
			t.Fatal(err)
		}
		out, err := retrieval.OpenRedis(t.Context(), client, options, retrieval.Floats)
		if err != nil {
			t.Fatal(err)
		}
		for _, ix := range []retrieval.Index{in, out} {
			if err := ix.Add(t.Context(), "k", newer); err != nil {
				t.Fatal(err)
			}
		}
		for _, text := range []string{"a file is deleted", "threads", "the process that memory kills", "reference to a task"} {
			a, err := in.Search(t.Context(), retrieval.Query{Text: text, Kernel: "k"})
			if err != nil {
				t.Fatal(err)
			}
			b, err := out.Search(t.Context(), retrieval.Query{Text: text, Kernel: "k"})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(names(a), names(b)) {
				t.Errorf("%q: in memory %q, in Redis %q", text, names(a), names(b))
			}
		}
	})
	t.Run("the second process embeds nothing", func(t *testing.T) {
		client.FlushAll(t.Context())
		b := newBags()
		for i := range 2 {
			ix, err := retrieval.OpenRedis(t.Context(), client, retrieval.Options{Embedder: b}, retrieval.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			before := b.texts.Load()
			if err := ix.Add(t.Context(), "k", newer); err != nil {
				t.Fatal(err)
			}
			if n := b.texts.Load() - before; (n > 0) != (i == 0) {
				t.Errorf("process %d embedded %d texts", i, n)
			}
		}
	})
}

// On a Redis without vector sets the error says what to do.
func TestRedisTooOld(t *testing.T) {
	server := rdbtest.Start(t, rdbtest.Unix())
	client := server.Client()
	_, err := retrieval.OpenRedis(t.Context(), client, retrieval.Options{Embedder: newBags()}, retrieval.Bytes)
	info, infoErr := client.Info(t.Context(), "server").Result()
	if infoErr != nil {
		t.Fatal(infoErr)
	}
	old := strings.Contains(info, "redis_version:7")
	if errors.Is(err, retrieval.ErrNoVectorSets) != old {
		t.Errorf("got %v", err)
	}
	if has, err := retrieval.HasVectorSets(t.Context(), client); err != nil || has == old {
		t.Errorf("vector sets %v, %v", has, err)
	}
}

// The cache gives the same documents without the work; a file that is damaged, of another kernel or
// of another model is made again.
func TestCache(t *testing.T) {
	dir := t.TempDir()
	b := newBags()
	fill := func(b bags) []string {
		t.Helper()
		options := retrieval.Options{Embedder: b, Cache: dir}
		ix, err := retrieval.Open(options)
		if err != nil {
			t.Fatal(err)
		}
		if err := retrieval.AddCommon(t.Context(), ix, common, options); err != nil {
			t.Fatal(err)
		}
		hits, err := ix.Search(t.Context(), retrieval.Query{Text: "blocked threads", Limit: 5})
		if err != nil {
			t.Fatal(err)
		}
		return names(hits)
	}
	first := fill(b)
	made := b.texts.Load()
	if again := fill(b); !slices.Equal(first, again) || b.texts.Load() != made+1 {
		t.Errorf("found %q, then %q; embedded %d texts, then %d", first, again, made, b.texts.Load()-made)
	}
	file := filepath.Join(dir, "common.prepared")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string][]byte{"empty": {}, "cut": data[:len(data)/2], "other": []byte("other")}
	for _, at := range []int{0, 20, len(data) / 2, len(data) - 1} {
		bad := slices.Clone(data)
		bad[at] ^= 1
		damage[fmt.Sprintf("a bit at %d", at)] = bad
	}
	for name, bad := range damage {
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if again := fill(b); !slices.Equal(first, again) {
			t.Errorf("%s: found %q, then %q", name, first, again)
		}
		if now, err := os.ReadFile(file); err != nil || !slices.Equal(now, data) {
			t.Errorf("%s: the file was not made again: %v", name, err)
		}
	}
	other := bags{new(atomic.Int64), "another"}
	if fill(other); other.texts.Load() < 3 {
		t.Error("the vectors of one model were taken for another's")
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func FuzzSearch(f *testing.F) {
	ix, err := retrieval.Open(retrieval.Options{})
	if err != nil {
		f.Fatal(err)
	}
	if err := ix.Add(context.Background(), "", append(slices.Clone(common), newer...)); err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"who deletes files", "tcp_v4_connect", "oomkilled", "\x00\xff", "a b c d e f g"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		hits, err := ix.Search(t.Context(), retrieval.Query{Text: text, Limit: 5})
		if err != nil && !errors.Is(err, retrieval.ErrEmpty) || len(hits) > 5 {
			t.Errorf("%q: %d hits, %v", text, len(hits), err)
		}
	})
}
