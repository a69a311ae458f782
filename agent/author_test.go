package agent

import (
	"errors"
	"strings"
	"testing"

	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/agent/recipes"
	"kgent/retrieval/kernel"
)

// What would fail only once the program is built, and for nothing but a choice of the contract's author, is for the author to mend.
func TestMendedByItsAuthor(t *testing.T) {
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	types, err := contract.NewTypes(facts)
	if err != nil {
		t.Fatal(err)
	}
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	packets := "contract \"x\"\ntable n : count\nhook tcx/egress()\n  case a: packet.len > 100\n    add 1 to n\n    return TCX_NEXT\n  otherwise\n    return TCX_NEXT\n"
	for _, tt := range []struct{ request, text, want string }{
		{"large packets", packets, "tcx/egress is on one network interface, and the request names none"},
		{"large packets on eth0", packets, ""},
		{"kills", "contract \"x\"\ntable n { short: k_pid } : count\nhook tracepoint/syscalls/sys_enter_kill()\n  case a: always\n    add 1 to n[short: current.tgid]\n  otherwise nothing\n",
			"a member called short, which C has another use for: give it another name"},
	} {
		c, err := contract.Parse(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		a := &author{preparation: &preparation{Agent: &Agent{Recipes: library, Generate: codegen.C}, req: Request{Text: tt.request}, targets: []Target{{Facts: facts}}}, types: []*contract.Types{types}}
		err = a.checks(c, tt.text)
		var wrong *draftError
		if errors.As(err, &wrong) != (tt.want != "") || wrong != nil && !strings.Contains(wrong.feedback(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.request, err, tt.want)
		}
	}
}

// What goes with a hook that was found is named too: the release of a lock, and what its note says to use.
func TestWithKin(t *testing.T) {
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := []kernel.Hook{{Kind: kernel.KindTPBTF, Target: "mmap_lock_acquire_returned"}, {Kind: kernel.KindTracepoint, Target: "syscalls:sys_enter_clone"}}
	hooks, err := withKin(facts, found)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, h := range hooks {
		if have[h.Target] {
			t.Errorf("%s is named twice", h.Target)
		}
		have[h.Target] = true
	}
	for _, want := range []string{"mmap_lock_released", "mmap_lock_start_locking", "sched_process_fork"} {
		if !have[want] {
			t.Errorf("%s is not among %v", want, hooks)
		}
	}
}
