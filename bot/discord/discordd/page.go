package discordd

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// page is plain HTML, CSS and JavaScript: what it shows of a message it builds
// as text nodes, so that nothing in a message becomes markup of the page.
//
//go:embed page
var page embed.FS

const pageWait = 30 * time.Second // of an action, and between signs of life of the event stream

// pageRoutes serve the page on which a person plays the users.
func (s *Server) pageRoutes(mux *http.ServeMux) {
	file := func(name, kind string) http.HandlerFunc {
		return s.local(func(w http.ResponseWriter, r *http.Request) {
			b, err := page.ReadFile("page/" + name)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", kind+"; charset=utf-8")
			w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src 'self' http: https: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
			w.Write(b)
		})
	}
	mux.HandleFunc("GET /{$}", file("index.html", "text/html"))
	mux.HandleFunc("GET /page/app.js", file("app.js", "text/javascript"))
	mux.HandleFunc("GET /page/markdown.js", file("markdown.js", "text/javascript"))
	mux.HandleFunc("GET /page/style.css", file("style.css", "text/css"))
	mux.HandleFunc("GET /page/state", s.local(s.pageState))
	mux.HandleFunc("GET /page/messages", s.local(s.pageMessages))
	mux.HandleFunc("GET /page/events", s.local(s.pageEvents))
	mux.HandleFunc("POST /page/act", s.local(s.pageAct))
}

// local refuses requests that another site's page makes in the person's
// browser: by a name that resolves to loopback, or from another origin.
func (s *Server) local(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this page is for the loopback address", http.StatusForbidden)
			return
		}
		if o := r.Header.Get("Origin"); o != "" && o != "http://"+r.Host {
			http.Error(w, "not from another origin", http.StatusForbidden)
			return
		}
		if r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/json" {
			http.Error(w, "JSON only", http.StatusUnsupportedMediaType)
			return
		}
		next(w, r)
	}
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write([]byte(encode(v)))
}

// pageState is everything but messages, as one user sees it.
func (s *Server) pageState(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user := r.URL.Query().Get("user")
	users := []map[string]any{}
	for _, u := range s.users {
		colour := 0
		for _, g := range s.guilds {
			if m := g.members[u.ID]; m != nil {
				top := -1
				for _, role := range g.roles {
					if slices.Contains(m.Roles, role.ID) && role.Color != 0 && role.Position > top {
						top, colour = role.Position, role.Color
					}
				}
			}
		}
		users = append(users, map[string]any{"id": u.ID, "name": u.Username, "global_name": u.GlobalName, "bot": u.Bot, "color": colour})
	}
	slices.SortFunc(users, func(a, b map[string]any) int { return order(a["id"].(string), b["id"].(string)) })
	guilds := []map[string]any{}
	for _, id := range s.order {
		g := s.guilds[id]
		if user != "" && g.members[user] == nil {
			continue
		}
		channels := []map[string]any{}
		for _, c := range g.channels {
			if user != "" && !s.sees(user, c) {
				continue
			}
			threads := []*Channel{}
			for _, t := range s.channels {
				if t.IsThread() && t.ParentID == c.ID && !t.Deleted {
					threads = append(threads, t)
				}
			}
			slices.SortFunc(threads, func(a, b *Channel) int { return order(a.ID, b.ID) })
			channels = append(channels, map[string]any{"id": c.ID, "name": c.Name, "topic": c.Topic, "threads": threads})
		}
		guilds = append(guilds, map[string]any{"id": g.ID, "name": g.Name, "channels": channels, "roles": g.roles, "commands": s.commandsOf(g.ID)})
	}
	dm := ""
	for _, c := range s.channels {
		if c.Type == ChannelDM && c.Recipients[0].ID == user {
			dm = c.ID
		}
	}
	answerJSON(w, map[string]any{
		"users": users, "guilds": guilds, "dm": dm, "bot": s.bot, "commands": s.commandsOf(""), "now": s.now(), "connected": len(s.gateways()),
	})
}

// pageMessages is a channel as one user sees it.
func (s *Server) pageMessages(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	list, err := s.As(q.Get("user")).Sees(q.Get("channel"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []map[string]any{}
	for _, m := range list {
		entry := map[string]any{"message": m, "ephemeral": m.VisibleTo != ""}
		if t := s.channels[m.ID]; t != nil && !t.Deleted {
			entry["thread"] = t
		}
		out = append(out, entry)
	}
	answerJSON(w, out)
}

// pageEvents tells the page what changed; the page reads it again.
func (s *Server) pageEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	sub := s.Subscribe()
	user := r.URL.Query().Get("user")
	fmt.Fprint(w, ": hello\n\n")
	out.Flush()
	for {
		ctx, cancel := context.WithTimeout(r.Context(), pageWait)
		c, err := sub.Next(ctx)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return
			}
		case err != nil:
			return
		case c.Message != nil && c.Message.VisibleTo != "" && c.Message.VisibleTo != user:
			continue
		default:
			fmt.Fprintf(w, "data: %s\n\n", encode(map[string]any{"kind": c.Kind, "channel": c.Channel}))
		}
		if out.Flush() != nil {
			return
		}
	}
}

// act is what a person does on the page.
type act struct {
	Do          string              `json:"do"`
	User        string              `json:"user"`
	Channel     string              `json:"channel"`
	Message     string              `json:"message"`
	Text        string              `json:"text"`
	CustomID    string              `json:"custom_id"`
	Values      []string            `json:"values"`
	Fields      map[string][]string `json:"fields"`
	Interaction string              `json:"interaction"`
	Name        string              `json:"name"`
	Focused     string              `json:"focused"`
	Options     []struct {
		Name  string `json:"name"`
		Value any    `json:"value"`
	} `json:"options"`
	Files []struct {
		Name string `json:"name"`
		Data []byte `json:"data"`
	} `json:"files"`
}

func (s *Server) pageAct(w http.ResponseWriter, r *http.Request) {
	var a act
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest*2)).Decode(&a); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageWait)
	defer cancel()
	out, err := s.perform(ctx, a)
	if err != nil {
		answerJSON(w, map[string]any{"error": err.Error()})
		return
	}
	answerJSON(w, out)
}

func (s *Server) perform(ctx context.Context, a act) (map[string]any, error) {
	u := s.As(a.User)
	ok := map[string]any{"ok": true}
	var in *Interaction
	var err error
	var options []Option
	for _, o := range a.Options {
		options = append(options, Option{o.Name, o.Value})
	}
	switch a.Do {
	case "post":
		var files []File
		for _, f := range a.Files {
			files = append(files, File{f.Name, f.Data})
		}
		_, err = u.Post(a.Channel, a.Text, files...)
		return ok, err
	case "reply":
		_, err = u.Reply(a.Message, a.Text)
		return ok, err
	case "dm":
		id, err := u.DMChannel()
		return map[string]any{"channel": id}, err
	case "edit":
		_, err = u.Edit(a.Message, a.Text)
		return ok, err
	case "delete":
		return ok, u.Delete(a.Message)
	case "react":
		return ok, u.React(a.Message, a.Text)
	case "thread":
		t, err := u.StartThread(a.Message, a.Text)
		return map[string]any{"channel": t.ID}, err
	case "autocomplete":
		choices, err := u.Autocomplete(ctx, a.Channel, a.Name, a.Focused, options...)
		return map[string]any{"choices": choices}, err
	case "click":
		in, err = u.Click(a.Message, a.CustomID)
	case "select":
		in, err = u.Select(a.Message, a.CustomID, a.Values...)
	case "command":
		in, err = u.Command(a.Channel, a.Name, options...)
	case "message_command":
		in, err = u.MessageCommand(a.Name, a.Message)
	case "submit":
		s.mu.Lock()
		from := s.inter[a.Interaction]
		s.mu.Unlock()
		if from == nil {
			return nil, fmt.Errorf("interaction %s: %w", a.Interaction, ErrUnknown)
		}
		in, err = u.Submit(s.handle(from), a.Fields)
	default:
		return nil, fmt.Errorf("doing %q: %w", a.Do, ErrUnknown)
	}
	if err != nil {
		return nil, err
	}
	answer, err := in.Wait(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"interaction": in.ID, "type": answer.Type}
	if answer.Modal != nil {
		out["modal"] = answer.Modal
	}
	return out, nil
}
