// Package chat is the client side of a host's terminals for people: it draws
// what the bot shows, one change after the other, and turns lines into
// requests and presses of buttons.
//
// Everything that the bot sends is taken for text from outside: nothing in it
// reaches the terminal as a control sequence.
package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"kgent/bot/card"
	"kgent/bot/console"
	"kgent/bot/terminal"
	"kgent/executor/render/text"
)

// Session is one client of one person. Make it with [New], connect with its
// [Session.Record] as the client's, then hand it lines.
type Session struct {
	out  io.Writer
	term console.Terminal

	mu     sync.Mutex
	client *terminal.Client
	dir    string
	// drawn are the posts as they were drawn, by id.
	drawn map[string]terminal.Post
	// requests are those with buttons, in the order of their numbers from 1.
	requests []string
	of       map[string]string // request of a post
	mine     map[string]bool   // requests of which there is a post in an own thread
	last     string            // the thread of the last request
	ready    bool
	held     []terminal.Record // posts that came before the client was known

	files sync.Mutex // one file at a time
	wg    sync.WaitGroup
}

// New returns a session that draws on out. Files are saved under dir, which is
// made when the first one comes.
func New(out io.Writer, term console.Terminal, dir string) *Session {
	return &Session{out: out, term: term, dir: dir, drawn: map[string]terminal.Post{}, of: map[string]string{}, mine: map[string]bool{}}
}

// Attach says which client the records are of.
func (s *Session) Attach(c *terminal.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = c
	for _, r := range s.held {
		s.record(r)
	}
	s.held = nil
}

// Record draws a record.
func (s *Session) Record(r terminal.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		s.held = append(s.held, r)
		return
	}
	s.record(r)
}

func (s *Session) record(r terminal.Record) {
	switch r.Type {
	case terminal.TypePost:
		s.post(*r.Post)
	case terminal.TypeReady:
		s.ready = true
	case terminal.TypeError:
		s.say("error: " + r.Text)
	}
}

// say prints one line of kgent's own or the bot's words.
func (s *Session) say(words string) { s.print(text.Clean(words) + "\n") }

func (s *Session) print(drawing string) {
	// When nobody takes it there is nobody to tell; the session ends with its
	// input.
	_, _ = io.WriteString(s.out, drawing)
}

// request returns the request that a button is of: its id before the revision.
func request(b card.Button) string {
	id, _, _ := strings.Cut(b.ID, "-")
	return id
}

// number returns the short name of a request.
func (s *Session) number(id string) int {
	if i := slices.Index(s.requests, id); i >= 0 {
		return i + 1
	}
	s.requests = append(s.requests, id)
	return len(s.requests)
}

func (s *Session) post(p terminal.Post) {
	if p.Only != "" && p.Ref != "" && !strings.HasPrefix(p.Ref, s.client.Session()+"-") {
		return // the answer to what the same user did in another terminal
	}
	for _, b := range p.Card.Buttons {
		s.of[p.ID] = request(b)
		if p.Only == "" && p.Place.Thread != "" {
			s.mine[request(b)] = true
			if !s.ready { // of an earlier session of the same person
				s.last = p.Place.Thread
			}
		}
	}
	for _, b := range p.Buttons() {
		s.number(request(b))
	}
	old, again := s.drawn[p.ID]
	if p.Only == "" && p.Place.Thread == "" && s.mine[s.of[p.ID]] {
		return // who asked sees it in the thread
	}
	s.drawn[p.ID] = p
	if again {
		s.print(s.change(old, p))
		return
	}
	s.print(s.whole(p))
	for i := range p.Files {
		s.wg.Go(func() { s.fetch(p, i) })
	}
}

var marks = map[card.Tone]string{card.Working: "… ", card.Asking: "? ", card.Good: "✓ ", card.Warning: "! ", card.Bad: "✗ "}

func (s *Session) title(p terminal.Post) string {
	if p.Card.Title == "" {
		return ""
	}
	c := p.Card
	return console.Card(card.Card{Title: marks[c.Tone] + c.Title}, s.term)
}

// whole draws a post that was not there before.
func (s *Session) whole(p terminal.Post) string {
	var b strings.Builder
	b.WriteString("\n" + s.title(p))
	for _, block := range p.Card.Blocks {
		b.WriteString(s.block(block))
	}
	b.WriteString(s.buttons(p))
	if b.Len() == 1 {
		return ""
	}
	return b.String()
}

func (s *Session) block(block card.Block) string {
	out := console.Block(block, s.term)
	if r, ok := block.(card.Row); ok {
		out += s.offer(r.Buttons)
	}
	return out
}

// how a button is pressed that needs words.
var takes = map[string]string{"deny": " REASON", "glass": " REASON", "edit": " duration=… nodes=… NAME=VALUE", "refine": " WORDS", "save": " DIR"}

func (s *Session) buttons(p terminal.Post) string { return s.offer(p.Card.Buttons) }

// offer says what can be typed.
func (s *Session) offer(buttons []card.Button) string {
	if len(buttons) == 0 {
		return ""
	}
	var out []string
	for _, b := range buttons {
		out = append(out, text.Clean(b.Verb)+takes[b.Verb])
	}
	return fmt.Sprintf("  [%d] %s\n", s.number(request(buttons[0])), strings.Join(out, " · "))
}

// change draws what is new in a post that was drawn before.
func (s *Session) change(old, p terminal.Post) string {
	var body strings.Builder
	was := map[string]bool{}
	var code string
	for _, b := range old.Card.Blocks {
		if c, ok := b.(card.Code); ok {
			code = c.Body
			continue
		}
		for _, l := range strings.Split(s.block(b), "\n") {
			was[l] = true
		}
	}
	for _, b := range p.Card.Blocks {
		if c, ok := b.(card.Code); ok {
			if fresh := newLines(code, c.Body); fresh != "" {
				body.WriteString(console.Block(card.Code{Body: fresh}, s.term))
			}
			continue
		}
		for _, l := range strings.Split(s.block(b), "\n") {
			if l != "" && !was[l] {
				body.WriteString(l + "\n")
			}
		}
	}
	offer := s.buttons(p)
	if offer == s.buttons(old) {
		offer = ""
	}
	titled := old.Card.Title != p.Card.Title || old.Card.Tone != p.Card.Tone
	lead := ""
	switch {
	case titled:
		lead = s.title(p)
	case body.Len() == 0 && offer == "":
		return ""
	case p.Card.Tone != card.Working && p.Card.Title != "":
		lead = s.title(p)
	}
	return lead + body.String() + offer
}

// newLines returns the lines that came after those that were shown: what is
// left behind the longest end of the old text that the new one begins with. A
// text that goes on nowhere is new as a whole.
func newLines(old, now string) string {
	if old == now {
		return ""
	}
	a, b := strings.Split(old, "\n"), strings.Split(now, "\n")
	for n := min(len(a), len(b)); n > 0; n-- {
		// The first line shown may be cut, and "…" stand for what is missing.
		for skip := range min(2, len(b)-n+1) {
			if slices.Equal(a[len(a)-n:], b[skip:skip+n]) {
				return strings.Join(b[skip+n:], "\n")
			}
		}
	}
	return now
}

// fetch saves a file of a post, and shows a source.
func (s *Session) fetch(p terminal.Post, n int) {
	s.files.Lock()
	defer s.files.Unlock()
	f := p.Files[n]
	s.mu.Lock()
	path := filepath.Join(s.dir, fileName(p.ID, f.Name))
	s.mu.Unlock()
	said := func(words string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.say("  " + f.Title + ": " + words)
	}
	if info, err := os.Stat(path); err == nil && info.Size() == int64(f.Size) {
		said(path)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	data, err := s.client.File(ctx, p.ID, n)
	if errors.Is(err, terminal.ErrDetached) {
		return
	}
	if err == nil {
		err = save(path, data)
	}
	if err != nil {
		said(err.Error())
		return
	}
	said("saved as " + path)
	if strings.HasSuffix(f.Name, ".bpf.c") && len(data) <= maxSource {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.print(console.Block(card.Code{Body: string(data)}, s.term))
	}
}

// maxSource is how long a source may be to be shown, in bytes.
const maxSource = 32 << 10

// fileName names a file after its post, so that it is saved once.
func fileName(post, name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, name)
	return fmt.Sprintf("%.8s-%.80s", filepath.Base(post), strings.TrimLeft(name, "."))
}

// save writes a file that only this user can read: output of traces is not for
// everybody.
func save(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".kgent-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Wait waits until the files are saved that were being fetched.
func (s *Session) Wait() { s.wg.Wait() }
