package slackd

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// surface is where blocks are shown.
type surface string

const (
	onMessage surface = "message"
	onModal   surface = "modal"
	onHome    surface = "home"
)

// Limits of Block Kit that hold for all blocks together.
const (
	maxMessageBlocks = 50
	maxViewBlocks    = 100
	// maxBlockText is what a message's blocks may come to. Slack documents no
	// number; msg_blocks_too_long was seen from 13,172 to 13,297 characters on.
	maxBlockText    = 13000
	maxMarkdownText = 12000 // of all markdown blocks of a message together
)

// field says what a property of an object may be.
type field struct {
	check    func(c *checker, path string, v any)
	required bool
}

// shape is an object: its properties but "type".
type shape map[string]field

func need(check func(*checker, string, any)) field { return field{check: check, required: true} }
func may(check func(*checker, string, any)) field  { return field{check: check} }

// checker collects what is wrong with blocks.
type checker struct {
	on       surface
	errors   []string
	blockIDs map[string]bool
	actions  map[string]bool // action ids within the present block
	markdown int
	text     int
	inputs   bool
	newID    func() string
}

func (c *checker) fail(path, format string, args ...any) {
	c.errors = append(c.errors, "[ERROR] "+fmt.Sprintf(format, args...)+" [json-pointer:"+path+"]")
}

// object checks an object's properties against its shape.
func (c *checker) object(path string, o map[string]any, s shape) {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if name == "type" {
			continue
		}
		f, ok := s[name]
		if !ok {
			c.fail(path, "invalid additional property: %s", name)
			continue
		}
		if o[name] == nil {
			c.fail(path+"/"+name, "must not be null")
			continue
		}
		f.check(c, path+"/"+name, o[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if _, ok := o[name]; !ok && s[name].required {
			c.fail(path, "missing required field: %s", name)
		}
	}
}

func str(low, high int) func(*checker, string, any) {
	return func(c *checker, path string, v any) {
		text, ok := v.(string)
		n := utf8.RuneCountInString(text)
		switch {
		case !ok:
			c.fail(path, "failed to match all allowed schemas: must be a string")
		case n < low:
			c.fail(path, "must be more than %d characters", low-1)
		case n > high:
			c.fail(path, "must be less than %d characters", high+1)
		}
	}
}

func boolean(c *checker, path string, v any) {
	if _, ok := v.(bool); !ok {
		c.fail(path, "must be a boolean")
	}
}

func integer(low, high float64) func(*checker, string, any) {
	return func(c *checker, path string, v any) {
		if n, ok := v.(float64); !ok || n != float64(int64(n)) || n < low || n > high {
			c.fail(path, "must be an integer from %v to %v", low, high)
		}
	}
}

func oneOf(values ...string) func(*checker, string, any) {
	return func(c *checker, path string, v any) {
		if text, ok := v.(string); !ok || !slices.Contains(values, text) {
			c.fail(path, "must be one of: %s", strings.Join(values, ", "))
		}
	}
}

// anything accepts what Slack checks and no bot here sends.
func anything(*checker, string, any) {}

// text is a text object of up to max characters.
func text(max int, kinds ...string) func(*checker, string, any) {
	return func(c *checker, path string, v any) {
		o, ok := v.(map[string]any)
		kind, _ := o["type"].(string)
		if !ok || !slices.Contains(kinds, kind) {
			c.fail(path, "must be a text object of type %s", strings.Join(kinds, " or "))
			return
		}
		s := shape{"text": need(str(1, max))}
		if kind == "plain_text" {
			s["emoji"] = may(boolean)
		} else {
			s["verbatim"] = may(boolean)
		}
		c.object(path, o, s)
		t, _ := o["text"].(string)
		c.text += utf8.RuneCountInString(t)
	}
}

func plain(max int) func(*checker, string, any) { return text(max, "plain_text") }
func rich(max int) func(*checker, string, any)  { return text(max, "plain_text", "mrkdwn") }

// list is an array with low to high items.
func list(low, high int, item func(*checker, string, any)) func(*checker, string, any) {
	return func(c *checker, path string, v any) {
		items, ok := v.([]any)
		switch {
		case !ok:
			c.fail(path, "must be an array")
		case len(items) < low:
			c.fail(path, "no fewer than %d items required", low)
		case len(items) > high:
			c.fail(path, "no more than %d items allowed", high)
		}
		for i, v := range items {
			item(c, fmt.Sprintf("%s/%d", path, i), v)
		}
	}
}

// structure is a nested object without a type.
func structure(s shape) func(*checker, string, any) {
	return func(c *checker, path string, v any) {
		o, ok := v.(map[string]any)
		if !ok {
			c.fail(path, "must be an object")
			return
		}
		c.object(path, o, s)
	}
}

// typed is an object whose type is one of those given.
func typed(kinds ...string) func(*checker, string, any) {
	return func(c *checker, path string, v any) {
		o, ok := v.(map[string]any)
		kind, _ := o["type"].(string)
		if !ok || !slices.Contains(kinds, kind) {
			c.fail(path, "unsupported type: %s", kind)
			return
		}
		s := elements[kind]
		if _, acts := s["action_id"]; acts {
			id, ok := o["action_id"].(string)
			if !ok {
				id = c.newID()
				o["action_id"] = id
			}
			if c.actions[id] {
				c.fail(path+"/action_id", "action_id `%s` already exists", id)
			}
			c.actions[id] = true
		}
		c.object(path, o, s)
	}
}

var (
	confirm = structure(shape{"title": need(plain(100)), "text": need(rich(300)), "confirm": need(plain(30)), "deny": need(plain(30)),
		"style": may(oneOf("primary", "danger"))})
	option = structure(shape{"text": need(rich(75)), "value": need(str(1, 150)), "description": may(rich(75)), "url": may(str(1, 3000))})
	group  = structure(shape{"label": need(plain(75)), "options": need(list(1, 100, option))})
	filter = structure(shape{"include": may(anything), "exclude_external_shared_channels": may(boolean), "exclude_bot_users": may(boolean)})
	style  = structure(shape{"bold": may(boolean), "italic": may(boolean), "strike": may(boolean), "code": may(boolean), "underline": may(boolean),
		"highlight": may(boolean), "client_highlight": may(boolean), "unlink": may(boolean)})
	slackFile = structure(shape{"id": may(str(1, 255)), "url": may(str(1, 3000))})
	actionID  = may(str(1, 255))
	blockID   = may(str(1, 255))
)

// with adds properties to a shape.
func with(base, more shape) shape {
	s := maps.Clone(base)
	maps.Copy(s, more)
	return s
}

var (
	selecting = shape{"action_id": actionID, "placeholder": may(plain(150)), "confirm": may(confirm), "focus_on_load": may(boolean)}
	several   = with(selecting, shape{"max_selected_items": may(integer(1, 1000))})
	typing    = shape{"action_id": actionID, "placeholder": may(plain(150)), "initial_value": may(str(0, 3000)), "focus_on_load": may(boolean),
		"dispatch_action_config": may(anything)}
	choosing = shape{"action_id": actionID, "options": need(list(1, 10, option)), "confirm": may(confirm), "focus_on_load": may(boolean)}
)

// elements are the shapes of interactive elements, and of what else has a
// type of its own inside a block.
var elements = map[string]shape{
	"button": {"text": need(plain(75)), "action_id": actionID, "url": may(str(1, 3000)), "value": may(str(1, 2000)),
		"style": may(oneOf("primary", "danger")), "confirm": may(confirm), "accessibility_label": may(str(1, 75)), "visible_to_user_ids": may(anything)},
	"image":    {"image_url": may(str(1, 3000)), "slack_file": may(slackFile), "alt_text": need(str(1, 2000))},
	"overflow": {"action_id": actionID, "options": need(list(1, 5, option)), "confirm": may(confirm)},

	"static_select": with(selecting, shape{"options": may(list(1, 100, option)), "option_groups": may(list(1, 100, group)), "initial_option": may(option)}),
	"multi_static_select": with(several, shape{"options": may(list(1, 100, option)), "option_groups": may(list(1, 100, group)),
		"initial_options": may(list(0, 100, option))}),
	"external_select":       with(selecting, shape{"initial_option": may(option), "min_query_length": may(integer(0, 100))}),
	"multi_external_select": with(several, shape{"initial_options": may(list(0, 100, option)), "min_query_length": may(integer(0, 100))}),
	"users_select":          with(selecting, shape{"initial_user": may(str(1, 255))}),
	"multi_users_select":    with(several, shape{"initial_users": may(list(0, 1000, str(1, 255)))}),
	"conversations_select": with(selecting, shape{"initial_conversation": may(str(1, 255)), "default_to_current_conversation": may(boolean),
		"response_url_enabled": may(boolean), "filter": may(filter)}),
	"multi_conversations_select": with(several, shape{"initial_conversations": may(list(0, 1000, str(1, 255))),
		"default_to_current_conversation": may(boolean), "filter": may(filter)}),
	"channels_select":       with(selecting, shape{"initial_channel": may(str(1, 255)), "response_url_enabled": may(boolean)}),
	"multi_channels_select": with(several, shape{"initial_channels": may(list(0, 1000, str(1, 255)))}),
	"datepicker":            with(selecting, shape{"initial_date": may(str(10, 10))}),
	"timepicker":            with(selecting, shape{"initial_time": may(str(5, 5)), "timezone": may(str(1, 100))}),
	"datetimepicker":        {"action_id": actionID, "initial_date_time": may(integer(1e9, 9999999999)), "confirm": may(confirm), "focus_on_load": may(boolean)},
	"checkboxes":            with(choosing, shape{"initial_options": may(list(1, 10, option))}),
	"radio_buttons":         with(choosing, shape{"initial_option": may(option)}),

	"plain_text_input": with(typing, shape{"multiline": may(boolean), "min_length": may(integer(0, 3000)), "max_length": may(integer(1, 3000))}),
	"email_text_input": typing,
	"url_text_input":   typing,
	"number_input":     with(typing, shape{"is_decimal_allowed": need(boolean), "min_value": may(str(1, 100)), "max_value": may(str(1, 100))}),
	"rich_text_input": {"action_id": actionID, "placeholder": may(plain(150)), "initial_value": may(anything), "focus_on_load": may(boolean),
		"dispatch_action_config": may(anything)},
	"file_input": {"action_id": actionID, "filetypes": may(list(1, 100, str(1, 50))), "max_files": may(integer(1, 10))},

	"plain_text": {"text": need(str(1, 2000)), "emoji": may(boolean)},
	"mrkdwn":     {"text": need(str(1, 2000)), "verbatim": may(boolean)},
	"raw_text":   {"text": need(str(1, 10000))},

	// Within rich text.
	"rich_text_section":      {"elements": need(list(0, 1000, inline))},
	"rich_text_preformatted": {"elements": need(list(0, 1000, inline)), "border": may(integer(0, 1)), "language": may(str(1, 100))},
	"rich_text_quote":        {"elements": need(list(0, 1000, inline)), "border": may(integer(0, 1))},
}

// inline is a piece of rich text.
func inline(c *checker, path string, v any) {
	o, ok := v.(map[string]any)
	kind, _ := o["type"].(string)
	s, known := inlines[kind]
	if !ok || !known {
		c.fail(path, "unsupported type: %s", kind)
		return
	}
	c.object(path, o, s)
	t, _ := o["text"].(string)
	c.text += utf8.RuneCountInString(t)
}

var inlines = map[string]shape{
	"text":      {"text": need(str(1, 40000)), "style": may(style)},
	"link":      {"url": need(str(1, 3000)), "text": may(str(1, 3000)), "unsafe": may(boolean), "style": may(style)},
	"emoji":     {"name": need(str(1, 255)), "unicode": may(str(1, 255)), "skin_tone": may(integer(1, 6)), "style": may(style)},
	"user":      {"user_id": need(str(1, 255)), "style": may(style)},
	"usergroup": {"usergroup_id": need(str(1, 255)), "style": may(style)},
	"channel":   {"channel_id": need(str(1, 255)), "style": may(style)},
	"broadcast": {"range": need(oneOf("here", "channel", "everyone")), "style": may(style)},
	"color":     {"value": need(str(1, 20)), "style": may(style)},
	"date": {"timestamp": need(integer(0, 99999999999)), "format": need(str(1, 255)), "url": may(str(1, 3000)), "fallback": may(str(1, 255)),
		"style": may(style)},
}

var (
	buttons = []string{"button", "overflow", "static_select", "multi_static_select", "external_select", "multi_external_select", "users_select",
		"multi_users_select", "conversations_select", "multi_conversations_select", "channels_select", "multi_channels_select", "datepicker",
		"timepicker", "datetimepicker", "checkboxes", "radio_buttons", "rich_text_input"}
	accessories = append([]string{"image"}, buttons[:len(buttons)-1]...)
	inputs      = append([]string{"plain_text_input", "email_text_input", "url_text_input", "number_input", "file_input"}, buttons[2:]...)
)

var richText = shape{"block_id": blockID, "elements": need(list(1, 1000, richElement))}

// A block is a shape and where it may be.
type block struct {
	shape
	on []surface // empty is everywhere
}

var blockKinds = map[string]block{
	"section": {shape: shape{"block_id": blockID, "text": may(rich(3000)), "fields": may(list(1, 10, rich(2000))),
		"accessory": may(typed(accessories...)), "expand": may(boolean)}},
	"header":  {shape: shape{"block_id": blockID, "text": need(plain(150)), "level": may(integer(1, 4))}},
	"divider": {shape: shape{"block_id": blockID}},
	"context": {shape: shape{"block_id": blockID, "elements": need(list(1, 10, contextual))}},
	"actions": {shape: shape{"block_id": blockID, "elements": need(list(1, 25, typed(buttons...)))}},
	"image": {shape: shape{"block_id": blockID, "image_url": may(str(1, 3000)), "slack_file": may(slackFile), "alt_text": need(str(1, 2000)),
		"title": may(plain(2000))}},
	"input": {shape: shape{"block_id": blockID, "label": need(plain(2000)), "element": need(typed(inputs...)), "hint": may(plain(2000)),
		"optional": may(boolean), "dispatch_action": may(boolean)}},
	"rich_text": {shape: richText},
	"markdown":  {shape: shape{"block_id": blockID, "text": need(str(1, maxMarkdownText))}, on: []surface{onMessage}},
	"table": {shape: shape{"block_id": blockID, "rows": need(list(1, 100, list(1, 20, cell))), "column_settings": may(list(0, 20, anything))},
		on: []surface{onMessage}},
	"video": {shape: shape{"block_id": blockID, "alt_text": need(str(1, 2000)), "title": need(plain(200)), "thumbnail_url": need(str(1, 3000)),
		"video_url": need(str(1, 3000)), "author_name": may(str(1, 50)), "description": may(plain(200)), "provider_icon_url": may(str(1, 3000)),
		"provider_name": may(str(1, 50)), "title_url": may(str(1, 3000))}},
}

// contextual is an element of a context block: a text or an image.
func contextual(c *checker, path string, v any) {
	if o, ok := v.(map[string]any); ok && o["type"] == "image" {
		typed("image")(c, path, v)
		return
	}
	rich(2000)(c, path, v)
}

func richElement(c *checker, path string, v any) {
	o, ok := v.(map[string]any)
	if ok && o["type"] == "rich_text_list" {
		c.object(path, o, shape{"elements": need(list(0, 1000, typed("rich_text_section"))), "style": need(oneOf("bullet", "ordered")),
			"indent": may(integer(0, 8)), "offset": may(integer(0, 1e6)), "border": may(integer(0, 1))})
		return
	}
	typed("rich_text_section", "rich_text_preformatted", "rich_text_quote")(c, path, v)
}

// cell is a cell of a table.
func cell(c *checker, path string, v any) {
	o, ok := v.(map[string]any)
	if !ok {
		c.fail(path, "must be an object")
		return
	}
	switch o["type"] {
	case "rich_text":
		c.object(path, o, richText)
	case "raw_text":
		c.object(path, o, elements["raw_text"])
		t, _ := o["text"].(string)
		c.text += utf8.RuneCountInString(t)
	default:
		c.fail(path, "unsupported type: %v", o["type"])
	}
}

func (c *checker) block(path string, v any) {
	o, ok := v.(map[string]any)
	kind, _ := o["type"].(string)
	b, known := blockKinds[kind]
	if !ok || !known || len(b.on) > 0 && !slices.Contains(b.on, c.on) {
		c.fail(path+"/type", "unsupported type: %s", kind)
		return
	}
	id, _ := o["block_id"].(string)
	if id == "" {
		id = c.newID()
		o["block_id"] = id
	}
	if c.blockIDs[id] {
		c.fail(path+"/block_id", "block_id `%s` already exists", id)
	}
	c.blockIDs[id] = true
	c.actions = map[string]bool{}
	c.object(path, o, b.shape)
	switch kind {
	case "section":
		if o["text"] == nil && o["fields"] == nil {
			c.fail(path, "missing required field: text or fields")
		}
	case "image":
		if (o["image_url"] == nil) == (o["slack_file"] == nil) {
			c.fail(path, "one of image_url and slack_file is required")
		}
	case "input":
		c.inputs = true
	case "markdown":
		t, _ := o["text"].(string)
		n := utf8.RuneCountInString(t)
		c.markdown += n
		c.text += n
	}
}

// checkBlocks holds blocks against what Slack takes and returns them with
// their identifiers filled in; of no blocks it makes nil.
func (s *Server) checkBlocks(raw json.RawMessage, on surface) (json.RawMessage, error) {
	checked, _, err := s.check(raw, on)
	return checked, err
}

func (s *Server) check(raw json.RawMessage, on surface) (checked json.RawMessage, inputs bool, err error) {
	var blocks []any
	if err := json.Unmarshal(raw, &blocks); err != nil {
		return nil, false, fail("invalid_blocks_format")
	}
	if len(blocks) == 0 {
		return nil, false, nil
	}
	c := &checker{on: on, blockIDs: map[string]bool{}, newID: func() string { return s.id("") }}
	most := maxViewBlocks
	if on == onMessage {
		most = maxMessageBlocks
	}
	if len(blocks) > most {
		c.fail("/blocks", "no more than %d items allowed", most)
	}
	for i, b := range blocks {
		c.block(fmt.Sprintf("/blocks/%d", i), b)
	}
	if len(c.errors) > 0 {
		return nil, false, fail("invalid_blocks", c.errors...)
	}
	if on == onMessage && (c.text > maxBlockText || c.markdown > maxMarkdownText) {
		return nil, false, fail("msg_blocks_too_long")
	}
	checked, err = json.Marshal(blocks)
	return checked, c.inputs, err
}
