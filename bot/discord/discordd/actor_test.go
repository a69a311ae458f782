package discordd

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime/multipart"
	"net/http"
	"testing"
	"time"
)

// card posts a message of the bot's with a button, a disabled one and a menu.
func card(t *testing.T, s *Server, channel string) string {
	t.Helper()
	status, out := api(t, s, "POST", "/channels/"+channel+"/messages", `{"content":"card","components":[
		{"type":1,"components":[{"type":2,"style":1,"label":"Go","custom_id":"go"},{"type":2,"style":1,"label":"Off","custom_id":"off","disabled":true}]},
		{"type":1,"components":[{"type":3,"custom_id":"pick","max_values":2,"options":[{"label":"A","value":"a"},{"label":"B","value":"b"},{"label":"C","value":"c"}]}]},
		{"type":1,"components":[{"type":5,"custom_id":"who"}]}]}`)
	if status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	return out["id"].(string)
}

func TestActors(t *testing.T) {
	s := start(t, nil)
	id := card(t, s, ExampleGeneral)
	alice, mallory := s.As(ExampleAlice), s.As(ExampleMallory)
	own, err := alice.Post(ExampleGeneral, "mine")
	if err != nil {
		t.Fatal(err)
	}
	did := func(_ any, err error) error { return err }
	for _, tt := range []struct {
		name string
		do   func() error
		want error
	}{
		{"a click", func() error { return did(alice.Click(id, "go")) }, nil},
		{"a button that is not there", func() error { return did(alice.Click(id, "gone")) }, ErrStale},
		{"a disabled button", func() error { return did(alice.Click(id, "off")) }, ErrStale},
		{"who is not a member clicks", func() error { return did(mallory.Click(id, "go")) }, ErrForbidden},
		{"who is not a member posts", func() error { return did(mallory.Post(ExampleGeneral, "x")) }, ErrForbidden},
		{"who is not anybody", func() error { return did(s.As("5").Post(ExampleGeneral, "x")) }, ErrUnknown},
		{"a menu clicked", func() error { return did(alice.Click(id, "pick")) }, ErrInput},
		{"a button selected", func() error { return did(alice.Select(id, "go", "a")) }, ErrInput},
		{"two of three", func() error { return did(alice.Select(id, "pick", "a", "c")) }, nil},
		{"three where two may be", func() error { return did(alice.Select(id, "pick", "a", "b", "c")) }, ErrInput},
		{"none where one must be", func() error { return did(alice.Select(id, "pick")) }, ErrInput},
		{"a value that is not offered", func() error { return did(alice.Select(id, "pick", "z")) }, ErrInput},
		{"a user", func() error { return did(alice.Select(id, "who", ExampleBob)) }, nil},
		{"an unknown command", func() error { return did(alice.Command(ExampleGeneral, "nothing")) }, ErrUnknown},
		{"a long message", func() error { return did(alice.Post(ExampleGeneral, string(make([]rune, 2001)))) }, ErrInput},
		{"editing the bot's message", func() error { return did(alice.Edit(id, "x")) }, ErrForbidden},
		{"editing", func() error { return did(alice.Edit(own.ID, "changed")) }, nil},
		{"replying", func() error { return did(alice.Reply(id, "why?")) }, nil},
		{"deleting another's", func() error { return s.As(ExampleBob).Delete(own.ID) }, ErrForbidden},
		{"deleting", func() error { return alice.Delete(own.ID) }, nil},
		{"deleting twice", func() error { return alice.Delete(own.ID) }, ErrUnknown},
		{"a role that is not there", func() error { return s.AssignRoles(ExampleGuild, ExampleAlice, "5") }, ErrUnknown},
	} {
		if err := tt.do(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	reply, err := s.WaitMessage(within(t), func(m Message) bool { return m.Content == "why?" })
	if err != nil || reply.Type != MessageReply || len(reply.Mentions) != 1 || reply.Mentions[0].ID != s.ApplicationID() {
		t.Errorf("%+v, %v; want a reply that mentions the bot", reply, err)
	}
}

// Who was removed while a form was open cannot send it.
func TestSubmitAfterRemoval(t *testing.T) {
	s := start(t, nil)
	id := card(t, s, ExampleGeneral)
	alice := s.As(ExampleAlice)
	in, err := alice.Click(id, "go")
	if err != nil {
		t.Fatal(err)
	}
	if status, out := api(t, s, "POST", "/interactions/"+in.ID+"/"+in.in.token+"/callback", `{"type":9,"data":{"custom_id":"m","title":"T",
		"components":[{"type":18,"label":"L","component":{"type":4,"custom_id":"x","style":1,"required":false}}]}}`); status != 204 {
		t.Fatalf("%d %v", status, out)
	}
	if _, err := s.As(ExampleBob).Submit(in, nil); !errors.Is(err, ErrForbidden) {
		t.Errorf("Bob sends Alice's form: %v", err)
	}
	if err := s.Kick(ExampleGuild, ExampleAlice); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Submit(in, nil); !errors.Is(err, ErrForbidden) {
		t.Errorf("%v, want ErrForbidden", err)
	}
}

// A click that was under way while the card changed reaches the bot with the
// card as it is now.
func TestClickOfAnOldRevision(t *testing.T) {
	s := start(t, nil)
	id := card(t, s, ExampleGeneral)
	if status, out := api(t, s, "PATCH", "/channels/"+ExampleGeneral+"/messages/"+id, `{"content":"decided","components":[]}`); status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	bob := s.As(ExampleBob)
	if _, err := bob.Click(id, "go"); !errors.Is(err, ErrStale) {
		t.Errorf("%v, want ErrStale", err)
	}
	in, err := bob.ClickRevision(id, "go", 0)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Message Message
		Data    struct {
			CustomID string `json:"custom_id"`
		}
		Member struct {
			Roles       []string
			Permissions Perm
		}
	}
	if err := json.Unmarshal([]byte(in.Body()), &body); err != nil {
		t.Fatal(err)
	}
	if body.Message.Content != "decided" || body.Data.CustomID != "go" || len(body.Member.Roles) != 1 || body.Member.Permissions&PermSendMessages == 0 {
		t.Errorf("%+v", body)
	}
}

func TestCommandOptions(t *testing.T) {
	s := start(t, nil)
	path := "/applications/" + s.ApplicationID() + "/guilds/" + ExampleGuild + "/commands"
	if status, out := api(t, s, "PUT", path, `[{"name":"k","description":"d","options":[
		{"type":1,"name":"run","description":"d","options":[
			{"type":3,"name":"what","description":"d","required":true,"max_length":5},
			{"type":4,"name":"n","description":"d","min_value":1,"max_value":9},
			{"type":5,"name":"all","description":"d"},
			{"type":6,"name":"by","description":"d"},
			{"type":3,"name":"on","description":"d","choices":[{"name":"One","value":"1"}]}]},
		{"type":1,"name":"list","description":"d"}]}]`); status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	alice := s.As(ExampleAlice)
	for _, tt := range []struct {
		name    string
		command string
		options []Option
		want    error
	}{
		{"all of them", "k run", []Option{{"what", "x"}, {"n", 5}, {"all", true}, {"by", ExampleBob}, {"on", "1"}}, nil},
		{"no options", "k list", nil, nil},
		{"no sub-command", "k", nil, ErrInput},
		{"unknown sub-command", "k stop", nil, ErrUnknown},
		{"required", "k run", nil, ErrInput},
		{"too long", "k run", []Option{{"what", "123456"}}, ErrInput},
		{"not a number", "k run", []Option{{"what", "x"}, {"n", "5"}}, ErrInput},
		{"out of range", "k run", []Option{{"what", "x"}, {"n", 10}}, ErrInput},
		{"not whole", "k run", []Option{{"what", "x"}, {"n", 1.5}}, ErrInput},
		{"not a user", "k run", []Option{{"what", "x"}, {"by", "5"}}, ErrInput},
		{"not a choice", "k run", []Option{{"what", "x"}, {"on", "2"}}, ErrInput},
		{"unknown option", "k run", []Option{{"what", "x"}, {"zzz", "2"}}, ErrUnknown},
	} {
		in, err := alice.Command(ExampleGeneral, tt.command, tt.options...)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if tt.name == "all of them" && err == nil {
			var body struct {
				Data struct {
					Options  []struct{ Options []struct{ Name string } }
					Resolved struct{ Users map[string]User }
				}
			}
			if err := json.Unmarshal([]byte(in.Body()), &body); err != nil || len(body.Data.Options[0].Options) != 5 || body.Data.Resolved.Users[ExampleBob].Username != "bob" {
				t.Errorf("%+v, %v", body, err)
			}
		}
	}
}

func TestThreadsAreArchivedInTime(t *testing.T) {
	s := start(t, nil)
	m, err := s.As(ExampleAlice).Post(ExampleGeneral, "x")
	if err != nil {
		t.Fatal(err)
	}
	thread, err := s.As(ExampleAlice).StartThread(m.ID, "thread")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		pass     time.Duration
		archived bool
	}{{71 * time.Hour, false}, {2 * time.Hour, true}} {
		s.Advance(step.pass)
		if c, _ := s.Channel(thread.ID); c.Thread.Archived != step.archived {
			t.Errorf("after %v more: archived is %v", step.pass, c.Thread.Archived)
		}
	}
	if _, err := s.As(ExampleAlice).Post(thread.ID, "again"); err != nil {
		t.Fatal(err)
	}
	if c, _ := s.Channel(thread.ID); c.Thread.Archived {
		t.Error("still archived after a message")
	}
}

func TestUploads(t *testing.T) {
	s := start(t, func(c *Config) { c.FileLimit = 1000 })
	post := func(method, path, payload string, files ...File) (int, map[string]any) {
		t.Helper()
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		if err := w.WriteField("payload_json", payload); err != nil {
			t.Fatal(err)
		}
		for i, f := range files {
			p, err := w.CreateFormFile("files["+string(rune('0'+i))+"]", f.Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Write(f.Data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, s.APIURL()+"/v10"+path, &b)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bot "+s.Token())
		req.Header.Set("Content-Type", w.FormDataContentType())
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		out := map[string]any{}
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, out
	}
	path := "/channels/" + ExampleGeneral + "/messages"
	if status, out := post("POST", path, `{}`, File{"big.txt", make([]byte, 1001)}); status != 413 || code(out) != 40005 {
		t.Errorf("a file over the limit: %d %v", status, out)
	}
	if status, out := post("POST", path, `{"attachments":[{"id":3}]}`, File{"a.txt", []byte("a")}); status != 400 || code(out) != 50035 {
		t.Errorf("an attachment without its file: %d %v", status, out)
	}
	status, out := post("POST", path, `{"attachments":[{"id":0,"filename":"b.txt","description":"the b"}]}`, File{"a.txt", []byte("a")})
	if status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	m, _ := s.Message(out["id"].(string))
	if a := m.Attachments; len(a) != 1 || a[0].Filename != "b.txt" || a[0].Description != "the b" || string(a[0].Data) != "a" {
		t.Errorf("attachments %+v", a)
	}
	edit := path + "/" + m.ID
	if status, out := post("PATCH", edit, `{}`, File{"c.txt", []byte("c")}); status != 200 {
		t.Errorf("%d %v", status, out)
	}
	if m, _ = s.Message(m.ID); len(m.Attachments) != 2 {
		t.Errorf("an edit without attachments keeps them: %+v", m.Attachments)
	}
	if status, out := post("PATCH", edit, `{"attachments":[{"id":"`+m.Attachments[1].ID+`"}]}`); status != 200 {
		t.Errorf("%d %v", status, out)
	}
	if m, _ = s.Message(m.ID); len(m.Attachments) != 1 || m.Attachments[0].Filename != "c.txt" {
		t.Errorf("an edit keeps what it names: %+v", m.Attachments)
	}
	if revs := s.Revisions(m.ID); len(revs[0].Attachments) != 1 || revs[0].Attachments[0].Filename != "b.txt" {
		t.Errorf("the first revision changed: %+v", revs[0].Attachments)
	}
}
