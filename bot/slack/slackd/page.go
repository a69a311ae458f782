package slackd

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed page
var pageFiles embed.FS

var pageTemplate = template.Must(template.ParseFS(pageFiles, "page/index.html"))

// withPage adds the page on which one person plays several users. It takes no
// request that another site's page has a browser send.
func (s *Server) withPage(api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /page/", http.FileServerFS(pageFiles))
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /page/state", s.serveState)
	mux.HandleFunc("GET /page/changes", s.serveChanges)
	mux.HandleFunc("GET /page/file/{id}", func(w http.ResponseWriter, r *http.Request) { s.writeFile(w, r.PathValue("id")) })
	mux.HandleFunc("POST /page/act", s.serveAct)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" && !strings.HasPrefix(r.URL.Path, "/page/") {
			api.ServeHTTP(w, r)
			return
		}
		origin := r.Header.Get("Origin")
		if r.Host != s.addr && !strings.HasPrefix(r.Host, "localhost:") || origin != "" && origin != "http://"+r.Host {
			http.Error(w, "this page is for http://"+s.addr+" only", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src 'self' https: http: data:; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	state, err := json.Marshal(s.state(q.Get("user")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	theme := "light"
	if q.Get("theme") == "dark" {
		theme = "dark"
	}
	// The first state is in the page, so that a screenshot needs no waiting.
	if err := pageTemplate.Execute(w, map[string]any{"Theme": theme, "Bare": q.Get("bare") != "", "State": json.RawMessage(state), "Team": s.cfg.Team.Name}); err != nil {
		return // the browser went away
	}
}

func (s *Server) serveState(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(s.state(r.URL.Query().Get("user")))
}

// serveChanges sends an event after every change, by server-sent events.
func (s *Server) serveChanges(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if _, err := fmt.Fprint(w, "data: changed\n\n"); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		// Many changes at once are one.
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}

// previewSize is how much of a text file a message shows.
const previewSize = 600

// state is what the page shows to a user.
func (s *Server) state(user string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[user] == nil && len(s.cfg.Users) > 0 {
		user = s.cfg.Users[0].ID
	}
	users := map[string]any{}
	players := []string{}
	for _, p := range s.cfg.Users {
		players = append(players, p.ID)
	}
	for id, p := range s.users {
		users[id] = map[string]any{"name": p.Name, "real": cmp.Or(p.RealName, p.Name), "bot": p.Bot, "guest": p.Guest || p.SingleChannel,
			"foreign": p.Team != s.cfg.Team.ID}
	}
	groups := map[string]any{}
	for id, g := range s.usergroups {
		groups[id] = g.Handle
	}
	var im string
	channels := []any{}
	messages := map[string]any{}
	for _, id := range slices.Sorted(maps.Keys(s.channels)) {
		c := s.channels[id]
		member := slices.Contains(c.Members, user)
		if !member && c.kind() != "channel" {
			continue
		}
		if c.IM != "" {
			im = c.ID
		}
		channels = append(channels, map[string]any{"id": c.ID, "name": c.Name, "topic": c.Topic, "kind": c.kind(), "shared": len(c.Shared) > 0,
			"archived": c.Archived, "member": member, "bot": slices.Contains(c.Members, s.cfg.BotUser)})
		list := []any{}
		for _, m := range s.messages[id] {
			if m.visible(user) {
				list = append(list, s.shown(m))
			}
		}
		messages[id] = list
	}
	view := func(id string) any {
		v := s.views[id]
		if v == nil {
			return nil
		}
		w := s.wireView(v)
		w["errors"] = v.Errors
		return w
	}
	var modal any
	if stack := s.modals[user]; len(stack) > 0 {
		modal = view(stack[len(stack)-1])
	}
	notices := []Notice{}
	for _, n := range s.notices {
		if n.User == user {
			notices = append(notices, n)
		}
	}
	calls := last(s.calls, 30)
	for i := range calls {
		calls[i].Args = nil // the page shows what they made
	}
	faults := []Fault{}
	for _, f := range s.faults {
		faults = append(faults, *f)
	}
	return map[string]any{"team": s.cfg.Team.Name, "me": user, "players": players, "users": users, "groups": groups, "channels": channels, "im": im,
		"messages": messages, "modal": modal, "home": view(s.homes[user]), "notices": notices, "commands": s.cfg.Commands,
		"shortcuts": last(s.cfg.Shortcuts, 100), "app": map[string]any{"name": s.cfg.AppName, "user": s.cfg.BotUser}, "sockets": len(s.conns),
		"url": s.cfg.RequestURL, "faults": faults, "calls": calls, "deliveries": last(s.events, 30)}
}

func last[T any](list []T, n int) []T {
	return append([]T{}, list[max(0, len(list)-n):]...)
}

// shown is a message with what the page needs beside Slack's own form.
func (s *Server) shown(m *Message) map[string]any {
	w := s.wire(m)
	w["to"] = m.EphemeralTo
	revisions := []any{}
	for _, r := range m.Revisions {
		revisions = append(revisions, map[string]any{"text": r.Text, "blocks": r.Blocks, "attachments": r.Attachments})
	}
	w["revisions"] = revisions
	files := []any{}
	for _, f := range m.Files {
		stored := s.files[f.ID]
		shown := map[string]any{"id": f.ID, "name": f.Name, "title": cmp.Or(f.Title, f.Name), "size": f.Size, "mime": f.MIME, "alt": f.AltText,
			"deleted": stored == nil || stored.deleted}
		if stored != nil && strings.HasPrefix(f.MIME, "text/") {
			text := stored.data[:min(len(stored.data), previewSize)]
			for len(text) > 0 && !utf8.Valid(text) && len(text) > previewSize-utf8.UTFMax {
				text = text[:len(text)-1]
			}
			shown["preview"] = string(text)
		}
		files = append(files, shown)
	}
	w["files"] = files
	return w
}

// act is what somebody does on the page.
type act struct {
	User, Do, Channel, TS, Thread, Text string
	Action, Command, Callback, Reason   string
	Revision                            int
	Home                                bool
	Chosen                              []string
	Values                              map[string][]string
	Fault                               Fault
}

func (s *Server) serveAct(w http.ResponseWriter, r *http.Request) {
	var a act
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	err := decoder.Decode(&a)
	if r.Header.Get("Content-Type") != "application/json" || err != nil {
		http.Error(w, "a JSON object is expected", http.StatusBadRequest)
		return
	}
	// The user's Slack waits as long as the app may take.
	ctx, cancel := context.WithTimeout(r.Context(), 2*s.cfg.AckTimeout)
	defer cancel()
	w.Header().Set("Content-Type", "application/json")
	result := map[string]any{"ok": true}
	if err := s.perform(ctx, a); err != nil {
		result = map[string]any{"ok": false, "error": err.Error()}
	}
	json.NewEncoder(w).Encode(result)
}

func (s *Server) perform(ctx context.Context, a act) error {
	u := s.User(a.User)
	m := Message{Channel: a.Channel, TS: a.TS}
	var err error
	switch a.Do {
	case "post":
		_, err = u.post(a.Channel, a.Thread, a.Text, false)
	case "dm":
		_, err = u.DM(a.Text)
	case "click":
		err = u.Click(ctx, m, a.Action, a.Chosen...)
	case "stale":
		err = u.StaleClick(ctx, m, a.Revision, a.Action)
	case "clickView":
		err = u.ClickView(ctx, a.Home, a.Action, a.Chosen...)
	case "submit":
		_, _, err = u.Submit(ctx, a.Values)
	case "close":
		u.Close()
	case "home":
		u.OpenHome()
	case "slash":
		err = u.Slash(ctx, a.Channel, a.Thread, a.Command, a.Text)
	case "shortcut":
		err = u.Shortcut(ctx, m, a.Callback)
	case "edit":
		err = u.Edit(m, a.Text)
	case "delete":
		err = u.Delete(m)
	case "react":
		err = u.React(m, a.Text)
	case "invite":
		err = u.Invite(a.Channel, s.cfg.BotUser)
	case "fault":
		s.Inject(a.Fault)
	case "clearFaults":
		s.ClearFaults()
	case "disconnect":
		s.Disconnect(a.Reason)
	case "kill":
		s.Kill()
	case "mute":
		s.Mute()
	case "expire":
		s.ExpireTriggers()
	default:
		err = fmt.Errorf("nobody can %q", a.Do)
	}
	return err
}

// PageView is what the page shows when it is opened.
type PageView struct {
	User, Channel, Thread string
	Message               string // only this one of the channel or thread
	Home                  bool   // the App Home instead of a channel
	Dark                  bool
	// Bare shows the messages alone, drawn once, as for a picture of a card.
	Bare bool
}

// PageURL is the address at which the page shows v.
func (s *Server) PageURL(v PageView) string {
	q := url.Values{}
	for name, value := range map[string]string{"user": v.User, "channel": v.Channel, "thread": v.Thread, "message": v.Message} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, on := range map[string]bool{"view=home": v.Home, "theme=dark": v.Dark, "bare=1": v.Bare, "still=1": v.Bare} {
		if name, value, _ := strings.Cut(name, "="); on {
			q.Set(name, value)
		}
	}
	return s.URL() + "/?" + q.Encode()
}
