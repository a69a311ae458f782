package faults

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/bot/discord/discordd"
	"kgent/bot/slack/slackd"
	"kgent/bot/teamtest"
	"kgent/bot/thread"
)

// Every event comes four times, and with two bots to any of them: it counts
// once.
func TestDeliveredFourTimes(t *testing.T) {
	w := begin(t)
	w.nodes()
	w.StartBot()
	w.StartBot()
	for _, on := range []string{"event:*", "interaction:*"} {
		w.Slack.Inject(slackd.Fault{On: on, Redeliver: 3})
	}
	onSlack := w.start(w.Slack, what)
	onSlack.stop()

	onDiscord := w.ask(w.Discord, what)
	again := func(id string) {
		t.Helper()
		for range 3 {
			if err := w.Discord.Redeliver(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	again(onDiscord.at.Channel) // the id of a thread is that of its first message
	card := onDiscord.card()
	bob, err := w.Discord.Person("bob")
	if err != nil {
		t.Fatal(err)
	}
	in, err := bob.Click(card.ID, "approve:"+card.Buttons[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	again(in.ID)
	if _, err := in.Wait(w.Context()); err != nil && !errors.Is(err, discordd.ErrNoAnswer) { // too busy for that
		t.Fatal(err)
	}
	onDiscord.running()
	w.attached("db-1", 2)
	w.attached("db-2", 2)
	onDiscord.stop()

	w.ran(2, "db-1", "db-2")
	w.once(onSlack, onDiscord)
	w.agreed(2)
}

// A socket is renewed, or breaks, in the middle of a click.
func TestSocketBreaksInMidClick(t *testing.T) {
	w := begin(t)
	w.everything()
	for i, fault := range []slackd.Fault{{Disconnect: "warning"}, {Disconnect: "refresh_requested"}, {Kill: true}, {LoseAck: true}} {
		t.Run([]string{"warning", "refresh", "killed", "no ack"}[i], func(t *testing.T) {
			w := w.in(t)
			k := w.ask(w.Slack, what)
			card := k.card()
			fault.On, fault.Count = "interaction:block_actions", 1
			w.Slack.Inject(fault)
			k.press("bob", card, "approve")
			k.running()
			w.attached("db-1", i+1)
			w.attached("db-2", i+1)
			k.stop()
			w.ran(i+1, "db-1", "db-2")
			w.once(k)
			w.agreed(i + 1)
		})
	}
}

// Discord's gateway breaks around a click, and replays it; or it forgets the
// session.
func TestGatewayBreaks(t *testing.T) {
	w := begin(t, func(cfg *teamtest.Config) {
		cfg.Discord = func(d *discordd.Config) { d.RateScale, d.Heartbeat = 0, 3*time.Second }
	})
	w.everything()
	for i, c := range []struct {
		name string
		do   func(*discordd.Server)
	}{
		{"resume replays a click", func(s *discordd.Server) { s.ReplayOnResume(6); s.DropConnections() }},
		{"op7", func(s *discordd.Server) { s.ReplayOnResume(6); s.Reconnect() }},
		{"op9, resumable", func(s *discordd.Server) { s.InvalidateSessions(true) }},
		{"op9, not resumable", func(s *discordd.Server) { s.InvalidateSessions(false) }},
		{"half open", func(s *discordd.Server) { s.HalfOpen() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.in(t)
			k := w.ask(w.Discord, what)
			k.press("bob", k.card(), "approve")
			c.do(w.Discord.Server)
			k.running()
			w.attached("db-1", i+1)
			w.attached("db-2", i+1)
			if err := w.Discord.WaitGateway(w.Context(), 1); err != nil {
				t.Fatal(err)
			}
			// People go on as soon as Discord lets them.
			var m teamtest.Message
			w.Until("Stop is answered", func() bool {
				if m = k.running(); len(w.Discord.Gateways()) == 0 {
					return false
				}
				return k.chat.Click(w.within(4*time.Second), "carol", m, "stop") == nil
			})
			k.result()
			w.ran(i+1, "db-1", "db-2")
			w.once(k)
			w.agreed(i + 1)
		})
	}
}

// Both services answer 429 to everything for a while. Everything is said in the
// end, once.
func TestRateLimitStorm(t *testing.T) {
	w := begin(t)
	w.everything()
	w.Slack.Inject(slackd.Fault{On: "chat.*", Error: "ratelimited", RetryAfter: time.Second, Count: 6})
	w.Slack.Inject(slackd.Fault{On: "files.*", Error: "ratelimited", RetryAfter: time.Second, Count: 3})
	const messages = "/channels/{channel}/messages"
	w.Discord.Inject(discordd.Fault{Route: messages, RetryAfter: time.Second, Times: 4})
	w.Discord.Inject(discordd.Fault{Route: messages, RetryAfter: time.Second, Global: true, Times: 2})
	w.Discord.Inject(discordd.Fault{Route: messages + "/{message}", RetryAfter: time.Second, Times: 4})
	var talks []*talk
	for _, c := range w.chats() {
		talks = append(talks, w.ask(c, lasting("4 s")))
	}
	for _, k := range talks {
		k.press("bob", k.card(), "approve")
	}
	for _, k := range talks {
		k.result()
	}
	w.ran(2, "db-1", "db-2")
	w.once(talks...)
	w.agreed(2)
}

// The services do what they are asked, and their answer is lost. No message is
// posted twice.
func TestAnswerLost(t *testing.T) {
	w := begin(t)
	w.everything()
	for i := range 8 {
		f := slackd.Fault{On: "chat.postMessage", Count: 1, Skip: 1, AfterCommit: true}
		switch i % 3 {
		case 0:
			f.Status = 502
		case 1:
			f.Drop = true
		case 2:
			f.Error = "internal_error"
		}
		w.Slack.Inject(f)
	}
	w.Slack.Inject(slackd.Fault{On: "files.completeUploadExternal", Count: 2, Skip: 1, AfterCommit: true, Status: 503})
	for i := range 6 {
		f := discordd.Fault{Method: "POST", Route: "/channels/{channel}/messages", Commit: true}
		if i%2 == 0 {
			f.Status = 502
		} else {
			f.Status = 504
		}
		w.Discord.Inject(f)
	}
	var talks []*talk
	for _, c := range w.chats() {
		talks = append(talks, w.ask(c, lasting("4 s")))
	}
	for _, k := range talks {
		k.press("bob", k.card(), "approve")
	}
	for _, k := range talks {
		k.result()
	}
	w.Until("everything is sent", func() bool {
		db := w.Redis.Client()
		return db.ZCard(t.Context(), "kgent:due:slack").Val()+db.ZCard(t.Context(), "kgent:due:discord").Val() == 0
	})
	w.ran(2, "db-1", "db-2")
	w.once(talks...)
	w.agreed(2)
}

// Two bots share the work; each event is handled once. When the one that holds
// Discord's gateway is killed, the other takes everything over.
func TestTakeOver(t *testing.T) {
	w := begin(t)
	w.nodes()
	first := w.StartBot()
	second := w.StartBot()
	var talks []*talk
	for i := range 6 {
		// All at once: a node checks two programs at a time.
		talks = append(talks, w.ask(w.chats()[i%2], lasting("4 s")))
	}
	for _, k := range talks {
		k.press("bob", k.card(), "approve")
	}
	for _, k := range talks[:2] {
		k.result()
	}
	gates := w.Discord.Gateways()
	if len(gates) != 1 {
		t.Fatalf("%d gateway connections, want 1: %+v", len(gates), gates)
	}
	first.Kill()
	begun := time.Now()
	w.Until("the other holds the gateway", func() bool {
		now := w.Discord.Gateways()
		return len(now) == 1 && now[0].Session != gates[0].Session // the old one is noticed late
	})
	t.Logf("the gateway moved after %v", time.Since(begun))
	if took := time.Since(begun); took > gateway+most {
		t.Errorf("the gateway moved after %v", took)
	}
	for _, k := range talks[2:] {
		k.result()
	}
	for _, c := range w.chats() {
		k := w.ask(c, lasting("3 s"))
		k.press("bob", k.card(), "approve")
		k.result()
		talks = append(talks, k)
	}
	if ended, err := second.Ended(); ended {
		t.Errorf("the other has ended: %v", err)
	}
	w.ran(8, "db-1", "db-2")
	w.once(talks...)
	w.agreed(8)
}

// The model hangs while somebody presses Stop: it stops at once all the same.
func TestModelHangs(t *testing.T) {
	l, hung := hangingModel(t)
	w := begin(t, func(c *teamtest.Config) {
		c.Env = []string{"OPENAI_BASE_URL=" + l, "OPENAI_API_KEY=none", "KGENT_MODEL=hangs"}
	})
	w.everything()
	k := w.start(w.Slack, what)
	w.ask(w.Slack, "which processes give up the CPU with sched_yield on db-1")
	select {
	case <-hung:
	case <-time.After(teamtest.Patience):
		t.Fatal("the model was not asked")
	}
	m := k.running()
	begun := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() { k.press("carol", m, "stop") })
	took := w.gone("db-1", "db-2")
	wg.Wait()
	k.result()
	t.Logf("detached after %v, in the thread after %v", took, time.Since(begun))
	w.ran(1, "db-1", "db-2")
}

// A place where messages go is closed in mid-run.
func TestPlaceCloses(t *testing.T) {
	w := begin(t)
	w.everything()
	t.Run("the live message is deleted on Slack", func(t *testing.T) {
		w := w.in(t)
		k := w.start(w.Slack, what)
		old := k.running()
		w.Slack.SetUser("U0ALICE", func(p *slackd.Person) { p.Admin = true })
		m, _ := w.Slack.Server.Message(old.Channel, old.ID)
		if err := w.Slack.User("U0ALICE").Delete(m); err != nil {
			t.Fatal(err)
		}
		k.wait("a message with Stop in its place", teamtest.Having("stop"), func(m teamtest.Message) bool { return m.ID != old.ID })
		k.stop()
		w.ran(1, "db-1", "db-2")
		w.once(k)
	})
	t.Run("the live message is deleted on Discord", func(t *testing.T) {
		w := w.in(t)
		k := w.start(w.Discord, what)
		old := k.running()
		req, err := http.NewRequestWithContext(w.Context(), http.MethodDelete, w.Discord.APIURL()+"/v10/channels/"+old.Channel+"/messages/"+old.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bot "+w.Discord.Token())
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Fatalf("deleting the message: %s", resp.Status)
		}
		k.wait("a message with Stop in its place", teamtest.Having("stop"), func(m teamtest.Message) bool { return m.ID != old.ID })
		k.stop()
		w.ran(2, "db-1", "db-2")
		w.once(k)
	})
	t.Run("the thread is archived on Discord", func(t *testing.T) {
		w := w.in(t)
		k := w.start(w.Discord, what)
		if err := w.Discord.ArchiveThread(k.at.Channel, true, false); err != nil {
			t.Fatal(err)
		}
		k.stop()
		w.ran(3, "db-1", "db-2")
		w.once(k)
	})
	// Where nobody can see the output or press Stop, the run ends, and who asked
	// is told.
	for i, c := range []teamtest.Chat{w.Discord, w.Slack} {
		t.Run("the place is closed on "+c.Name(), func(t *testing.T) {
			w := w.in(t)
			k := w.start(c, what)
			if c == w.Discord {
				if err := w.Discord.DeleteThread(k.at.Channel); err != nil {
					t.Fatal(err)
				}
			} else {
				w.Slack.SetArchived(teamtest.SlackIncidents, true)
			}
			w.gone("db-1", "db-2") // long before its time
			var r thread.Request
			w.Until("the request has ended", func() bool {
				var err error
				r, err = w.request()
				return err == nil && r.State == thread.Ended
			})
			t.Logf("%s: %s", r.Outcome, r.Detail)
			if !strings.Contains(r.Detail, "archived") && !strings.Contains(r.Detail, "gone") {
				t.Errorf("the request ended with %q, which does not say why", r.Detail)
			}
			w.ran(4+i, "db-1", "db-2")
			// Alice hears of it all the same.
			if _, err := c.Wait(w.Context(), teamtest.Titled("Stopped: its output could not be shown")); err != nil {
				t.Error(err)
			}
		})
	}
}

// hangingModel is a model's address that takes requests and never answers.
func hangingModel(t *testing.T) (address string, asked <-chan struct{}) {
	t.Helper()
	came, end := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		once.Do(func() { close(came) })
		<-end
	}))
	t.Cleanup(func() { close(end); server.Close() })
	return server.URL, came
}
