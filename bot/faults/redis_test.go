package faults

import (
	"strings"
	"testing"
	"time"

	"kgent/bot/teamtest"
	"kgent/executor/bus"
	"kgent/executor/output"
)

// The product's own times, against which the tests measure: none asks how fast
// the machine is.
const (
	grace   = 5 * time.Second  // how long a node goes on without Redis
	lease   = 12 * time.Second // how long a run lasts that no bot follows
	gateway = 10 * time.Second // how long a bot that is gone holds Discord's gateway
	// most is how much longer than it should something may take on a busy host.
	most = 3 * grace
)

// Redis goes away in mid-run. For less than the grace nobody notices; for
// longer the nodes detach by themselves, and the thread says why as soon as it
// can be said.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		away func(w *world)
		back func(w *world)
		long bool // longer than the grace
		says []string
	}{
		{"paused for a moment", (*world).pause, (*world).resume, false, []string{"ended as planned"}},
		{"paused for long", (*world).pause, (*world).resume, true, []string{"cut short", "the bus could not be reached"}},
		{"killed for a moment", (*world).killRedis, (*world).restart, false, []string{"ended as planned"}},
		{"killed for long", (*world).killRedis, (*world).restart, true, []string{"cut short", "the bus could not be reached"}},
		{"killed for long, its data lost", (*world).killRedis, (*world).restartEmpty, true, []string{"the store was emptied while it ran"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "paused for a moment" || strings.Contains(c.name, "lost") {
				soak(t) // as killed for a moment; as emptied
			}
			w := begin(t, keeps)
			w.everything()
			lasts := "20 s"
			if c.long {
				lasts = "9 minutes"
			}
			k := w.start(w.Slack, lasting(lasts))
			c.away(w)
			if c.long {
				if took := w.gone("db-1", "db-2"); took < grace/2 || soaking() && took > grace+most {
					t.Errorf("detached after %v", took)
				}
			} else {
				time.Sleep(time.Second) // how long it is away is what is tested
				if len(w.loaded("db-1")) == 0 {
					t.Error("detached within the grace")
				}
			}
			c.back(w)
			m := k.result()
			t.Logf("%s\n%s", m.Title, m.Text)
			for _, want := range c.says {
				if !strings.Contains(m.Text, want) {
					t.Errorf("the thread does not say %q", want)
				}
			}
			w.ran(1, "db-1", "db-2")
			if !strings.Contains(c.name, "lost") {
				if strings.Contains(m.Text, "emptied") {
					t.Error("the store was not emptied, but restarted with what it had")
				}
				w.once(k)
				w.agreed(1)
			}
			// And everything works again, when the nodes are back on the list.
			w.announced("db-1", "db-2")
			w.runsAgain(w.Discord, "carol")
		})
	}
}

// runsAgain holds that a request has its run on both nodes, the second that each attaches.
func (w *world) runsAgain(chat teamtest.Chat, approver string) {
	again := w.ask(chat, what)
	again.press(approver, again.card(), "approve")
	again.running()
	w.attached("db-1", 2)
	w.attached("db-2", 2)
	again.stop()
	w.ran(2, "db-1", "db-2")
}

// Redis is away for much longer than anything lasts, and comes back empty. Whoever
// asked is told all the same.
func TestRedisAwayForMinutes(t *testing.T) {
	soak(t)
	w := begin(t)
	w.everything()
	k := w.start(w.Slack, what)
	w.Redis.Kill()
	w.gone("db-1", "db-2")
	time.Sleep(time.Minute) // how long it is away is what is tested
	w.Redis.RestartEmpty()
	if m := k.result(); !strings.Contains(m.Text, "the store was emptied while it ran") {
		t.Errorf("the thread says\n%s", m.Text)
	}
	w.ran(1, "db-1", "db-2")
}

func (w *world) pause()        { w.Redis.Pause() }
func (w *world) resume()       { w.Redis.Resume() }
func (w *world) killRedis()    { w.Redis.Kill() }
func (w *world) restart()      { w.Redis.Restart() }
func (w *world) restartEmpty() { w.Redis.RestartEmpty() }

// Redis is emptied. What runs ends by its deadline or before, what waits for
// approval can no longer be approved, and whoever tries is told.
func TestRedisEmptied(t *testing.T) {
	w := begin(t)
	w.everything()
	waits := w.ask(w.Discord, what)
	card := waits.card()
	k := w.start(w.Slack, lasting("20 s"))
	if err := w.Redis.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	waits.press("bob", card, "approve")
	waits.wait("the answer to the click", teamtest.Only("bob"), teamtest.Saying("kgent knows nothing of this any more"))
	m := k.result()
	t.Logf("%s\n%s", m.Title, m.Text)
	if !strings.Contains(m.Text, "the store was emptied while it ran") {
		t.Error("the thread does not say what happened")
	}
	w.ran(1, "db-1", "db-2")
	// The nodes are back on the list within moments, and all works again.
	w.announced("db-1", "db-2")
	w.runsAgain(w.Slack, "bob")
}

// Redis takes no writes: it became a replica, or lost its replicas, or is full.
// Nothing starts; what runs ends within the grace, and when Redis takes writes
// again the thread says why.
func TestRedisReadOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		on, clear [][]any
	}{
		{"a replica", [][]any{{"REPLICAOF", "127.0.0.1", "1"}}, [][]any{{"REPLICAOF", "NO", "ONE"}}},
		{"without its replicas", [][]any{{"CONFIG", "SET", "min-replicas-to-write", "1"}}, [][]any{{"CONFIG", "SET", "min-replicas-to-write", "0"}}},
		{"full", [][]any{{"CONFIG", "SET", "maxmemory", "1mb"}}, [][]any{{"CONFIG", "SET", "maxmemory", "0"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "a replica" {
				soak(t) // as for a replica
			}
			w := begin(t)
			w.everything()
			waits := w.ask(w.Slack, what)
			card := waits.card()
			k := w.start(w.Discord, what)
			admin := w.Redis.Client()
			do := func(commands [][]any) {
				t.Helper()
				for _, args := range commands {
					if err := admin.Do(t.Context(), args...).Err(); err != nil {
						t.Fatalf("%v: %v", args, err)
					}
				}
			}
			do(c.on)
			// The click is lost or late, and does nothing meanwhile.
			clicked := make(chan error, 1)
			go func() { clicked <- waits.chat.Click(w.within(10*time.Second), "bob", card, "approve") }()
			if took := w.gone("db-1", "db-2"); took < grace/2 || soaking() && took > lease+grace+most {
				t.Errorf("detached after %v", took)
			}
			t.Logf("the click: %v", <-clicked)
			if n := len(w.entries("db-1", "attached")); n != 1 {
				t.Errorf("%d runs were attached meanwhile", n-1)
			}
			do(c.clear)
			m := k.result()
			t.Logf("%s\n%s", m.Title, m.Text)
			if !strings.Contains(m.Text, "bus") && !strings.Contains(m.Text, "nobody follow") {
				t.Error("the thread does not say what happened")
			}
			w.ran(1, "db-1", "db-2")
			w.once(k, waits)
			// What waits can be approved now, if bob's click has not come late.
			if m := waits.wait("the card or the run", func(m teamtest.Message) bool { return m.Has("approve") || m.Has("stop") }); m.Has("approve") {
				waits.press("carol", m, "approve")
			}
			waits.running()
			w.attached("db-1", 2)
			w.attached("db-2", 2)
			waits.stop()
			w.ran(2, "db-1", "db-2")
		})
	}
}

// Redis is slow: everything takes longer, and nothing else changes.
func TestRedisSlow(t *testing.T) {
	w := begin(t)
	line := newWire(t, w.address())
	w.Through = map[string]string{bus.BotUser: line.addr, bus.NodeUser("db-1"): line.addr}
	w.everything()
	line.delay(60 * time.Millisecond)
	k := w.start(w.Slack, what)
	if m := k.stop(); !strings.Contains(m.Text, "db-1: answered") {
		t.Errorf("the result is\n%s", m.Text)
	}
	if why, detail := w.ended("db-1", 1); why != output.ReasonStopped {
		t.Errorf("the run ended because of %s (%s), want stopped", why, detail)
	}
	w.ran(1, "db-1", "db-2")
	w.once(k)
	w.agreed(1)
}
