package slackd

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The limits that Slack documents, each from both sides.
func TestBlockLimits(t *testing.T) {
	s, _ := start(t, nil)
	long := func(n int) string { return strings.Repeat("ä", n) }
	plain := func(n int) string { return fmt.Sprintf(`{"type":"plain_text","text":%q}`, long(n)) }
	button := func(extra string, id int) string {
		return fmt.Sprintf(`{"type":"button","text":%s,"action_id":"a%d"%s}`, plain(3), id, extra)
	}
	many := func(n int, make func(int) string) string {
		parts := []string{}
		for i := range n {
			parts = append(parts, make(i))
		}
		return strings.Join(parts, ",")
	}
	actions := func(elements string) string { return `{"type":"actions","elements":[` + elements + `]}` }
	mrkdwn := func(n int) string { return fmt.Sprintf(`{"type":"mrkdwn","text":%q}`, long(n)) }
	cases := []struct {
		name   string
		blocks string // without the array's brackets
		on     surface
		want   string // the error's code; empty is none
		says   string // part of the first message
	}{
		{"a header of 150", `{"type":"header","text":` + plain(150) + `}`, onMessage, "", ""},
		{"a header of 151", `{"type":"header","text":` + plain(151) + `}`, onMessage, "invalid_blocks", "must be less than 151 characters [json-pointer:/blocks/0/text/text]"},
		{"a header in mrkdwn", `{"type":"header","text":` + mrkdwn(3) + `}`, onMessage, "invalid_blocks", "plain_text"},
		{"a section of 3000", `{"type":"section","text":` + mrkdwn(3000) + `}`, onMessage, "", ""},
		{"a section of 3001", `{"type":"section","text":` + mrkdwn(3001) + `}`, onMessage, "invalid_blocks", "less than 3001"},
		{"an empty text", `{"type":"section","text":` + mrkdwn(0) + `}`, onMessage, "invalid_blocks", "more than 0"},
		{"a section of nothing", `{"type":"section"}`, onMessage, "invalid_blocks", "text or fields"},
		{"ten fields", `{"type":"section","fields":[` + many(10, func(int) string { return mrkdwn(20) }) + `]}`, onMessage, "", ""},
		{"eleven fields", `{"type":"section","fields":[` + many(11, func(int) string { return mrkdwn(20) }) + `]}`, onMessage, "invalid_blocks", "no more than 10"},
		{"a field of 2001", `{"type":"section","fields":[` + mrkdwn(2001) + `]}`, onMessage, "invalid_blocks", "less than 2001"},
		{"ten in a context", `{"type":"context","elements":[` + many(10, func(int) string { return mrkdwn(2) }) + `]}`, onMessage, "", ""},
		{"eleven in a context", `{"type":"context","elements":[` + many(11, func(int) string { return mrkdwn(2) }) + `]}`, onMessage, "invalid_blocks", "no more than 10"},
		{"25 buttons", actions(many(25, func(i int) string { return button("", i) })), onMessage, "", ""},
		{"26 buttons", actions(many(26, func(i int) string { return button("", i) })), onMessage, "invalid_blocks", "no more than 25"},
		{"a label of 75", actions(`{"type":"button","text":` + plain(75) + `}`), onMessage, "", ""},
		{"a label of 76", actions(`{"type":"button","text":` + plain(76) + `}`), onMessage, "invalid_blocks", "/blocks/0/elements/0/text/text"},
		{"a value of 2000", actions(button(`,"value":"`+long(2000)+`"`, 1)), onMessage, "", ""},
		{"a value of 2001", actions(button(`,"value":"`+long(2001)+`"`, 1)), onMessage, "invalid_blocks", "/value"},
		{"an address of 3001", actions(button(`,"url":"`+long(3001)+`"`, 1)), onMessage, "invalid_blocks", "/url"},
		{"an unknown style", actions(button(`,"style":"loud"`, 1)), onMessage, "invalid_blocks", "primary, danger"},
		{"an action id of 256", actions(`{"type":"button","text":` + plain(2) + `,"action_id":"` + long(256) + `"}`), onMessage, "invalid_blocks", "/action_id"},
		{"an action id twice", actions(button("", 1) + "," + button("", 1)), onMessage, "invalid_blocks", "already exists"},
		{"a confirmation of 301", actions(button(`,"confirm":{"title":`+plain(3)+`,"text":`+plain(301)+`,"confirm":`+plain(3)+`,"deny":`+plain(3)+`}`, 1)), onMessage,
			"invalid_blocks", "less than 301"},
		{"a block id twice", `{"type":"divider","block_id":"x"},{"type":"divider","block_id":"x"}`, onMessage, "invalid_blocks", "already exists"},
		{"a block id of 256", `{"type":"divider","block_id":"` + long(256) + `"}`, onMessage, "invalid_blocks", "/block_id"},
		{"50 blocks", many(50, func(int) string { return `{"type":"divider"}` }), onMessage, "", ""},
		{"51 blocks", many(51, func(int) string { return `{"type":"divider"}` }), onMessage, "invalid_blocks", "no more than 50"},
		{"100 blocks at home", many(100, func(int) string { return `{"type":"divider"}` }), onHome, "", ""},
		{"101 blocks in a modal", many(101, func(int) string { return `{"type":"divider"}` }), onModal, "invalid_blocks", "no more than 100"},
		{"an unknown block", `{"type":"carousel9"}`, onMessage, "invalid_blocks", "unsupported type: carousel9"},
		{"an unknown property", `{"type":"divider","colour":"red"}`, onMessage, "invalid_blocks", "additional property: colour"},
		{"null", `{"type":"header","text":null}`, onMessage, "invalid_blocks", "null"},
		{"markdown of 12000", `{"type":"markdown","text":"` + long(12000) + `"}`, onMessage, "", ""},
		{"markdown of 12000 together", many(2, func(int) string { return `{"type":"markdown","text":"` + long(6001) + `"}` }), onMessage, "msg_blocks_too_long", ""},
		{"markdown in a modal", `{"type":"markdown","text":"x"}`, onModal, "invalid_blocks", "unsupported type"},
		{"five sections of 2900", many(5, func(int) string { return `{"type":"section","text":` + mrkdwn(2900) + `}` }), onMessage, "msg_blocks_too_long", ""},
		{"an input", `{"type":"input","label":` + plain(3) + `,"element":{"type":"plain_text_input","multiline":true,"max_length":100}}`, onModal, "", ""},
		{"an input of a button", `{"type":"input","label":` + plain(3) + `,"element":` + button("", 1) + `}`, onModal, "invalid_blocks", "unsupported type: button"},
		{"a select without end", `{"type":"section","text":` + mrkdwn(3) + `,"accessory":{"type":"static_select","options":[` +
			many(101, func(i int) string { return fmt.Sprintf(`{"text":%s,"value":"%d"}`, plain(2), i) }) + `]}}`, onMessage, "invalid_blocks", "no more than 100"},
		{"code", `{"type":"rich_text","elements":[{"type":"rich_text_preformatted","elements":[{"type":"text","text":"x < y"}]}]}`, onMessage, "", ""},
		{"rich text with an empty text", `{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":""}]}]}`, onMessage, "invalid_blocks", "more than 0"},
		{"a picture without a source", `{"type":"image","alt_text":"x"}`, onMessage, "invalid_blocks", "slack_file"},
		{"a picture without words", `{"type":"image","slack_file":{"id":"F1"}}`, onMessage, "invalid_blocks", "alt_text"},
		{"a table", `{"type":"table","rows":[[{"type":"raw_text","text":"a"},{"type":"raw_text","text":"b"}]]}`, onMessage, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s.mu.Lock()
			checked, err := s.checkBlocks(json.RawMessage("["+c.blocks+"]"), c.on)
			s.mu.Unlock()
			var e *apiError
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v %v", err, err.(*apiError).messages)
			case c.want == "":
				if !strings.Contains(string(checked), `"block_id"`) {
					t.Errorf("no block id in %s", checked)
				}
			case !errors.As(err, &e) || e.code != c.want:
				t.Errorf("got %v, want %s", err, c.want)
			case !strings.Contains(strings.Join(e.messages, "\n"), c.says):
				t.Errorf("got %q, want %q in it", e.messages, c.says)
			}
		})
	}
}

func FuzzBlocks(f *testing.F) {
	f.Add([]byte(`[{"type":"section","text":{"type":"mrkdwn","text":"x"}}]`))
	f.Add([]byte(`[{"type":"actions","elements":[{"type":"button"}]},null,3]`))
	f.Add([]byte(`{}`))
	cfg := Default()
	s, err := Start("127.0.0.1:0", cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, raw []byte) {
		s.mu.Lock()
		defer s.mu.Unlock()
		checked, err := s.checkBlocks(raw, onMessage)
		if err != nil || checked == nil {
			return
		}
		if again, err := s.checkBlocks(checked, onMessage); err != nil || string(again) != string(checked) {
			t.Errorf("%s was taken, and then: %v", raw, err)
		}
	})
}
