package thread_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kgent/agent"
	"kgent/approvals"
	"kgent/bot/thread"
	"kgent/executor/job"
	"kgent/executor/output"
)

// Threads that cannot be begun keep nobody else's back, and who asked is told.
func TestRootFails(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		closed := func(m thread.Message) bool { return strings.HasPrefix(m.Place.Channel, "closed") }
		tm.slack.fail = func(m thread.Message, _ bool) error {
			if closed(m) && m.Only == "" {
				return &thread.GoneError{Why: "kgent is not in this channel: /invite @kgent"}
			}
			return nil
		}
		for i := range 60 {
			place := thread.Place{Surface: "slack", Tenant: "T", Channel: fmt.Sprintf("closed%d", i)}
			e := thread.Event{Key: fmt.Sprintf("x%d", i), Kind: thread.Ask, By: tm.account("ada"), Place: place, Rootless: true, Text: "who calls getppid on db-1", At: time.Now()}
			if err := c.Receive(context.Background(), e); err != nil {
				tm.Fatal(err)
			}
		}
		tm.pass(time.Minute)
		tm.ask(c, "bob", "who calls getppid on db-1")
		tm.holds("the card", tm.slack.shown("card:"), "Bob asks")
		tm.holds("the whisper", tm.slack.whispered(), "ada: kgent cannot answer there", "/invite @kgent")
		if open, err := tm.store.Open(context.Background()); err != nil || len(open) != 1 {
			tm.Errorf("open are %d requests, %v", len(open), err)
		}
		if cases, err := tm.cases.Undecided(context.Background()); err != nil || len(cases) != 1 {
			tm.Errorf("undecided are %d cases, %v", len(cases), err)
		}
	})
}

// A remark in the thread that is no request leaves the question as it stands,
// votes included.
func TestRemark(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.ask(c, "ada", "who calls getppid on db-1")
		id := tm.slack.button(tm.T, "card:", "approve")
		tm.click(c, "bob", "approve", id)
		tm.maker.err = fmt.Errorf("%w: nothing comes near", agent.ErrNoAnswer)
		tm.send(c, thread.Event{Kind: thread.Reply, By: tm.account("ada"), Text: "cyd, could you have a look please?"})
		tm.holds("the whisper", tm.slack.whispered(), "ada: No program", "Only you see this")
		tm.holds("the card", tm.slack.shown("card:"), "1 of 2", "Bob approved", "[Approve]", "Revision 1", "!out of date")
		tm.click(c, "cyd", "approve", id)
		if len(tm.fleet.sent) != 1 {
			tm.Errorf("sent %v", tm.fleet.sent)
		}
		// What is meant for kgent does take its place.
		tm.maker.err = nil
	})
}

// forgetful loses the first settling of each event.
type forgetful struct {
	*thread.Memory
	lost map[string]bool
}

func (f *forgetful) Settle(ctx context.Context, d thread.Delivery) error {
	if !f.lost[d.ID] {
		f.lost[d.ID] = true
		return errors.New("the store went away")
	}
	return f.Memory.Settle(ctx, d)
}

// A vote whose event is delivered a second time is not held against who cast
// it.
func TestSecondDelivery(t *testing.T) {
	if _, err := object(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		tm := newTeam(t)
		tm.rules.quorum = 1
		tm.wrap = func(m *thread.Memory) thread.Store { return &forgetful{m, map[string]bool{}} }
		c, stop := tm.start("one")
		defer stop()
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.click(c, "bob", "approve", tm.slack.button(t, "card:", "approve"))
		tm.pass(thread.Visibility + 2*time.Second)
		if said := tm.slack.whispered(); said != "" {
			t.Errorf("bob was told %s", said)
		}
		tm.click(c, "bob", "stop", tm.slack.button(t, "run:", "stop"))
		tm.pass(2 * thread.Visibility)
		if said := tm.slack.whispered(); said != "" {
			t.Errorf("bob was told %s", said)
		}
		if len(tm.maker.asked) != 1 || len(tm.fleet.sent) != 1 {
			t.Errorf("made %d programs, ran %v", len(tm.maker.asked), tm.fleet.sent)
		}
	})
}

// A run that its nodes broke off is not completed.
func TestCutShort(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.rules.quorum = 1
		tm.fleet.summary = func(g *job.Grant, _ output.Reason) output.Summary {
			return output.Summary{Reason: output.ReasonInterrupted, Nodes: []output.NodeSummary{{Node: "db-1", Reason: output.ReasonInterrupted, Detail: "the executor was stopped"}}}
		}
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.click(c, "bob", "approve", tm.slack.button(tm.T, "card:", "approve"))
		tm.pass(30 * time.Second)
		tm.holds("the result", tm.slack.shown("result:"), "did not run to its end", "the executor was stopped", "!answered")
	})
}

// What is approved and has not started can be stopped.
func TestStopBeforeTheStart(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.rules.quorum = 1
		var full atomic.Bool
		full.Store(true)
		tm.rules.mayRun = func() error {
			if full.Load() {
				return errors.New("the store went away")
			}
			return nil
		}
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.click(c, "bob", "approve", tm.slack.button(tm.T, "card:", "approve"))
		tm.ask(c, "eve", "stop")
		full.Store(false)
		tm.pass(10 * time.Second)
		tm.holds("the card", tm.slack.shown("card:"), "stopped by Eve before it started")
		if len(tm.fleet.sent) != 0 {
			tm.Errorf("sent %v", tm.fleet.sent)
		}
	})
}

// Channels that should have been asked or told and were not are named.
func TestUnreached(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.rules.ask = []string{"discord:G/approvals"}
		closed := func(m thread.Message, _ bool) error {
			if m.Place.Channel == "approvals" || m.Place.Channel == "loud" {
				return &thread.GoneError{Why: "kgent is not there"}
			}
			return nil
		}
		tm.discord.fail, tm.slack.fail = closed, closed
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.settle()
		tm.holds("the card", tm.slack.shown("card:"), "could not post in discord:G/approvals", "[Approve]")
		tm.submit(c, "boss", "glass", tm.slack.button(tm.T, "card:", "glass"), map[string]string{"reason": "fire"})
		tm.settle()
		tm.holds("the card", tm.slack.shown("card:"), "slack:T/loud", "BROKE THE GLASS")
	})
}

// Two changes in a row while the first is being opened end in the second.
func TestChangeDuringChange(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.ask(c, "ada", "who calls getppid on db-1")
		wait := make(chan struct{})
		tm.maker.mu.Lock()
		tm.maker.wait = wait
		tm.maker.mu.Unlock()
		tm.ask(c, "ada", "only pid 7")
		tm.ask(c, "ada", "only pid 8")
		close(wait)
		tm.settle()
		tm.holds("the card", tm.slack.shown("card:"), "Revision 3", "0 of 2")
		cases, err := tm.cases.Undecided(context.Background())
		if err != nil || len(cases) != 1 || cases[0].State != approvals.Pending {
			tm.Errorf("cases %+v, %v", cases, err)
		}
	})
}

// crashing is a store that forgets once, for each message, what it was told of its
// posting, as one does that crashes.
type crashing struct {
	*thread.Memory
	tried, sent map[string]bool
	mu          *sync.Mutex
}

func (s crashing) first(of map[string]bool, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := of[key]
	of[key] = true
	return !was
}

func (s crashing) Trying(ctx context.Context, key string) error {
	if s.first(s.tried, key) {
		return nil
	}
	return s.Memory.Trying(ctx, key)
}

func (s crashing) Sent(ctx context.Context, key string, version uint64, h thread.Handle) error {
	if s.first(s.sent, key) {
		return nil
	}
	return s.Memory.Sent(ctx, key, version, h)
}

// What a store forgets when it crashes is not posted a second time.
func TestStoreForgetsPosts(t *testing.T) {
	if _, err := object(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		tm := newTeam(t)
		tm.wrap = func(m *thread.Memory) thread.Store {
			return crashing{m, map[string]bool{}, map[string]bool{}, &sync.Mutex{}}
		}
		c, stop := tm.start("one")
		defer stop()
		tm.ask(c, "ada", "who calls getppid on db-1")
		tm.holds("the card", tm.slack.shown("card:"), "who calls getppid")
		tm.slack.mu.Lock()
		defer tm.slack.mu.Unlock()
		if len(tm.slack.posts) == 0 {
			t.Error("nothing was posted")
		}
		for key, n := range tm.slack.posts {
			if n != 1 {
				t.Errorf("%s was posted %d times", key, n)
			}
		}
	})
}
