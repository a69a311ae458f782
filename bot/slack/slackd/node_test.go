package slackd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kgent/bot/nodetest"
)

func (s *Server) env() []string {
	return []string{"SLACK_API_URL=" + s.APIURL(), "SLACK_BOT_TOKEN=" + s.cfg.BotToken, "SLACK_APP_TOKEN=" + s.cfg.AppToken,
		"SLACK_SIGNING_SECRET=" + s.cfg.SigningSecret}
}

// Slack's own framework, which nobody here wrote, gets along with the
// stand-in both ways.
func TestBolt(t *testing.T) {
	project := nodetest.Install(t, "testdata/node")
	for _, mode := range []string{"socket", "http"} {
		t.Run(mode, func(t *testing.T) {
			s, _ := start(t, nil)
			ctx := bound(t)
			env := s.env()
			if mode == "http" {
				env = append(env, "HTTP=1")
			}
			bot := nodetest.Start(ctx, t, project, "bolt.js", env...)
			ready, err := bot.WaitLine(ctx, "ready")
			if err != nil {
				t.Fatal(err)
			}
			if mode == "http" {
				url := fmt.Sprintf("http://127.0.0.1:%s/slack/events", strings.Fields(ready)[1])
				if err := s.SetRequestURL(ctx, url); err != nil {
					t.Fatal(err)
				}
			}
			check := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			a, b := s.User(alice), s.User(bob)
			root, err := a.Mention(incidents, "please")
			check(err)
			card, err := s.WaitMessage(ctx, func(m Message) bool { return m.ThreadTS == root.TS && m.Text == "shall I?" })
			check(err)
			check(b.Click(ctx, card, "go"))
			_, err = s.WaitModal(ctx, bob, func(v View) bool { return v.CallbackID == "reason" })
			check(err)
			_, err = s.WaitMessage(ctx, func(m Message) bool { return m.TS == card.TS && m.Text == "going" && m.Blocks == nil })
			check(err)
			_, err = s.WaitMessage(ctx, func(m Message) bool { return m.EphemeralTo == bob && m.Text == "a modal is open" })
			check(err)
			v, open, err := b.Submit(ctx, map[string][]string{"text": {"bad"}})
			check(err)
			if !open || v.Errors["why"] != "not this" {
				t.Errorf("after a refused form: %+v", v)
			}
			_, open, err = b.Submit(ctx, map[string][]string{"text": {"of the test"}})
			check(err)
			if open {
				t.Error("the modal stayed open")
			}
			_, err = s.WaitMessage(ctx, func(m Message) bool { return m.EphemeralTo == bob && m.Text == "because of the test" })
			check(err)
			m, err := s.WaitMessage(ctx, func(m Message) bool { return len(m.Files) == 1 && m.ThreadTS == root.TS && m.Text == "all of it" })
			check(err)
			if data, _ := s.FileData(m.Files[0].ID); string(data) != "line 1\nline 2\n" || m.Files[0].Title != "Output" {
				t.Errorf("the file: %+v, %q", m.Files[0], data)
			}
			check(a.Slash(ctx, incidents, "", "/kgent", "hello"))
			_, err = s.WaitMessage(ctx, func(m Message) bool { return m.EphemeralTo == alice && m.Text == "you said hello" })
			check(err)
			check(a.Shortcut(ctx, root, "kgent_trace"))
			_, err = s.WaitMessage(ctx, func(m Message) bool {
				return m.TS == root.TS && len(m.Reactions) == 1 && m.Reactions[0].Name == "eyes"
			})
			check(err)
			a.OpenHome()
			_, err = s.WaitHome(ctx, alice, func(v View) bool { return strings.Contains(string(v.Blocks), "At home") })
			check(err)

			if mode == "http" { // Bolt refuses what Slack did not sign, or signed long ago.
				for _, f := range []Fault{{BadSignature: true}, {OldTimestamp: true}} {
					f.On, f.Count = "command:*", 1
					s.Inject(f)
					if err := a.Slash(ctx, incidents, "", "/kgent", "forged"); err == nil || errors.Is(err, ErrNotAcknowledged) {
						t.Errorf("%+v: %v", f, err)
					}
				}
			}
		})
	}
}

// The lower layers: an event delivered four times, a warning, a broken socket.
func TestSocketModeClient(t *testing.T) {
	project := nodetest.Install(t, "testdata/node")
	s, _ := start(t, func(c *Config) {
		c.AckTimeout = 500 * time.Millisecond
		c.Retries = slices.Repeat([]time.Duration{500 * time.Millisecond}, 100) // until the client is back
	})
	ctx := bound(t)
	bot := nodetest.Start(ctx, t, project, "socket.js", s.env()...)
	if err := s.WaitSockets(ctx, 1); err != nil {
		t.Fatal(err)
	}
	echo := func(text string) {
		t.Helper()
		root, err := s.User(alice).Mention(incidents, text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.WaitMessage(ctx, func(m Message) bool { return m.ThreadTS == root.TS && m.Text == "echo "+text }); err != nil {
			t.Fatal(text, err)
		}
	}
	s.Inject(Fault{On: "event:app_mention", Redeliver: 3, Count: 1})
	echo("four times")
	if _, err := bot.WaitLine(ctx, "heard four times retry 3"); err != nil {
		t.Error(err)
	}
	s.Inject(Fault{On: "event:app_mention", Disconnect: "warning", Count: 1})
	echo("in the middle of a warning")
	s.Disconnect("refresh_requested")
	echo("after a refresh")
	s.Kill()
	echo("after a broken socket")
	n := 0
	for _, m := range s.Messages(incidents) {
		if m.Text == "echo four times" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d answers", n)
	}
}
