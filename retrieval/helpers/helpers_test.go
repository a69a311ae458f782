package helpers

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kgent/retrieval/kernel"
)

func ExampleOf() {
	h, _ := Of("get_stackid")
	fmt.Println(h.ID, h.GPL, h.In("kprobe"), h.In("xdp"))
	// Output: 27 true true false
}

// TestWords holds the words against the table: each is of a helper that exists,
// and of those that tracing programs may call few lack them.
func TestWords(t *testing.T) {
	for name, w := range words {
		if _, ok := Of(name); !ok {
			t.Errorf("words for bpf_%s, which no kernel has", name)
		}
		if !strings.HasPrefix(w[0], "(") || !strings.HasSuffix(w[1], ".") {
			t.Errorf("bpf_%s: %q", name, w)
		}
	}
	for _, h := range All() {
		if h.In("tp_btf") && h.In("xdp") && h.In("tc") && h.Means == "" {
			t.Errorf("%s, which nearly every program may call, has no words", h.Name)
		}
	}
}

// TestClassOf: a kind of hook has a class that was measured, or none on purpose.
func TestClassOf(t *testing.T) {
	for _, kind := range kernel.Kinds() {
		class := ClassOf(kind)
		unmeasured := slices.Contains([]string{"fentry", "fexit", "fmod_ret", "lsm", "cgroup"}, kind)
		if (class == "") != unmeasured || class != "" && !slices.Contains(classNames, class) {
			t.Errorf("class of %s: %q", kind, class)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, tc := range []struct {
		name        string
		gpl, sleeps bool
		in, notIn   string
	}{
		{"bpf_map_lookup_elem", false, false, "xdp", "fentry"},
		{"bpf_copy_from_user", false, true, "kprobe", "tp_btf"},
		{"bpf_skb_load_bytes", false, false, "tc", "xdp"},
		{"bpf_get_attach_cookie", false, false, "kprobe", "xdp"},
		{"bpf_perf_event_output", true, false, "tc", "sysctls"},
	} {
		h, ok := Of(tc.name)
		if !ok || h.GPL != tc.gpl || h.Sleeps != tc.sleeps || !h.In(tc.in) || h.In(tc.notIn) {
			t.Errorf("%s: %+v", tc.name, h)
		}
	}
	if _, ok := Of("bpf_nonsense"); ok {
		t.Error("bpf_nonsense exists")
	}
}

func TestRefuse(t *testing.T) {
	for _, tc := range []struct{ name, kind, release, want string }{
		{"bpf_get_stackid", "xdp", "6.1.0-18-amd64", "bpf_get_stackid cannot be called at xdp hooks, only by programs of these kinds: kprobe, tracepoint, perf_event, raw_tracepoint, tp_btf, iter, syscall"},
		{"bpf_get_stackid", "xdp", "6.19.1", ""}, // not known
		{"bpf_get_stackid", "xdp", "unknown", ""},
		{"bpf_get_stackid", "uprobe", "6.18.5", ""},
		{"bpf_skb_load_bytes", "tracepoint", "5.10.0", "bpf_skb_load_bytes cannot be called at tracepoint hooks, only by programs of these kinds: tc, cgroup_skb, socket, sk_skb"},
		{"bpf_get_func_arg", "tp_btf", "6.18.5", "bpf_get_func_arg cannot be called at tp_btf hooks"},
		{"bpf_get_func_arg", "fexit", "6.18.5", ""},
		{"bpf_nonsense", "xdp", "6.18.5", ""}, // others say that it does not exist
	} {
		got := ""
		if err := Refuse(tc.name, tc.kind, tc.release); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s at %s on %s: %q, want %q", tc.name, tc.kind, tc.release, got, tc.want)
		}
	}
}
