package executor

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
)

// rude is a kernel whose programs' output cannot be rendered, for some.
type rude struct {
	Kernel
	panics func(output.Record) bool
}

func (k rude) Load(ctx context.Context, o *program.Object, m *program.Manifest) (Probe, error) {
	p, err := k.Kernel.Load(ctx, o, m)
	return rudeProbe{p, k.panics}, err
}

type rudeProbe struct {
	Probe
	panics func(output.Record) bool
}

func (p rudeProbe) Stream(ctx context.Context, sink Sink) error {
	return p.Probe.Stream(ctx, rudeSink{sink, p.panics})
}

type rudeSink struct {
	Sink
	panics func(output.Record) bool
}

func (s rudeSink) Record(r output.Record) {
	if s.panics(r) {
		panic("a fault of a renderer")
	}
	s.Sink.Record(r)
}

// A fault in what is done beside reading events ends the run that has it, which says so,
// and not the executor: another run goes on, and the next one comes.
func TestPanicBesideReading(t *testing.T) {
	needsCapabilities(t)
	counting := prelude + `
struct { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } calls SEC(".maps") __attribute__((btf_decl_tag("kgent:output")));
SEC("raw_tp/sys_enter") int p(void *ctx) { __u32 k = 0; __u64 *n = bpf_map_lookup_elem(&calls, &k); if (n) __sync_fetch_and_add(n, 1); return 0; }`
	printing := prelude + `
struct seq_file; struct task_struct;
struct bpf_iter_meta { struct seq_file *seq; __u64 session_id; __u64 seq_num; } __attribute__((preserve_access_index));
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; } __attribute__((preserve_access_index));
static long (*const bpf_seq_write)(void *m, const void *data, __u32 len) = (void *)127;
SEC("iter/task") int p(struct bpf_iter__task *ctx) { char line[4] = "one\n"; if (ctx->task) bpf_seq_write(ctx->meta->seq, line, sizeof(line)); return 0; }`
	for _, test := range []struct {
		name, source, says string
		options            program.Options
		panics             func(output.Record) bool
	}{
		{"a map", counting, "reading maps: panic: a fault of a renderer", program.Options{View: program.View{Interval: 100 * time.Millisecond}},
			func(r output.Record) bool { m, ok := r.(output.Map); return ok && !m.Final }},
		{"an iterator", printing, "reading what iterators print: panic: a fault of a renderer", program.Options{},
			func(r output.Record) bool { _, ok := r.(output.Text); return ok }},
	} {
		t.Run(test.name, func(t *testing.T) {
			residue.Check(t)
			b := realBench(t, test.source, test.options)
			host := NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv())
			bad := true
			b.e.Kernel = rude{host, func(r output.Record) bool { return bad && test.panics(r) }}
			b.e.Policy = OwnHostPolicy()
			var log bytes.Buffer
			b.e.Log = slog.New(slog.NewTextHandler(&log, nil))
			b.serve()
			r := b.run(b.grant(time.Minute))
			r.want(t, output.ReasonFailed, test.says)
			bad = false
			r = b.run(b.grant(300 * time.Millisecond))
			if r.summary.Reason == output.ReasonFailed || r.count("map")+r.count("text") == 0 {
				t.Errorf("the next run: %+v, %q", r.summary, r.lines)
			}
			b.end()
			if !strings.Contains(log.String(), "a fault of a renderer") || !strings.Contains(log.String(), "rudeSink") {
				t.Errorf("the log does not say where it was:\n%s", log.String())
			}
		})
	}
}

// first is a kernel whose first run has another loader than those after it.
type first struct {
	Kernel
	once  sync.Once
	first Kernel
}

func (k *first) Load(ctx context.Context, o *program.Object, m *program.Manifest) (p Probe, err error) {
	kernel := k.Kernel
	k.once.Do(func() { kernel = k.first })
	return kernel.Load(ctx, o, m)
}

// So does a fault in what looks for the containers that a run is narrowed to, which would
// otherwise go on for those that there were at first.
func TestPanicFollowing(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	mount := cgroupMount(t)
	group, err := os.MkdirTemp(mount, "kgent-followed-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(group) })
	source := prelude + `
struct { __uint(type, 8); __uint(max_entries, 8); __uint(key_size, 4); __uint(value_size, 4); } kgent_where SEC(".maps");
static long (*const bpf_current_task_under_cgroup)(void *m, __u32 at) = (void *)37;
SEC("raw_tp/sys_enter") int p(void *ctx) { bpf_current_task_under_cgroup(&kgent_where, 0); return 0; }`
	b := realBench(t, source, program.Options{Where: "/" + filepath.Base(group)})
	b.e.Kernel = &first{
		Kernel: NewKernel("n1", probe.NewLoader(probe.Options{Cgroups: mount}), render.NewEnv()),
		// There is no ticker that ticks so.
		first: NewKernel("n1", probe.NewLoader(probe.Options{Cgroups: mount, Follow: -1}), render.NewEnv()),
	}
	b.e.Policy = OwnHostPolicy()
	var log bytes.Buffer
	b.e.Log = slog.New(slog.NewTextHandler(&log, nil))
	b.serve()
	r := b.run(b.grant(time.Minute))
	r.want(t, output.ReasonFailed, "following the containers: panic: non-positive interval")
	if r = b.run(b.grant(300 * time.Millisecond)); r.summary.Reason == output.ReasonFailed {
		t.Errorf("the next run: %+v, %q", r.summary, r.lines)
	}
	b.end()
	if !strings.Contains(log.String(), "Set).Follow") {
		t.Errorf("the log does not say where it was:\n%s", log.String())
	}
}
