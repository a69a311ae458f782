package discordd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// api makes a REST request as a bot does and decodes the answer.
func api(t *testing.T, s *Server, method, path, body string) (int, map[string]any) {
	t.Helper()
	status, _, out := apiFull(t, s, method, path, body)
	return status, out
}

func apiFull(t *testing.T, s *Server, method, path, body string) (int, http.Header, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.APIURL()+"/v10"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bot "+s.Token())
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out := map[string]any{}
	if resp.StatusCode != http.StatusNoContent {
		var v any
		if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
			t.Fatalf("%s %s: %d: %v", method, path, resp.StatusCode, err)
		}
		if m, ok := v.(map[string]any); ok {
			out = m
		}
	}
	return resp.StatusCode, resp.Header, out
}

func code(out map[string]any) int {
	n, ok := out["code"].(float64)
	if !ok {
		return -1
	}
	return int(n)
}

// text is a JSON string of n characters that take more than a byte each: the
// limits count characters.
func text(n int) string { return `"` + strings.Repeat("é", n) + `"` }

func list(n int, f func(int) string) string {
	var parts []string
	for i := range n {
		parts = append(parts, f(i))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func button(i int) string {
	return fmt.Sprintf(`{"type":2,"style":1,"label":"b","custom_id":"id%d"}`, i)
}

func row(from, n int) string {
	return `{"type":1,"components":` + list(n, func(i int) string { return button(from + i) }) + `}`
}

func display(content string) string { return `{"type":10,"content":` + content + `}` }

func v2(components string) string { return `{"flags":32768,"components":` + components + `}` }

func TestMessageLimits(t *testing.T) {
	s := start(t, nil)
	options := func(n int) string {
		return `{"components":[{"type":1,"components":[{"type":3,"custom_id":"s","options":` +
			list(n, func(i int) string { return fmt.Sprintf(`{"label":"l","value":"%d"}`, i) }) + `}]}]}`
	}
	embed := func(inner string) string { return `{"embeds":[{` + inner + `}]}` }
	for _, tt := range []struct {
		name string
		body string
		code int    // 0 is success
		at   string // where the error is, dotted
	}{
		{"content at the limit", `{"content":` + text(2000) + `}`, 0, ""},
		{"content over it", `{"content":` + text(2001) + `}`, 50035, "content"},
		{"nothing", `{}`, 50006, ""},
		{"only spaces", `{"content":"  \n "}`, 50006, ""},
		{"not JSON", `{"content"`, 50109, ""},
		{"wrong type", `{"content":7}`, 50035, "content"},
		{"embeds at the limit", `{"embeds":` + list(10, func(int) string { return `{"title":"t"}` }) + `}`, 0, ""},
		{"too many embeds", `{"embeds":` + list(11, func(int) string { return `{"title":"t"}` }) + `}`, 50035, "embeds"},
		{"title too long", embed(`"title":` + text(257)), 50035, "embeds.0.title"},
		{"description at the limit", embed(`"description":` + text(4096)), 0, ""},
		{"description too long", embed(`"description":` + text(4097)), 50035, "embeds.0.description"},
		{"too many fields", embed(`"fields":` + list(26, func(int) string { return `{"name":"n","value":"v"}` })), 50035, "embeds.0.fields"},
		{"field name too long", embed(`"fields":[{"name":` + text(257) + `,"value":"v"}]`), 50035, "embeds.0.fields.0.name"},
		{"field value empty", embed(`"fields":[{"name":"n","value":""}]`), 50035, "embeds.0.fields.0.value"},
		{"field value too long", embed(`"fields":[{"name":"n","value":` + text(1025) + `}]`), 50035, "embeds.0.fields.0.value"},
		{"footer too long", embed(`"footer":{"text":` + text(2049) + `}`), 50035, "embeds.0.footer.text"},
		{"embeds of 6,000 in all", `{"embeds":[{"description":` + text(3000) + `},{"description":` + text(3000) + `}]}`, 0, ""},
		{"embeds of 6,001 in all", `{"embeds":[{"description":` + text(3000) + `},{"description":` + text(3001) + `}]}`, 50035, "embeds"},
		{"embed with a script URL", embed(`"title":"t","url":"javascript:alert(1)"`), 50035, "embeds.0.url"},
		{"five rows of five", `{"components":` + list(5, func(i int) string { return row(i*5, 5) }) + `}`, 0, ""},
		{"six rows", `{"components":` + list(6, func(i int) string { return row(i, 1) }) + `}`, 50035, "components"},
		{"six buttons in a row", `{"components":[` + row(0, 6) + `]}`, 50035, "components.0.components"},
		{"an empty row", `{"components":[` + row(0, 0) + `]}`, 50035, "components.0.components"},
		{"custom_id of 100", `{"components":[{"type":1,"components":[{"type":2,"style":1,"label":"x","custom_id":` + text(100) + `}]}]}`, 0, ""},
		{"custom_id of 101", `{"components":[{"type":1,"components":[{"type":2,"style":1,"label":"x","custom_id":` + text(101) + `}]}]}`, 50035, "components.0.components.0.custom_id"},
		{"no custom_id", `{"components":[{"type":1,"components":[{"type":2,"style":1,"label":"x"}]}]}`, 50035, "components.0.components.0.custom_id"},
		{"custom_id twice", `{"components":[` + row(0, 1) + `,` + row(0, 1) + `]}`, 50035, "components.1.components.0.custom_id"},
		{"label of 81", `{"components":[{"type":1,"components":[{"type":2,"style":1,"custom_id":"x","label":` + text(81) + `}]}]}`, 50035, "components.0.components.0.label"},
		{"button without a style", `{"components":[{"type":1,"components":[{"type":2,"custom_id":"x","label":"x"}]}]}`, 50035, "components.0.components.0.style"},
		{"link with a custom_id", `{"components":[{"type":1,"components":[{"type":2,"style":5,"label":"x","custom_id":"x","url":"https://example.com"}]}]}`, 50035, "components.0.components.0"},
		{"25 options", options(25), 0, ""},
		{"26 options", options(26), 50035, "components.0.components.0.options"},
		{"select beside a button", `{"components":[{"type":1,"components":[` + button(1) + `,{"type":5,"custom_id":"u"}]}]}`, 50035, "components.0.components"},
		{"nonce of 25", `{"content":"x","nonce":"` + strings.Repeat("n", 25) + `"}`, 0, ""},
		{"nonce of 26", `{"content":"x","nonce":"` + strings.Repeat("n", 26) + `"}`, 50035, "nonce"},
		{"parse and users", `{"content":"x","allowed_mentions":{"parse":["users"],"users":["1"]}}`, 50035, "allowed_mentions"},
		{"ephemeral outside an interaction", `{"content":"x","flags":64}`, 50035, "flags"},
		{"text display without the flag", `{"components":[` + display(`"x"`) + `]}`, 50035, "components.0.type"},
		{"components v2 with content", `{"content":"x","flags":32768,"components":[` + display(`"x"`) + `]}`, 50035, "content"},
		{"components v2 with embeds", `{"embeds":[{"title":"x"}],"flags":32768,"components":[` + display(`"x"`) + `]}`, 50035, "embeds"},
		{"4,000 characters of displays", v2("[" + display(text(2000)) + "," + display(text(2000)) + "]"), 0, ""},
		{"4,001 characters of displays", v2("[" + display(text(2000)) + "," + display(text(2001)) + "]"), 50035, "components"},
		{"40 components", v2(`[{"type":17,"components":` + list(39, func(int) string { return display(`"x"`) }) + `}]`), 0, ""},
		{"41 components", v2(`[{"type":17,"components":` + list(40, func(int) string { return display(`"x"`) }) + `}]`), 50035, "components"},
		{"a container in a container", v2(`[{"type":17,"components":[{"type":17,"components":[` + display(`"x"`) + `]}]}]`), 50035, "components.0.components.0.type"},
		{"a section without an accessory", v2(`[{"type":9,"components":[` + display(`"x"`) + `]}]`), 50035, "components.0.accessory"},
		{"a section of four", v2(`[{"type":9,"accessory":` + button(1) + `,"components":` + list(4, func(int) string { return display(`"x"`) }) + `}]`), 50035, "components.0.components"},
		{"a gallery of eleven", v2(`[{"type":12,"items":` + list(11, func(int) string { return `{"media":{"url":"https://example.com/x.png"}}` }) + `}]`), 50035, "components.0.items"},
		{"a file that was not uploaded", v2(`[{"type":13,"file":{"url":"attachment://x.txt"}}]`), 50035, "components.0.file.url"},
		{"a file by address", v2(`[{"type":13,"file":{"url":"https://example.com/x.txt"}}]`), 50035, "components.0.file.url"},
		{"an empty text display", v2(`[` + display(`""`) + `]`), 50035, "components.0.content"},
		{"a separator's spacing", v2(`[{"type":14,"spacing":3}]`), 50035, "components.0.spacing"},
		{"a reply to nothing", `{"content":"x","message_reference":{"message_id":"5"}}`, 50035, "message_reference"},
		{"a reply to nothing that may fail", `{"content":"x","message_reference":{"message_id":"5","fail_if_not_exists":false}}`, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, out := api(t, s, "POST", "/channels/"+ExampleGeneral+"/messages", tt.body)
			if tt.code == 0 {
				if status != http.StatusOK || out["id"] == nil {
					t.Fatalf("%d %v, want a message", status, out)
				}
				return
			}
			if status != http.StatusBadRequest || code(out) != tt.code {
				t.Fatalf("%d %v, want 400 with code %d", status, out, tt.code)
			}
			if tt.at == "" {
				return
			}
			at, ok := out["errors"].(map[string]any), true
			for _, p := range strings.Split(tt.at, ".") {
				if at, ok = at[p].(map[string]any); !ok {
					t.Fatalf("errors %v, want one at %s", out["errors"], tt.at)
				}
			}
			if at["_errors"] == nil {
				t.Errorf("errors %v, want one at %s", out["errors"], tt.at)
			}
		})
	}
}

func TestModalLimits(t *testing.T) {
	label := func(inner string) string {
		return `{"type":18,"label":"L","component":` + inner + `}`
	}
	input := func(i int, more string) string {
		return fmt.Sprintf(`{"type":4,"custom_id":"i%d","style":1%s}`, i, more)
	}
	modal := func(components string) string {
		return `{"custom_id":"m","title":"T","components":` + components + `}`
	}
	for _, tt := range []struct {
		name, body, at string
	}{
		{"five labels", modal(list(5, func(i int) string { return label(input(i, "")) })), ""},
		{"six labels", modal(list(6, func(i int) string { return label(input(i, "")) })), "data.components"},
		{"none", modal("[]"), "data.components"},
		{"rows", modal(`[{"type":1,"components":[` + input(1, `,"label":"x"`) + `]}]`), ""},
		{"a row's input without a label", modal(`[{"type":1,"components":[` + input(1, "") + `]}]`), "data.components.0.components.0.label"},
		{"a button", modal(`[` + row(0, 1) + `]`), "data.components.0.components"},
		{"title of 46", `{"custom_id":"m","title":` + text(46) + `,"components":[` + label(input(1, "")) + `]}`, "data.title"},
		{"no custom_id", `{"title":"T","components":[` + label(input(1, "")) + `]}`, "data.custom_id"},
		{"label of 46", modal(`[{"type":18,"label":` + text(46) + `,"component":` + input(1, "") + `}]`), "data.components.0.label"},
		{"max_length of 4,001", modal("[" + label(input(1, `,"max_length":4001`)) + "]"), "data.components.0.component.max_length"},
		{"value over max_length", modal("[" + label(input(1, `,"max_length":2,"value":"abc"`)) + "]"), "data.components.0.component.value"},
		{"no style", modal("[" + label(`{"type":4,"custom_id":"x"}`) + "]"), "data.components.0.component.style"},
		{"a select and a text", modal("[" + label(`{"type":3,"custom_id":"s","options":[{"label":"a","value":"b"}]}`) + "," + display(`"x"`) + "]"), ""},
		{"the same id twice", modal("[" + label(input(1, "")) + "," + label(input(1, "")) + "]"), "data.components.1.component.custom_id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m Modal
			if err := json.Unmarshal([]byte(tt.body), &m); err != nil {
				t.Fatal(err)
			}
			f := &form{}
			f.modal(&m)
			if (tt.at == "") != (f.n == 0) {
				t.Fatalf("errors %v, want one at %q", f.errors, tt.at)
			}
			if tt.at == "" {
				return
			}
			at, ok := f.errors, true
			for _, p := range strings.Split(tt.at, ".") {
				if at, ok = at[p].(map[string]any); !ok {
					t.Fatalf("errors %v, want one at %s", f.errors, tt.at)
				}
			}
		})
	}
}

func TestCommandLimits(t *testing.T) {
	s := start(t, nil)
	path := "/applications/" + s.ApplicationID() + "/guilds/" + ExampleGuild + "/commands"
	cmd := func(more string) string { return `[{"name":"kgent","description":"d"` + more + `}]` }
	option := func(i int) string { return fmt.Sprintf(`{"type":3,"name":"o%d","description":"d"}`, i) }
	for _, tt := range []struct {
		name, body string
		code       int
	}{
		{"a command", cmd(""), 0},
		{"upper case", `[{"name":"Kgent","description":"d"}]`, 50035},
		{"name of 33", `[{"name":"` + strings.Repeat("n", 33) + `","description":"d"}]`, 50035},
		{"no description", `[{"name":"kgent"}]`, 50035},
		{"25 options", cmd(`,"options":` + list(25, option)), 0},
		{"26 options", cmd(`,"options":` + list(26, option)), 50035},
		{"required after optional", cmd(`,"options":[` + option(1) + `,{"type":3,"name":"r","description":"d","required":true}]`), 50035},
		{"choices and autocomplete", cmd(`,"options":[{"type":3,"name":"r","description":"d","autocomplete":true,"choices":[{"name":"a","value":"b"}]}]`), 50035},
		{"sub-command beside an option", cmd(`,"options":[` + option(1) + `,{"type":1,"name":"r","description":"d"}]`), 50035},
		{"the same name twice", `[{"name":"a","description":"d"},{"name":"a","description":"d"}]`, 50035},
		{"the same name of two types", `[{"name":"a","description":"d"},{"name":"a","type":3}]`, 0},
		{"a message command with a description", `[{"name":"Trace this","type":3,"description":"d"}]`, 50035},
		{"8,001 characters", cmd(`,"options":` + list(4, func(i int) string {
			return fmt.Sprintf(`{"type":3,"name":"o%d","description":"d","choices":%s}`, i, list(25, func(j int) string {
				return fmt.Sprintf(`{"name":"%s","value":"%d"}`, strings.Repeat("x", 79), j)
			}))
		})), 50035},
		{"101 commands", list(101, func(i int) string { return fmt.Sprintf(`{"name":"c%d","description":"d"}`, i) }), 30032},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, out := api(t, s, "PUT", path, tt.body)
			if tt.code == 0 && status != http.StatusOK || tt.code != 0 && (status != http.StatusBadRequest || code(out) != tt.code) {
				t.Errorf("%d %v, want code %d", status, out, tt.code)
			}
		})
	}
	if status, out := api(t, s, "PUT", "/applications/"+s.ApplicationID()+"/guilds/5/commands", "[]"); status != http.StatusForbidden || code(out) != 50001 {
		t.Errorf("another's guild: %d %v", status, out)
	}
}

// Whatever the body is, the answer is an error or a message within its limits.
func FuzzMessage(f *testing.F) {
	f.Add(`{"content":"x"}`)
	f.Add(v2(`[{"type":17,"components":[` + display(`"x"`) + `,` + row(0, 2) + `]}]`))
	f.Add(`{"embeds":[{"fields":[{"name":"a","value":"b"}],"image":{"url":"attachment://x"}}],"components":[{"type":1,"components":[{"type":3,"options":[null]}]}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		var b messageBody
		if decode([]byte(body), &b) != nil {
			return
		}
		s := &Server{channels: map[string]*Channel{}, cfg: Config{Now: fixed}}
		s.channels["1"] = &Channel{ID: "1", Type: ChannelDM}
		m := Message{ChannelID: "1"}
		if s.apply(&m, &b, createFlags, false) != nil {
			return
		}
		if n := len([]rune(m.Content)); n > 2000 || len(m.Embeds) > 10 {
			t.Errorf("accepted %d characters and %d embeds", n, len(m.Embeds))
		}
		n := 0
		walk(m.Components, func(c *Component) {
			n++
			if len([]rune(c.CustomID)) > 100 {
				t.Errorf("accepted the custom_id %q", c.CustomID)
			}
		})
		if n > 40 {
			t.Errorf("accepted %d components", n)
		}
	})
}

func fixed() time.Time { return time.Unix(1767225600, 0) }
