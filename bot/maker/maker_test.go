package maker_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kgent/agent"
	"kgent/agent/program/compile"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/bot/maker"
	"kgent/bot/thread"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
	"kgent/retrieval/kernel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// snapshots are what two nodes publish: this kernel, and one that differs from
// it in name only.
var snapshots = sync.OnceValues(func() (blobs [2][]byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err = kernel.EnsureMounts(ctx); err != nil {
		return
	}
	facts, err := kernel.Live(ctx)
	if err != nil {
		return
	}
	if blobs[0], err = kernel.Encode(facts); err != nil {
		return
	}
	facts.Release += "-other"
	blobs[1], err = kernel.Encode(facts)
	return
})

// fleet is a bus with executors on it; they have this host's kernel, whatever
// they say.
type fleet struct {
	line  *bus.Memory
	maker *maker.Maker
}

func newFleet(t *testing.T, serving ...string) *fleet {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	residue.Check(t)
	key, err := approvals.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	compiler, err := compile.Find(t.Context(), os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{line: bus.NewMemory()}
	desk := &approvals.Desk{Store: &approvals.Memory{}, Policy: approvals.Local{Node: "x"}, Signer: key, Audit: &audit.Memory{}, Now: time.Now, Random: rand.Reader}
	f.maker = &maker.Maker{Recipes: library, Compiler: compiler, Prover: &verify.Prover{}, Budget: agent.DefaultBudget, Bus: f.line, Signer: desk, Now: time.Now}
	for _, name := range serving {
		node := &executor.Executor{
			Node:     bus.NodeInfo{Name: name},
			Verifier: &job.Verifier{Node: name, Keys: []ed25519.PublicKey{key.Public()}, Replays: executor.NewMemoryReplays(time.Now), Now: time.Now, MaxDuration: time.Minute},
			Kernel:   executor.NewKernel(name, probe.NewLoader(probe.Options{}), render.NewEnv()), Bus: f.line, Policy: executor.OwnHostPolicy(),
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- node.Serve(ctx) }()
		t.Cleanup(func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	return f
}

// node publishes what a node's kernel is, and returns what it announces.
func (f *fleet) node(t *testing.T, name string, which int) bus.NodeInfo {
	t.Helper()
	blobs, err := snapshots()
	if err != nil {
		t.Fatal(err)
	}
	hash := kernel.SnapshotHash(blobs[which])
	if err := f.line.PublishFacts(t.Context(), hash, blobs[which]); err != nil {
		t.Fatal(err)
	}
	return bus.NodeInfo{Name: name, Kernel: []string{"one", "other"}[which], Facts: hash}
}

func steps(into *[]string) func(agent.Step) {
	return func(s agent.Step) { *into = append(*into, s.Name+" "+s.State) }
}

// A program is made for two kernels, and a node of each is asked.
func TestMake(t *testing.T) {
	f := newFleet(t, "a", "b", "c")
	nodes := []bus.NodeInfo{f.node(t, "a", 0), f.node(t, "b", 1), f.node(t, "c", 0)}
	var went []string
	made, err := f.maker.Make(t.Context(), agent.Request{ID: "r", Text: "who sends SIGKILL to java for 20s"}, nodes, steps(&went))
	if err != nil {
		t.Fatal(err)
	}
	if made.Card.Origin != "recipe signals" || made.Duration != 20*time.Second || made.Source == "" || len(made.Card.Hooks) == 0 || made.Card.Verdict != "VERIFIED" || made.Card.Contract == "" {
		t.Errorf("made %+v", made.Card)
	}
	if len(made.Kernels) != 2 || !made.Kernels[0].OK || !made.Kernels[1].OK || strings.Join(made.Kernels[0].Nodes, " ") != "a c" || strings.Join(made.Kernels[1].Nodes, " ") != "b" {
		t.Errorf("kernels %+v", made.Kernels)
	}
	if !slices.Contains(went, "load done") {
		t.Errorf("steps %v", went)
	}
	if risk, err := approvals.Assess(made.Program, true); err != nil || risk.Tier != approvals.Observe {
		t.Errorf("risk %v, %v", risk.Tier, err)
	}

	// The same, to the byte; and with another parameter.
	again, err := f.maker.Remake(t.Context(), made.Program, nil, false, nodes, steps(&went))
	if err != nil || string(again.Program.Manifest) != string(made.Program.Manifest) || string(again.Program.ELF) != string(made.Program.ELF) || len(again.Kernels) != 2 {
		t.Errorf("made again: %+v, %v", again.Kernels, err)
	}
	params, err := f.maker.Params(made.Program)
	if err != nil || !slices.ContainsFunc(params, func(p thread.Param) bool { return p.Name == "sig" && p.Means != "" }) {
		t.Errorf("parameters %v, %v", params, err)
	}
	if err := f.maker.Valid(made.Program, map[string]string{"sig": "SIGNONE"}); err == nil || f.maker.Valid(made.Program, map[string]string{"sig": "SIGTERM"}) != nil {
		t.Errorf("an error that is none: %v", err)
	}
	changed, err := f.maker.Remake(t.Context(), made.Program, map[string]string{"sig": "SIGTERM"}, false, nodes[:1], steps(&went))
	if err != nil || string(changed.Program.Manifest) == string(made.Program.Manifest) || changed.Card.Params[0].Value != "SIGTERM" {
		t.Errorf("changed: %+v, %v", changed.Card.Params, err)
	}
	if _, err := f.maker.Remake(t.Context(), made.Program, map[string]string{"sig": "SIGEEK"}, false, nodes[:1], steps(&went)); !errors.Is(err, agent.ErrRequest) || !strings.Contains(err.Error(), "SIGEEK") {
		t.Errorf("a wrong value: %v", err)
	}
}

// What cannot be made says why, in words for who asked.
func TestRefusals(t *testing.T) {
	f := newFleet(t)
	good := f.node(t, "a", 0)
	ask := func(text string, nodes ...bus.NodeInfo) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		_, err := f.maker.Make(ctx, agent.Request{ID: "r", Text: text}, nodes, func(agent.Step) {})
		return err
	}
	if err := ask("file opens that fail", bus.NodeInfo{Name: "old"}); !errors.Is(err, agent.ErrRequest) || !strings.Contains(err.Error(), "old") {
		t.Errorf("a node without facts: %v", err)
	}
	if err := ask("file opens that fail", bus.NodeInfo{Name: "gone", Facts: strings.Repeat("ab", 32)}); !errors.Is(err, agent.ErrRequest) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("facts that are gone: %v", err)
	}
	if err := ask("sing me a song", good); !errors.Is(err, agent.ErrNoAnswer) || strings.Contains(err.Error(), "OPENAI") || !strings.Contains(err.Error(), "ask whoever runs kgent") {
		t.Errorf("nonsense: %v", err)
	}
	if err := ask("file opens that fail"); err == nil {
		t.Error("made for no node")
	}
	lies := []byte("this is no kernel")
	hash := kernel.SnapshotHash(lies)
	if err := f.line.PublishFacts(t.Context(), hash, lies); err != nil {
		t.Fatal(err)
	}
	if err := ask("file opens that fail", bus.NodeInfo{Name: "liar", Facts: hash}); err == nil || !strings.Contains(err.Error(), "liar") {
		t.Errorf("facts that are none: %v", err)
	}
}

// A node that does not answer the check is no word against the program, but
// nobody is asked to approve what no kernel has seen.
func TestNobodyAnswers(t *testing.T) {
	f := newFleet(t)
	_, err := f.maker.Make(t.Context(), agent.Request{ID: "r", Text: "file opens that fail"}, []bus.NodeInfo{f.node(t, "deaf", 0)}, func(agent.Step) {})
	if err == nil || !strings.Contains(err.Error(), "deaf") {
		t.Errorf("error %v", err)
	}
}
