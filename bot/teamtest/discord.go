package teamtest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kgent/bot/discord/discordd"
)

// Discord is the stand-in for Discord, and implements [Chat]. What a test wants
// to break or look at, it does through the server. A thread is a channel of its
// own there: [Thread.ID] is empty.
type Discord struct {
	*discordd.Server
	app      string
	channels []string          // of the guild
	users    map[string]string // ids by name
	names    map[string]string // names by id
}

// Channels of [Start]'s Discord: where people ask, and where the cards of what
// was asked elsewhere go under [Policy].
const (
	DiscordIncidents = discordd.ExampleIncidents
	DiscordApprovals = discordd.ExampleGeneral
)

func startDiscord(t testing.TB, change func(*discordd.Config)) *Discord {
	t.Helper()
	cfg := discordd.Example()
	cfg.RateScale = 1
	if change != nil {
		change(&cfg)
	}
	server, err := discordd.Start("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	d := &Discord{Server: server, app: server.ApplicationID(), users: map[string]string{}, names: map[string]string{}}
	for _, u := range cfg.Users {
		d.users[u.Username], d.names[u.ID] = u.ID, u.Username
	}
	for _, g := range cfg.Guilds {
		for _, c := range g.Channels {
			d.channels = append(d.channels, c.ID)
		}
	}
	return d
}

func (d *Discord) environment() []string {
	return []string{"DISCORD_API_URL=" + d.APIURL(), "DISCORD_TOKEN=" + d.Token(), "DISCORD_MESSAGE_CONTENT=1"}
}

// Name implements [Chat].
func (d *Discord) Name() string { return "discord" }

// Approvals implements [Chat].
func (d *Discord) Approvals() Thread { return Thread{Service: d.Name(), Channel: DiscordApprovals} }

// Person acts as somebody.
func (d *Discord) Person(who string) (*discordd.Actor, error) {
	id := d.users[who]
	if id == "" {
		return nil, fmt.Errorf("acting as %s: Discord has nobody of that name", who)
	}
	return d.As(id), nil
}

// Ask implements [Chat]: a mention.
func (d *Discord) Ask(_ context.Context, who, words string) (Thread, error) {
	a, err := d.Person(who)
	if err != nil {
		return Thread{}, err
	}
	m, err := a.Mention(DiscordIncidents, words)
	return Thread{Service: d.Name(), Channel: m.ID}, err
}

// Reply implements [Chat].
func (d *Discord) Reply(_ context.Context, who string, in Thread, words string) error {
	a, err := d.Person(who)
	if err != nil {
		return err
	}
	_, err = a.Post(in.Channel, words)
	return err
}

// press presses a button and returns the first answer.
func (d *Discord) press(ctx context.Context, who string, m Message, verb string) (*discordd.Interaction, discordd.Response, error) {
	a, err := d.Person(who)
	if err != nil {
		return nil, discordd.Response{}, err
	}
	i := slices.IndexFunc(m.Buttons, func(b Button) bool { return b.Verb == verb })
	if i < 0 {
		return nil, discordd.Response{}, fmt.Errorf("clicking %s: the message has only %v", verb, m.Verbs())
	}
	in, err := a.Click(m.ID, verb+":"+m.Buttons[i].ID)
	if err != nil {
		return nil, discordd.Response{}, err
	}
	answer, err := in.Wait(ctx)
	return in, answer, err
}

// Click implements [Chat].
func (d *Discord) Click(ctx context.Context, who string, m Message, verb string) error {
	_, _, err := d.press(ctx, who, m, verb)
	return err
}

// Open implements [Chat].
func (d *Discord) Open(ctx context.Context, who string, m Message, verb string) (Form, error) {
	in, answer, err := d.press(ctx, who, m, verb)
	if err != nil {
		return nil, err
	}
	if answer.Modal == nil {
		return nil, fmt.Errorf("clicking %s opened no form, but was answered with %+v", verb, answer)
	}
	return &discordForm{d, who, in, *answer.Modal}, nil
}

// Wait implements [Chat].
func (d *Discord) Wait(ctx context.Context, match func(Message) bool) (Message, error) {
	found, err := d.WaitMessage(ctx, func(m discordd.Message) bool {
		return d.ours(m) && match(d.message(m))
	})
	if err != nil {
		return Message{}, err
	}
	return d.message(found), nil
}

// Messages implements [Chat].
func (d *Discord) Messages() []Message {
	var out []Message
	add := func(channel string) {
		for _, m := range d.Server.Messages(channel) {
			if d.ours(m) {
				out = append(out, d.message(m))
			}
		}
	}
	for _, c := range d.channels {
		add(c)
		for _, th := range d.Threads(c) {
			add(th.ID)
		}
	}
	return out
}

// Versions implements [Chat].
func (d *Discord) Versions(m Message) []Message {
	var out []Message
	for _, r := range d.Revisions(m.ID) {
		out = append(out, d.message(r))
	}
	return out
}

func (d *Discord) ours(m discordd.Message) bool { return !m.Deleted && m.Author.ID == d.app }

func (d *Discord) message(m discordd.Message) Message {
	out := Message{Thread: Thread{Service: d.Name(), Channel: m.ChannelID}, ID: m.ID, Only: d.names[m.VisibleTo], Text: unmarked(m.Text())}
	if m.VisibleTo != "" && out.Only == "" {
		out.Only = m.VisibleTo
	}
	out.Title, _, _ = strings.Cut(out.Text, "\n")
	var walk func([]discordd.Component)
	walk = func(cs []discordd.Component) {
		for _, c := range cs {
			if verb, id, ok := strings.Cut(c.CustomID, ":"); ok && c.Type == discordd.TypeButton && !c.Disabled {
				out.Buttons = append(out.Buttons, Button{Verb: verb, ID: id, Label: c.Label})
			}
			walk(c.Components)
			if c.Accessory != nil {
				walk([]discordd.Component{*c.Accessory})
			}
		}
	}
	walk(m.Components)
	for _, a := range m.Attachments {
		out.Files = append(out.Files, File{Name: a.Filename, Title: a.Description, Type: a.ContentType, Data: a.Data})
	}
	return out
}

var (
	leads   = regexp.MustCompile(`(?m)^(### |-# |> |- )`)
	escaped = regexp.MustCompile(`\\([!-/:-@\[-` + "`" + `{-~])|\*\*`)
)

// unmarked is what a person reads of Discord's markdown as kgent writes it.
func unmarked(s string) string {
	parts := strings.Split(s, "```")
	for i := range parts {
		if i%2 == 0 {
			parts[i] = escaped.ReplaceAllString(leads.ReplaceAllString(parts[i], ""), "$1")
		}
	}
	return strings.Join(parts, "")
}

// discordForm is a modal.
type discordForm struct {
	d     *Discord
	who   string
	in    *discordd.Interaction
	modal discordd.Modal
}

// Title implements [Form].
func (f *discordForm) Title() string { return f.modal.Title }

// Values implements [Form].
func (f *discordForm) Values() map[string]string {
	out := map[string]string{}
	var walk func([]discordd.Component)
	walk = func(cs []discordd.Component) {
		for _, c := range cs {
			if c.Type == discordd.TypeTextInput {
				out[c.CustomID] = c.Value
			}
			walk(c.Components)
			if c.Component != nil {
				walk([]discordd.Component{*c.Component})
			}
		}
	}
	walk(f.modal.Components)
	return out
}

// Send implements [Form].
func (f *discordForm) Send(ctx context.Context, values map[string]string) error {
	a, err := f.d.Person(f.who)
	if err != nil {
		return err
	}
	lists := map[string][]string{}
	for name, v := range values {
		lists[name] = []string{v}
	}
	in, err := a.Submit(f.in, lists)
	if err != nil {
		return err
	}
	_, err = in.Wait(ctx)
	return err
}
