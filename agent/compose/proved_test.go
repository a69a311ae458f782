package compose_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"kgent/agent/codegen"
	"kgent/agent/compose"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/agent/verify/symbolic"
)

// What is composed is VERIFIED: what the README promises, and with KGENT_SOAK everything of the set
// for development.
func TestProved(t *testing.T) {
	promised := []string{
		"count outgoing tcp connections by destination port, top 10",
		"fsync latency per process, not mysqld",
		"madvise(MADV_DONTNEED) by process",
		"openat with O_DIRECT",
		"tcp resets sent by us, per remote address",
		"rate of context switches per cpu",
		"how long do softirqs take, by vec",
		"count child processes each process creates",
		"count irq:irq_handler_entry by name",
		"tcp bytes sent by process",
		"bytes received over udp per user",
		"files created under /srv, by whom",
		"packets to 10.0.0.0/8 by destination port",
		"packets not from 10.0.0.0/8 by source address",
		"packets to localhost by destination port",
		"incoming udp packets from 2001:db8::/33 by source address",
		"retransmits to 192.168.0.0/16 per remote address",
	}
	texts := promised
	if os.Getenv("KGENT_SOAK") != "" {
		raw, err := os.ReadFile("testdata/dev.tsv")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if text, want, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && want != "no" && !strings.HasPrefix(text, "#") {
				texts = append(texts, text)
			}
		}
	}
	tools := programtest.Here(t)
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	c, err := compose.New(library, tools.Facts, compose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := verify.KernelOf(tools.Facts)
	if err != nil {
		t.Fatal(err)
	}
	// For a machine that is busy with other tests.
	p := verify.Prover{Limits: proof.Limits{Time: 10 * time.Minute, Query: 2 * time.Minute, Machine: symbolic.Limits{Time: 4 * time.Minute, Query: 20 * time.Second}}}
	counts := map[string]int{}
	for i, text := range texts {
		failed := t.Logf
		if i < len(promised) {
			failed = t.Errorf
		}
		turns := strings.Split(text, " >> ")
		got, err := c.Continue(t.Context(), turns[:len(turns)-1], nil, turns[len(turns)-1])
		if err != nil || got.Match != nil {
			failed("%s: it is not composed: %v", text, err)
			continue
		}
		verdict, why := "NO CODE", ""
		checked, err := k.Check(got.Contract)
		if err != nil {
			t.Fatal(err)
		}
		if source, err := codegen.C(checked); err == nil {
			o, err := programtest.Compile(source)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			opt := got.Options
			if opt.Interface == "" {
				opt.Interface = "lo"
			}
			m, err := program.Build(o, opt)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			r, err := p.ProveOn(t.Context(), k, o, m, got.Contract)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			verdict, why = r.Verdict.String(), strings.Join(r.Reasons, "; ")
		}
		counts[verdict]++
		if verdict != proof.Verified.String() {
			failed("%s: %s: %s\n%s", text, verdict, why, contract.Format(got.Contract))
		}
		if verdict == proof.Refuted.String() {
			t.Errorf("%s: the program that was generated is wrong", text)
		}
	}
	t.Log(counts)
}
