package faults

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kgent/approvals/audit"
	"kgent/bot/teamtest"
	"kgent/executor/bus"
	"kgent/executor/output"
)

// doomed starts bots of which the first that is about to say something to Redis
// is killed instead, or when it has been said but before it knows.
func (w *world) doomed(bots int, token string, heard bool) (dead <-chan struct{}) {
	w.t.Helper()
	died := make(chan struct{}, bots)
	var once sync.Once
	for range bots {
		line := newWire(w.t, w.address())
		w.Through = map[string]string{bus.BotUser: line.addr}
		bot := w.StartBot()
		w.Through = nil
		line.before(token, func() bool {
			pass := true
			once.Do(func() {
				bot.Kill()
				pass = heard
				died <- struct{}{}
			})
			return pass
		})
	}
	return died
}

// A bot is killed at the worst moments. Either another takes over, or it is
// started again.
func TestBotKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		token string // of what is said at that moment: a regular expression
		// heard says that Redis hears it, and only the bot never knows.
		heard bool
		// short is with how many bots it is tested in the short form, if it is.
		short int
	}{
		{"between the vote and the thread", `"state":"approved"`, false, 0},
		{"between the vote and the grant", `"state":"approved"`, true, 2},
		{"between the grant and the thread", `"state":"running"`, false, 0},
		{"between the grant and the nodes", "lease:", false, 0},
		// A check of the program goes to one of them alone.
		{"between the nodes' hearing of it and the bot's knowing", `job:db-1\r\n\$\d+\r\n[^\r\n]*job:db-2\r\n`, true, 1},
		{"between the nodes and the thread", `"dispatched":true`, false, 2},
		{"between the end and the result", `"outcome":"completed"`, false, 1},
		{"between the result and the thread", `"outcome":"completed"`, true, 0},
		{"between a post and its record", `\{"channel":"C0INCIDENTS","id":`, false, 1},
	} {
		for _, replicas := range []int{1, 2} {
			name := c.name + ", started again"
			if replicas == 2 {
				name = c.name + ", another there"
			}
			t.Run(name, func(t *testing.T) {
				if replicas != c.short {
					soak(t)
				}
				w := begin(t)
				w.nodes()
				dead := w.doomed(replicas, c.token, c.heard)
				k := w.ask(w.Slack, lasting("5 s"))
				early := strings.Contains(c.name, "a post")
				if !early {
					k.press("bob", k.card(), "approve")
				}
				select {
				case <-dead:
				case <-time.After(teamtest.Patience):
					t.Fatal("no bot came so far")
				}
				if replicas == 1 {
					w.StartBot()
				}
				if early {
					k.press("bob", k.card(), "approve")
				}
				k.result()
				w.ran(1, "db-1", "db-2")
				w.once(k)
				w.agreed(1)
			})
		}
	}
}

// agreed fails the test unless so many votes and grants are in the audit log.
func (w *world) agreed(n int) {
	w.t.Helper()
	votes, grants := 0, map[string]bool{}
	for _, e := range w.log() {
		switch e.Kind {
		case audit.Vote:
			votes++
		case audit.Grant:
			grants[e.Run] = true
		}
	}
	if votes != n || len(grants) != n {
		w.t.Errorf("the audit log has %d votes and %d runs granted, want %d of each", votes, len(grants), n)
	}
}

// The only bot is killed while a trace runs, and started again: soon enough,
// or when the nodes have ended the run for want of anybody who follows it.
func TestBotKilledInMidRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		back  string // when there is a bot again
		lasts string
		says  string
		why   output.Reason
	}{
		{"another there", "before", "20 s", "ended as planned", output.ReasonDeadline},
		{"back soon", "at once", "20 s", "ended as planned", output.ReasonDeadline},
		{"back late", "late", "9 minutes", "nobody follows", output.ReasonOutput},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.back == "at once" {
				soak(t) // TestBotKilled kills the only bot, too
			}
			w := begin(t)
			bot := w.everything()
			k := w.start(w.Discord, lasting(c.lasts))
			if c.back == "before" {
				w.StartBot()
			}
			bot.Kill()
			if c.back == "late" { // when the nodes have given it up
				w.ended("db-1", 1)
				w.ended("db-2", 1)
			}
			if c.back != "before" {
				w.StartBot()
			}
			m := k.result()
			t.Logf("%s\n%s", m.Title, m.Text)
			if !strings.Contains(m.Text, c.says) {
				t.Errorf("the thread does not say %q", c.says)
			}
			if why, detail := w.ended("db-1", 1); why != c.why {
				t.Errorf("the run ended because of %s (%s), want %s", why, detail, c.why)
			}
			w.ran(1, "db-1", "db-2")
			w.once(k)
			w.agreed(1)
		})
	}
}

// A bot that is told to end hands its runs over: none is stopped, and whoever
// comes next goes on.
func TestBotEnds(t *testing.T) {
	w := begin(t)
	bot := w.everything()
	k := w.start(w.Discord, lasting("12 s"))
	bot.Terminate()
	w.StartBot()
	m := k.result()
	if why, detail := w.ended("db-1", 1); why != output.ReasonDeadline {
		t.Errorf("the run ended because of %s (%s), want its deadline", why, detail)
	}
	if strings.Contains(m.Text, "topped") {
		t.Errorf("the thread says that it was stopped:\n%s", m.Text)
	}
	w.ran(1, "db-1", "db-2")
	w.once(k)
}

// An executor is killed in mid-run: its program goes with it, the thread says
// so, and what the other node sees stays.
func TestExecutorKilled(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		name, says := "gone", "it fell silent"
		if again {
			name, says = "started again", "its executor died while"
		}
		t.Run(name, func(t *testing.T) {
			w := begin(t)
			one, _ := w.nodes()
			w.StartBot()
			k := w.start(w.Slack, what)
			one.Kill()
			w.gone("db-1") // by itself it would end later
			if len(w.loaded("db-2")) == 0 {
				t.Error("the program of the other node is gone too")
			}
			if again {
				w.LaunchExecutor("db-1", "role=db")
				w.Until("db-1 has answered", func() bool {
					n, err := w.Redis.Client().XLen(t.Context(), "job:db-1").Result()
					return err == nil && n == 0
				})
			} else {
				w.silent("db-1")
			}
			// The run goes on where nothing has happened.
			if len(w.loaded("db-2")) == 0 {
				t.Error("the run has ended on the other node, too")
			}
			m := k.stop()
			t.Logf("%s\n%s", m.Title, m.Text)
			for _, want := range []string{says, "db-1", "db-2: answered"} {
				if !strings.Contains(m.Text, want) {
					t.Errorf("the thread does not say %q", want)
				}
			}
			if why, _ := w.ended("db-2", 1); why != output.ReasonStopped {
				t.Errorf("the other node's run ended because of %s", why)
			}
			w.ran(1, "db-1", "db-2")
			w.once(k)
		})
	}
}

// An executor hangs: the run does not go on unwatched, and the node detaches
// by itself when it can.
func TestExecutorHangs(t *testing.T) {
	w := begin(t)
	one, _ := w.nodes()
	w.StartBot()
	k := w.start(w.Slack, what)
	one.Signal(syscall.SIGSTOP)
	w.silent("db-1")
	m := k.stop()
	if !strings.Contains(m.Text, "fell silent") {
		t.Errorf("the thread does not say that it fell silent:\n%s", m.Text)
	}
	one.Signal(syscall.SIGCONT)
	w.ran(1, "db-1", "db-2")
}

// silent waits until a node's announcement has expired.
func (w *world) silent(node string) {
	w.t.Helper()
	w.Until(node+" has been silent for long", func() bool {
		n, err := w.Redis.Client().Exists(w.t.Context(), "node:"+node).Result()
		return err == nil && n == 0
	})
}

// A bot is cut off from Redis for longer than it may hold a request, and
// another takes over: when the first is back it does not end what goes on
// there.
func TestBotCutOff(t *testing.T) {
	w := begin(t)
	w.nodes()
	var bots [2]*teamtest.Process
	var lines [2]*wire
	for i := range bots {
		lines[i] = newWire(t, w.address())
		w.Through = map[string]string{bus.BotUser: lines[i].addr}
		bots[i] = w.StartBot()
	}
	k := w.start(w.Slack, lasting("45 s"))
	holds := func(bot *teamtest.Process) bool {
		r, err := w.request()
		if err != nil {
			return false
		}
		who, err := w.Redis.Client().Get(t.Context(), "kgent:lock:request:"+r.ID).Result()
		return err == nil && strings.Contains(bot.Log(), who)
	}
	first := 0
	w.Until("one of the bots has the request", func() bool {
		for i := range bots {
			if holds(bots[i]) {
				first = i
				return true
			}
		}
		return false
	})
	lines[first].cut(true)
	off := time.Now()
	w.Until("the other has it", func() bool { return holds(bots[1-first]) })
	// Until the first has given up reading, and would still try to stop the run.
	time.Sleep(time.Until(off.Add(lease)))
	lines[first].cut(false)
	m := k.result()
	if why, detail := w.ended("db-1", 1); why != output.ReasonDeadline {
		t.Errorf("the run ended because of %s (%s), want its deadline", why, detail)
	}
	if !strings.Contains(m.Text, "ended as planned") {
		t.Errorf("the result is\n%s", m.Text)
	}
	w.ran(1, "db-1", "db-2")
	w.once(k)
	w.agreed(1)
}
