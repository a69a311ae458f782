package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kgent/bot/card"
	"kgent/bot/dryrun"
	"kgent/bot/terminal"
)

// line is what somebody typed.
type line struct {
	// words are a request, or one of the bot's commands; otherwise verb is a
	// button's.
	words string
	// more says that the words are about the last request.
	more   bool
	verb   string
	number int // of the request; 0 is the only one there is
	fields map[string]string
	dir    string // of save
}

// Help is what can be typed.
const Help = `  Type what you want to see, for example: which programs are executed
  approve · deny REASON · cancel · glass REASON      decide on what is open
  edit duration=30s nodes=db-2 wanted=7              change it: a new revision
  dry · real                                         only count what it would change, or do it
  refine WORDS · again · stop · source · save DIR    go on with it
  only port 443 · also IPv6 · on db-4 · top 5        change your last request, in short; ask WORDS begins a new one
  list · nodes · recipes · help · quit
  With several open requests, name one by its number: approve 2, deny 2 REASON
  Ctrl-C or Ctrl-D only detaches: what runs goes on, and kgent chat shows it again
`

// parse reads a line. known reports whether a request has this number.
func parse(s string, known func(int) bool) (line, error) {
	s = strings.TrimSpace(s)
	first, rest, _ := strings.Cut(s, " ")
	rest = strings.TrimSpace(rest)
	verb := strings.ToLower(first)
	l := line{verb: verb}
	head, tail, _ := strings.Cut(rest, " ")
	if n, err := strconv.Atoi(strings.TrimPrefix(head, "#")); err == nil && n > 0 && (known(n) || strings.TrimSpace(tail) == "" && verb != "refine" && verb != "deny" && verb != "glass") {
		l.number, rest = n, strings.TrimSpace(tail)
	}
	switch verb {
	case "ask":
		if _, words, _ := strings.Cut(s, " "); strings.TrimSpace(words) != "" {
			return line{words: strings.TrimSpace(words)}, nil
		}
		return line{}, errors.New("ask for what? For example: ask which programs are executed")
	case "approve", "cancel":
		if rest != "" {
			return line{}, fmt.Errorf("%s takes nothing but a number", verb)
		}
	case "stop", "source", "again", "dry", "real":
		if rest != "" {
			return line{words: s}, nil // "source ports of …" is a request
		}
	case "deny", "glass":
		if rest == "" {
			return line{}, fmt.Errorf("say why: %s REASON", verb)
		}
		l.fields = map[string]string{"reason": rest}
	case "refine":
		if rest == "" {
			return line{}, errors.New("say what should be different: refine only port 443")
		}
		l.fields = map[string]string{"text": rest}
	case "edit":
		var err error
		if l.fields, err = edits(rest); err != nil {
			return line{}, err
		}
	case "save":
		l.dir = rest
	default:
		return line{words: s, more: goesOn(s)}, nil
	}
	return l, nil
}

// What somebody begins with who says how the last request should be different.
var further = []string{"only", "just", "also", "but", "and", "without", "except", "on", "for", "top", "instead", "again", "with", "not"}

// goesOn reports whether words are about the request before them: they begin
// like that, and are too few for a request of their own.
func goesOn(s string) bool {
	if said, rest := dryrun.FromText(s); said != dryrun.Nothing && rest == "" {
		return true
	}
	words := strings.Fields(strings.ToLower(s))
	return len(words) > 0 && len(words) <= 7 && slices.Contains(further, words[0])
}

// edits reads name=value pairs, with quotes around values with spaces.
func edits(s string) (map[string]string, error) {
	usage := errors.New(`write changes as name=value: edit duration=30s nodes="any 2 of role=db" wanted=7`)
	fields := map[string]string{}
	var params []string
	for _, pair := range split(s) {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" || value == "" {
			return nil, usage
		}
		switch name {
		case "duration", "nodes", "dry":
			fields[name] = value
		default:
			params = append(params, name+" = "+value)
		}
	}
	if len(params) > 0 {
		fields["params"] = strings.Join(params, "\n")
	}
	if len(fields) == 0 {
		return nil, usage
	}
	return fields, nil
}

// split splits at spaces outside of double quotes, and takes those away.
func split(s string) []string {
	var out []string
	var b strings.Builder
	quoted, any := false, false
	for _, r := range s {
		switch {
		case r == '"':
			quoted, any = !quoted, true
		case r == ' ' && !quoted:
			if any {
				out = append(out, b.String())
			}
			b.Reset()
			any = false
		default:
			b.WriteRune(r)
			any = true
		}
	}
	if any {
		out = append(out, b.String())
	}
	return out
}

// ErrQuit says that the person wants to leave.
var ErrQuit = errors.New("quit")

// Line does what a line says, and prints what the bot says to it. It returns
// [ErrQuit], or why the connection has ended.
func (s *Session) Line(ctx context.Context, typed string) error {
	word := strings.ToLower(strings.TrimSpace(typed))
	switch word {
	case "":
		return nil
	case "quit", "exit":
		return ErrQuit
	}
	s.mu.Lock()
	if word == "help" || word == "?" {
		s.print(Help)
		s.mu.Unlock()
		if word == "?" {
			return nil
		}
	} else {
		s.mu.Unlock()
	}
	l, err := parse(typed, func(n int) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return n <= len(s.requests)
	})
	if err == nil {
		err = s.do(ctx, l)
	}
	if err == nil {
		return nil
	}
	if gone := s.client.Err(); gone != nil {
		return gone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say("✗ " + err.Error())
	return nil
}

func (s *Session) do(ctx context.Context, l line) error {
	if l.words != "" {
		s.mu.Lock()
		thread := ""
		if l.more {
			thread = s.last
		}
		s.mu.Unlock()
		ref, err := s.client.Say(ctx, l.words, thread)
		if err == nil && thread == "" && !terminal.IsCommand(l.words) {
			s.mu.Lock()
			s.last = s.client.Thread(ref)
			s.mu.Unlock()
		}
		return err
	}
	p, b, err := s.find(l.verb, l.number)
	if err != nil {
		return err
	}
	if l.verb == "save" && l.dir != "" {
		s.mu.Lock()
		s.dir = l.dir
		s.mu.Unlock()
	}
	return s.client.Press(ctx, p, b, l.fields)
}

// find returns the button that is meant. Without a number there must be one
// request only that has it.
func (s *Session) find(verb string, number int) (terminal.Post, card.Button, error) {
	posts := s.client.Posts()
	s.mu.Lock()
	defer s.mu.Unlock()
	type found struct {
		p terminal.Post
		b card.Button
	}
	best := map[string]found{}
	for _, p := range posts {
		for _, b := range p.Buttons() {
			// What a list said a while ago counts only where it was named.
			if b.Verb != verb || p.Only != "" && number == 0 {
				continue
			}
			if f, ok := best[request(b)]; !ok || f.p.Only != "" && p.Only == "" || (f.p.Only == "") == (p.Only == "") && f.p.Seq < p.Seq {
				best[request(b)] = found{p, b}
			}
		}
	}
	if number > 0 {
		if number > len(s.requests) {
			return terminal.Post{}, card.Button{}, fmt.Errorf("there is no request %d here", number)
		}
		f, ok := best[s.requests[number-1]]
		if !ok {
			return terminal.Post{}, card.Button{}, fmt.Errorf("request %d has nothing to %s now", number, verb)
		}
		return f.p, f.b, nil
	}
	switch len(best) {
	case 0:
		return terminal.Post{}, card.Button{}, fmt.Errorf("nothing here has %q now; list shows what there is", verb)
	case 1:
		for _, f := range best {
			return f.p, f.b, nil
		}
	}
	var numbers []int
	for id := range best {
		numbers = append(numbers, s.number(id))
	}
	slices.Sort(numbers)
	return terminal.Post{}, card.Button{}, fmt.Errorf("which one? %s %d … there are %v", verb, numbers[0], numbers)
}

// Running returns the numbers of the requests that run and can be stopped from
// here.
func (s *Session) Running() []int {
	posts := s.client.Posts()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []int
	for _, p := range posts {
		if b, ok := p.Button("stop"); ok && p.Only == "" && !slices.Contains(out, s.number(request(b))) {
			out = append(out, s.number(request(b)))
		}
	}
	slices.Sort(out)
	return out
}
