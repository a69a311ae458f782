package notes

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// The text of a prompt, as a model reads it.
func TestPromptGolden(t *testing.T) {
	got := Prompt("6.18.44", []Place{{"tp_btf", "inet_sock_set_state"}, {"tracepoint", "sock:inet_sock_set_state"}, {"kprobe", "tcp_v4_connect"}, {"kretprobe", "vfs_unlink"},
		{"tracepoint", "syscalls:sys_enter_openat"}, {"tracepoint", "block:block_io_done"}, {"lsm", "file_open"}, {"uretprobe", "/usr/lib/x86_64-linux-gnu/libssl.so.3:SSL_read"}, {"tp_btf", "no_such_hook"}}, 20_000)
	const file = "testdata/prompt.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPromptLimit(t *testing.T) {
	var places []Place
	for _, n := range All() {
		if n.Kind == Function {
			places = append(places, Place{"kprobe", n.Name})
		}
	}
	for _, limit := range []int{0, 100, 1000, 5000} {
		got := Prompt("6.1.0", places, limit)
		if len(got) > limit {
			t.Errorf("%d bytes, where %d are allowed", len(got), limit)
		}
		if limit >= 5000 && !strings.Contains(got, "tcp_v4_connect: ") {
			t.Errorf("the first place is missing:\n%s", got)
		}
	}
	if got := Prompt("6.1.0", []Place{{"kprobe", "no_such"}}, 1000); got != "" {
		t.Errorf("of nothing known it says %q", got)
	}
}
