package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify/compare"
	"kgent/agent/verify/proof"
	"kgent/agent/verify/symbolic"
	"kgent/agent/verify/worker"
	"kgent/retrieval/kernel"
)

var eaten []byte

// As a process of its own this test binary proves, or does what a broken one would.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "prove":
			if err := worker.Serve(context.Background(), os.Stdin, os.Stdout, nil); err != nil {
				println(err.Error())
				os.Exit(1)
			}
			os.Exit(0)
		case "crash":
			println("panic: out of luck")
			os.Exit(2)
		case "hang":
			io.Copy(io.Discard, os.Stdin)
		case "babble":
			fmt.Println("{}")
			io.Copy(io.Discard, os.Stdin)
		case "describe":
			for in := json.NewDecoder(os.Stdin); in.Decode(&struct{}{}) == nil; {
				fmt.Printf(`{"error": "process %d, environment %q"}`+"\n", os.Getpid(), os.Environ())
			}
			os.Exit(0)
		case "eat":
			eaten = make([]byte, 2<<30)
			worker.Serve(context.Background(), os.Stdin, io.Discard, nil)
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// job is a recipe as the bot proves it.
type job struct {
	facts    *kernel.Facts
	object   *program.Object
	manifest *program.Manifest
	contract *contract.Contract
}

// remote are the facts of this kernel as the bot has them: out of a snapshot.
var remote = sync.OnceValues(func() (*kernel.Facts, error) {
	tools, err := programtest.Find()
	if err != nil {
		return nil, err
	}
	snapshot, err := kernel.Encode(tools.Facts)
	if err != nil {
		return nil, err
	}
	return kernel.Decode(snapshot)
})

// work is a recipe whose proof takes little.
func work(t *testing.T) job {
	t.Helper()
	facts, err := remote()
	if err != nil {
		t.Fatal(err)
	}
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	r, ok := library.Lookup("tcp-retransmits")
	if !ok {
		t.Fatal("there is no such recipe")
	}
	o := programtest.Object(t, string(r.Source))
	m, err := program.Build(o, program.Options{Name: "p", Title: "p"})
	if err != nil {
		t.Fatal(err)
	}
	return job{facts, o, m, r.Contract}
}

// process returns one that runs this binary as what is asked for.
func process(t *testing.T, as string) *worker.Process {
	t.Helper()
	p := worker.New("/proc/self/exe", as)
	// For a machine that is busy with other tests.
	p.Limits = proof.Limits{Time: 10 * time.Minute, Query: 2 * time.Minute, Machine: symbolic.Limits{Time: 4 * time.Minute, Query: 20 * time.Second}}
	t.Cleanup(p.Close)
	return p
}

func (j job) prove(ctx context.Context, p *worker.Process) (*proof.Report, error) {
	return p.Prove(ctx, j.facts, j.object, j.manifest, j.contract)
}

func TestProves(t *testing.T) {
	j, p := work(t), process(t, "prove")
	first, err := j.prove(t.Context(), p)
	if err != nil || first.Verdict != proof.Verified {
		t.Fatalf("%+v, %v", first, err)
	}
	if len(first.Cases) == 0 || first.Cases[0].Witness == nil || first.Stats.Paths == 0 || len(first.Obligations) == 0 {
		t.Errorf("the report lost something on its way: %+v", first)
	}
	if again, err := j.prove(t.Context(), p); err != nil || again != first {
		t.Errorf("the same proof was made again: %p, %p, %v", first, again, err)
	}
	// The child has the kernel now, and has another contract to prove.
	j.contract = nil
	if bare, err := j.prove(t.Context(), p); err != nil || bare.Verdict != proof.Unknown {
		t.Errorf("without a contract: %+v, %v", bare, err)
	}
	// What is wrong with the input is an error, and the child lives on.
	wrong, err := contract.Parse(`contract "x"
event e { pid: k_pid }
hook tp_btf/no_such_hook()
  case all: always emit e { pid: current.pid }
  otherwise nothing`)
	if err != nil {
		t.Fatal(err)
	}
	j.contract = wrong
	if r, err := j.prove(t.Context(), p); err == nil || !strings.Contains(err.Error(), "no_such_hook") {
		t.Errorf("%+v, %v", r, err)
	}
}

// Whatever becomes of the process, nothing is verified and somebody is told why.
func TestBroken(t *testing.T) {
	j := work(t)
	for as, want := range map[string]string{
		"crash":  "panic: out of luck",
		"hang":   "did not end when its time was over",
		"babble": "the process that made it ended",
		"eat":    "takes more than 2048 MiB",
	} {
		t.Run(as, func(t *testing.T) {
			p := process(t, as)
			if as == "hang" {
				p.Limits.Time, p.Patience = time.Millisecond, time.Millisecond
			}
			r, err := j.prove(t.Context(), p)
			if err != nil || r.Verdict != proof.Unknown || len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0], want) {
				t.Errorf("%+v, %v, want %q", r, err, want)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		p := worker.New("/no/such/program")
		if r, err := j.prove(t.Context(), p); err != nil || r.Verdict != proof.Unknown || !strings.Contains(r.Reasons[0], "no such file") {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("given up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		if r, err := j.prove(ctx, process(t, "hang")); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// The process knows nothing of the bot's secrets.
func TestEnvironment(t *testing.T) {
	t.Setenv("SLACK_BOT_TOKEN", "xoxb-secret")
	_, err := work(t).prove(t.Context(), process(t, "describe"))
	if err == nil || !strings.HasSuffix(err.Error(), ", environment []") {
		t.Error(err)
	}
}

// A process that nobody needs is ended, and another is started when it is.
func TestIdle(t *testing.T) {
	j, p := work(t), process(t, "describe")
	ask := func() string {
		_, err := j.prove(t.Context(), p)
		if err == nil || !strings.HasPrefix(err.Error(), "process ") {
			t.Fatal(err)
		}
		return err.Error()
	}
	first := ask()
	if second := ask(); second != first {
		t.Errorf("%s, and then %s", first, second)
	}
	for p.Idle = time.Nanosecond; ask() == first; {
	}
}

// Programs are compared in the same process as proofs are made, with the same result.
func TestCompares(t *testing.T) {
	j, p := work(t), process(t, "prove")
	named := func(name string) compare.Program {
		return compare.Program{Name: name, Object: j.object, Manifest: j.manifest}
	}
	same, err := p.Compare(t.Context(), j.facts, named("one"), named("two"), nil)
	if err != nil || same.Verdict != compare.Same {
		t.Fatalf("%+v, %v", same, err)
	}
	set, err := j.manifest.With(j.object, map[string]string{"port": "443"})
	if err != nil {
		t.Fatal(err)
	}
	two := named("two")
	two.Manifest = set
	differ, err := p.Compare(t.Context(), j.facts, named("one"), two, nil)
	if err != nil || differ.Verdict != compare.Different || differ.Difference == nil || differ.Difference.Question() == "" || differ.Difference.B != "two" {
		t.Errorf("%+v, %v", differ, err)
	}
	broken, err := process(t, "crash").Compare(t.Context(), j.facts, named("one"), named("two"), nil)
	if err != nil || broken.Verdict != compare.Unknown || len(broken.Reasons) == 0 {
		t.Errorf("%+v, %v", broken, err)
	}
}
