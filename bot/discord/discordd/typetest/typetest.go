// Package typetest holds what a bot sends to Discord against the TypeScript
// types of discord-api-types, which Discord's documentation points to: a
// payload that compiles has no misspelled property and none of the wrong kind,
// whatever the Go library that made it lets through.
package typetest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kgent/bot/discord/discordd"
	"kgent/bot/nodetest"
)

// Kind is the type that a payload must have: a name that discord-api-types
// exports for version 10 of the API.
type Kind string

// The bodies that a bot sends.
const (
	Create      Kind = "RESTPostAPIChannelMessageJSONBody"
	Edit        Kind = "RESTPatchAPIChannelMessageJSONBody"
	Followup    Kind = "RESTPostAPIWebhookWithTokenJSONBody"
	FollowEdit  Kind = "RESTPatchAPIWebhookWithTokenMessageJSONBody"
	Response    Kind = "APIInteractionResponse"
	ModalReply  Kind = "APIModalInteractionResponse"
	Update      Kind = "APIInteractionResponseUpdateMessage"
	Reply       Kind = "APIInteractionResponseChannelMessageWithSource"
	Suggestions Kind = "APIApplicationCommandAutocompleteResponse"
	Commands    Kind = "RESTPutAPIApplicationCommandsJSONBody"
	ThreadFrom  Kind = "RESTPostAPIChannelMessagesThreadsJSONBody"
	Thread      Kind = "RESTPostAPIChannelThreadsJSONBody"
	ThreadEdit  Kind = "RESTPatchAPIChannelJSONBody"
)

// Payload is one thing that was or would be sent.
type Payload struct {
	Name string // for the test's message
	Kind Kind
	JSON json.RawMessage
}

// timeout bounds one run of the compiler.
const timeout = 2 * time.Minute

// Check fails the test for every payload that does not have its type. The
// compiler takes seconds to start: give it all payloads at once.
func Check(t testing.TB, payloads ...Payload) {
	t.Helper()
	for _, c := range complaints(t, payloads) {
		t.Errorf("%s is no %s: %s\n%s", c.payload.Name, c.payload.Kind, c.text, c.payload.JSON)
	}
}

// CheckRequests is Check for the bodies of the requests that a stand-in has
// accepted, each body once.
func CheckRequests(t testing.TB, requests []discordd.Request) {
	t.Helper()
	seen := map[string]bool{}
	var payloads []Payload
	for _, r := range requests {
		kind, ok := kindOf(r)
		if key := string(kind) + string(r.Body); ok && r.Status < 300 && !seen[key] {
			seen[key] = true
			payloads = append(payloads, Payload{Name: r.Method + " " + r.Path, Kind: kind, JSON: r.Body})
		}
	}
	Check(t, payloads...)
}

// kindOf is the type of a request's body, if it has one.
func kindOf(r discordd.Request) (Kind, bool) {
	if len(r.Body) == 0 {
		return "", false
	}
	if r.Route == "/interactions/{interaction}/{token}/callback" {
		// The one type rather than the union of all: its complaints say what
		// is wrong, the union's only that nothing fits.
		var body struct{ Type int }
		if json.Unmarshal(r.Body, &body) != nil {
			return Response, true
		}
		switch body.Type {
		case discordd.ReplyModal:
			return ModalReply, true
		case discordd.ReplyUpdate:
			return Update, true
		case discordd.ReplyMessage:
			return Reply, true
		case discordd.ReplyAutocomplete:
			return Suggestions, true
		}
		return Response, true
	}
	kind, ok := map[string]Kind{
		"POST /channels/{channel}/messages":                   Create,
		"PATCH /channels/{channel}/messages/{message}":        Edit,
		"POST /webhooks/{app}/{token}":                        Followup,
		"PATCH /webhooks/{app}/{token}/messages/{message}":    FollowEdit,
		"PUT /applications/{app}/commands":                    Commands,
		"PUT /applications/{app}/guilds/{guild}/commands":     Commands,
		"POST /channels/{channel}/messages/{message}/threads": ThreadFrom,
		"POST /channels/{channel}/threads":                    Thread,
		"PATCH /channels/{channel}":                           ThreadEdit,
	}[r.Method+" "+r.Route]
	return kind, ok
}

type complaint struct {
	payload Payload
	text    string
}

func complaints(t testing.TB, payloads []Payload) []complaint {
	t.Helper()
	if len(payloads) == 0 {
		t.Fatal("no payloads to check")
	}
	type entry struct {
		Type Kind   `json:"type"`
		JSON string `json:"json"`
	}
	var list []entry
	for _, p := range payloads {
		if !json.Valid(p.JSON) {
			t.Fatalf("%s is not JSON: %s", p.Name, p.JSON)
		}
		list = append(list, entry{p.Kind, string(p.JSON)})
	}
	all, err := json.Marshal(map[string]any{"payloads": list})
	if err != nil {
		t.Fatal(err)
	}
	project := nodetest.Install(t, filepath.Join(moduleRoot(t), "bot/discord/discordd/testdata/node"))
	file := filepath.Join(project, "payloads.json")
	if err := os.WriteFile(file, all, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	var found []complaint
	lines := bufio.NewScanner(strings.NewReader(nodetest.Run(ctx, t, project, "check.js", "PAYLOADS="+file)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var d struct {
			Index   int
			Problem string
		}
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil || d.Index < 0 || d.Index >= len(payloads) {
			t.Fatalf("the compiler complains of something else: %s", lines.Text())
		}
		found = append(found, complaint{payloads[d.Index], d.Problem})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(fmt.Errorf("reading the compiler's complaints: %w", err))
	}
	return found
}

// moduleRoot is the directory of go.mod, above the test that runs.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("there is no go.mod above the test")
		}
		dir = up
	}
}
