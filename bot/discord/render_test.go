package discord

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bwmarrin/discordgo"

	"kgent/bot/card"
)

// walk visits every component.
func walk(cs []component, f func(component)) {
	for _, c := range cs {
		f(c)
		walk(c.Components, f)
		if c.Accessory != nil {
			walk([]component{*c.Accessory}, f)
		}
	}
}

// check holds what is sent against Discord's limits.
func check(t *testing.T, cs []component) {
	t.Helper()
	n, text := 0, 0
	ids, customs := map[int]bool{}, map[string]bool{}
	if len(cs) != 1 || cs[0].Type != discordgo.ContainerComponent || len(cs[0].Components) == 0 {
		t.Fatalf("not one frame with something in it: %+v", cs)
	}
	walk(cs, func(c component) {
		n++
		if c.ID != 0 && ids[c.ID] {
			t.Errorf("the id %d twice", c.ID)
		}
		ids[c.ID] = true
		text += size(c.Content) + size(c.Label)
		switch c.Type {
		case discordgo.TextDisplayComponent:
			if strings.TrimSpace(c.Content) == "" {
				t.Error("an empty text")
			}
			if !utf8.ValidString(c.Content) {
				t.Errorf("not UTF-8: %q", c.Content)
			}
			for _, r := range c.Content {
				// Marks of ours are the only characters here that do not print.
				if r != '\n' && r != '\ufe0f' && !unicode.IsPrint(r) {
					t.Errorf("%U in %q", r, c.Content)
				}
			}
			if strings.Count(c.Content, "```")%2 != 0 {
				t.Errorf("an open code block: %q", c.Content)
			}
		case discordgo.ButtonComponent:
			if size(c.CustomID) > 100 || c.CustomID == "" || customs[c.CustomID] {
				t.Errorf("custom id %q", c.CustomID)
			}
			customs[c.CustomID] = true
			if size(c.Label) > 80 || c.Label == "" {
				t.Errorf("label %q", c.Label)
			}
		case discordgo.ActionsRowComponent:
			if len(c.Components) < 1 || len(c.Components) > 5 {
				t.Errorf("%d buttons in a row", len(c.Components))
			}
		case discordgo.SectionComponent:
			if len(c.Components) != 1 || c.Accessory == nil {
				t.Errorf("section %+v", c)
			}
		case discordgo.MediaGalleryComponent:
			if len(c.Items) < 1 || len(c.Items) > 10 {
				t.Errorf("%d pictures", len(c.Items))
			}
		}
	})
	if n > 40 || text > 4000 {
		t.Errorf("%d components with %d characters", n, text)
	}
}

func textOf(cs []component) string {
	var out []string
	walk(cs, func(c component) {
		if c.Content != "" {
			out = append(out, c.Content)
		}
	})
	return strings.Join(out, "\n")
}

func TestRender(t *testing.T) {
	for _, tt := range []struct {
		name string
		card card.Card
		want string
	}{
		{"nothing", card.Card{}, "—"},
		{"title and tone", card.Card{Title: "Who kills *httpd*?", Tone: card.Asking}, "### 🔔 Who kills \\*httpd\\*?"},
		{"fields", card.Card{Blocks: []card.Block{card.Fields{
			{Label: "request", Text: "who kills"}, {Label: "expires", Text: "in a while", At: time.Unix(1700000000, 0)},
			{Label: "hooks", Text: "a\nb"}, {Label: "none"},
		}}}, "**request** who kills\n**expires** in a while (<t:1700000000:R>)\n**hooks**\n- a\n- b\n**none** –"},
		{"list", card.Card{Blocks: []card.Block{card.List{Heading: "it does", Items: []string{"- one", "2. two", "# three\nmore"}}}},
			"**it does**\n- \\- one\n- 2\\. two\n- \\# three more"},
		{"quote", card.Card{Blocks: []card.Block{card.Text{Body: "> said\n\nso", Quoted: true}}}, "> \\> said\n> so"},
		{"note", card.Card{Blocks: []card.Block{card.Note{Body: "small\nprint"}}}, "-# small\n-# print"},
		{"link", card.Card{Blocks: []card.Block{card.Note{Body: "asked [by] ada", URL: "https://chat.example/p1?a=b"}}}, "-# [asked \\[by\\] ada](https://chat.example/p1?a=b)"},
		{"no link", card.Card{Blocks: []card.Block{card.Note{Body: "x", URL: "javascript:alert(1)"}}}, "-# x"},
		{"torn link", card.Card{Blocks: []card.Block{card.Note{Body: "x", URL: "https://a.example/) @everyone"}}}, "-# x"},
		{"code", card.Card{Blocks: []card.Block{card.Code{Language: "c", Body: "\n\tif (a) {\r\n\t}\n"}}}, "```c\n    if (a) {\n    }\n```"},
		{"code of no language", card.Card{Blocks: []card.Block{card.Code{Language: "x\n```", Body: "a"}}}, "```\na\n```"},
		{"fence in code", card.Card{Blocks: []card.Block{card.Code{Body: "a\n```\n@everyone `````"}}}, "```\na\n` ` `\n@everyone ` ` ` ` `\n```"},
		{"row without words", card.Card{Blocks: []card.Block{card.Row{Buttons: []card.Button{{Verb: "stop", ID: "1", Label: "Stop"}}}}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cs := render(tt.card, nil, markOf("k"))
			check(t, cs)
			if got := textOf(cs); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestRenderButtons(t *testing.T) {
	stop := card.Button{Verb: "stop", ID: "r1", Label: "Stop", Style: card.Danger}
	cs := render(card.Card{Tone: card.Asking, Blocks: []card.Block{card.Row{Body: "who kills", Buttons: []card.Button{stop}}}, Buttons: []card.Button{
		{Verb: "approve", ID: "r1/1", Label: "Approve", Style: card.Primary}, stop, {Verb: "too", ID: strings.Repeat("x", 200), Label: "long"},
		{Verb: "deny", ID: "r1/1", Label: strings.Repeat("no ", 50)},
	}}, nil, markOf("k"))
	check(t, cs)
	var got []string
	walk(cs, func(c component) {
		if c.Type == discordgo.ButtonComponent {
			got = append(got, fmt.Sprintf("%s %d %d", c.CustomID, c.Style, size(c.Label)))
		}
	})
	want := []string{"approve:r1/1 3 7", "stop:r1 4 4", "deny:r1/1 2 80"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRenderTooMuch(t *testing.T) {
	var rows []card.Block
	for i := range 30 {
		rows = append(rows, card.Row{Body: fmt.Sprintf("run %d", i), Buttons: []card.Button{{Verb: "stop", ID: fmt.Sprint(i), Label: "Stop"}}})
	}
	cs := render(card.Card{Title: "running", Blocks: rows, Buttons: []card.Button{{Verb: "list", ID: "x", Label: "Again"}}}, nil, mark{})
	check(t, cs)
	if got := textOf(cs); !strings.Contains(got, "and 19 more that do not fit") {
		t.Errorf("no word about what is left out: %s", got)
	}

	var lines []string
	for i := range 500 {
		lines = append(lines, fmt.Sprintf("line %03d of the output", i))
	}
	fields := card.Fields{{Label: "request", Text: "who kills"}, {Label: "digest", Text: "abc"}}
	cs = render(card.Card{Blocks: []card.Block{fields, card.Code{Body: strings.Join(lines, "\n")}, card.Note{Body: "the end"}}}, nil, mark{})
	check(t, cs)
	for _, want := range []string{"**digest** abc", "line 000", "line 499", "lines left out", "-# the end"} {
		if got := textOf(cs); !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}

	cs = render(card.Card{Blocks: []card.Block{fields, card.List{Heading: "nodes", Items: lines}, card.Text{Body: strings.Repeat("word ", 2000)}}}, nil, mark{})
	check(t, cs)
	for _, want := range []string{"**digest** abc", "line 000", " more", "…"} {
		if got := textOf(cs); !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

// Text from outside stays text: S12.
func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"@everyone and <@123> <@&4> <#5>": `\@everyone and \<\@123> \<\@&4> \<#5>`,
		"<t:1:R> </kgent:1> <:x:1>":       `\<t:1:R> \</kgent:1> \<:x:1>`,
		"[here](https://evil.example)":    `\[here\](https\://evil.example)`,
		"||spoiler|| ~~x~~ __u__ **b**":   `\|\|spoiler\|\| \~\~x\~\~ \_\_u\_\_ \*\*b\*\*`,
		"tcp_v4_connect":                  `tcp\_v4\_connect`,
		"```c":                            "\\`\\`\\`c",
		`\*`:                              `\\\*`,
		"# h":                             `\# h`,
		"  -# small":                      `  \-# small`,
		"12. list, 3.5":                   `12\. list, 3.5`,
		">>> quote > not":                 `\>>> quote > not`,
		"a\nb\tc":                         "a b c",
		"abc\u202edef\u200b":              `abc\\u202edef\\u200b`,
		"\x1b[31mred\x00\xff":             `\\x1b\[31mred\\x00\\xff`,
		"9:30 a:b":                        "9:30 a:b",
	} {
		if got := escape(in, 1000); got != want {
			t.Errorf("escape(%q) = %s, want %s", in, got, want)
		}
	}
	if got := escape("**", 4); got != `\*\*` {
		t.Errorf("exactly full: %s", got)
	}
	if got := escape("***", 4); got != `\*…` {
		t.Errorf("cut: %s", got)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a*b_c <@1> \u202e https://x", 20)
	f.Add("\\\\\\", 3)
	f.Add("😀😀😀", 4)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit %= 5000
		got := escape(s, limit)
		if limit >= 0 && size(got) > limit {
			t.Fatalf("%d units of at most %d: %q", size(got), limit, got)
		}
		// Every character that could begin something is behind a backslash.
		for i, r := range got {
			if r == '\\' {
				continue
			}
			slashes := 0
			for j := i - 1; j >= 0 && got[j] == '\\'; j-- {
				slashes++
			}
			if (strings.ContainsRune("`*_~|[]<@", r) || strings.HasPrefix(got[i:], "://")) && slashes%2 == 0 {
				t.Fatalf("%q is bare in %q", r, got)
			}
			if r == '\n' || !unicode.IsPrint(r) {
				t.Fatalf("%U in %q", r, got)
			}
		}
		if strings.HasSuffix(got, `\…`) {
			slashes := len(got) - len("…") - len(strings.TrimRight(strings.TrimSuffix(got, "…"), `\`))
			if slashes%2 != 0 {
				t.Fatalf("cut inside an escape: %q", got)
			}
		}
	})
}

// FuzzRender draws cards made from bytes: whatever they hold, Discord takes
// them.
func FuzzRender(f *testing.F) {
	f.Add([]byte("\x01title\x00\x02a label\x00a text\x00\x05code ``` \x00"), uint8(1), uint8(2))
	f.Add([]byte(strings.Repeat("\x06row\x00", 60)), uint8(3), uint8(12))
	f.Add([]byte(strings.Repeat("\x02l\x00**`` _x_\x00\x05````\n\n```c\x00\x03h\x00i\nj\x00", 90)), uint8(5), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, tone, files uint8) {
		c := cardFrom(data)
		c.Tone = []card.Tone{card.Plain, card.Working, card.Asking, card.Good, card.Warning, card.Bad}[tone%6]
		var refs []fileRef
		for i := range int(files % 11) {
			refs = append(refs, fileRef{fmt.Sprintf("f%d", i), "alt", i%2 == 0})
		}
		cs := render(c, refs, markOf(string(data)))
		check(t, cs)
		if _, err := json.Marshal(cs); err != nil {
			t.Fatal(err)
		}
	})
}

// cardFrom reads a card from bytes: a byte says what follows, strings end with
// a zero.
func cardFrom(data []byte) card.Card {
	next := func() string {
		s, rest, _ := strings.Cut(string(data), "\x00")
		data = []byte(rest)
		return s
	}
	var c card.Card
	for len(data) > 0 {
		op := data[0]
		data = data[1:]
		switch op % 10 {
		case 1:
			c.Title = next()
		case 2:
			fs := card.Fields{{Label: next(), Text: next()}}
			if len(data)%2 == 0 {
				fs = append(fs, card.Field{Label: "at", At: time.Unix(int64(len(data)), 0)})
			}
			c.Blocks = append(c.Blocks, fs)
		case 3:
			c.Blocks = append(c.Blocks, card.List{Heading: next(), Items: strings.Split(next(), "\n")})
		case 4:
			c.Blocks = append(c.Blocks, card.Text{Body: next(), Quoted: op > 50})
		case 5:
			c.Blocks = append(c.Blocks, card.Code{Language: string(data[:min(len(data), 1)]), Body: next()})
		case 6:
			c.Blocks = append(c.Blocks, card.Row{Body: next(), Buttons: []card.Button{{Verb: "v", ID: next(), Label: next()}, {Verb: "w", ID: fmt.Sprint(len(data))}}})
		case 7:
			c.Blocks = append(c.Blocks, card.Note{Body: next()}, card.Divider{})
		case 8:
			c.Buttons = append(c.Buttons, card.Button{Verb: next(), ID: next(), Label: next(), Style: card.Danger})
		case 9:
			c.Blocks = append(c.Blocks, card.Text{Body: strings.Repeat(next()+"\n", int(op))})
		}
	}
	return c
}

func TestRenderForm(t *testing.T) {
	f := card.Form{Verb: "deny", ID: "r1/2", Title: strings.Repeat("why ", 20)}
	for i := range 7 {
		f.Inputs = append(f.Inputs, card.Input{Name: fmt.Sprintf("n%d", i), Label: strings.Repeat("l", 60), Value: "a\nb" + strings.Repeat("v", 5000), Hint: strings.Repeat("h", 200), Multiline: i%2 == 0, Optional: i > 3, Max: i * 1500})
	}
	m := renderForm(f)
	if size(m.Title) > 45 || m.CustomID != "deny:r1/2" || len(m.Components) != 5 {
		t.Errorf("%+v", m)
	}
	for i, row := range m.Components {
		in := row.Components[0]
		if size(in.Label) > 45 || size(in.Placeholder) > 100 || in.MaxLength < 1 || in.MaxLength > 4000 || size(in.Value) > in.MaxLength || *in.Required != (i <= 3) {
			t.Errorf("input %d: %+v", i, in)
		}
		if i%2 == 1 && strings.Contains(in.Value, "\n") {
			t.Errorf("input %d is one line: %q", i, in.Value[:10])
		}
	}
}

func TestMarks(t *testing.T) {
	if markOf("a") != markOf("a") || markOf("a") == markOf("b") {
		t.Error("a mark follows from the key and nothing else")
	}
	if n := nonceOf(strings.Repeat("k", 100)); len(n) > 25 || n == nonceOf("k") {
		t.Errorf("nonce %q", n)
	}
	for i := range 1000 {
		if m := markOf(fmt.Sprint(i)); m.frame == m.first || m.frame < 1000 || m.first < 1000 || m.frame > 1<<31-1 || m.first > 1<<31-1 {
			t.Fatalf("%+v", m)
		}
	}
}
