package slackd

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/slackevents"
	"github.com/slack-go/slack/socketmode"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	alice, bob, carol = "U0ALICE", "U0BOB", "U0CAROL"
	incidents         = "C0INCIDENTS"
)

// patience bounds every wait for something that must happen: far longer than it takes on
// a busy host.
const patience = 2 * time.Minute

// start serves the default workspace, quicker than Slack but as patient as the tests, and an
// API client.
func start(t *testing.T, change func(*Config)) (*Server, *slack.Client) {
	t.Helper()
	cfg := Default()
	cfg.NoRateLimits = true
	cfg.AckTimeout, cfg.TriggerLife = patience, patience
	cfg.Retries = []time.Duration{0, 10 * time.Millisecond, 10 * time.Millisecond}
	cfg.DisconnectGrace = 100 * time.Millisecond
	if change != nil {
		change(&cfg)
	}
	s, err := Start("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return s, slack.New(cfg.BotToken, slack.OptionAPIURL(s.APIURL()), slack.OptionAppLevelToken(cfg.AppToken), slack.OptionHTTPClient(client))
}

func bound(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// bot runs slack-go's Socket Mode client and hands every request to handle,
// whose result is sent with the acknowledgement.
func bot(t *testing.T, s *Server, api *slack.Client, handle func(socketmode.Event) any) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	client := socketmode.New(api)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := client.RunContext(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("socket mode: %v", err)
		}
	})
	wg.Go(func() {
		for {
			select {
			case e := <-client.Events:
				if e.Request != nil && e.Request.EnvelopeID != "" {
					payload := handle(e)
					if payload == nil {
						client.Ack(*e.Request)
					} else {
						client.Ack(*e.Request, payload)
					}
				}
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	if err := s.WaitSockets(bound(t), 1); err != nil {
		t.Fatal(err)
	}
}

// The way of a request through a thread with slack-go, over Socket Mode.
func TestConversation(t *testing.T) {
	s, api := start(t, nil)
	ctx := bound(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	bot(t, s, api, func(e socketmode.Event) any {
		switch data := e.Data.(type) {
		case slackevents.EventsAPIEvent:
			if in, ok := data.InnerEvent.Data.(*slackevents.AppMentionEvent); ok {
				_, _, err := api.PostMessage(in.Channel, slack.MsgOptionTS(in.TimeStamp), slack.MsgOptionText("ready?", false),
					slack.MsgOptionBlocks(slack.NewActionBlock("ask", slack.NewButtonBlockElement("yes", "42", slack.NewTextBlockObject("plain_text", "Yes", false, false)))))
				check(err)
			}
		case slack.InteractionCallback:
			switch data.Type {
			case slack.InteractionTypeBlockActions:
				if v := data.ActionCallback.BlockActions[0].Value; v != "42" {
					t.Errorf("the button's value is %q", v)
				}
				_, _, _, err := api.UpdateMessage(data.Channel.ID, data.Message.Timestamp, slack.MsgOptionText("was asked", false))
				check(err)
				_, err = api.OpenView(data.TriggerID, slack.ModalViewRequest{Type: "modal", CallbackID: "why", PrivateMetadata: data.Message.ThreadTimestamp,
					Title: slack.NewTextBlockObject("plain_text", "Why", false, false), Submit: slack.NewTextBlockObject("plain_text", "Send", false, false),
					Blocks: slack.Blocks{BlockSet: []slack.Block{slack.NewInputBlock("reason", slack.NewTextBlockObject("plain_text", "Reason", false, false), nil,
						slack.NewPlainTextInputBlockElement(nil, "text"))}}})
				check(err)
			case slack.InteractionTypeViewSubmission:
				reason := data.View.State.Values["reason"]["text"].Value
				if reason == "no" {
					return slack.NewErrorsViewSubmissionResponse(map[string]string{"reason": "more, please"})
				}
				_, err := api.PostEphemeral(incidents, data.User.ID, slack.MsgOptionTS(data.View.PrivateMetadata), slack.MsgOptionText("because "+reason, false))
				check(err)
			}
		}
		return nil
	})

	root, err := s.User(alice).Mention(incidents, "do it")
	check(err)
	card, err := s.WaitMessage(ctx, func(m Message) bool { return m.ThreadTS == root.TS && m.BotID != "" })
	check(err)
	check(s.User(bob).Click(ctx, card, "yes"))
	if err := s.User(bob).Click(ctx, card, "yes"); err == nil {
		t.Error("a button that an update took away could be clicked")
	}
	if _, err := s.WaitModal(ctx, bob, func(v View) bool { return v.CallbackID == "why" }); err != nil {
		t.Fatal(err)
	}
	if _, open, err := s.User(bob).Submit(ctx, nil); err == nil || !open {
		t.Error("a required field could be left empty")
	}
	v, open, err := s.User(bob).Submit(ctx, map[string][]string{"text": {"no"}})
	if err != nil || !open || v.Errors["reason"] != "more, please" {
		t.Errorf("after a refused form: %+v, open %v, %v", v, open, err)
	}
	if _, open, err = s.User(bob).Submit(ctx, map[string][]string{"text": {"it hangs"}}); err != nil || open {
		t.Errorf("after a form: open %v, %v", open, err)
	}
	m, err := s.WaitMessage(ctx, func(m Message) bool { return m.EphemeralTo == bob })
	check(err)
	if m.Text != "because it hangs" || m.ThreadTS != root.TS {
		t.Errorf("the ephemeral message: %+v", m)
	}
	card, _ = s.Message(incidents, card.TS)
	if len(card.Revisions) != 2 || card.Blocks != nil || !strings.Contains(string(card.Revisions[0].Blocks), `"ask"`) {
		t.Errorf("the card's revisions: %+v", card.Revisions)
	}
}

// Two hundred requests at once, each with an answer and an edit, as many as
// kgent is to carry.
func TestMany(t *testing.T) {
	s, api := start(t, func(c *Config) {
		c.Events = []string{"app_mention", "message.channels"}
	})
	ctx := bound(t)
	var answers sync.WaitGroup
	bot(t, s, api, func(e socketmode.Event) any {
		if data, ok := e.Data.(slackevents.EventsAPIEvent); ok {
			if in, ok := data.InnerEvent.Data.(*slackevents.AppMentionEvent); ok {
				answers.Go(func() {
					channel, ts, err := api.PostMessage(in.Channel, slack.MsgOptionTS(in.TimeStamp), slack.MsgOptionText("first", false))
					if err == nil {
						_, _, _, err = api.UpdateMessage(channel, ts, slack.MsgOptionText("second", false))
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
		}
		return nil
	})
	var askers sync.WaitGroup
	for range 200 {
		askers.Go(func() {
			root, err := s.User(alice).Mention(incidents, "hello")
			if err != nil {
				t.Error(err)
				return
			}
			for _, text := range []string{"first", "second"} {
				if _, err := s.WaitMessage(ctx, func(m Message) bool { return m.ThreadTS == root.TS && m.Text == text }); err != nil {
					t.Errorf("%s: %v", text, err)
				}
			}
		})
	}
	askers.Wait()
	answers.Wait()
	if err := s.WaitIdle(ctx); err != nil {
		t.Error(err)
	}
	for _, d := range s.Deliveries() {
		if d.Attempt > 0 || !d.Acked {
			t.Fatalf("not acknowledged at once: %+v", d)
		}
	}
}
