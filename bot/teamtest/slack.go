package teamtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kgent/bot/slack/slackd"
)

// Slack is the stand-in for Slack, and implements [Chat]. What a test wants to
// break or look at, it does through the server.
type Slack struct {
	*slackd.Server
	cfg   slackd.Config     // as started: match functions must not ask the server
	users map[string]string // ids by name
	names map[string]string // names by id
}

// Channels of [Start]'s Slack: where people ask, and where the cards of what was
// asked elsewhere go under [Policy].
const (
	SlackIncidents = "C0INCIDENTS"
	SlackApprovals = "C0RANDOM"
)

func startSlack(t testing.TB, change func(*slackd.Config)) *Slack {
	t.Helper()
	cfg := slackd.Default()
	for i := range cfg.Channels {
		if cfg.Channels[i].ID == SlackApprovals {
			cfg.Channels[i].Members = append(cfg.Channels[i].Members, cfg.BotUser)
		}
	}
	cfg.Page = true
	if change != nil {
		change(&cfg)
	}
	server, err := slackd.Start("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := &Slack{Server: server, cfg: server.Config(), users: map[string]string{}, names: map[string]string{}}
	for _, p := range cfg.Users {
		s.users[p.Name], s.names[p.ID] = p.ID, p.Name
	}
	return s
}

func (s *Slack) environment() []string {
	return []string{"SLACK_API_URL=" + s.APIURL(), "SLACK_BOT_TOKEN=" + s.cfg.BotToken, "SLACK_APP_TOKEN=" + s.cfg.AppToken}
}

// Name implements [Chat].
func (s *Slack) Name() string { return "slack" }

// Approvals implements [Chat].
func (s *Slack) Approvals() Thread { return Thread{Service: s.Name(), Channel: SlackApprovals} }

// As acts as somebody.
func (s *Slack) As(who string) (*slackd.User, error) {
	id := s.users[who]
	if id == "" {
		return nil, fmt.Errorf("acting as %s: Slack has nobody of that name", who)
	}
	return s.User(id), nil
}

// Ask implements [Chat]: a mention.
func (s *Slack) Ask(_ context.Context, who, words string) (Thread, error) {
	u, err := s.As(who)
	if err != nil {
		return Thread{}, err
	}
	m, err := u.Mention(SlackIncidents, slackText(words))
	return Thread{Service: s.Name(), Channel: m.Channel, ID: m.TS}, err
}

// Reply implements [Chat].
func (s *Slack) Reply(_ context.Context, who string, in Thread, words string) error {
	u, err := s.As(who)
	if err != nil {
		return err
	}
	root, ok := s.Server.Message(in.Channel, in.ID)
	if !ok {
		return fmt.Errorf("replying in %v: there is no such thread", in)
	}
	_, err = u.Reply(root, slackText(words))
	return err
}

// slackText is words as Slack's client sends them.
func slackText(words string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(words)
}

// Click implements [Chat].
func (s *Slack) Click(ctx context.Context, who string, m Message, verb string) error {
	u, err := s.As(who)
	if err != nil {
		return err
	}
	now, ok := s.Server.Message(m.Channel, m.ID)
	if !ok {
		return fmt.Errorf("clicking %s: the message is gone", verb)
	}
	return u.Click(ctx, now, "kgent:"+verb)
}

// Open implements [Chat].
func (s *Slack) Open(ctx context.Context, who string, m Message, verb string) (Form, error) {
	if err := s.Click(ctx, who, m, verb); err != nil {
		return nil, err
	}
	view, err := s.WaitModal(ctx, s.users[who], func(slackd.View) bool { return true })
	if err != nil {
		return nil, fmt.Errorf("waiting for the form of %s: %w", verb, err)
	}
	return &slackForm{s, who, view}, nil
}

// Wait implements [Chat].
func (s *Slack) Wait(ctx context.Context, match func(Message) bool) (Message, error) {
	found, err := s.WaitMessage(ctx, func(m slackd.Message) bool {
		return s.ours(m) && match(s.message(m))
	})
	if err != nil {
		return Message{}, fmt.Errorf("%w\n%s", err, transcript(s.Messages()))
	}
	return s.withFiles(found), nil
}

// Messages implements [Chat].
func (s *Slack) Messages() []Message {
	var out []Message
	for _, c := range s.cfg.Channels {
		for _, m := range s.Server.Messages(c.ID) {
			if s.ours(m) {
				out = append(out, s.withFiles(m))
			}
		}
	}
	return out
}

// Versions implements [Chat].
func (s *Slack) Versions(m Message) []Message {
	now, _ := s.Server.Message(m.Channel, m.ID)
	var out []Message
	for _, r := range now.Revisions {
		then := now
		then.Text, then.Blocks, then.Attachments = r.Text, r.Blocks, r.Attachments
		out = append(out, s.message(then))
	}
	return out
}

func (s *Slack) ours(m slackd.Message) bool {
	return !m.Deleted && (m.BotID == s.cfg.BotID || m.User == s.cfg.BotUser)
}

func (s *Slack) message(m slackd.Message) Message {
	out := Message{Thread: Thread{Service: s.Name(), Channel: m.Channel, ID: m.ThreadTS}, ID: m.TS, Only: s.names[m.EphemeralTo]}
	if m.EphemeralTo != "" && out.Only == "" {
		out.Only = m.EphemeralTo
	}
	out.Title, out.Text, out.Buttons = readBlocks(m.Blocks)
	if len(m.Blocks) == 0 {
		out.Text = m.Text
		out.Title, _, _ = strings.Cut(m.Text, "\n")
	}
	for _, f := range m.Files {
		out.Files = append(out.Files, File{Name: f.Name, Title: f.Title, Type: f.MIME})
	}
	return out
}

// withFiles is message with what is in the files.
func (s *Slack) withFiles(m slackd.Message) Message {
	out := s.message(m)
	for i, f := range m.Files {
		out.Files[i].Data, _ = s.FileData(f.ID)
	}
	return out
}

// slackForm is a modal.
type slackForm struct {
	s    *Slack
	who  string
	view slackd.View
}

// Title implements [Form].
func (f *slackForm) Title() string { return f.view.Title }

// Values implements [Form].
func (f *slackForm) Values() map[string]string {
	out := map[string]string{}
	var blocks []block
	if err := json.Unmarshal(f.view.Blocks, &blocks); err != nil {
		return nil
	}
	for _, b := range blocks {
		if b.Element != nil {
			out[b.Element.ActionID] = b.Element.InitialValue
		}
	}
	return out
}

// Send implements [Form].
func (f *slackForm) Send(ctx context.Context, values map[string]string) error {
	u, err := f.s.As(f.who)
	if err != nil {
		return err
	}
	lists := map[string][]string{}
	for name, v := range values {
		lists[name] = []string{v}
	}
	next, open, err := u.Submit(ctx, lists)
	if err == nil && open {
		err = fmt.Errorf("the form is still open: %v", next.Errors)
	}
	return err
}

// block is any of Slack's blocks, elements and text objects.
type block struct {
	Type         string    `json:"type"`
	BlockID      string    `json:"block_id"`
	Text         slackWord `json:"text"`
	Elements     []block   `json:"elements"`
	Fields       []block   `json:"fields"`
	Accessory    *block    `json:"accessory"`
	Element      *block    `json:"element"`
	ActionID     string    `json:"action_id"`
	Value        string    `json:"value"`
	InitialValue string    `json:"initial_value"`
	Fallback     string    `json:"fallback"`
}

// slackWord is a string, or a text object.
type slackWord string

// UnmarshalJSON reads either.
func (w *slackWord) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(w))
	}
	var o struct {
		Text string `json:"text"`
	}
	err := json.Unmarshal(b, &o)
	*w = slackWord(o.Text)
	return err
}

// readBlocks is what a person reads of blocks, and can press.
func readBlocks(raw json.RawMessage) (title, text string, buttons []Button) {
	var blocks []block
	if len(raw) == 0 {
		return "", "", nil
	}
	if err := json.Unmarshal(raw, &blocks); err != nil {
		return "", "unreadable blocks: " + err.Error(), nil
	}
	var lines []string
	for _, b := range blocks {
		if b.Type == "header" && title == "" {
			title = string(b.Text)
		}
		lines = append(lines, b.lines()...)
		for _, e := range append(slices.Clone(b.Elements), deref(b.Accessory)...) {
			if verb, ok := strings.CutPrefix(e.ActionID, "kgent:"); ok && e.Type == "button" {
				verb, _, _ = strings.Cut(verb, "#")
				buttons = append(buttons, Button{Verb: verb, ID: e.Value, Label: string(e.Text)})
			}
		}
	}
	return title, strings.Join(lines, "\n"), buttons
}

func deref(b *block) []block {
	if b == nil {
		return nil
	}
	return []block{*b}
}

// lines are what is read of a block.
func (b block) lines() []string {
	switch b.Type {
	case "actions", "divider":
		return nil
	case "rich_text_section", "rich_text_preformatted", "rich_text_quote":
		line := ""
		for _, e := range b.Elements {
			line += string(e.Text) + e.Fallback
		}
		return []string{line}
	}
	var out []string
	if b.Text != "" {
		out = append(out, string(b.Text))
	}
	for _, e := range append(slices.Clone(b.Fields), b.Elements...) {
		out = append(out, e.lines()...)
	}
	return out
}

// transcript is messages in a short form, for failing tests.
func transcript(messages []Message) string {
	var b strings.Builder
	for _, m := range messages {
		fmt.Fprintf(&b, "--- %s %s/%s %s", m.Service, m.Channel, m.Thread.ID, m.ID)
		if m.Only != "" {
			fmt.Fprintf(&b, " only for %s", m.Only)
		}
		fmt.Fprintf(&b, " %v\n%s\n", m.Verbs(), m.Text)
		for _, f := range m.Files {
			fmt.Fprintf(&b, "[file %s, %s, %d bytes]\n", f.Name, f.Type, len(f.Data))
		}
	}
	return b.String()
}
