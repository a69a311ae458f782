package slack

import (
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"mention first", "<@U0KGENT> which processes on db-3 get ECONNREFUSED?", "which processes on db-3 get ECONNREFUSED?"},
		{"mention within", "hey <@U0KGENT> trace it", "hey trace it"},
		{"mention with label", "<@U0KGENT|kgent> help", "help"},
		{"mention only", "<@U0KGENT>", ""},
		{"somebody else", "what does <@U1> do, or <@U2|bob>", "what does @U1 do, or @bob"},
		{"channel", "as in <#C1|ops> and <#C2>", "as in #ops and #C2"},
		{"a host that Slack made a link of", "trace <http://db-3.example.com|db-3.example.com>", "trace db-3.example.com"},
		{"a bare link", "see <https://example.com/a?b=1&amp;c=2>", "see https://example.com/a?b=1&c=2"},
		{"mail", "<mailto:a@example.com|a@example.com>", "a@example.com"},
		{"group", "<!subteam^S1|@sre> <!subteam^S2>", "@sre @S2"},
		{"everyone", "<!here> <!channel|channel>", "@here @channel"},
		{"date", "since <!date^1392734382^{date}|Feb 18>", "since Feb 18"},
		{"entities", "writes &gt; 4096 &amp;&amp; size &lt; 1 &amp;lt; &nbsp;", "writes > 4096 && size < 1 &lt; &nbsp;"},
		{"what is decoded is no mark-up", "&lt;@U0KGENT&gt; &lt;!channel&gt;", "<@U0KGENT> <!channel>"},
		{"an open bracket", "a < b", "a < b"},
		{"an empty one", "a <> b", "a  b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := words(c.in, "U0KGENT"); got != c.want {
				t.Errorf("words(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func FuzzWords(f *testing.F) {
	f.Add("<@U0KGENT> a &lt;b&gt; <http://x|y> <!date^1^{d}|z> <#C1|c> <")
	f.Fuzz(func(t *testing.T, s string) {
		got := words(s, "U0KGENT")
		if len(got) > len(s) {
			t.Errorf("words(%q) = %q: longer than what it was made of", s, got)
		}
		if !strings.ContainsAny(s, "<&") && got != strings.TrimSpace(s) {
			t.Errorf("words(%q) = %q: changed without mark-up", s, got)
		}
	})
}
