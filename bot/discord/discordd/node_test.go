package discordd

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"kgent/bot/nodetest"
)

// discord.js, which nobody here wrote, has to get along with the stand-in.
func TestDiscordJS(t *testing.T) {
	t.Parallel()
	project := nodetest.Install(t, "testdata/node")
	s := start(t, func(c *Config) { c.RateScale = 0.01 })
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	p := nodetest.Start(ctx, t, project, "bot.js", "DISCORD_TOKEN="+s.Token(), "DISCORD_API_URL="+s.APIURL(),
		"DISCORD_APPLICATION_ID="+s.ApplicationID(), "GUILD="+ExampleGuild)
	line := func(prefix string) string {
		t.Helper()
		l, err := p.WaitLine(ctx, prefix)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if l := line("ready"); l != "ready kgent#0 Kernel Ops" && l != "ready kgent Kernel Ops" {
		t.Errorf("%q", l)
	}
	alice, bob := s.As(ExampleAlice), s.As(ExampleBob)

	choices, err := alice.Autocomplete(ctx, ExampleIncidents, "trace", "what", Option{"what", "fi"})
	if err != nil || len(choices) != 1 || choices[0].Name != "opens of fi" {
		t.Fatalf("choices %+v, %v", choices, err)
	}
	in, err := alice.Command(ExampleIncidents, "trace", Option{"what", "opens"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := in.WaitMessage(ctx)
	if err != nil || m.Content != "trace opens?" {
		t.Fatalf("%+v, %v", m, err)
	}
	if l := line("replied"); l != "replied "+m.ID {
		t.Errorf("%q, want the id %s", l, m.ID)
	}
	click, err := bob.Click(m.ID, "go")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := click.Wait(ctx); err != nil || r.Type != ReplyUpdate || r.Message.Content != "going" || r.Message.Revision != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	click, err = bob.Click(m.ID, "form")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := click.Wait(ctx); err != nil || r.Modal == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	form, err := bob.Submit(click, map[string][]string{"reason": {"why not"}})
	if err != nil {
		t.Fatal(err)
	}
	note, err := form.WaitMessage(ctx)
	if err != nil || note.Content != "because why not" || note.VisibleTo != ExampleBob {
		t.Fatalf("%+v, %v", note, err)
	}
	more, ok := s.Message(strings.TrimPrefix(line("followed"), "followed "))
	if !ok || more.VisibleTo != ExampleBob {
		t.Errorf("follow-up %+v", more)
	}

	asked, err := alice.Mention(ExampleGeneral, "who opens files?")
	if err != nil {
		t.Fatal(err)
	}
	line("thread trace") // new to the client or not: the REST answer may have come first
	line("sent ")
	if l := line("file"); l != `file "a,b\n1,2\n"` {
		t.Errorf("%q", l)
	}
	card, err := s.WaitMessage(ctx, func(m Message) bool { return m.Flags&FlagComponentsV2 != 0 })
	if err != nil || card.ChannelID != asked.ID || len(card.Attachments) != 2 || len(card.Mentions) != 0 || card.Attachments[1].Width != 1 {
		t.Errorf("%+v, %v", card, err)
	}
	if err := s.ArchiveThread(asked.ID, true, false); err != nil {
		t.Fatal(err)
	}
	line("archived true")

	menu, err := bob.MessageCommand("Trace this", asked.ID)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := menu.WaitMessage(ctx); err != nil || !strings.HasPrefix(m.Content, "about: ") || m.VisibleTo != ExampleBob {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := alice.DM("hello bot"); err != nil {
		t.Fatal(err)
	}
	line("message hello bot")

	// What happens between the connections is replayed, and so is the click
	// that was already answered.
	s.ReplayOnResume(1)
	s.DropConnections()
	if _, err := alice.Post(ExampleGeneral, "while away"); err != nil {
		t.Fatal(err)
	}
	line("message while away")
	if l := line("resumed"); l == "resumed 0" {
		t.Errorf("%q, want replayed events", l)
	}
	if g := s.Gateways(); len(g) != 1 || !g[0].ViaResumeURL || g[0].Version != 10 {
		t.Errorf("gateways %+v, want one of version 10 at the resume address", g)
	}
	for _, bad := range []string{"failed", "error", "warn"} {
		if strings.Contains("\n"+p.Output(), "\n"+bad+" ") {
			t.Errorf("the bot complained:\n%s", p.Output())
		}
	}
}

// The page draws Discord's markdown, and what is no markdown stays text.
func TestMarkdown(t *testing.T) {
	t.Parallel()
	page, err := filepath.Abs("page/markdown.js")
	if err != nil {
		t.Fatal(err)
	}
	tests := [][2]string{
		{"plain <script>alert(1)</script>", "<p>plain <script>alert(1)</script></p>"},
		{"**b** *i* __u__ ~~s~~ `c`", "<p><strong>b</strong> <em>i</em> <u>u</u> <s>s</s> <code>c</code></p>"},
		{"# One\n-# small\ntext", "<h1>One</h1><small>small</small><p>text</p>"},
		{"a_b_c snake_case", "<p>a_b_c snake_case</p>"},
		{"\\*not\\*", "<p>*not*</p>"},
		{"```c\nint x;\n```", "<pre><code><span>int</span> x;</code></pre>"},
		{"```\n**no** <@1>\n```", "<pre><code>**no** <@1></code></pre>"},
		{"<@1> <@2> @everyone", "<p><span>@alice</span> <span>@unknown-user</span> <span>@everyone</span></p>"},
		{"<t:1000300:R>", "<p><time>in 5 minutes</time></p>"},
		{"<t:996400:R>", "<p><time>an hour ago</time></p>"},
		{"[x](https://example.com/) https://example.org/a.", "<p><a https://example.com/>x</a> <a https://example.org/a>https://example.org/a</a>.</p>"},
		{"[x](javascript:alert(1)) <javascript:x>", "<p>[x](javascript:alert(1)) <javascript:x></p>"},
		{"- one\n- two", "<ul><li>one</li><li>two</li></ul>"},
		{"> q\nafter", "<blockquote><p>q</p></blockquote><p>after</p>"},
	}
	var texts []string
	for _, tt := range tests {
		texts = append(texts, tt[0])
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out := nodetest.Run(ctx, t, nodetest.Install(t, "testdata/node"), "markdown.js", "PAGE="+page, "TEXTS="+encode(texts))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(tests) {
		t.Fatalf("%d lines for %d texts:\n%s", len(lines), len(tests), out)
	}
	for i, tt := range tests {
		var got string
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatal(err)
		}
		if got != tt[1] {
			t.Errorf("%q:\n got %s\nwant %s", tt[0], got, tt[1])
		}
	}
}
