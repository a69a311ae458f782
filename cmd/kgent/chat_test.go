package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"kgent/bot/card"
	"kgent/bot/logtest"
	"kgent/bot/slack/slackd"
	"kgent/bot/terminal"
	"kgent/executor/bus"
)

// someone is another user of this host.
type someone struct {
	name     string
	group    string
	uid, gid uint32
}

func nobody(t *testing.T) someone {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatalf("the test needs a second user: %v", err)
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return someone{u.Username, g.Name, uint32(uid), uint32(gid)}
}

// shared is a directory that other users can look into.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startBot starts a bot and waits for its socket.
func (f *fleet) startBot(policy, socket, group string, env ...string) {
	f.t.Helper()
	address, err := url.Parse(f.redis.URL())
	if err != nil {
		f.t.Fatal(err)
	}
	address.User = url.User(bus.BotUser)
	log := &logtest.Log{}
	cmd := exec.Command(f.bin, "bot", "--policy", policy, "--keys", f.path("keys"), "--socket", socket, "--socket-group", group)
	cmd.Env = append(append(os.Environ(), "REDIS_URL="+address.String(), "REDIS_PASSWORD_FILE="+f.path("bot.password"), "OPENAI_API_KEY="), env...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	f.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := <-done; err != nil {
			f.t.Errorf("the bot ended with %v", err)
		}
		if f.t.Failed() {
			f.t.Logf("the bot said:\n%s", log)
		}
	})
	f.until("the bot's socket is there", func() bool {
		select {
		case err := <-done:
			done <- err
			f.t.Fatalf("the bot has ended: %v\n%s", err, log)
		default:
		}
		_, err := os.Stat(socket)
		return err == nil
	})
}

// chatting is kgent chat --output json of another user.
type chatting struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	posts chan terminal.Record
	err   chan error
}

func chatAs(t *testing.T, bin, socket string, who someone) *chatting {
	t.Helper()
	c := &chatting{t: t, posts: make(chan terminal.Record, 1000), err: make(chan error, 1)}
	c.cmd = exec.Command(bin, "chat", "--socket", socket, "--output", "json")
	c.cmd.Dir = "/"
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: who.uid, Gid: who.gid}}
	c.cmd.Stderr = &logtest.Log{}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.posts)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if r, err := terminal.DecodeRecord(lines.Bytes()); err == nil {
				c.posts <- r
			}
		}
		c.err <- c.cmd.Wait()
	}()
	t.Cleanup(func() { c.cmd.Process.Kill() })
	return c
}

// until waits for a record.
func (c *chatting) until(what string, ok func(terminal.Record) bool) terminal.Record {
	c.t.Helper()
	limit, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		select {
		case r, open := <-c.posts:
			if !open {
				c.t.Fatalf("kgent chat has ended before %s: %v", what, c.cmd.Stderr)
			}
			if ok(r) {
				return r
			}
		case <-limit.Done():
			c.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (c *chatting) send(cmd terminal.Command) {
	c.t.Helper()
	line, err := json.Marshal(cmd)
	if err == nil {
		_, err = c.in.Write(append(line, '\n'))
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// has returns whether a post has a button of this verb.
func has(verb string) func(terminal.Post) bool {
	return func(p terminal.Post) bool { _, ok := p.Button(verb); return ok }
}

func cardText(p terminal.Post) string {
	raw, err := json.Marshal(p.Card)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// Two users of a host, at two bots of one Redis: one asks, does not get to
// agree with himself, the other approves, it runs, streams, and is stopped. And
// of somebody in Slack: who cannot be told apart from them does not count.
func TestChat(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON, and the test becomes another user")
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	other, dir := nobody(t), shared(t)
	f := newFleet(t, "db-1")
	bin := filepath.Join(dir, "kgent")
	binary, err := os.ReadFile(f.bin)
	if err == nil {
		err = os.WriteFile(bin, binary, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg := slackd.Default()
	cfg.NoRateLimits = true
	slack, err := slackd.Start("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(slack.Close)
	policy := f.path("policy.yaml")
	if err := os.WriteFile(policy, []byte(fmt.Sprintf(`version: 1
tenants: ["terminal:%[1]s", "slack:T0HOME"]
people:
  nina: ["terminal:%[1]s/%[2]s", "slack:T0HOME/U0CAROL"]
groups:
  ops: ["terminal:%[1]s/%[3]s"]
rules:
  - name: look
    tiers: [observe, observe-sensitive]
    quorum: 1
    approvers: {groups: [ops], people: ["terminal:%[1]s/root"]}
    requesters: {anyone: true}
    max_duration: 5m
    max_events: 20000
    expiry: 10m
    ask: ["terminal:%[1]s/console"]
`, host, other.name, other.group)), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"SLACK_API_URL=" + slack.APIURL(), "SLACK_BOT_TOKEN=" + cfg.BotToken, "SLACK_APP_TOKEN=" + cfg.AppToken}
	sockets := []string{filepath.Join(dir, "a.sock"), filepath.Join(dir, "b.sock")}
	for _, s := range sockets {
		f.startBot(policy, s, other.group, env...)
	}
	f.start("db-1", "--labels", "role=db")

	ctx := t.Context()
	root, err := terminal.Dial(ctx, sockets[0], terminal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	guest := chatAs(t, bin, sockets[1], other)
	hello := guest.until("hello", func(r terminal.Record) bool { return r.Type == terminal.TypeHello }).Hello
	if root.Hello().Account != "terminal:"+host+"/root" || hello.Account != "terminal:"+host+"/"+other.name {
		t.Errorf("the bot takes them for %+v and %+v", root.Hello(), hello)
	}
	wait := func(what string, want func(terminal.Post) bool) terminal.Post {
		t.Helper()
		limit, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		p, err := root.Wait(limit, want)
		if err != nil {
			t.Fatalf("waiting for %s: %v; there are %+v", what, err, root.Posts())
		}
		return p
	}
	press := func(p terminal.Post, verb string) {
		t.Helper()
		b, _ := p.Button(verb)
		if err := root.Press(ctx, p, b, nil); err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
	}
	refusal := func(words string) func(terminal.Post) bool {
		return func(p terminal.Post) bool {
			return p.Only == "root" && p.Card.Tone == card.Bad && strings.Contains(cardText(p), words)
		}
	}

	if _, err := root.Say(ctx, "which processes exit on db-1 for 5 minutes", ""); err != nil {
		t.Fatal(err)
	}
	press(wait("the card", has("approve")), "approve")
	wait("that one's own request is not for oneself to approve", refusal("you asked for this"))

	copied := guest.until("the copy of the card", func(r terminal.Record) bool {
		return r.Type == terminal.TypePost && r.Post.Place.Channel == terminal.Console && has("approve")(*r.Post)
	}).Post
	approve, _ := copied.Button("approve")
	guest.send(terminal.Command{Do: terminal.DoPress, Ref: "vote", Message: copied.ID, Verb: approve.Verb, ID: approve.ID})
	if r := guest.until("the answer", func(r terminal.Record) bool { return r.Ref == "vote" }); r.Type != terminal.TypeTaken {
		t.Fatalf("the vote was answered with %+v", r)
	}
	wait("output that streams", func(p terminal.Post) bool {
		if exec.Command("/bin/true").Run() != nil {
			t.Error("nothing can be executed")
		}
		return has("stop")(p) && strings.Contains(cardText(p), " true ")
	})
	press(wait("the run", has("stop")), "stop")
	wait("the result", has("again"))
	file := wait("the output", func(p terminal.Post) bool { return len(p.Files) == 1 && strings.HasSuffix(p.Files[0].Name, ".jsonl") })
	if data, err := root.File(ctx, file.ID, 0); err != nil || !strings.Contains(string(data), `"comm":"true"`) {
		t.Errorf("the output has %d bytes, %v", len(data), err)
	}

	// Somebody in Slack asks. Whether root is the same person nobody knows.
	if _, err := slack.User("U0ALICE").Mention("C0INCIDENTS", "which processes exit on db-1 for 1 second"); err != nil {
		t.Fatal(err)
	}
	card := wait("the copy of the card", func(p terminal.Post) bool {
		return p.Place.Channel == terminal.Console && has("approve")(p) && p.ID != copied.ID
	})
	press(card, "approve")
	wait("that root is not counted", refusal("nobody has said whether the account terminal:"))
	b, _ := card.Button("approve")
	guest.send(terminal.Command{Do: terminal.DoPress, Ref: "vote2", Message: card.ID, Verb: b.Verb, ID: b.ID})
	wait("that nina is", func(p terminal.Post) bool {
		return p.ID == card.ID && !has("approve")(p) && strings.Contains(cardText(p), "approved at")
	})

	// Ctrl-C only detaches.
	if err := guest.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for range guest.posts {
	}
	if err := <-guest.err; err != nil {
		t.Errorf("kgent chat ended with %v: %v", err, guest.cmd.Stderr)
	}
}

func TestChatFaults(t *testing.T) {
	dir := shared(t)
	for _, c := range []struct {
		args []string
		in   string
		code int
		say  string
	}{
		{[]string{"--socket", filepath.Join(dir, "none")}, "", exitInternal, "no bot listens at"},
		{[]string{"--output", "xml"}, "", exitUsage, "text or json"},
		{[]string{"x"}, "", exitUsage, ""},
		{[]string{"--linger", "-1s"}, "", exitUsage, "negative"},
	} {
		var out, errs strings.Builder
		code := run(t.Context(), append([]string{"chat"}, c.args...), system{in: strings.NewReader(c.in), out: &out, err: &errs, getenv: func(string) string { return "" }})
		if code != c.code || !strings.Contains(errs.String(), c.say) {
			t.Errorf("%v: exit %d, %s", c.args, code, errs.String())
		}
	}
	for _, line := range []string{"x", `{"do":"say","text":"x","by":"root"}`, `{"do":"hello"}`, `{}{}`} {
		if _, err := jsonCommand(line); err == nil {
			t.Errorf("%s was read", line)
		}
	}
}
