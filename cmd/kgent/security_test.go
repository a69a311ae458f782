package main

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

// What a program saw leaves the node without what looks like a secret and
// without what the operator names.
func TestExecutorRedacts(t *testing.T) {
	needsRoot(t)
	const named, looks = "operators-own-word", "ghp_0123456789abcdefghijABCDEFGHIJ012345"
	t.Setenv("KGENT_REDACT", "short-enough\n"+named)
	f := newFleet(t, "a")
	f.start("a")
	g := f.grant(long, "a")
	envelope := f.seal(f.key, &g)
	if err := executor.Dispatch(t.Context(), f.bus, &g, envelope); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all strings.Builder
	attached := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := executor.Follow(t.Context(), f.bus, &g, func(line []byte) {
			mu.Lock()
			defer mu.Unlock()
			all.Write(line)
			if r, err := output.Decode(line); err == nil {
				if _, ok := r.(output.Attached); ok {
					close(attached)
				}
			}
		})
		ended <- err
	}()
	select {
	case <-attached:
	case <-time.After(patience):
		t.Fatal("it does not attach")
	}
	for range 5 {
		if err := exec.Command("true", "seen-by-all", named, looks).Run(); err != nil {
			t.Fatal(err)
		}
	}
	if err := executor.Stop(t.Context(), f.bus, g.Run); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if out := all.String(); strings.Contains(out, named) || strings.Contains(out, looks) || !strings.Contains(out, "seen-by-all") || !strings.Contains(out, "«redacted»") {
		t.Errorf("the output is\n%.3000s", out)
	}
}

// Somebody who can write to Redis lies about what a node is, and repeats and
// alters what was sent to it.
func TestExecutorUnderAttack(t *testing.T) {
	needsRoot(t)
	f := newFleet(t, "a")
	f.start("a", "--labels", "env=prod")
	db := f.redis.Client()
	// The lie is believed by the bus, and no run comes of it.
	lie, err := json.Marshal(bus.NodeInfo{Name: "a", Kernel: "6.18.0", Labels: map[string]string{"env": "dev"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Set(t.Context(), "node:a", lie, 0).Err(); err != nil {
		t.Fatal(err)
	}
	outcome := func(g job.Grant) output.Summary {
		t.Helper()
		return f.follow(f.key, g).wait()
	}
	g := f.grant(time.Second, "a")
	g.Labels = map[string]map[string]string{"a": {"env": "dev"}}
	if s := outcome(g); s.Reason != output.ReasonRefused || !strings.Contains(s.Detail, "other-labels") {
		t.Errorf("a grant for other labels: %+v", s)
	}
	g = f.grant(time.Second, "a")
	g.Labels = map[string]map[string]string{"a": {"env": "prod", "zone": ""}}
	tr := f.follow(f.key, g)
	if s := tr.wait(); s.Reason != output.ReasonDeadline {
		t.Fatalf("a grant for its labels: %+v", s)
	}
	// Once more, as it was.
	add := func(envelope []byte) {
		t.Helper()
		if err := db.XAdd(t.Context(), &redis.XAddArgs{Stream: "job:a", Values: []any{"envelope", envelope}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	add(tr.envelope)
	add([]byte(strings.Replace(string(tr.envelope), `"purpose":"run"`, `"purpose":"check"`, 1)))
	add([]byte("rubbish"))
	refusals := func() (rules []string) {
		for _, e := range f.records("a") {
			if e.What == "refused" {
				rules = append(rules, e.Rule)
			}
		}
		return rules
	}
	f.until("all is refused", func() bool { return len(refusals()) == 4 })
	if got := strings.Join(refusals(), " "); got != "other-labels replayed bad-signature malformed" {
		t.Errorf("refused as %s", got)
	}
}

// A node that was taken over floods, lies and never ends: whoever follows stays
// alive, says what is wrong, and gives it up.
func TestFollowHostileNode(t *testing.T) {
	f := newFleet(t, "a", "b")
	address := f.redis.ClientOf(bus.NodeUser("a"), f.read("a.password"))
	node := bus.NewRedis(address)
	g := f.grant(time.Second, "a")
	f.seal(f.key, &g)
	// It cannot speak where another node does.
	if err := node.Publish(t.Context(), bus.Chunk{Run: g.Run, Node: "b", Seq: 1}); err == nil {
		t.Error("it publishes for another node")
	}
	if err := node.Announce(t.Context(), bus.NodeInfo{Name: "b"}, time.Minute); err == nil {
		t.Error("it announces another node")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f.bus.Renew(ctx, g.Run, patience); err != nil {
		t.Fatal(err)
	}
	const chunks = 100
	wide := []byte(`{"type":"text","node":"a","line":"` + strings.Repeat("x", output.MaxLine) + `"}` + "\n")
	other := []byte(strings.Repeat(`{"type":"event","node":"b","stream":"s","data":{}}`+"\n", 1000))
	go func() {
		for i := range chunks {
			c := bus.Chunk{Run: g.Run, Node: "a", Seq: uint64(i + 1), Lines: other}
			if i%10 == 0 {
				c.Lines = wide
			}
			if node.Publish(ctx, c) != nil {
				return
			}
		}
		last, err := output.Encode(output.NodeSummary{Node: "b", Reason: output.ReasonDeadline})
		if err != nil {
			return
		}
		node.Publish(ctx, bus.Chunk{Run: g.Run, Node: "a", Seq: chunks + 1, Final: true, Lines: last})
	}()
	got := 0
	s, err := executor.Follow(ctx, f.bus, &g, func(line []byte) { got += len(line) })
	if err != nil || got != 0 || len(s.Nodes) != 1 || s.Nodes[0].Node != "a" || !strings.Contains(s.Detail, "records were left out") {
		t.Errorf("%d bytes handed on; %+v, %v", got, s, err)
	}
}
