package agent_test

import (
	"errors"
	"strings"
	"testing"

	"kgent/agent"
	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/agent/verify/proof"
)

// A request that names a container gets a contract that is narrowed to it, by whoever writes it; a
// program that was written from the request is told how to ask.
func TestContainerNamed(t *testing.T) {
	inside := asks(`inside("container:web") && task_wanted(pid, comm, uid)`)
	elsewhere := asks(`inside("container:db") && task_wanted(pid, comm, uid)`)
	own := answer(strings.Replace(edit(t, "key.pid = k_current_pid();", "if (!k_inside())\n\t\treturn 0;\n\tkey.pid = k_current_pid();"), "KGENT_TASK_FILTER", "KGENT_TASK_FILTER\nKGENT_WHERE", 1))
	b := generating(t, []any{draft(), elsewhere, inside}, own)
	b.Effort.Independent = true
	c, err := b.prepare(t.Context(), beyond+" in container web")
	if err != nil {
		t.Fatal(err)
	}
	if c.Finding.Verdict != proof.Verified || contract.Where(c.Contract) != "container:web" || c.Manifest.Where != "container:web" {
		t.Errorf("%s, narrowed to %q, its program to %q", c.Finding.Verdict, contract.Where(c.Contract), c.Manifest.Where)
	}
	if n := len(c.Record.Contracts); n != 3 {
		t.Errorf("%d contracts", n)
	}
	for i, want := range []string{`has to ask inside("container:web")`, `has to ask inside("container:web")`} {
		if got := c.Record.Contracts[i].Error; !strings.Contains(got, want) {
			t.Errorf("contract %d: %q, want %q", i, got, want)
		}
	}
	wants(t, "what was understood", strings.Join(c.Understood, "\n"), "wrote from the request does the same as the contract")
}

// Asking for the container somewhere is not enough.
func TestContainerEverywhere(t *testing.T) {
	const text = "contract \"x\"\ntable n : count\nhook tracepoint/syscalls/sys_enter_openat()\n  case c: inside(\"container:web\")\n    add 1 to n\n  case d: current.uid != 0\n    add 1 to n\n  otherwise nothing\n"
	c, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	types, err := contract.NewTypes(host(t).facts)
	if err != nil {
		t.Fatal(err)
	}
	checked, err := contract.Check(c, types)
	if err != nil {
		t.Fatal(err)
	}
	source, err := codegen.C(checked)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, host(t), yes{})
	for request, refused := range map[string]bool{"count opens in container web": true, "count opens": false} {
		_, err := b.Prepare(t.Context(), agent.Request{ID: "x", Text: request, Program: &agent.Brought{Name: "x.kc", Source: source, Contract: text, Generated: true}}, nil)
		if got := err != nil && strings.Contains(err.Error(), "the case d is not"); got != refused || err != nil && !refused {
			t.Errorf("%s: %v", request, err)
		}
	}
}

// Where kgent sees other process ids than programs do, none is taken from people, but a container's own.
func TestForeign(t *testing.T) {
	m := host(t)
	b := newBench(t, m, yes{})
	b.Model = nil
	b.Foreign = true
	for request, refused := range map[string]bool{
		"count getppid calls by user of pid 77":                  true,
		"count getppid calls by user and cpu, not pid 77":        true,
		"count getppid calls by user":                            false,
		"count getppid calls by process of pid 77 in pod shop/x": false,
	} {
		_, err := b.prepare(t.Context(), request)
		if got := errors.Is(err, agent.ErrRequest) && strings.Contains(err.Error(), "PID namespace of its own"); got != refused || err != nil && !refused {
			t.Errorf("%s: %v", request, err)
		}
	}
	const text = "contract \"x\"\nparam pid: k_pid = 77\ntable n : count\nhook tracepoint/syscalls/sys_enter_getppid()\n  case c: current.tgid == pid\n    add 1 to n\n"
	c, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	types, err := contract.NewTypes(m.facts)
	if err != nil {
		t.Fatal(err)
	}
	checked, err := contract.Check(c, types)
	if err != nil {
		t.Fatal(err)
	}
	source, err := codegen.C(checked)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Prepare(t.Context(), agent.Request{ID: "x", Text: "count getppid calls", Program: &agent.Brought{Name: "x.kc", Source: source, Contract: text, Generated: true}}, nil)
	if err == nil || !strings.Contains(err.Error(), "names a process by its id (77)") {
		t.Errorf("of a contract that has one: %v", err)
	}
}
