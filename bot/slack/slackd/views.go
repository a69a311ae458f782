package slackd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Limits on views.
const (
	maxStack           = 3
	maxViewSize        = 250000 // bytes
	maxPrivateMetadata = 3000
)

// View is a modal or a user's App Home.
type View struct {
	ID, RootID, PreviousID string
	Hash                   string // of this version
	Type                   string // "modal" or "home"
	User                   string
	CallbackID             string
	PrivateMetadata        string
	ExternalID             string
	Title, Submit, Close   string // of a modal
	Blocks                 json.RawMessage
	NotifyOnClose          bool
	ClearOnClose           bool
	// Open is whether the user has it before the eyes or below another modal.
	Open bool
	// Errors are what the user was told about the input, by block id, when
	// last they submitted it.
	Errors map[string]string

	state map[string]map[string]map[string]any // by block and action
}

// trigger is what a view may be opened with.
type trigger struct {
	user string
	view string // where it came from, if from a modal
	at   time.Time
	used bool
}

func (s *Server) newTrigger(user, view string) string {
	id := fmt.Sprintf("%d.%s.%s", s.now().UnixMilli(), s.id(""), s.secret())
	s.triggers[id] = &trigger{user: user, view: view, at: s.now()}
	return id
}

func (s *Server) useTrigger(id string) (*trigger, error) {
	t := s.triggers[id]
	switch {
	case t == nil:
		return nil, fail("invalid_trigger_id")
	case t.used:
		return nil, fail("exchanged_trigger_id")
	case s.now().Sub(t.at) > s.cfg.TriggerLife:
		return nil, fail("expired_trigger_id")
	}
	t.used = true
	return t, nil
}

// ExpireTriggers lets all trigger ids grow too old at once.
func (s *Server) ExpireTriggers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.triggers {
		t.at = t.at.Add(-2 * s.cfg.TriggerLife)
	}
}

// parseView checks a view and fills in what it says.
func (s *Server) parseView(raw json.RawMessage, v *View) error {
	if raw == nil {
		return fail("invalid_arguments", "[ERROR] missing required field: view")
	}
	if len(raw) > maxViewSize {
		return fail("view_too_large")
	}
	var o map[string]any
	if err := json.Unmarshal(raw, &o); err != nil {
		return fail("invalid_arguments", "[ERROR] failed to match all allowed schemas [json-pointer:/view]")
	}
	kind, _ := o["type"].(string)
	c := &checker{newID: func() string { return s.id("") }}
	common := shape{"blocks": need(list(0, maxViewBlocks, anything)), "private_metadata": may(str(0, maxPrivateMetadata)),
		"callback_id": may(str(0, 255)), "external_id": may(str(0, 255))}
	switch kind {
	case "modal":
		c.object("/view", o, with(common, shape{"title": need(plain(24)), "submit": may(plain(24)), "close": may(plain(24)),
			"clear_on_close": may(boolean), "notify_on_close": may(boolean), "submit_disabled": may(boolean)}))
	case "home":
		c.object("/view", o, common)
	default:
		c.fail("/view/type", "unsupported type: %s", kind)
	}
	if len(c.errors) > 0 {
		return fail("invalid_arguments", c.errors...)
	}
	blocks, err := json.Marshal(o["blocks"])
	if err != nil {
		return err
	}
	checked, inputs, err := s.check(blocks, surface(kind))
	var refused *apiError
	switch {
	case errors.As(err, &refused):
		return fail("invalid_arguments", refused.messages...)
	case err != nil:
		return err
	case inputs && o["submit"] == nil && kind == "modal":
		return fail("invalid_arguments", "[ERROR] missing required field: submit [json-pointer:/view]")
	}
	label := func(name string) string {
		text, _ := o[name].(map[string]any)
		t, _ := text["text"].(string)
		return t
	}
	word := func(name string) string {
		t, _ := o[name].(string)
		return t
	}
	if external := word("external_id"); external != "" {
		for _, other := range s.views {
			if other.ID != v.ID && other.ExternalID == external && other.Open {
				return fail("duplicate_external_id")
			}
		}
	}
	v.Type, v.Blocks, v.Title, v.Submit, v.Close = kind, checked, label("title"), label("submit"), label("close")
	v.CallbackID, v.PrivateMetadata, v.ExternalID = word("callback_id"), word("private_metadata"), word("external_id")
	v.NotifyOnClose, v.ClearOnClose = o["notify_on_close"] == true, o["clear_on_close"] == true
	v.Hash = fmt.Sprintf("%d.%s", s.now().Unix(), s.id(""))
	v.Errors = nil
	return nil
}

func plainText(t string) any {
	if t == "" {
		return nil
	}
	return map[string]any{"type": "plain_text", "text": t, "emoji": true}
}

func (s *Server) wireView(v *View) map[string]any {
	state := v.state
	if state == nil {
		state = map[string]map[string]map[string]any{}
	}
	blocks := v.Blocks
	if blocks == nil {
		blocks = json.RawMessage("[]")
	}
	var previous any
	if v.PreviousID != "" {
		previous = v.PreviousID
	}
	w := map[string]any{"id": v.ID, "team_id": s.cfg.Team.ID, "type": v.Type, "blocks": blocks, "private_metadata": v.PrivateMetadata,
		"callback_id": v.CallbackID, "external_id": v.ExternalID, "state": map[string]any{"values": state}, "hash": v.Hash,
		"clear_on_close": v.ClearOnClose, "notify_on_close": v.NotifyOnClose, "root_view_id": v.RootID, "previous_view_id": previous,
		"app_id": s.cfg.AppID, "app_installed_team_id": s.cfg.Team.ID, "bot_id": s.cfg.BotID}
	if v.Type == "modal" {
		w["title"], w["submit"], w["close"] = plainText(v.Title), plainText(v.Submit), plainText(v.Close)
	}
	return w
}

// push makes a modal the user's uppermost one.
func (s *Server) push(user string, raw json.RawMessage) (*View, error) {
	stack := s.modals[user]
	if len(stack) >= maxStack {
		return nil, fail("push_limit_reached")
	}
	v := &View{ID: s.id("V"), User: user, Open: true}
	if err := s.parseView(raw, v); err != nil {
		return nil, err
	}
	if v.Type != "modal" {
		return nil, fail("invalid_arguments", "[ERROR] must be a modal [json-pointer:/view/type]")
	}
	v.RootID = v.ID
	if len(stack) > 0 {
		v.RootID, v.PreviousID = stack[0], stack[len(stack)-1]
	}
	s.views[v.ID] = v
	s.modals[user] = append(slices.Clone(stack), v.ID)
	s.touch()
	return v, nil
}

func (s *Server) viewsOpen(c *call) (map[string]any, error) {
	t, err := s.useTrigger(c.args["trigger_id"])
	if err != nil {
		return nil, err
	}
	if err := s.parseView(c.object("view"), &View{}); err != nil {
		t.used = false
		return nil, err
	}
	s.closeAll(t.user)
	v, err := s.push(t.user, c.object("view"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"view": s.wireView(v)}, nil
}

func (s *Server) viewsPush(c *call) (map[string]any, error) {
	t, err := s.useTrigger(c.args["trigger_id"])
	if err != nil {
		return nil, err
	}
	if t.view == "" || !slices.Contains(s.modals[t.user], t.view) {
		return nil, fail("not_found")
	}
	v, err := s.push(t.user, c.object("view"))
	if err != nil {
		t.used = false
		return nil, err
	}
	return map[string]any{"view": s.wireView(v)}, nil
}

func (s *Server) viewsUpdate(c *call) (map[string]any, error) {
	v := s.views[c.args["view_id"]]
	if external := c.args["external_id"]; v == nil && external != "" {
		for _, other := range s.views {
			if other.ExternalID == external && other.Open {
				v = other
			}
		}
	}
	if v == nil || !v.Open {
		return nil, fail("not_found")
	}
	if hash := c.args["hash"]; hash != "" && hash != v.Hash {
		return nil, fail("hash_conflict")
	}
	if err := s.parseView(c.object("view"), v); err != nil {
		return nil, err
	}
	s.touch()
	return map[string]any{"view": s.wireView(v)}, nil
}

func (s *Server) viewsPublish(c *call) (map[string]any, error) {
	user := c.args["user_id"]
	if u := s.users[user]; u == nil || u.Bot {
		return nil, fail("invalid_arguments", "[ERROR] user not found [json-pointer:/user_id]")
	}
	v := s.views[s.homes[user]]
	if v == nil {
		v = &View{ID: s.id("V"), User: user, Open: true}
		v.RootID = v.ID
	}
	if hash := c.args["hash"]; hash != "" && hash != v.Hash {
		return nil, fail("hash_conflict")
	}
	if err := s.parseView(c.object("view"), v); err != nil {
		return nil, err
	}
	if v.Type != "home" {
		return nil, fail("invalid_arguments", "[ERROR] must be a home view [json-pointer:/view/type]")
	}
	s.views[v.ID] = v
	s.homes[user] = v.ID
	s.touch()
	return map[string]any{"view": s.wireView(v)}, nil
}

// closeTop closes the user's uppermost modal.
func (s *Server) closeTop(user string) {
	stack := s.modals[user]
	if len(stack) == 0 {
		return
	}
	s.views[stack[len(stack)-1]].Open = false
	s.modals[user] = stack[:len(stack)-1]
	s.touch()
}

func (s *Server) closeAll(user string) {
	for len(s.modals[user]) > 0 {
		s.closeTop(user)
	}
}

// Modal is the uppermost open modal of a user.
func (s *Server) Modal(user string) (View, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.modal(user)
}

func (s *Server) modal(user string) (View, bool) {
	stack := s.modals[user]
	if len(stack) == 0 {
		return View{}, false
	}
	return *s.views[stack[len(stack)-1]], true
}

// Home is what a user's App Home shows.
func (s *Server) Home(user string) (View, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[s.homes[user]]
	if v == nil {
		return View{}, false
	}
	return *v, true
}

// WaitModal waits until a modal that matches is the uppermost one of a user.
func (s *Server) WaitModal(ctx context.Context, user string, match func(View) bool) (View, error) {
	var found View
	err := s.wait(ctx, func() bool {
		v, ok := s.modal(user)
		found = v
		return ok && match(v)
	})
	if err != nil {
		return View{}, fmt.Errorf("waiting for a modal of %s: %w", user, err)
	}
	return found, nil
}

// WaitHome waits until a user's App Home shows what matches.
func (s *Server) WaitHome(ctx context.Context, user string, match func(View) bool) (View, error) {
	var found View
	err := s.wait(ctx, func() bool {
		v := s.views[s.homes[user]]
		if v != nil {
			found = *v
		}
		return v != nil && match(found)
	})
	if err != nil {
		return View{}, fmt.Errorf("waiting for the App Home of %s: %w", user, err)
	}
	return found, nil
}
