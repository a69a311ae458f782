package faults

import (
	"bytes"
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

	"kgent/agent/program"
	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/bot/slack/slackd"
	"kgent/bot/teamtest"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/job"
)

// What does not count as approval is answered, and changes nothing: the
// requester's own, on either platform; a bot's; a stranger's; one for an
// earlier revision.
func TestVotesThatDoNotCount(t *testing.T) {
	w := begin(t)
	w.everything()
	// On Discord alice is an approver, too.
	k := w.ask(w.Slack, what)
	card := k.card()
	k.press("alice", card, "approve")
	k.wait("alice's answer", teamtest.Only("alice"))

	// The same card on the other platform, where the same person may approve.
	elsewhere, err := w.Discord.Wait(w.Context(), func(m teamtest.Message) bool {
		return m.Channel == teamtest.DiscordApprovals && m.Has("approve")
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Discord.AssignRoles("1200000000000000001", "1300000000000000001", "1200000000000000021"); err != nil {
		t.Fatal(err)
	}
	(&talk{w, w.Discord, elsewhere.Thread}).press("alice", elsewhere, "approve")
	if _, err := w.Discord.Wait(w.Context(), teamtest.Only("alice")); err != nil {
		t.Fatal(err)
	}

	k.press("deploybot", card, "approve")
	k.press("dave", card, "approve")

	// A new revision; the old one's buttons no longer count.
	var form teamtest.Form
	w.Until("the form opens", func() bool {
		form, err = k.chat.Open(w.within(5*time.Second), "alice", card, "edit")
		return err == nil
	})
	old, _ := w.Slack.Server.Message(card.Channel, card.ID)
	last := len(old.Revisions) - 1
	if err := form.Send(w.Context(), map[string]string{"duration": "20s"}); err != nil {
		t.Fatal(err)
	}
	k.wait("the new card", teamtest.Having("approve"), teamtest.Saying("20s"))
	w.Until("bob presses a button of the old card", func() bool {
		err := w.Slack.User("U0BOB").StaleClick(w.Context(), old, last, "kgent:approve")
		if err != nil && !errors.Is(err, slackd.ErrNotAcknowledged) { // too busy for that
			t.Fatal(err)
		}
		return err == nil
	})
	k.wait("bob's answer", teamtest.Only("bob"), teamtest.Saying("out of date"))

	if r, err := w.request(); err != nil || len(r.Votes) != 0 || r.State != "pending" {
		t.Errorf("the request is %s with the votes %v (%v)", r.State, r.Votes, err)
	}
	w.ran(0, "db-1", "db-2")
	w.agreed(0)
	if n := w.count(audit.Refusal); n < 2 {
		t.Errorf("%d refusals in the audit log, want those of alice's two clicks at least", n)
	}
}

// During a run, somebody who can write to Redis sends the nodes what he likes:
// nothing of it runs, the run goes on, and the node's log names each.
func TestForgedJobs(t *testing.T) {
	w := begin(t)
	w.everything()
	k := w.start(w.Slack, "which processes exit on db-1, for 9 minutes", "db-1")
	db := w.Redis.Client()
	queued, err := db.XRange(t.Context(), "job:db-1", "-", "+").Result()
	if err != nil || len(queued) == 0 {
		t.Fatalf("the run's job is not in its queue: %v", err)
	}
	envelope := []byte(queued[len(queued)-1].Values["envelope"].(string))
	control := bus.NewRedis(db)
	submit := func(node string, raw []byte) {
		t.Helper()
		if err := control.Submit(t.Context(), raw, node); err != nil {
			t.Fatal(err)
		}
	}
	submit("db-1", envelope)                                                       // again
	submit("db-2", envelope)                                                       // elsewhere
	submit("db-1", bytes.Replace(envelope, []byte(`"sig`), []byte(`"gis`), 1))     // no signature
	submit("db-1", []byte("{"))                                                    // rubbish
	submit("db-2", w.forged(envelope, func(g *job.Grant) {}))                      // another's key
	submit("db-2", w.forged(envelope, func(g *job.Grant) { g.Nodes[0] = "db-2" })) // and aimed at that node
	w.Until("everything is refused", func() bool {
		return len(w.entries("db-1", "refused")) >= 3 && len(w.entries("db-2", "refused")) >= 3
	})
	var rules []string
	for _, n := range []string{"db-1", "db-2"} {
		for _, e := range w.entries(n, "refused") {
			rules = append(rules, e.Rule)
		}
	}
	t.Logf("refused as %v", rules)
	for _, want := range []job.Refusal{job.RefusedReplay, job.RefusedNode, job.RefusedMalformed, job.RefusedKey} {
		if !slices.Contains(rules, string(want)) {
			t.Errorf("nothing was refused as %s", want)
		}
	}
	if len(w.loaded("db-1")) == 0 {
		t.Error("the approved run has ended")
	}
	m := k.stop()
	if !strings.Contains(m.Text, "stopped") || strings.Contains(m.Text, "refus") {
		t.Errorf("the thread says\n%s", m.Text)
	}
	w.ran(1, "db-1")
	w.ran(0, "db-2")
	w.agreed(1)
}

// forged is an envelope with another grant, signed with a key that is not
// the bots'.
func (w *world) forged(envelope []byte, change func(*job.Grant)) []byte {
	w.t.Helper()
	key, err := approvals.NewKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	public := ed25519.PublicKey(w.Key().Public())
	v := job.Verifier{Node: "db-1", Keys: []ed25519.PublicKey{public}, Replays: unused{}, Now: time.Now, MaxDuration: time.Hour}
	g, p, err := v.Open(envelope)
	if err != nil {
		w.t.Fatal(err)
	}
	change(g)
	digest, err := job.DigestOf(p, g.Nodes, g.Limits)
	if err != nil {
		w.t.Fatal(err)
	}
	g.Digest = digest.String()
	out, err := key.Sign(*g, p)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// unused has seen no grant.
type unused struct{}

func (unused) Claim(string, time.Time) (bool, error) { return true, nil }

// A node's clock is wrong: it runs nothing, and the thread names it. The other
// node's result is there.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"ahead": 20 * time.Minute, "behind": -20 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			if skew < 0 {
				soak(t) // as ahead
			}
			w := begin(t)
			w.LaunchExecutor("db-1", "role=db")
			w.announced("db-1")
			w.skewed("db-2", skew)
			w.announced("db-2")
			w.StartBot()
			k := w.ask(w.Slack, lasting("4 s"))
			k.press("bob", k.card(), "approve")
			m := k.result()
			t.Logf("%s\n%s", m.Title, m.Text)
			for _, want := range []string{"db-1: answered", "db-2", "clock"} {
				if !strings.Contains(m.Text, want) {
					t.Errorf("the thread does not say %q", want)
				}
			}
			w.ran(1, "db-1")
			alone := w.ask(w.Discord, strings.Replace(what, "db-1 and db-2", "db-2", 1))
			alone.says("No program", "clock")
		})
	}
}

// skewed runs an executor in this process, whose clock is wrong, and whose
// kernel must not be asked for anything.
func (w *world) skewed(node string, skew time.Duration) {
	w.t.Helper()
	// It has the kernel of the node that is there.
	nodes, err := w.Bus().Nodes(w.t.Context())
	if err != nil || len(nodes) == 0 {
		w.t.Fatalf("no node is there yet (%v)", err)
	}
	info := nodes[0]
	facts, err := w.Bus().Facts(w.Context(), info.Facts)
	if err != nil {
		w.t.Fatal(err)
	}
	info.Name = node
	ctx, cancel := context.WithCancel(w.t.Context())
	e := &executor.Executor{
		Node: info, Facts: facts, Bus: bus.NewRedis(w.Redis.Client()), Policy: executor.DefaultPolicy(), Kernel: noKernel{w.t},
		Verifier: &job.Verifier{Node: node, Labels: info.Labels, Keys: []ed25519.PublicKey{w.Key().Public()}, Replays: unused{}, MaxDuration: time.Hour,
			Now: func() time.Time { return time.Now().Add(skew) }},
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := e.Serve(ctx); err != nil {
			w.t.Errorf("the executor %s: %v", node, err)
		}
	})
	w.t.Cleanup(func() { cancel(); wg.Wait() })
}

// noKernel fails the test when anything is loaded.
type noKernel struct{ t *testing.T }

func (k noKernel) Load(context.Context, *program.Object, *program.Manifest) (executor.Probe, error) {
	k.t.Error("a program was loaded on a node that cannot know when")
	return nil, errors.New("not here")
}

// Two thousand lines a second: the live message is edited at the services' pace
// and not the kernel's, other threads get their cards at once, and Stop works
// within a second.
func TestFlood(t *testing.T) {
	w := begin(t, func(c *teamtest.Config) {
		c.Slack = nil // with its rate limits
		c.Discord = nil
	})
	w.everything()
	k := w.start(w.Slack, "which files are opened on db-1 and db-2, for 9 minutes")
	for range 2 {
		defer flood(t)()
	}
	// So long it goes on.
	lasts := 8 * time.Second
	if soaking() {
		lasts = time.Minute / 2
	}
	live := k.running()
	begun := time.Now()
	before := len(k.chat.Versions(live))
	var cards []time.Duration
	for i := range 3 {
		asked := time.Now()
		other := w.ask(w.chats()[i%2], what)
		card := other.card()
		cards = append(cards, time.Since(asked))
		other.press("bob", card, "deny")
		time.Sleep(max(0, lasts/4*time.Duration(i+1)-time.Since(begun)))
	}
	time.Sleep(max(0, lasts-time.Since(begun))) // how long it goes on is what is tested
	w.Until("the live message is edited", func() bool { return len(k.chat.Versions(live)) > before+1 })
	versions := len(k.chat.Versions(live)) - before
	if limit := int(time.Since(begun)/time.Second) + 5; versions > limit {
		t.Errorf("the live message was edited %d times in %v, want at most %d", versions, time.Since(begun), limit)
	}
	pressed := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() { k.press("carol", live, "stop") })
	took := w.gone("db-1", "db-2") // a second on a host that does nothing else
	wg.Wait()
	if limit := time.Second; soaking() && took > limit {
		t.Errorf("detached %v after Stop, want at most %v", took, limit)
	}
	result := k.result()
	t.Logf("cards after %v; %d edits; detached after %v, in the thread after %v\n%s", cards, versions, took, time.Since(pressed), result.Text)
	for _, d := range cards {
		if soaking() && d > 10*time.Second {
			t.Errorf("a card took %v", d)
		}
	}
	produced := uint64(0)
	for _, n := range []string{"db-1", "db-2"} {
		w.ended(n, 1)
		c := w.entries(n, "ended")[0].Summary.Counters
		if !c.Balanced() {
			t.Errorf("the account of %s does not balance: %+v", n, c)
		}
		produced += c.Produced
	}
	if produced < 2000*uint64(lasts/time.Second) {
		t.Errorf("only %d events were produced: that was no flood", produced)
	}
	w.ran(1, "db-1", "db-2")
	w.once(k)
}

// flood opens a file 1500 times a second, until stopped.
func flood(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		begun := time.Now()
		for n := 0; ; {
			for ; n < int(1500*time.Since(begun).Seconds()); n++ {
				f, err := os.Open(os.DevNull)
				if err == nil {
					f.Close()
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}
