package slack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	slackgo "github.com/slack-go/slack"

	"kgent/bot/card"
	"kgent/bot/slack/slackd"
	"kgent/bot/thread"
)

// hostile is what a traced program, a model or a user may try.
var hostile = []string{
	"<!channel> <!here|here> <!everyone>", "<@U1> <@U0ALICE|x> <#C1|general> <!subteam^S1>", "<https://example.org|your bank> https://example.org",
	"```\nout of the fence\n``` *bold* _it_ ~no~ `code` > quote", "@here @channel @everyone", ":rotating_light: &lt;!channel&gt; &amp;",
	"user\u202egpj.exe \u2066x\u2069 \u200bzero\u200d \ufeff\u00ad", "\x1b[31mred\x1b[0m \x00 \x07 \xff\xfe", "a\u2028b\u2029c\r\nd\re",
	"{\"type\":\"button\"}", "%s %d %!x(MISSING)", "<!date^0^{date}^https://example.org|x>",
}

// everywhere is a card with s in every place that takes text.
func everywhere(s string) card.Card {
	buttons := []card.Button{{Verb: "approve", ID: "r1", Label: s}, {Verb: "deny", ID: "r1", Label: s, Style: card.Danger}}
	return card.Card{Title: s, Tone: card.Asking, Buttons: buttons, Blocks: []card.Block{
		card.Fields{{Label: s, Text: s}, {Label: "until", Text: s, At: time.Unix(1_700_000_000, 0)}, {Label: s, Text: s + "\n" + s}},
		card.List{Heading: s, Items: []string{s, s}}, card.Text{Body: s}, card.Text{Body: s, Quoted: true},
		card.Code{Language: s, Body: s}, card.Note{Body: s}, card.Divider{}, card.Row{Body: s, Buttons: buttons[:1]}, card.Row{Body: s, Buttons: buttons},
	}}
}

// Nothing that comes from outside can mention, link, format, or leave its
// place: everything of it stands in an object of which Slack reads no mark-up.
func TestTextFromOutsideIsOnlyText(t *testing.T) {
	for _, s := range hostile {
		c := everywhere(s)
		raw := must(json.Marshal(render(c, whole)))(t)
		var blocks any
		if err := json.Unmarshal(raw, &blocks); err != nil {
			t.Fatal(err)
		}
		walk(blocks, func(o map[string]any) {
			kind := o["type"]
			switch kind {
			case "mrkdwn", "link", "user", "usergroup", "channel", "broadcast", "emoji", "markdown", "image":
				t.Errorf("%q makes a %v: %v", s, kind, o)
			case "plain_text":
				if o["emoji"] != false {
					t.Errorf("%q: emoji are drawn in %v", s, o)
				}
			}
			said, ok := o["text"].(string)
			for _, r := range said {
				if ok && r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || strings.ContainsRune("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u200d\u200e\u200f\ufeff\u00ad\u2028\u2029", r)) {
					t.Errorf("%q: %q holds %U", s, said, r)
				}
			}
		})
		f := fallback(c)
		if strings.ContainsAny(strings.NewReplacer("&lt;", "", "&gt;", "", "&amp;", "").Replace(f), "<>&") {
			t.Errorf("fallback %q of %q has mark-up", f, s)
		}
		for _, all := range []string{"@here", "@channel", "@everyone"} {
			if strings.Contains(f, all) {
				t.Errorf("fallback %q of %q calls everybody", f, s)
			}
		}
	}
}

func walk(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, child := range v {
			walk(child, f)
		}
	case []any:
		for _, child := range v {
			walk(child, f)
		}
	}
}

// What was traced arrives as it was, but for what has no shape.
func TestCodeIsShownAsItIs(t *testing.T) {
	w := open(t, nil)
	body := "<!channel> ```\n  PID\tCOMM <@U1> *x*\n\u202etxt.exe https://example.org"
	m := thread.Message{Key: "k", Place: w.place(must(w.User(alice).Post(incidents, "x"))(t)), Card: card.Card{Title: "t", Blocks: []card.Block{card.Code{Body: body}}}}
	h := must(w.Post(bound(t), m))(t)
	got, _ := w.Message(h.Channel, h.ID)
	want := must(json.Marshal("<!channel> ```\n  PID    COMM <@U1> *x*\n\\u202etxt.exe https://example.org"))(t)
	if !strings.Contains(string(got.Blocks), string(want)) {
		t.Errorf("posted %s, want %s in it", got.Blocks, want)
	}
}

// cards too large in every way.
func large() []card.Card {
	long := strings.Repeat("word & <tag> 日本 😀 ", 400)
	var many card.Card
	for i := range 300 {
		many.Blocks = append(many.Blocks, card.Row{Body: fmt.Sprint("run ", i), Buttons: []card.Button{{Verb: "stop", ID: fmt.Sprint(i), Label: "Stop"}}})
	}
	var buttons []card.Button
	for i := range 60 {
		buttons = append(buttons, card.Button{Verb: "stop", ID: fmt.Sprint(i), Label: long})
	}
	var fields card.Fields
	var items []string
	for range 500 {
		fields = append(fields, card.Field{Label: long, Text: long})
		items = append(items, "x")
	}
	return []card.Card{
		{}, {Title: " \n\t"}, {Buttons: []card.Button{{Verb: "NO", ID: "x"}, {Verb: "", ID: "x"}}},
		everywhere(long), many, {Title: long, Buttons: buttons, Blocks: []card.Block{card.Row{Body: "", Buttons: buttons}}},
		{Blocks: []card.Block{fields, fields}}, {Blocks: []card.Block{card.List{Heading: "h", Items: items}, card.List{Items: []string{"", " "}}}},
		{Blocks: []card.Block{card.Code{Body: strings.Repeat("x", 20000)}, card.Code{Body: "\n \n"}, card.Text{}, card.Note{}, card.Fields{}, card.Fields{{}}}},
		{Blocks: []card.Block{card.Fields{{Label: "at", At: time.Unix(-5, 0)}, {Label: "at", At: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}, {At: time.Unix(1, 0)}}}},
	}
}

// Slack's stand-in takes whatever is drawn, as a message and as a home page.
func TestAnyCardIsTaken(t *testing.T) {
	w := open(t, nil)
	ctx := bound(t)
	p := w.place(must(w.User(alice).Post(incidents, "x"))(t))
	cards := large()
	for _, s := range hostile {
		cards = append(cards, everywhere(s))
	}
	for i, c := range cards {
		for _, l := range []limits{whole, small} {
			_, _, err := w.api.PostMessageContext(ctx, p.Channel, slackgo.MsgOptionBlocks(render(c, l)...), slackgo.MsgOptionText(fallback(c), false))
			if err != nil {
				t.Errorf("card %d: %v %+v", i, err, err)
			}
		}
		_, err := w.api.PublishViewContext(ctx, slackgo.PublishViewContextRequest{UserID: alice,
			View: slackgo.HomeTabViewRequest{Type: slackgo.VTHomeTab, Blocks: slackgo.Blocks{BlockSet: render(c, home)}}})
		if err != nil {
			t.Errorf("card %d as a home page: %v", i, err)
		}
	}
}

func TestWhatDoesNotFitIsSaid(t *testing.T) {
	for _, c := range large()[3:5] {
		raw := string(must(json.Marshal(render(c, whole)))(t))
		if !strings.Contains(raw, "do not fit into one message") {
			t.Errorf("nothing is said of what was left out: %.300s", raw)
		}
	}
	// The card's own buttons are never left out.
	c := large()[4]
	c.Buttons = []card.Button{{Verb: "refresh", ID: "x", Label: "Refresh"}}
	blocks := render(c, whole)
	if len(blocks) != whole.blocks {
		t.Errorf("%d blocks", len(blocks))
	}
	if _, ok := blocks[len(blocks)-1].(*slackgo.ActionBlock); !ok {
		t.Errorf("the last block is a %s", blocks[len(blocks)-1].BlockType())
	}
}

func FuzzRender(f *testing.F) {
	w, err := slackd.Start("127.0.0.1:0", func() slackd.Config { c := slackd.Default(); c.NoRateLimits = true; return c }())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(w.Close)
	api := slackgo.New(w.Config().BotToken, slackgo.OptionAPIURL(w.APIURL()))
	for _, s := range hostile {
		f.Add(s, 1, int64(1_700_000_000))
	}
	f.Add(strings.Repeat("&", 4000), 40, int64(-1))
	f.Fuzz(func(t *testing.T, s string, n int, at int64) {
		c := everywhere(s)
		for i := range min(uint(n), 60) {
			c.Blocks = append(c.Blocks, card.Fields{{Label: s, Text: s, At: time.Unix(at, 0)}}, card.Row{Body: s, Buttons: c.Buttons[:i%3]})
		}
		blocks := render(c, whole)
		if _, _, err := api.PostMessageContext(t.Context(), incidents, slackgo.MsgOptionBlocks(blocks...), slackgo.MsgOptionText(fallback(c), false)); err != nil {
			t.Errorf("%v %+v", err, err)
		}
		v, err := modal(card.Form{Verb: "deny", ID: "r1", Title: s, Submit: s, Inputs: []card.Input{{Name: "reason", Label: s, Value: s, Hint: s, Multiline: n%2 == 0, Max: n}}}, origin{Verb: "deny", ID: "r1"})
		if err != nil {
			t.Fatal(err)
		}
		checkModal(t, v)
	})
}

// checkModal holds a form against Slack's limits.
func checkModal(t *testing.T, v slackgo.ModalViewRequest) {
	t.Helper()
	within := func(what, s string, most int) {
		t.Helper()
		if n := utf8.RuneCountInString(s); n < 1 || n > most {
			t.Errorf("%s has %d characters, want 1 to %d", what, n, most)
		}
	}
	within("title", v.Title.Text, 24)
	within("submit", v.Submit.Text, 24)
	within("metadata", v.PrivateMetadata, 3000)
	for _, b := range v.Blocks.BlockSet {
		in := b.(*slackgo.InputBlock)
		box := in.Element.(*slackgo.PlainTextInputBlockElement)
		within("label", in.Label.Text, 2000)
		if box.Placeholder != nil {
			within("placeholder", box.Placeholder.Text, 150)
		}
		if n := utf8.RuneCountInString(box.InitialValue); n > box.MaxLength || box.MaxLength < 1 || box.MaxLength > 3000 {
			t.Errorf("a value of %d characters where %d may be", n, box.MaxLength)
		}
	}
}

func TestFormsAreTaken(t *testing.T) {
	w := open(t, nil)
	f := newFront()
	long := strings.Repeat("Ω & x\n", 1000)
	f.form = func(e thread.Event) (*card.Form, *card.Card) {
		return &card.Form{Verb: "edit", ID: e.ID, Title: long, Submit: "", Inputs: []card.Input{
			{Name: "duration", Label: "Duration", Value: "60s", Hint: "such as 2m", Max: 20}, {Name: "request", Label: long, Value: long, Multiline: true},
			{Name: "request", Label: "again"}, {Name: "", Label: "nameless"}, {Name: "note", Value: "two\nlines", Hint: long, Optional: true}}}, nil
	}
	w.run(t, f)
	m := ask("k", w.place(must(w.User(alice).Post(incidents, "x"))(t)))
	h := must(w.Post(bound(t), m))(t)
	shown, _ := w.Message(h.Channel, h.ID)
	if err := w.User(bob).Click(bound(t), shown, "kgent:deny"); err != nil {
		t.Fatal(err)
	}
	if _, open, err := w.User(bob).Submit(bound(t), map[string][]string{"duration": {"2m"}}); err != nil || open {
		t.Fatalf("submit: %v", err)
	}
	e := f.wait(t, 1)[0]
	if e.Fields["duration"] != "2m" || e.Fields["note"] != "two lines" || len(e.Fields) != 3 || e.Verb != "edit" {
		t.Errorf("event %+v", e)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		s     string
		limit int
		want  string
	}{
		{"short", 5, "short"}, {"longer", 5, "long…"}, {"日本語です", 3, "日本…"}, {"a&b", 3, "a…"}, {"<<", 8, "<<"}, {"<<", 7, "<…"},
		{"😀😀", 4, "😀😀"}, {"😀😀", 3, "😀…"}, {"x", 0, ""}, {"", 0, ""}, {"ab", 1, "…"},
	} {
		if got := cut(c.s, c.limit); got != c.want || length(got) > c.limit {
			t.Errorf("cut(%q, %d) = %q, want %q", c.s, c.limit, got, c.want)
		}
	}
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprint("line ", i))
	}
	got := cutMiddle(strings.Join(lines, "\n"), 300)
	if length(got) > 300 || !strings.HasPrefix(got, "line 0\n") || !strings.HasSuffix(got, "\nline 99") || !strings.Contains(got, "lines left out") {
		t.Errorf("cutMiddle = %q", got)
	}
	kept := strings.Count(got, "line ")
	var out int
	fmt.Sscanf(got[strings.Index(got, "… ")+len("… "):], "%d", &out)
	if kept+out != 100 {
		t.Errorf("%d lines kept and %d left out, of 100", kept, out)
	}
}

// The manifest asks for what the adapter uses and for no more.
func TestManifest(t *testing.T) {
	raw := must(os.ReadFile(filepath.Join("..", "..", "deploy", "slack-manifest.yaml")))(t)
	var m struct {
		Features struct {
			Shortcuts []struct {
				Type       string `yaml:"type"`
				CallbackID string `yaml:"callback_id"`
			} `yaml:"shortcuts"`
			SlashCommands []struct {
				Command string `yaml:"command"`
			} `yaml:"slash_commands"`
			AppHome struct {
				HomeTab bool `yaml:"home_tab_enabled"`
			} `yaml:"app_home"`
		} `yaml:"features"`
		OAuth struct {
			Scopes struct {
				Bot []string `yaml:"bot"`
			} `yaml:"scopes"`
		} `yaml:"oauth_config"`
		Settings struct {
			Events struct {
				Bot []string `yaml:"bot_events"`
			} `yaml:"event_subscriptions"`
			Interactivity struct {
				Enabled bool `yaml:"is_enabled"`
			} `yaml:"interactivity"`
		} `yaml:"settings"`
	}
	if err := yaml.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	slices.Sort(m.OAuth.Scopes.Bot)
	if want := []string{"app_mentions:read", "channels:history", "chat:write", "commands", "files:read", "files:write", "groups:history", "im:history", "im:write", "usergroups:read", "users:read"}; !slices.Equal(m.OAuth.Scopes.Bot, want) {
		t.Errorf("scopes %v, want %v", m.OAuth.Scopes.Bot, want)
	}
	slices.Sort(m.Settings.Events.Bot)
	if want := []string{"app_home_opened", "app_mention", "message.channels", "message.groups", "message.im"}; !slices.Equal(m.Settings.Events.Bot, want) {
		t.Errorf("events %v, want %v", m.Settings.Events.Bot, want)
	}
	if s := m.Features.Shortcuts; len(s) != 1 || s[0].Type != "message" || s[0].CallbackID != shortcutCallback {
		t.Errorf("shortcuts %+v", s)
	}
	if c := m.Features.SlashCommands; len(c) != 1 || c[0].Command != "/kgent" || !m.Settings.Interactivity.Enabled || !m.Features.AppHome.HomeTab {
		t.Errorf("manifest %+v", m)
	}
}

func TestIndentation(t *testing.T) {
	if got, want := indented("When it begins:\n- If so:\n  - a  b\n    → show"), "When it begins:\n- If so:\n\u00a0\u00a0- a  b\n\u00a0\u00a0\u00a0\u00a0→ show"; got != want {
		t.Errorf("indented: %q, want %q", got, want)
	}
}
