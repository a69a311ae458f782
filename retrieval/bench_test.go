package retrieval_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"kgent/retrieval"
	"kgent/retrieval/embed"
)

// requests are those for tuning, as a load.
func requests(b *testing.B) (list []string) {
	b.Helper()
	for _, l := range labelledSet(b, "tuned.yaml") {
		list = append(list, l.Ask)
	}
	return list
}

// latencies runs a search for each request, one after the other, and reports the slowest of a hundred, by the
// clock and by the processor time of this thread: that does not count what other processes
// of a busy machine take, nor what Redis does.
func latencies(b *testing.B, search func(text string) error) {
	b.Helper()
	list := requests(b)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var took, busy []time.Duration
	for b.Loop() {
		for _, text := range list {
			start, before := time.Now(), threadTime(b)
			if err := search(text); err != nil {
				b.Fatal(err)
			}
			took, busy = append(took, time.Since(start)), append(busy, threadTime(b)-before)
		}
	}
	slices.Sort(took)
	slices.Sort(busy)
	b.ReportMetric(float64(busy[len(busy)*99/100].Microseconds())/1000, "p99-cpu-ms")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

func threadTime(b *testing.B) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

func needModel(b *testing.B) embed.Embedder {
	b.Helper()
	m := model(b)
	if m == nil {
		b.Skip("this needs the embedding model: make embeddings")
	}
	return m
}

// A search of this kernel, about 60,000 documents, the embedding of the request included.
func BenchmarkSearch(b *testing.B) {
	run := func(name string, options retrieval.Options) {
		b.Run(name, func(b *testing.B) {
			ix, kernel := hostIndex(b, options)
			size := ix.Size()
			b.ReportMetric(float64(size.Documents), "documents")
			latencies(b, func(text string) error {
				_, err := ix.Search(b.Context(), retrieval.Query{Text: text, Kernel: kernel})
				return err
			})
		})
	}
	run("words", retrieval.Options{})
	if m := model(b); m != nil {
		cache := b.TempDir()
		run("vectors", retrieval.Options{Embedder: m, Cache: cache, Weights: retrieval.Weights{Vector: 1}})
		run("both", retrieval.Options{Embedder: m, Cache: cache})
	}
}

// The first index of a kernel, and the next from the cache.
func BenchmarkIndex(b *testing.B) {
	facts := hostFacts(b)
	m := needModel(b)
	run := func(name string, cache func() string) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				options := retrieval.Options{Embedder: m, Cache: cache()}
				ix, err := retrieval.Open(options)
				if err != nil {
					b.Fatal(err)
				}
				if err := retrieval.AddKernel(b.Context(), ix, facts, options); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("first", b.TempDir)
	shared := b.TempDir()
	options := retrieval.Options{Embedder: m, Cache: shared}
	ix, err := retrieval.Open(options)
	if err != nil {
		b.Fatal(err)
	}
	if err := retrieval.AddKernel(b.Context(), ix, facts, options); err != nil {
		b.Fatal(err)
	}
	run("cached", func() string { return shared })
}

// synthetic makes n documents named like functions, of which a part is the same for all kernels.
func synthetic(random *rand.Rand, vocabulary []string, kernel, n int, shared float64) []retrieval.Document {
	docs := make([]retrieval.Document, n)
	for i := range docs {
		seed := random
		if float64(i) < shared*float64(n) {
			seed = rand.New(rand.NewPCG(uint64(i), 1)) // the same words whatever the kernel
		}
		var parts []string
		for range 3 {
			parts = append(parts, vocabulary[seed.IntN(len(vocabulary))])
		}
		name := fmt.Sprintf("%s_%d", strings.Join(parts, "_"), i)
		if float64(i) >= shared*float64(n) {
			name += fmt.Sprintf("_%d", kernel)
		}
		docs[i] = retrieval.Document{Kind: retrieval.Hook, Name: name, Places: []retrieval.Place{{Kind: "fentry", Target: name}}}
	}
	return docs
}

// What ten kernels cost: with as much in common as releases of a distribution have, and with
// nothing, which is 600,000 documents.
func BenchmarkGrowth(b *testing.B) {
	facts := hostFacts(b)
	catalog, err := facts.Catalog()
	if err != nil {
		b.Fatal(err)
	}
	var vocabulary []string
	for _, name := range catalog.Functions {
		vocabulary = append(vocabulary, strings.Split(name, "_")...)
	}
	slices.Sort(vocabulary)
	vocabulary = slices.DeleteFunc(slices.Compact(vocabulary), func(w string) bool { return len(w) < 2 })
	for _, shared := range []float64{0.9, 0} {
		b.Run(fmt.Sprintf("10 kernels, %.0f%% in common", 100*shared), func(b *testing.B) {
			before := heap()
			ix, err := retrieval.Open(retrieval.Options{})
			if err != nil {
				b.Fatal(err)
			}
			start := time.Now()
			random := rand.New(rand.NewPCG(1, 2))
			for k := range 10 {
				if err := ix.Add(b.Context(), fmt.Sprintf("kernel %d", k), synthetic(random, vocabulary, k, 60_000, shared)); err != nil {
					b.Fatal(err)
				}
			}
			took := time.Since(start)
			mib := float64(heap()-before) / (1 << 20)
			latencies(b, func(text string) error {
				_, err := ix.Search(b.Context(), retrieval.Query{Text: text, Kernel: "kernel 7"})
				return err
			})
			b.ReportMetric(float64(ix.Size().Documents), "documents")
			b.ReportMetric(took.Seconds(), "build-s")
			b.ReportMetric(mib, "MiB")
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// redis8 starts the Redis that KGENT_REDIS8 runs: a program that takes another's name first.
func redis8(b *testing.B) *redis.Client {
	b.Helper()
	run := os.Getenv("KGENT_REDIS8")
	if run == "" {
		b.Skip("make bench sets KGENT_REDIS8")
	}
	dir, err := os.MkdirTemp("", "redis8")
	if err != nil {
		b.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, run, "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		os.RemoveAll(dir)
	})
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second})
	b.Cleanup(func() { client.Close() })
	for range 600 {
		if client.Ping(b.Context()).Err() == nil {
			return client
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Fatal("the Redis of KGENT_REDIS8 does not answer")
	return nil
}

// How Redis keeps vectors: what it finds against the memory that it takes, and how long a search takes.
func BenchmarkRedis(b *testing.B) {
	m := needModel(b)
	facts := hostFacts(b)
	client := redis8(b)
	cache := b.TempDir()
	docs, err := retrieval.FromKernel(b.Context(), facts)
	if err != nil {
		b.Fatal(err)
	}
	kernel, err := retrieval.Prepare(b.Context(), m, docs)
	if err != nil {
		b.Fatal(err)
	}
	set := labelledSet(b, "tuned.yaml")
	for _, q := range []retrieval.Quantization{retrieval.Floats, retrieval.Bytes, retrieval.Bits} {
		b.Run(string(q), func(b *testing.B) {
			if err := client.FlushAll(b.Context()).Err(); err != nil {
				b.Fatal(err)
			}
			before := used(b, client)
			open := func(w retrieval.Weights) *retrieval.Redis {
				options := retrieval.Options{Embedder: m, Cache: cache, Weights: w}
				ix, err := retrieval.OpenRedis(b.Context(), client, options, q)
				if err != nil {
					b.Fatal(err)
				}
				if err := retrieval.AddCommon(b.Context(), ix, recipeDocuments(b), options); err != nil {
					b.Fatal(err)
				}
				if err := ix.AddPrepared(b.Context(), facts.Hash(), kernel); err != nil {
					b.Fatal(err)
				}
				return ix
			}
			both, vectors := open(retrieval.DefaultWeights()), open(retrieval.Weights{Vector: 1})
			mib := float64(used(b, client)-before) / (1 << 20)
			share, _ := recall(b, both, facts.Hash(), wants(set, retrieval.Hook), 5)
			alone, _ := recall(b, vectors, facts.Hash(), wants(set, retrieval.Hook), 5)
			latencies(b, func(text string) error {
				_, err := both.Search(b.Context(), retrieval.Query{Text: text, Kernel: facts.Hash()})
				return err
			})
			b.ReportMetric(mib, "MiB")
			b.ReportMetric(share, "recall@5")
			b.ReportMetric(alone, "recall@5-vectors")
		})
	}
}

// A search in Redis among a vector for every function, tracepoint and system call of this
// kernel, about 60,000, by several at once: more than kgent puts there, as what nobody has
// described is found by its name.
func BenchmarkRedisAll(b *testing.B) {
	m := needModel(b)
	facts := hostFacts(b)
	client := redis8(b)
	docs, err := retrieval.FromKernel(b.Context(), facts)
	if err != nil {
		b.Fatal(err)
	}
	for i := range docs {
		if len(docs[i].Texts) == 0 {
			docs[i].Texts = []string{strings.Join(strings.FieldsFunc(docs[i].Name, func(r rune) bool { return !unicode.IsLetter(r) }), " ")}
		}
	}
	start := time.Now()
	kernel, err := retrieval.Prepare(b.Context(), m, docs)
	if err != nil {
		b.Fatal(err)
	}
	prepared := time.Since(start)
	options := retrieval.Options{Embedder: m}
	ix, err := retrieval.OpenRedis(b.Context(), client, options, retrieval.Bytes)
	if err != nil {
		b.Fatal(err)
	}
	before := used(b, client)
	start = time.Now()
	if err := retrieval.AddCommon(b.Context(), ix, recipeDocuments(b), options); err != nil {
		b.Fatal(err)
	}
	if err := ix.AddPrepared(b.Context(), facts.Hash(), kernel); err != nil {
		b.Fatal(err)
	}
	filled := time.Since(start)
	mib := float64(used(b, client)-before) / (1 << 20)
	count := len(kernel.Owner)
	kernel, docs = nil, nil
	runtime.GC()
	for _, others := range []int{0, 3} {
		b.Run(fmt.Sprintf("%d others at once", others), func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			defer func() { cancel(); wg.Wait() }()
			list := requests(b)
			asked, busy := 0, processorTime(b, client)
			for n := range others {
				wg.Go(func() {
					for i := n; ctx.Err() == nil; i += 7 {
						if _, err := ix.Search(ctx, retrieval.Query{Text: list[i%len(list)], Kernel: facts.Hash()}); err != nil && ctx.Err() == nil {
							b.Error(err)
							return
						}
					}
				})
			}
			latencies(b, func(text string) error {
				asked++
				_, err := ix.Search(b.Context(), retrieval.Query{Text: text, Kernel: facts.Hash()})
				return err
			})
			if others == 0 {
				b.ReportMetric(1000*(processorTime(b, client)-busy)/float64(asked), "redis-cpu-ms")
			}
			b.ReportMetric(float64(count), "vectors")
			b.ReportMetric(prepared.Seconds(), "embed-s")
			b.ReportMetric(filled.Seconds(), "fill-s")
			b.ReportMetric(mib, "MiB")
		})
	}
}

func used(b *testing.B, client *redis.Client) int64 {
	return int64(infoOf(b, client, "memory", "used_memory"))
}

// processorTime is what a Redis has taken until now, in seconds.
func processorTime(b *testing.B, client *redis.Client) float64 {
	return infoOf(b, client, "cpu", "used_cpu_user") + infoOf(b, client, "cpu", "used_cpu_sys")
}

func infoOf(b *testing.B, client *redis.Client, section, name string) (n float64) {
	b.Helper()
	info, err := client.Info(b.Context(), section).Result()
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, name+":")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		b.Fatal(err)
	}
	return n
}
