package agent

import (
	"slices"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/recipes"
)

// Where pages are asked for, what fires for a folio has to say how many pages that has; an argument is no error of its name.
func TestFolios(t *testing.T) {
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ request, at, added, want string }{
		{"dirty pages by process", "tp_btf/writeback_dirty_folio(folio)", "1", "tp_btf/writeback_dirty_folio"},
		{"dirty pages by process", "tp_btf/writeback_dirty_folio(folio)", "folio._nr_pages", ""},
		{"how often do files become dirty, by process", "tp_btf/writeback_dirty_folio(folio)", "1", ""},
		{"page faults by process", "tp_btf/page_fault_user(address)", "1", ""},
		{"epoll_wait that returns before its timeout", "tracepoint/syscalls/sys_enter_epoll_wait(timeout)", "u64(timeout)", ""},
	} {
		c, err := contract.Parse("contract \"x\"\ntable n { pid: k_pid } : sum k_count\nhook " + tt.at + "\n  case a: always\n    add " + tt.added + " to n[pid: current.tgid]\n")
		if err != nil {
			t.Fatal(err)
		}
		if got := foliosForPages(tt.request, c); got != tt.want {
			t.Errorf("%s, %s: %q, want %q", tt.request, tt.added, got, tt.want)
		}
		if got := unheard(library.Limits(tt.request, recipes.MatchOptions{}), tt.request, c); len(got) > 0 {
			t.Errorf("%s: %q", tt.request, got)
		}
	}
}

// What limits a request has to be somewhere in its contract, in whatever unit; not only in what its author calls things.
func TestUnheard(t *testing.T) {
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		request, when, more string
		want                []string
	}{
		{"how many bytes of UDP does each process receive", "ret > 0", "", []string{"UDP"}},
		{"how many bytes of UDP does each process receive", "ret > 0 && socket_of(3).sk_protocol == IPPROTO_UDP", "", nil},
		{"reads of postgres that take longer than 20 ms", "ret > 0", "param t: k_ns = 20ms means \"x\"", []string{"postgres"}},
		{"reads of postgres that take longer than 20 ms", "ret > 0 && current.comm == \"postgres\"", "", []string{"longer than 20 ms"}},
		{"reads of postgres that take longer than 20 ms", "ret > 20000 && current.comm == \"postgres\"", "", nil},
		{"reads that fail with ENOENT for a minute, top 10", "ret == -ENOENT", "", nil},
		{"reads that fail with ENOENT, every 5 seconds", "ret < 0", "", []string{"enoent"}},
		{"reads larger than 64 KB", "ret > 64KiB", "", nil},
		{"which threads read", "ret > 0", "", nil},
		{"HTTP requests that are read, by process", "ret > 0", "", []string{"http"}},
		{"HTTP requests that are read, by process", "starts(user_text(p, 8), \"GET \")", "", nil},
		{"Redis commands that are read, by process", "ret > 0", "", []string{"redis"}},
		{"Redis commands that are read, by process", "user_bytes(p, 8).u8(0) == 0x2a", "", nil},
		{"HTTP requests that nginx reads", "starts(user_text(p, 8), \"GET \")", "", []string{"nginx"}},
		{"HTTP requests to port 8080, by process", "starts(user_text(p, 8), \"GET \")", "", []string{"port 8080"}},
	} {
		c, err := contract.Parse("contract \"UDP postgres ENOENT\"\n" + tt.more + "\ntable udp { pid: k_pid } : count\nhook tracepoint/syscalls/sys_exit_read(ret)\n  case udp: " + tt.when + "\n    add 1 to udp[pid: current.tgid]\n  otherwise nothing\n")
		if err != nil {
			t.Fatal(err)
		}
		if got := unheard(library.Limits(tt.request, recipes.MatchOptions{}), tt.request, c); !slices.Equal(got, tt.want) {
			t.Errorf("%s, %s: %q, want %q", tt.request, tt.when, got, tt.want)
		}
	}
}
