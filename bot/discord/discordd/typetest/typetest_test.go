package typetest

import (
	"encoding/json"
	"strings"
	"testing"

	"kgent/bot/discord/discordd"
)

func TestCheck(t *testing.T) {
	const row = `{"type":1,"components":[{"type":2,"style":3,"label":"Approve","custom_id":"a:1"}]}`
	payloads := []struct {
		kind  Kind
		json  string
		wrong string // part of the complaint; empty is none
	}{
		{Create, `{"content":"x","nonce":"1","enforce_nonce":true,"allowed_mentions":{"parse":[]},"flags":4096,"components":[` + row + `]}`, ""},
		{Create, `{"content":"x","enforce_nonse":true}`, "enforce_nonse"},
		{Create, `{"content":5}`, "number"},
		{Create, `{"flags":32768,"components":[{"type":17,"accent_color":5,"components":[{"type":10,"content":"x"},{"type":14,"divider":true,"spacing":1},` + row + `]}]}`, ""},
		{Create, `{"flags":32768,"components":[{"type":17,"components":[{"type":10,"contents":"x"}]}]}`, "contents"},
		{Edit, `{"content":null,"components":[]}`, ""},
		{Update, `{"type":7,"data":{"components":[` + row + `]}}`, ""},
		{Reply, `{"type":4,"data":{"content":"x","flags":64}}`, ""},
		{ModalReply, `{"type":9,"data":{"custom_id":"m","title":"Why","components":[{"type":18,"label":"Reason","component":{"type":4,"custom_id":"r","style":2,"required":true}}]}}`, ""},
		{ModalReply, `{"type":9,"data":{"custom_id":"m","components":[]}}`, "title"},
		{Suggestions, `{"type":8,"data":{"choices":[{"name":"a","value":"b"}]}}`, ""},
		{ThreadFrom, `{"name":"x","auto_archive_duration":1440}`, ""},
		{ThreadFrom, `{"name":"x","auto_archive_duration":1441}`, "1441"},
		{Commands, `[{"type":1,"name":"kgent","description":"d","options":[{"type":3,"name":"what","description":"w","required":true,"autocomplete":true}]}]`, ""},
	}
	var list []Payload
	for _, p := range payloads {
		list = append(list, Payload{Name: p.json, Kind: p.kind, JSON: json.RawMessage(p.json)})
	}
	got := map[string]string{}
	for _, c := range complaints(t, list) {
		got[c.payload.Name] += c.text
	}
	for _, p := range payloads {
		if text := got[p.json]; (text == "") != (p.wrong == "") || !strings.Contains(text, p.wrong) {
			t.Errorf("%s %s: complaint %q, want %q", p.kind, p.json, text, p.wrong)
		}
	}
}

func TestKindOf(t *testing.T) {
	for _, tt := range []struct {
		method, route, body string
		want                Kind
	}{
		{"POST", "/channels/{channel}/messages", "{}", Create},
		{"GET", "/channels/{channel}/messages", "", ""},
		{"POST", "/interactions/{interaction}/{token}/callback", `{"type":9}`, ModalReply},
		{"POST", "/interactions/{interaction}/{token}/callback", `{"type":6}`, Response},
		{"PUT", "/applications/{app}/guilds/{guild}/commands", "[]", Commands},
	} {
		got, ok := kindOf(discordd.Request{Method: tt.method, Route: tt.route, Body: []byte(tt.body)})
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s %s %s: %q, %v; want %q", tt.method, tt.route, tt.body, got, ok, tt.want)
		}
	}
}
