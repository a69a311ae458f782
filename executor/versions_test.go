package executor

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/executor/job"
	"kgent/executor/output"
)

// onBuses runs f over both kinds of bus.
func onBuses(t *testing.T, f func(t *testing.T, b *bench)) {
	rdb.Quiet()
	for name, open := range map[string]func(t *testing.T) bus.Bus{
		"memory": func(*testing.T) bus.Bus { return bus.NewMemory() },
		"redis":  func(t *testing.T) bus.Bus { return bus.NewRedis(rdbtest.Start(t).Client()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := realBench(t, plain, program.Options{})
			b.bus.Bus = open(t)
			f(t, b)
		})
	}
}

// What a bot of another version sends is refused by name, and whoever follows reads why.
func TestJobsOfOtherVersions(t *testing.T) {
	onBuses(t, func(t *testing.T, b *bench) {
		b.serve()
		defer b.end()
		// signed has a grant's bytes signed as a bot would whose grants are of that type.
		signed := func(payloadType string, purpose job.Purpose, grant []byte) []byte {
			text := fmt.Appendf(nil, "kgent v1 %d %s %d %s", len(payloadType), payloadType, len(grant), grant)
			raw, err := json.Marshal(job.Envelope{
				KeyID: job.KeyID(b.key.Public().(ed25519.PublicKey)), Purpose: purpose,
				Signature: ed25519.Sign(b.key, text), Grant: grant, Program: b.prog,
			})
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		const v1 = "application/vnd.kgent.grant.v1+json"
		for name, test := range map[string]struct {
			make func(g job.Grant) []byte
			says []string
		}{
			"an older grant": {func(g job.Grant) []byte { g.Version = 0; return signed(v1, g.Purpose, encoded(t, g)) },
				[]string{"unknown-version", "grant version 0, this node knows 1"}},
			"a newer grant": {func(g job.Grant) []byte { g.Version = 2; return signed(v1, g.Purpose, encoded(t, g)) },
				[]string{"unknown-version", "grant version 2, this node knows 1"}},
			"a grant that says more": {func(g job.Grant) []byte {
				return signed(v1, g.Purpose, []byte(strings.Replace(string(encoded(t, g)), `{"version"`, `{"cpus":[1],"version"`, 1)))
			}, []string{"unknown-version", `unknown field "cpus"`, "may be newer than this node's"}},
			"a newer kind of signature": {func(g job.Grant) []byte {
				return signed("application/vnd.kgent.grant.v2+json", g.Purpose, encoded(t, g))
			},
				[]string{"bad-signature"}},
			"a newer purpose": {func(g job.Grant) []byte {
				g.Purpose = "pause"
				return signed("application/vnd.kgent.pause.v1+json", g.Purpose, encoded(t, g))
			}, []string{"malformed", `purpose "pause" is not one that this node knows`, "may be older than the bot's"}},
			"an envelope that has more": {func(g job.Grant) []byte {
				return []byte(strings.Replace(string(signed(v1, g.Purpose, encoded(t, g))), `{"key_id"`, `{"chain":"x","key_id"`, 1))
			}, []string{"malformed", "comes from a kgent of another version"}},
			"an older envelope, without a purpose": {func(g job.Grant) []byte {
				return []byte(strings.Replace(string(signed(v1, g.Purpose, encoded(t, g))), `"purpose":"run",`, "", 1))
			}, []string{"malformed", "comes from a kgent of another version"}},
		} {
			g, _ := b.seal(b.grant(time.Second))
			if err := Dispatch(t.Context(), b.bus, &g, test.make(g)); err != nil {
				t.Fatal(err)
			}
			r := b.follow(t.Context(), g)
			for _, says := range test.says {
				if r.summary.Reason != output.ReasonRefused || !strings.Contains(r.summary.Detail, says) {
					t.Errorf("%s: it ended %s: %q, want %q", name, r.summary.Reason, r.summary.Detail, says)
				}
			}
		}
		b.run(b.grant(100*time.Millisecond)).want(t, output.ReasonDeadline, "") // its own
		if got := strings.Count(b.audit(), "refused:"); got != 7 || b.kernel.loads != 1 {
			t.Errorf("%d programs were loaded; audit log: %s", b.kernel.loads, b.audit())
		}
	})
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A node of a newer version whose output cannot be understood is named, as one that says more
// than is known here is not; the others' output counts.
func TestOutputOfOtherVersions(t *testing.T) {
	onBuses(t, func(t *testing.T, b *bench) {
		b.serve()
		defer b.end()
		g := b.dispatch(b.grant(500*time.Millisecond, "n1", "newer", "wordy"))
		publish := func(c bus.Chunk) {
			c.Run = g.Run
			if err := b.bus.Publish(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		publish(bus.Chunk{Node: "newer", Format: bus.ChunkFormat + 1, Seq: 1, Lines: []byte{1, 2, 3}})
		last, err := output.Encode(output.NodeSummary{Node: "wordy", Reason: "eclipse", Counters: output.Counters{Produced: 1, Delivered: 1}})
		if err != nil {
			t.Fatal(err)
		}
		lines := `{"type":"event","node":"wordy","stream":"s","data":{"n":1},"mood":"good"}` + "\n" + `{"type":"hologram","node":"wordy"}` + "\n" +
			strings.Replace(string(last), `{"type"`, `{"planets":9,"type"`, 1)
		publish(bus.Chunk{Node: "wordy", Seq: 1, Lines: []byte(lines), Events: 1, Counters: output.Counters{Produced: 1, Delivered: 1}, Final: true})

		r := b.follow(t.Context(), g)
		for i, want := range []struct {
			reason output.Reason
			detail string
		}{
			{output.ReasonDeadline, ""},
			{output.ReasonFailed, "its output is of format 2, and what follows it here reads up to format 1"},
			{"eclipse", ""},
		} {
			if n := r.summary.Nodes[i]; n.Reason != want.reason || !strings.Contains(n.Detail, want.detail) {
				t.Errorf("%s: %s: %q, want %s: %q", n.Node, n.Reason, n.Detail, want.reason, want.detail)
			}
		}
		// What it is is not known here: whoever reads the lines says that there are such.
		if all := strings.Join(r.lines, ""); !strings.Contains(all, "hologram") || r.count("event") != 1 {
			t.Errorf("the lines are\n%s", all)
		}

		c := NodeCheck{Node: "newer"}
		a := NodeAnswer{Node: "newer"}
		c.take(bus.Chunk{Format: 2})
		a.take(bus.Chunk{Format: 2})
		if c.OK || !c.Answered || !strings.Contains(c.Detail, "format 2") || a.Obeyed || !a.Answered || !strings.Contains(a.Detail, "format 2") {
			t.Errorf("%+v, %+v", c, a)
		}
	})
}
