package discordd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bwmarrin/discordgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the real client logs what the tests provoke
	// A discordgo client that connected twice while it resumed has two heartbeats, and the second, whose
	// connection Close did not know, reconnects for ever.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/bwmarrin/discordgo.(*Session).reconnect"))
}

// patience bounds every wait for something that must happen: far longer than it takes on
// a busy host.
const patience = 2 * time.Minute

// start runs a server for the test, which is as patient as it.
func start(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	cfg := Example()
	cfg.AnswerTime = patience
	var over sync.Once
	done := make(chan struct{})
	cfg.Logf = func(format string, args ...any) {
		select {
		case <-done: // the test is over
		default:
			t.Logf(format, args...)
		}
	}
	if change != nil {
		change(&cfg)
	}
	s, err := Start("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		over.Do(func() { close(done) })
		http.DefaultClient.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// redirect sends what is meant for Discord to the stand-in.
type redirect struct {
	base *url.URL
	next http.RoundTripper
}

func (r redirect) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != "discord.com" {
		return nil, fmt.Errorf("request to %s: only discord.com is expected", req.URL.Host)
	}
	out := req.Clone(req.Context())
	out.URL.Scheme, out.URL.Host, out.Host = r.base.Scheme, r.base.Host, r.base.Host
	return r.next.RoundTrip(out)
}

// bot connects the real Go client. setup registers handlers before it opens.
func bot(t *testing.T, s *Server, setup func(*discordgo.Session)) *discordgo.Session {
	t.Helper()
	base, err := url.Parse(s.APIURL())
	if err != nil {
		t.Fatal(err)
	}
	d, err := discordgo.New("Bot " + s.Token())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	d.Client = &http.Client{Transport: redirect{base, transport}, Timeout: patience}
	d.Identify.Intents = discordgo.IntentsAllWithoutPrivileged | discordgo.IntentMessageContent
	if setup != nil {
		setup(d)
	}
	if err := d.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// discordgo, closed before its first heartbeat, takes the failing
		// write for a lost connection and reconnects for ever.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.await(ctx, func() bool {
			return !slices.ContainsFunc(s.gateways(), func(g Gateway) bool { return g.Beats == 0 })
		}); err != nil {
			t.Errorf("waiting for a heartbeat: %v", err)
		}
		d.Close()
		transport.CloseIdleConnections()
	})
	if err := s.WaitGateway(within(t), 1); err != nil {
		t.Fatal(err)
	}
	return d
}

func contains(text string) func(Message) bool {
	return func(m Message) bool { return strings.Contains(m.Text(), text) }
}

func TestDiscordgoConversation(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	d := bot(t, s, func(d *discordgo.Session) {
		d.AddHandler(func(d *discordgo.Session, m *discordgo.MessageCreate) {
			if m.Author.Bot {
				return
			}
			th, err := d.MessageThreadStart(m.ChannelID, m.ID, "trace", 1440)
			if err != nil {
				t.Error(err)
				return
			}
			_, err = d.ChannelMessageSendComplex(th.ID, &discordgo.MessageSend{
				Content: "card for " + m.Content,
				Components: []discordgo.MessageComponent{discordgo.ActionsRow{Components: []discordgo.MessageComponent{
					discordgo.Button{Label: "Approve", CustomID: "approve", Style: discordgo.SuccessButton},
					discordgo.Button{Label: "Deny", CustomID: "deny", Style: discordgo.DangerButton}}}},
				Files: []*discordgo.File{{Name: "program.c", Reader: strings.NewReader("int x;")}},
			})
			if err != nil {
				t.Error(err)
			}
		})
		d.AddHandler(func(d *discordgo.Session, i *discordgo.InteractionCreate) {
			var r *discordgo.InteractionResponse
			switch i.Type {
			case discordgo.InteractionMessageComponent:
				if i.MessageComponentData().CustomID == "deny" {
					r = &discordgo.InteractionResponse{Type: discordgo.InteractionResponseModal, Data: &discordgo.InteractionResponseData{
						CustomID: "why", Title: "Deny", Components: []discordgo.MessageComponent{discordgo.ActionsRow{Components: []discordgo.MessageComponent{
							discordgo.TextInput{CustomID: "reason", Label: "Reason", Style: discordgo.TextInputShort, Required: true}}}}}}
					break
				}
				r = &discordgo.InteractionResponse{Type: discordgo.InteractionResponseUpdateMessage, Data: &discordgo.InteractionResponseData{
					Content: "approved by " + i.Member.User.Username, Components: []discordgo.MessageComponent{}}}
			case discordgo.InteractionModalSubmit:
				in := i.ModalSubmitData().Components[0].(*discordgo.ActionsRow).Components[0].(*discordgo.TextInput)
				r = &discordgo.InteractionResponse{Type: discordgo.InteractionResponseChannelMessageWithSource, Data: &discordgo.InteractionResponseData{
					Content: "denied: " + in.Value, Flags: discordgo.MessageFlagsEphemeral}}
			case discordgo.InteractionApplicationCommand:
				r = &discordgo.InteractionResponse{Type: discordgo.InteractionResponseDeferredChannelMessageWithSource}
				if err := d.InteractionRespond(i.Interaction, r); err != nil {
					t.Error(err)
				}
				if _, err := d.InteractionResponseEdit(i.Interaction, &discordgo.WebhookEdit{Content: ptr("hello " + i.ApplicationCommandData().Options[0].StringValue())}); err != nil {
					t.Error(err)
				}
				return
			}
			if err := d.InteractionRespond(i.Interaction, r); err != nil {
				t.Error(err)
			}
		})
	})
	if _, err := d.ApplicationCommandBulkOverwrite(s.ApplicationID(), ExampleGuild, []*discordgo.ApplicationCommand{{
		Name: "kgent", Description: "trace", Options: []*discordgo.ApplicationCommandOption{{
			Type: discordgo.ApplicationCommandOptionString, Name: "what", Description: "what to trace", Required: true}}}}); err != nil {
		t.Fatal(err)
	}
	alice, bob := s.As(ExampleAlice), s.As(ExampleBob)
	ctx := within(t)
	asked, err := alice.Mention(ExampleIncidents, "who opens files?")
	if err != nil {
		t.Fatal(err)
	}
	card, err := s.WaitMessage(ctx, contains("card for"))
	if err != nil {
		t.Fatal(err)
	}
	if card.ChannelID != asked.ID || len(card.Attachments) != 1 || string(card.Attachments[0].Data) != "int x;" {
		t.Errorf("card in %s with %+v, want in the thread %s with a file", card.ChannelID, card.Attachments, asked.ID)
	}

	click, err := bob.Click(card.ID, "deny")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := click.Wait(ctx); err != nil || r.Modal == nil || r.Modal.Title != "Deny" {
		t.Fatalf("answer %+v, %v; want the modal", r, err)
	}
	if _, err := bob.Submit(click, nil); !errors.Is(err, ErrInput) {
		t.Errorf("a required input left empty: %v, want ErrInput", err)
	}
	sent, err := bob.Submit(click, map[string][]string{"reason": {"too broad"}})
	if err != nil {
		t.Fatal(err)
	}
	note, err := sent.WaitMessage(ctx)
	if err != nil || note.Content != "denied: too broad" || note.VisibleTo != ExampleBob {
		t.Fatalf("%+v, %v; want an ephemeral for Bob", note, err)
	}
	if seen, err := alice.Sees(card.ChannelID); err != nil || len(seen) != 2 {
		t.Errorf("Alice sees %d messages, %v; Bob's ephemeral is not hers", len(seen), err)
	}

	click, err = bob.Click(card.ID, "approve")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := click.Wait(ctx); err != nil || r.Message.Content != "approved by bob" {
		t.Fatalf("answer %+v, %v; want the updated card", r, err)
	}
	if _, err := bob.Click(card.ID, "approve"); !errors.Is(err, ErrStale) {
		t.Errorf("a click on a button that went: %v, want ErrStale", err)
	}
	if revs := s.Revisions(card.ID); len(revs) != 2 || len(revs[0].Components) != 1 || len(revs[1].Components) != 0 {
		t.Errorf("revisions %+v", revs)
	}

	slash, err := alice.Command(ExampleGeneral, "kgent", Option{"what", "world"})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := slash.WaitMessage(ctx); err != nil || m.Content != "hello world" {
		t.Errorf("%+v, %v", m, err)
	}
}

// The client resumes at the address it started with, and what it missed comes
// again with its old sequence numbers.
func TestDiscordgoResume(t *testing.T) {
	t.Parallel()
	const tries = 3
	for try := 1; ; try++ {
		why := resumes(t)
		switch {
		case why == "":
			return
		case try == tries:
			t.Fatal(why)
		}
		// On a busy machine the client may connect a second time while it resumes, and
		// close the connection that the replayed events are on.
		t.Logf("try %d: %s", try, why)
	}
}

// resumes cuts a client off, twice, and returns what it missed then.
func resumes(t *testing.T) (why string) {
	s := start(t, nil)
	got := make(chan string, 20)
	resumed := make(chan struct{}, 5)
	bot(t, s, func(d *discordgo.Session) {
		d.SyncEvents = true
		d.AddHandler(func(_ *discordgo.Session, m *discordgo.MessageCreate) { got <- m.Content })
		d.AddHandler(func(*discordgo.Session, *discordgo.Resumed) { resumed <- struct{}{} })
		d.AddHandler(func(_ *discordgo.Session, i *discordgo.InteractionCreate) { got <- "interaction " + i.ID })
	})
	next := func() string {
		select {
		case m := <-got:
			return m
		case <-time.After(patience):
			return "nothing"
		}
	}
	isResumed := func() bool {
		select {
		case <-resumed:
			return true
		case <-time.After(patience):
			return false
		}
	}
	alice := s.As(ExampleAlice)
	if _, err := alice.Post(ExampleGeneral, "one"); err != nil {
		t.Fatal(err)
	}
	if m := next(); m != "one" {
		t.Fatalf("got %q", m)
	}
	s.ReplayOnResume(1)
	s.DropConnections()
	if _, err := alice.Post(ExampleGeneral, "two"); err != nil {
		t.Fatal(err)
	}
	if a, b := next(), next(); a != "one" || b != "two" {
		return fmt.Sprintf("after the cut %q, %q; want the replayed and the missed one", a, b)
	}
	if !isResumed() {
		return "no RESUMED"
	}
	if g := s.Gateways(); len(g) != 1 || g[0].ViaResumeURL || g[0].Version != 9 {
		return fmt.Sprintf("gateways %+v, want one of version 9 at the original address", g)
	}
	s.Reconnect()
	if !isResumed() {
		return "no RESUMED after opcode 7"
	}
	return ""
}

// What the real client does with a 502 after the message was created: it posts
// again. With a nonce there is still one message.
func TestDiscordgoBadGatewayAfterCommit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		body     map[string]any
		messages int
	}{
		{"plain", map[string]any{"content": "x"}, 3},
		{"enforced nonce", map[string]any{"content": "x", "nonce": "n1", "enforce_nonce": true}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, nil)
			d := bot(t, s, nil)
			s.Inject(Fault{Method: "POST", Route: "/channels/{channel}/messages", Times: 2, Commit: true, Status: http.StatusBadGateway})
			to := discordgo.EndpointChannelMessages(ExampleGeneral)
			b, err := d.RequestWithBucketID("POST", to, tt.body, to)
			if err != nil {
				t.Fatal(err)
			}
			var m discordgo.Message
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			if n := len(s.Messages(ExampleGeneral)); n != tt.messages {
				t.Errorf("%d messages, want %d", n, tt.messages)
			}
			if n := len(s.Requests("POST", "/channels/{channel}/messages")); n != 3 {
				t.Errorf("%d posts, want 3", n)
			}
		})
	}
}

// The client answers opcode 9 with a new IDENTIFY on the same connection.
func TestDiscordgoInvalidSession(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	got := make(chan string, 5)
	bot(t, s, func(d *discordgo.Session) {
		d.AddHandler(func(_ *discordgo.Session, m *discordgo.MessageCreate) { got <- m.Content })
	})
	first := s.Gateways()[0].Session
	s.InvalidateSessions(false)
	if err := s.await(within(t), func() bool {
		g := s.gateways()
		return len(g) == 1 && g[0].Session != first
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.As(ExampleAlice).Post(ExampleGeneral, "after"); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-got:
		if m != "after" {
			t.Errorf("got %q", m)
		}
	case <-time.After(patience):
		t.Error("nothing came to the new session")
	}
}
