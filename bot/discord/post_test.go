package discord

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"kgent/bot/card"
	"kgent/bot/discord/discordd"
	"kgent/bot/thread"
)

const toMessages = "/channels/{channel}/messages"

// count is how many messages of ours in a channel say something.
func (w *world) count(channel, text string) int {
	n := 0
	for _, m := range w.Messages(channel) {
		if m.Author.ID == w.ApplicationID() && strings.Contains(m.Text(), text) && !m.Deleted {
			n++
		}
	}
	return n
}

// A lost answer does not double a message: neither while Discord remembers the
// nonce, nor after that.
func TestUnknownResult(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault discordd.Fault
		later time.Duration
		times int
	}{
		{"502 after commit", discordd.Fault{Status: 502, Commit: true}, 0, 1},
		{"502 after commit, an hour ago", discordd.Fault{Status: 502, Commit: true}, time.Hour, 1},
		{"502 and nothing was sent", discordd.Fault{Status: 502}, time.Hour, 1},
		{"no answer after commit", discordd.Fault{Hang: true, Commit: true}, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, nil)
			root := ok[discordd.Message](t)(w.As(alice).Mention(incidents, "who kills?"))
			first := ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("before", inThread(root.ID))))
			f := tt.fault
			f.Method, f.Route = http.MethodPost, toMessages
			w.Inject(f)
			m := plainMessage("once", inThread(root.ID))
			m.At = w.Server.Now()
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			if f.Hang { // patience ends when it is there, and the request with it is on record
				go func() {
					defer cancel()
					if _, err := w.WaitRequest(ctx, http.MethodPost, toMessages, 3); err != nil {
						t.Error(err)
					}
				}()
			}
			_, err := w.Adapter.Post(ctx, m)
			var unknown *thread.UnknownError
			if !errors.As(err, &unknown) {
				t.Fatalf("got %v", err)
			}
			if n := len(w.Requests(http.MethodPost, toMessages)); n != 3 { // a 404 before the thread was made, the first, this one
				t.Errorf("%d posts", n)
			}
			w.Advance(tt.later)
			m.Tried = true
			h := ok[thread.Handle](t)(w.Adapter.Post(within(t), m))
			if n := w.count(root.ID, "once"); n != tt.times {
				t.Errorf("it is there %d times\n%s", n, w.Transcript())
			}
			if got, there := w.Message(h.ID); !there || !strings.Contains(got.Text(), "once") || h.Channel != root.ID || h == first {
				t.Errorf("the handle %+v is that of %+v", h, got)
			}
			// And what was found is edited like any other.
			if tt.later == 0 {
				m.Card = note("changed")
				if err := w.Adapter.Edit(within(t), h, m); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	w.Inject(discordd.Fault{Method: http.MethodPost, Route: toMessages, RetryAfter: patience})
	begun := time.Now()
	_, err := w.Adapter.Post(within(t), plainMessage("k", inChannel()))
	var limited *thread.RateLimitedError
	if !errors.As(err, &limited) || limited.After < patience-time.Since(begun) || limited.After > patience+100*time.Millisecond {
		t.Fatalf("got %v", err)
	}
	// Until then nothing more goes there, and nothing is asked.
	n := len(w.Requests(http.MethodPost, toMessages))
	if _, err = w.Adapter.Post(within(t), plainMessage("k", inChannel())); !errors.As(err, &limited) {
		t.Errorf("got %v", err)
	}
	if got := len(w.Requests(http.MethodPost, toMessages)); got != n {
		t.Errorf("%d requests after %d", got, n)
	}
	// Elsewhere it goes on.
	elsewhere := inChannel()
	elsewhere.Channel = discordd.ExampleGeneral
	ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("g", elsewhere)))
	w.Advance(patience + time.Second)
	h := ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("k", inChannel())))

	// The limit of all requests together stops everything but answers to
	// interactions.
	w.Inject(discordd.Fault{Method: http.MethodPatch, Route: toMessages + "/{message}", RetryAfter: patience, Global: true})
	if err := w.Adapter.Edit(within(t), h, plainMessage("k", inChannel())); !errors.As(err, &limited) {
		t.Errorf("got %v", err)
	}
	if _, err := w.Adapter.Post(within(t), plainMessage("g2", elsewhere)); !errors.As(err, &limited) {
		t.Errorf("got %v", err)
	}
}

// What is urgent has a reserve that the rest does not use up.
func TestReserve(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := newLimiter(40, func() time.Time { return now })
	sent := 0
	for l.take("a", false, false) == 0 {
		sent++
	}
	if sent != 30 {
		t.Errorf("%d at once", sent)
	}
	for range 10 {
		if wait := l.take("a", true, false); wait != 0 {
			t.Errorf("urgent has to wait %v", wait)
		}
	}
	if l.take("a", true, false) == 0 || l.take("a", true, true) != 0 {
		t.Error("only answers to interactions go beyond")
	}
	now = now.Add(time.Second)
	if l.take("a", false, false) != 0 {
		t.Error("a second later it goes on")
	}
	// Far too many refusals: Discord would lock the address out.
	for range maxInvalid {
		l.note("b", &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}}, 0)
	}
	if l.take("b", false, false) == 0 {
		t.Error("goes on after 5,000 refusals")
	}
	now = now.Add(invalidWindow + time.Second)
	if l.take("b", false, false) != 0 {
		t.Error("does not go on after ten minutes")
	}
}

// Discord's own buckets: a burst of edits is told to wait rather than refused
// time and again.
func TestStorm(t *testing.T) {
	t.Parallel()
	w := start(t, func(s *discordd.Config, _ *Config) { s.RateScale = 1 })
	h := ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("tail", inChannel())))
	waits := 0
	for i := range 50 {
		m := plainMessage("tail", inChannel())
		m.Card = note(fmt.Sprintf("line %d", i))
		err := w.Adapter.Edit(within(t), h, m)
		var limited *thread.RateLimitedError
		switch {
		case errors.As(err, &limited):
			waits++
			w.Advance(limited.After)
		case err != nil:
			t.Fatal(err)
		}
	}
	refused := 0
	for _, r := range w.Requests("", "") {
		if r.Status == http.StatusTooManyRequests {
			refused++
		}
	}
	if waits == 0 || refused > 1 {
		t.Errorf("waited %d times, was refused %d times", waits, refused)
	}
}

func TestArchivedAndGone(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	root := ok[discordd.Message](t)(w.As(alice).Mention(incidents, "who kills?"))
	h := ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("one", inThread(root.ID))))
	archive := func(locked bool) {
		t.Helper()
		if err := w.ArchiveThread(root.ID, true, locked); err != nil {
			t.Fatal(err)
		}
	}
	archive(false)
	m := plainMessage("one", inThread(root.ID))
	m.Card = note("edited")
	if err := w.Adapter.Edit(within(t), h, m); err != nil {
		t.Error(err)
	}
	archive(false)
	ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("two", inThread(root.ID))))

	// What somebody deletes is posted anew, and Discord must not take it for the
	// one that was there.
	var old *thread.TooOldError
	if err := w.As(w.ApplicationID()).Delete(h.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.Adapter.Edit(within(t), h, m); !errors.As(err, &old) || !strings.Contains(old.Why, "deleted") {
		t.Errorf("got %v", err)
	}
	m.Anew, m.Handle = true, h
	if again := ok[thread.Handle](t)(w.Adapter.Post(within(t), m)); again == h {
		t.Error("Discord answered with the deleted message")
	}
	var away *thread.GoneError
	silent := inChannel()
	silent.Channel = discordd.ExampleSilent
	if _, err := w.Adapter.Post(within(t), plainMessage("three", silent)); !errors.As(err, &away) || !strings.Contains(away.Why, "permission") {
		t.Errorf("got %v", err)
	}
	silent.Channel = "1200000000000009999"
	if _, err := w.Adapter.Post(within(t), plainMessage("four", silent)); !errors.As(err, &away) {
		t.Errorf("got %v", err)
	}
	gone := ok[discordd.Message](t)(w.As(alice).Mention(incidents, "never mind"))
	if err := w.As(alice).Delete(gone.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Adapter.Post(within(t), plainMessage("five", inThread(gone.ID))); !errors.As(err, &away) {
		t.Errorf("got %v", err)
	}
}

func TestTooOld(t *testing.T) {
	t.Parallel()
	w := start(t, func(s *discordd.Config, _ *Config) { s.OldEdits = 2 })
	h := ok[thread.Handle](t)(w.Adapter.Post(within(t), plainMessage("tail", inChannel())))
	w.Advance(2 * time.Hour)
	var old *thread.TooOldError
	for i := range 5 {
		m := plainMessage("tail", inChannel())
		m.Card = note(fmt.Sprint(i))
		if err := w.Adapter.Edit(within(t), h, m); errors.As(err, &old) {
			// Posted anew it is another message, also when nobody knows whether it was.
			m.Tried, m.Handle, m.At = true, h, w.Server.Now().Add(-3*time.Hour)
			if again := ok[thread.Handle](t)(w.Adapter.Post(within(t), m)); again == h {
				t.Error("the old one again")
			}
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("edits of an old message go on for ever")
}

func TestWhispers(t *testing.T) {
	t.Parallel()
	w := start(t, func(s *discordd.Config, _ *Config) {
		for i := range s.Users {
			if s.Users[i].ID == discordd.ExampleCarol {
				s.Users[i].NoDMs = true
			}
		}
	}).run(t)
	h := w.ask(t)
	in := ok[*discordd.Interaction](t)(w.As(bob).Click(h.ID, "approve:r1/1"))
	ok[discordd.Response](t)(in.Wait(within(t)))
	e := w.front.event(t, 1)
	if strings.Contains(w.log.String(), strings.Fields(e.Reply)[1]) {
		t.Error("the interaction's token is in the log")
	}
	whisper := func(key, text, who, reply string) error {
		m := plainMessage(key, e.Place)
		m.Only, m.Reply, m.Card = who, reply, note(text)
		_, err := w.Adapter.Post(within(t), m)
		return err
	}
	if err := whisper("w1", "in time", bob, e.Reply); err != nil {
		t.Fatal(err)
	}
	if m := ok[discordd.Message](t)(w.WaitMessage(within(t), func(m discordd.Message) bool { return strings.Contains(m.Text(), "in time") })); m.VisibleTo != bob || m.ChannelID != incidents {
		t.Errorf("%+v", m)
	}
	// The token ends after fifteen minutes: then a direct message, and none in
	// the channel.
	w.Advance(16 * time.Minute)
	dm := ok[string](t)(w.As(bob).DMChannel())
	for _, reply := range []string{e.Reply, "", "nonsense"} {
		if err := whisper("w2"+reply, "too late", bob, reply); err != nil {
			t.Fatal(err)
		}
	}
	if n, m := w.count(dm, "too late"), w.count(incidents, "too late"); n != 3 || m != 0 {
		t.Errorf("%d direct messages, %d in the channel", n, m)
	}
	// Discord may end it earlier.
	w.Inject(discordd.Fault{Method: http.MethodPost, Route: "/webhooks/{app}/{token}", Status: 404, Code: codeUnknownWebhook, Message: "Unknown Webhook"})
	if err := whisper("w3", "ended early", bob, reply{w.ApplicationID(), "sometoken", w.Server.Now().Add(-time.Minute)}.String()); err != nil {
		t.Fatal(err)
	}
	if n := w.count(dm, "ended early"); n != 1 {
		t.Errorf("%d direct messages", n)
	}
	var away *thread.GoneError
	if err := whisper("w4", "to carol", discordd.ExampleCarol, ""); !errors.As(err, &away) {
		t.Errorf("got %v", err)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	png := []byte("\x89PNG\r\n\x1a\n0000")
	m := plainMessage("result", inChannel())
	m.Files = []thread.File{
		{Name: "../who kills?.png", Title: "who kills whom", Data: png, Picture: true},
		{Name: "output.txt", Title: "all output", Data: bytes.Repeat([]byte("line\n"), 3<<20)},
		{Name: "empty.txt"},
		{Name: "huge.png", Data: bytes.Repeat([]byte("\x89"), 11<<20), Picture: true},
	}
	h := ok[thread.Handle](t)(w.Adapter.Post(within(t), m))
	got, _ := w.Message(h.ID)
	if len(got.Attachments) != 2 || got.Attachments[0].Filename != "who_kills_.png" || got.Attachments[0].Description != "who kills whom" || got.Attachments[1].Filename != "output.txt.gz" {
		t.Errorf("%+v", got.Attachments)
	}
	for _, want := range []string{"empty.txt is empty", "huge.png (11 MiB) is more than"} {
		if !strings.Contains(strings.ReplaceAll(got.Text(), `\`, ""), want) {
			t.Errorf("%q is not in %q", want, got.Text())
		}
	}
	// An edit, by whichever process, leaves the files where they are.
	other := ok[*Adapter](t)(New(Config{Token: w.Token(), APIURL: w.APIURL(), Now: w.Server.Now}))
	defer other.Close()
	for _, a := range []*Adapter{w.Adapter, other} {
		m.Card, m.Files = note("afterwards"), nil
		if err := a.Edit(within(t), h, m); err != nil {
			t.Fatal(err)
		}
		got, _ = w.Message(h.ID)
		shows := 0
		for _, c := range got.Components[0].Components {
			if c.Type == 12 || c.Type == 13 {
				shows++
			}
		}
		if len(got.Attachments) != 2 || shows != 2 {
			t.Errorf("%d attachments, %d shown", len(got.Attachments), shows)
		}
	}
	// Files alone.
	h = ok[thread.Handle](t)(w.Adapter.Post(within(t), thread.Message{Key: "only files", Place: inChannel(), Files: []thread.File{{Name: "a.txt", Data: []byte("x")}}}))
	if got, _ := w.Message(h.ID); len(got.Attachments) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestPeople(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	human := func(tenant, user string) string {
		t.Helper()
		err := w.Adapter.Human(within(t), thread.Account{Surface: Surface, Tenant: tenant, User: user})
		var not *thread.NotHumanError
		if err != nil && !errors.As(err, &not) {
			t.Fatal(err)
		}
		if err == nil {
			return ""
		}
		return not.Why
	}
	for _, tt := range []struct{ tenant, user, want string }{
		{guild, alice, ""}, {"", alice, ""},
		{guild, discordd.ExampleMallory, "not a member"}, {"", discordd.ExampleMallory, "in no Discord server"},
		{guild, discordd.ExampleOtherBot, "bot"}, {"", discordd.ExampleOtherBot, "bot"},
		{guild, "", "no account"}, {guild, "1/../2", "no account"}, {guild, "1399999999999999999", "not a member"},
	} {
		if got := human(tt.tenant, tt.user); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s in %q: %q", tt.user, tt.tenant, got)
		}
	}
	now := w.Server.Now()
	later := now.Add(time.Hour)
	for want, m := range map[string]member{
		"rules": {Pending: true}, "timed out": {TimedOut: &later}, "guest": {Flags: memberGuest}, "quarantined": {Flags: memberQuarantined},
		"Discord itself": {User: user{System: true}},
	} {
		if got := m.why(now); !strings.Contains(got, want) {
			t.Errorf("%+v: %q", m, got)
		}
	}

	in := func(user, group string) bool {
		t.Helper()
		return ok[bool](t)(w.Adapter.Member(within(t), thread.Account{Surface: Surface, Tenant: guild, User: user}, group))
	}
	onCall := "discord:" + guild + "/" + discordd.ExampleOnCall
	if in(alice, onCall) || !in(bob, onCall) || in(discordd.ExampleMallory, onCall) || in(discordd.ExampleOtherBot, onCall) || in(alice, "discord:"+guild+"/"+guild) {
		t.Error("who is on call?")
	}
	// A role taken away counts no more within a minute, one given counts.
	if err := errors.Join(w.AssignRoles(guild, bob), w.AssignRoles(guild, alice, discordd.ExampleOnCall)); err != nil {
		t.Fatal(err)
	}
	w.Advance(fresh + time.Second)
	if in(bob, onCall) || !in(alice, onCall) {
		t.Error("roles are not read live")
	}
	if err := w.Kick(guild, alice); err != nil {
		t.Fatal(err)
	}
	w.Advance(fresh + time.Second)
	if in(alice, onCall) || human(guild, alice) == "" {
		t.Error("who has left is still here")
	}
	// What is not known is an error, not a no and not a yes.
	for _, group := range []string{"", "on-call", "slack:T1/S1", "discord:" + guild, "discord:" + guild + "/on-call"} {
		if is, err := w.Adapter.Member(within(t), thread.Account{Surface: Surface, User: bob}, group); err == nil || is {
			t.Errorf("group %q: %v", group, is)
		}
	}
	w.Advance(fresh + time.Second)
	w.Inject(discordd.Fault{Method: http.MethodGet, Route: "/guilds/{guild}/members/{user}", Status: 500, Times: -1})
	var not *thread.NotHumanError
	if err := w.Adapter.Human(within(t), thread.Account{Surface: Surface, Tenant: guild, User: bob}); err == nil || errors.As(err, &not) {
		t.Errorf("got %v", err)
	}
	if is, err := w.Adapter.Member(within(t), thread.Account{Surface: Surface, Tenant: guild, User: bob}, onCall); err == nil || is {
		t.Errorf("got %v, %v", is, err)
	}
}

// Only the configured servers are served, also in direct messages.
func TestGuilds(t *testing.T) {
	t.Parallel()
	w := start(t, func(_ *discordd.Config, c *Config) { c.Guilds = []string{"1200000000000000999"} }).run(t)
	ok[discordd.Message](t)(w.As(alice).Mention(incidents, "who kills?"))
	ok[discordd.Message](t)(w.As(alice).DM("hello"))
	if e := w.front.event(t, 1); e.Text != "hello" {
		t.Errorf("heard %+v", e)
	}
	for _, tenant := range []string{"", guild} {
		var not *thread.NotHumanError
		if err := w.Adapter.Human(within(t), thread.Account{Surface: Surface, Tenant: tenant, User: alice}); err == nil || tenant != "" && !errors.As(err, &not) {
			t.Errorf("in %q: %v", tenant, err)
		}
	}
	h := w.ask(t)
	in := ok[*discordd.Interaction](t)(w.As(alice).Click(h.ID, "approve:r1/1"))
	if r := ok[discordd.Response](t)(in.Wait(within(t))); r.Type != 4 || !strings.Contains(r.Message.Text(), "does not serve") {
		t.Errorf("%+v", r)
	}
	if n := len(w.front.eventsNow()); n != 1 {
		t.Errorf("%d events", n)
	}
}

// What the trace says, and who asks, stays text: nobody is mentioned, nothing
// is linked or formatted, nothing leaves its code block.
func TestInjection(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	evil := "@everyone <@" + alice + "> <@&" + discordd.ExampleOnCall + "> <#" + incidents + "> [x](https://evil.example) https://evil.example ```\n# big\n```\n> **b** ||s|| <t:1:R> \u202egnp.exe\u200b"
	m := thread.Message{Key: "evil", Place: inChannel(), Class: thread.Result, Card: card.Card{Title: evil, Blocks: []card.Block{
		card.Fields{{Label: evil, Text: evil}}, card.List{Heading: evil, Items: []string{evil}}, card.Text{Body: evil}, card.Text{Body: evil, Quoted: true},
		card.Note{Body: evil}, card.Code{Language: "c", Body: evil}, card.Row{Body: evil, Buttons: []card.Button{{Verb: "stop", ID: "1", Label: evil}}},
	}, Buttons: []card.Button{{Verb: "approve", ID: "1", Label: evil}}}}
	h := ok[thread.Handle](t)(w.Adapter.Post(within(t), m))
	if err := w.Adapter.Edit(within(t), h, m); err != nil {
		t.Fatal(err)
	}
	for _, got := range w.Revisions(h.ID) {
		if len(got.Mentions) > 0 || len(got.MentionRoles) > 0 || got.MentionEveryone || len(got.Embeds) > 0 {
			t.Errorf("mentions %+v %+v, embeds %+v", got.Mentions, got.MentionRoles, got.Embeds)
		}
		if got.Allowed == nil || len(got.Allowed.Parse) != 0 {
			t.Errorf("allowed mentions: %+v", got.Allowed)
		}
		for i, part := range strings.Split(got.Text(), "```") {
			if i%2 == 1 {
				if !strings.Contains(part, "@everyone") {
					t.Errorf("a code block without the code: %q", part)
				}
				continue // inside a code block nothing is read
			}
			for _, bad := range []string{" @everyone", "<@", "<#", "<t:", "](", " **b", " ||s", "://"} {
				clean := strings.ReplaceAll(part, `\`+strings.TrimSpace(bad)[:1], "")
				if strings.Contains(clean, bad) && !strings.Contains(bad, "](") {
					t.Errorf("%q is bare in %q", bad, part)
				}
			}
		}
		if strings.ContainsAny(got.Text(), "\u202e\u200b") {
			t.Error("invisible characters")
		}
		if n := strings.Count(got.Text(), "```"); n != 2 {
			t.Errorf("%d fences", n)
		}
	}
}

// S15: what is not signed by Discord, or long ago, is not read.
func TestSignatures(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	f := newFront()
	a := ok[*Adapter](t)(New(Config{Token: "t", PublicKey: hex.EncodeToString(public), Now: func() time.Time { return now }}))
	none := ok[*Adapter](t)(New(Config{Token: "t", Now: func() time.Time { return now }}))
	click := `{"id":"5","application_id":"1","type":3,"token":"tok","guild_id":"2","channel_id":"3","channel":{"id":"3","type":0},"member":{"user":{"id":"4"}},"message":{"id":"6"},"data":{"custom_id":"approve:x"}}`
	sign := func(at time.Time, body string) (string, string) {
		stamp := strconv.FormatInt(at.Unix(), 10)
		return stamp, hex.EncodeToString(ed25519.Sign(private, []byte(stamp+body)))
	}
	stamp, sig := sign(now, click)
	old, oldSig := sign(now.Add(-6*time.Minute), click)
	ahead, aheadSig := sign(now.Add(6*time.Minute), click)
	pingStamp, pingSig := sign(now, `{"type":1}`)
	junkStamp, junkSig := sign(now, `{"type":3`)
	big := click + strings.Repeat(" ", maxBody)
	bigStamp, bigSig := sign(now, big)
	for _, tt := range []struct {
		name             string
		a                *Adapter
		method           string
		stamp, sig, body string
		want, events     int
	}{
		{"good", a, "POST", stamp, sig, click, 200, 1},
		{"ping", a, "POST", pingStamp, pingSig, `{"type":1}`, 200, 1},
		{"replayed late", a, "POST", old, oldSig, click, 401, 1},
		{"from the future", a, "POST", ahead, aheadSig, click, 401, 1},
		{"another time", a, "POST", old, sig, click, 401, 1},
		{"another body", a, "POST", stamp, sig, strings.Replace(click, "approve", "approvf", 1), 401, 1},
		{"no signature", a, "POST", stamp, "", click, 401, 1},
		{"short signature", a, "POST", stamp, sig[:20], click, 401, 1},
		{"no time", a, "POST", "", sig, click, 401, 1},
		{"no key configured", none, "POST", stamp, sig, click, 401, 1},
		{"not JSON", a, "POST", junkStamp, junkSig, `{"type":3`, 400, 1},
		{"too large", a, "POST", bigStamp, bigSig, big, 413, 1},
		{"GET", a, "GET", stamp, sig, click, 405, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
			r.Header.Set("X-Signature-Timestamp", tt.stamp)
			r.Header.Set("X-Signature-Ed25519", tt.sig)
			rec := httptest.NewRecorder()
			tt.a.Handler(f).ServeHTTP(rec, r)
			if rec.Code != tt.want {
				t.Errorf("answered %d %s", rec.Code, rec.Body)
			}
			if n := len(f.eventsNow()); n != tt.events {
				t.Errorf("%d events", n)
			}
		})
	}
}

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no token", Config{}, "token"},
		{"token of two words", Config{Token: "a b"}, "token"},
		{"public key", Config{Token: "t", PublicKey: "abcd"}, "public key"},
		{"guild by name", Config{Token: "t", Guilds: []string{"Kernel Ops"}}, "not an id"},
		{"URL", Config{Token: "t", APIURL: "discord.com"}, "URL"},
	} {
		if _, err := New(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for in, want := range map[string]string{"": "https://discord.com/api", "http://h:1/api/": "http://h:1/api", "http://h/api/v10": "http://h/api"} {
		if got, err := apiBase(in); got != want || err != nil {
			t.Errorf("apiBase(%q) = %q, %v", in, got, err)
		}
	}
	if u := InviteURL("42"); !strings.Contains(u, "client_id=42") || !strings.Contains(u, "applications.commands") {
		t.Error(u)
	}
}

func TestOutsideCode(t *testing.T) {
	for text, want := range map[string]string{
		"who opens files":                        "who opens files",
		"what is this? ```c\nint x;\n``` please": "what is this?  please",
		"an open one ```\nSEC(\"tp/a/b\")":       "an open one ",
		"```\nint x;\n```":                       "",
	} {
		if got := outsideCode(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
