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
	for i, c := range []struct {
		name  string
		token string // of what is said at that moment
		// heard says that Redis hears it, and only the bot never knows.
		heard bool
	}{
		{"between the vote and the thread", `"state":"approved"`, false},
		{"between the vote and the grant", `"state":"approved"`, true},
		{"between the grant and the thread", `"state":"running"`, false},
		{"between the grant and the first node", "lease:", false},
		{"between the nodes", "job:db-2", false},
		{"between the nodes and the thread", `"dispatched":true`, false},
		{"between the end and the result", `"outcome":"completed"`, false},
		{"between the result and the thread", `"outcome":"completed"`, true},
		{"between a post and its record", `{"channel":"C0INCIDENTS","id":`, false},
	} {
		for _, replicas := range []int{1, 2} {
			name := c.name + ", started again"
			if replicas == 2 {
				name = c.name + ", another there"
			}
			t.Run(name, func(t *testing.T) {
				if (i+replicas)%2 == 0 {
					soak(t) // each moment has one of the two in the short form
				}
				w := begin(t)
				// The checks of the program are sent to db-1, so that the first
				// word about db-2's queue is the run's.
				w.nodes()
				dead := w.doomed(replicas, c.token, c.heard)
				k := w.ask(w.Slack, strings.Replace(what, "30 s", "5 s", 1))
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
	for _, c := range []struct {
		name string
		away time.Duration // none: another is there
		says string
		why  output.Reason
	}{
		{"another there", 0, "ended as planned", output.ReasonDeadline},
		{"back soon", time.Second, "ended as planned", output.ReasonDeadline},
		{"back late", 16 * time.Second, "nobody follows", output.ReasonOutput},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := begin(t)
			bot := w.everything()
			k := w.start(w.Discord, strings.Replace(what, "30 s", "25 s", 1))
			if c.away == 0 {
				w.StartBot()
			}
			bot.Kill()
			if c.away > 0 {
				time.Sleep(c.away) // how long it is away is what is tested
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
	k := w.start(w.Discord, strings.Replace(what, "30 s", "12 s", 1))
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
	for _, again := range []bool{false, true} {
		name, says := "gone", "it fell silent"
		if again {
			name, says = "started again", "its executor was restarted"
		}
		t.Run(name, func(t *testing.T) {
			w := begin(t)
			one, _ := w.nodes()
			w.StartBot()
			k := w.start(w.Slack, strings.Replace(what, "30 s", "14 s", 1))
			one.Kill()
			w.gone(time.Second, "db-1")
			if len(w.loaded("db-2")) == 0 {
				t.Error("the program of the other node is gone too")
			}
			if again {
				w.LaunchExecutor("db-1", "role=db")
			}
			m := k.result()
			t.Logf("%s\n%s", m.Title, m.Text)
			for _, want := range []string{says, "db-1", "db-2: answered"} {
				if !strings.Contains(m.Text, want) {
					t.Errorf("the thread does not say %q", want)
				}
			}
			if why, _ := w.ended("db-2", 1); why != output.ReasonDeadline {
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
	k := w.start(w.Slack, strings.Replace(what, "30 s", "60 s", 1))
	one.Signal(syscall.SIGSTOP)
	w.Until("db-1 has been silent for long", func() bool {
		n, err := w.Redis.Client().Exists(t.Context(), "node:db-1").Result()
		return err == nil && n == 0
	})
	m := k.stop()
	if !strings.Contains(m.Text, "fell silent") {
		t.Errorf("the thread does not say that it fell silent:\n%s", m.Text)
	}
	one.Signal(syscall.SIGCONT)
	w.gone(2*time.Second, "db-1", "db-2")
	w.ran(1, "db-1", "db-2")
}

// A bot is cut off from Redis for longer than it may hold a request, and
// another takes over: when the first is back it does not end what goes on
// there.
func TestBotCutOff(t *testing.T) {
	w := begin(t)
	w.nodes()
	line := newWire(t, w.address())
	w.Through = map[string]string{bus.BotUser: line.addr}
	w.StartBot()
	w.Through = nil
	k := w.start(w.Slack, strings.Replace(what, "30 s", "26 s", 1))
	other := w.StartBot()
	line.cut(true)
	w.Until("the other has the request", func() bool {
		r, err := w.request()
		if err != nil {
			return false
		}
		who, err := w.Redis.Client().Get(t.Context(), "kgent:lock:request:"+r.ID).Result()
		return err == nil && strings.Contains(other.Log(), who)
	})
	time.Sleep(8 * time.Second) // until the first has given up reading
	line.cut(false)
	m := k.result()
	if why, detail := w.ended("db-1", 1); why != output.ReasonDeadline {
		t.Errorf("the run ended because of %s (%s), want its deadline", why, detail)
	}
	if !strings.Contains(m.Text, "ended as planned") {
		t.Errorf("the result is\n%s", m.Text)
	}
	w.ran(1, "db-1", "db-2")
	w.once(k)
}
