package slackd

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The page as a browser draws it: cards with their buttons, forms, dates, and
// nothing that a bot or user wrote as markup.
func TestPageInBrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("needs chromium: %v", err)
	}
	s, _ := start(t, func(c *Config) { c.Page = true })
	root, err := s.User(alice).Post(incidents, "&lt;img src=x onerror=alert(1)&gt; root")
	if err != nil {
		t.Fatal(err)
	}
	blocks := fmt.Sprintf(`[
		{"type":"header","text":{"type":"plain_text","text":"<b>Card</b>"}},
		{"type":"section","text":{"type":"mrkdwn","text":"*bold* _it_ ~st~ `+"`co <b>de`"+` <@U0BOB> <!subteam^S0APPROVERS> <https://example.com|label> <javascript:alert(1)|bad>\n&gt; quoted"},
			"accessory":{"type":"button","action_id":"stop","style":"danger","text":{"type":"plain_text","text":"Stop"}}},
		{"type":"section","fields":[{"type":"mrkdwn","text":"*one*\n1"},{"type":"mrkdwn","text":"*two*\n2"}]},
		{"type":"context","elements":[{"type":"mrkdwn","text":"until <!date^%d^{date_num} ({ago})|later>"}]},
		{"type":"rich_text","elements":[{"type":"rich_text_preformatted","elements":[{"type":"text","text":"<i>code</i> *x*"}]}]},
		{"type":"actions","elements":[{"type":"static_select","action_id":"pick","options":[{"text":{"type":"plain_text","text":"First"},"value":"1"}]}]}
	]`, time.Date(2030, 2, 3, 12, 0, 0, 0, time.UTC).Unix())
	card, _ := ask(t, s, "chat.postMessage", map[string]any{"channel": incidents, "thread_ts": root.TS, "text": "x", "blocks": blocks})
	wantError(t, "the card", card, "")
	s.mu.Lock()
	trigger := s.newTrigger(bob, "")
	s.mu.Unlock()
	modal, _ := ask(t, s, "views.open", map[string]any{"trigger_id": trigger, "view": `{"type":"modal","title":{"type":"plain_text","text":"A form"},
		"submit":{"type":"plain_text","text":"Send it"},"blocks":[{"type":"input","label":{"type":"plain_text","text":"Reason"},
		"element":{"type":"plain_text_input","action_id":"r","initial_value":"<u>because"}}]}`})
	wantError(t, "the modal", modal, "")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address := s.PageURL(PageView{User: bob, Channel: incidents, Thread: root.TS, Bare: true})
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
		"--user-data-dir="+filepath.Join(t.TempDir(), "profile"), "--timeout=20000", "--dump-dom", address)
	cmd.WaitDelay = 5 * time.Second
	var problems strings.Builder
	cmd.Stderr = &problems
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("running %s: %v\n%s", browser, err, problems.String())
	}
	for line := range strings.Lines(problems.String()) {
		if strings.Contains(line, ":CONSOLE") {
			t.Error(line)
		}
	}
	_, dom, _ := strings.Cut(string(raw), "<body>")
	dom, _, _ = strings.Cut(dom, `<script id="state"`)
	for _, want := range []string{
		"&lt;img src=x onerror=alert(1)&gt; root", "&lt;b&gt;Card&lt;/b&gt;", "<b>bold</b>", "<i>it</i>", "<s>st</s>", "<code>co &lt;b&gt;de</code>",
		"@bob</span>", "@approvers</span>", `href="https://example.com"`, "<blockquote>quoted</blockquote>", "2030-02-03 (in ",
		"&lt;i&gt;code&lt;/i&gt; *x*</pre>", `class="button danger"`, ">First</option>", "A form", "Reason", "Send it",
	} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(dom, "javascript:") {
		t.Error("the page links to a script")
	}
	if t.Failed() {
		t.Log(dom)
	}
}
