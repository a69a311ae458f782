package teamtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	discordtypes "kgent/bot/discord/discordd/typetest"
	slacktypes "kgent/bot/slack/slackd/typetest"
	"kgent/bot/teamtest"
	"kgent/executor/output"
)

// step is one step of a scenario file: exactly one of its actions.
type step struct {
	About string `yaml:"about"` // of this step and the following ones

	Ask   *words `yaml:"ask"`
	Reply *words `yaml:"reply"`
	Click *press `yaml:"click"`
	Fill  *press `yaml:"fill"`
	See   *sight `yaml:"see"`
	Files *files `yaml:"files"`
	// Work is for how long the program on this host goes on before the next
	// step: a picture over time needs time.
	Work string `yaml:"work"`
	Shot *shot  `yaml:"shot"`
}

// shot is a picture of a message as somebody sees it, perhaps with the form
// that a button opens, or of somebody's own page.
type shot struct {
	Name    string `yaml:"name"`
	By      string `yaml:"by"`
	Message string `yaml:"message"`
	Verb    string `yaml:"verb"`
	Home    bool   `yaml:"home"`
}

// words are said to kgent, or in the thread.
type words struct {
	By    string `yaml:"by"`
	Words string `yaml:"words"`
}

// press is a press of a button, and what is done with the form that it opens.
type press struct {
	By      string            `yaml:"by"`
	Message string            `yaml:"message"`
	Verb    string            `yaml:"verb"`
	Shows   map[string]string `yaml:"shows"` // what stands in the form
	Holds   map[string]string `yaml:"holds"` // … among other things
	Send    map[string]string `yaml:"send"`
}

// sight waits until a message looks as it should. The first time that a name
// is used it becomes that of the oldest fitting message without a name.
type sight struct {
	As      string    `yaml:"as"`
	In      string    `yaml:"in"`
	Title   string    `yaml:"title"`
	Says    []string  `yaml:"says"`
	Lacks   []string  `yaml:"lacks"` // must not be there at the same time
	Buttons *[]string `yaml:"buttons"`
	Only    string    `yaml:"only"`
	File    string    `yaml:"file"` // how the name of a file of it ends
}

// files waits for the files of the last run.
type files struct {
	Picture bool          `yaml:"picture"`
	Nodes   []string      `yaml:"nodes"`
	Reason  output.Reason `yaml:"reason"`
	Ports   []string      `yaml:"ports"` // all that were connected to
}

// play is a scenario under way.
type play struct {
	*testing.T
	here, there teamtest.Chat
	load        *load
	variables   *strings.Replacer
	thread      teamtest.Thread
	first       teamtest.Thread
	named       map[string]teamtest.Message
	files       map[string]bool // ids of messages whose files were looked at
	shoot       func(context.Context, shot) error
}

// The whole way of an incident, asked on one service and decided on both.
func TestScenario(t *testing.T) {
	team := teamtest.Start(t, teamtest.Config{Policy: teamtest.Policy})
	team.StartExecutor("db-1", "role=db,env=dev")
	team.StartExecutor("db-2", "role=db,env=dev")
	team.StartBot()
	for i, c := range []struct{ here, there teamtest.Chat }{{team.Slack, team.Discord}, {team.Discord, team.Slack}} {
		t.Run(c.here.Name(), func(t *testing.T) {
			l := connectAllTheTime(t, fmt.Sprintf("127.77.0.%d", i+1))
			newPlay(t, c.here, c.there, l).run("testdata/incident.yaml")
		})
	}
	t.Run("program", func(t *testing.T) { bringPrograms(t, team) })
	t.Run("script", func(t *testing.T) { runScripts(t, team) })
	t.Run("audit", func(t *testing.T) {
		out := team.AsBot("audit", "verify")
		t.Log(out)
	})
	t.Run("types", func(t *testing.T) {
		slacktypes.Check(t, slackPayloads(team.Slack)...)
		discordtypes.CheckRequests(t, team.Discord.Requests("", ""))
	})
}

func newPlay(t *testing.T, here, there teamtest.Chat, l *load) *play {
	return &play{T: t, here: here, there: there, load: l, named: map[string]teamtest.Message{}, files: map[string]bool{},
		variables: strings.NewReplacer("${address}", l.address, "${port}", l.port, "${program}", ownProgram, "${counting}", countingProgram, "${service}", here.Name(),
			"${leaking}", strings.Replace(ownProgram, "\tc->tid = bpf_get_current_pid_tgid() >> 32; // wrong\n", "", 1))}
}

func (p *play) run(path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		p.Fatal(err)
	}
	var steps []step
	if err := yaml.UnmarshalWithOptions(b, &steps, yaml.Strict()); err != nil {
		p.Fatal(err)
	}
	for i, s := range steps {
		if s.About != "" {
			p.Logf("%s %s", time.Now().Format("15:04:05.000"), s.About)
		}
		ctx, cancel := context.WithTimeout(p.Context(), teamtest.Patience)
		err := p.step(ctx, s)
		cancel()
		if err != nil {
			p.Fatalf("step %d of %s: %v", i+1, path, err)
		}
	}
}

func (p *play) step(ctx context.Context, s step) error {
	switch {
	case s.Ask != nil:
		th, err := p.here.Ask(ctx, s.Ask.By, p.filled(s.Ask.Words))
		if p.thread = th; p.first == (teamtest.Thread{}) {
			p.first = th
		}
		return err
	case s.Reply != nil:
		return p.here.Reply(ctx, s.Reply.By, p.thread, p.filled(s.Reply.Words))
	case s.Click != nil:
		m, ok := p.named[s.Click.Message]
		if !ok {
			return fmt.Errorf("clicking %s of %q: no message has that name", s.Click.Verb, s.Click.Message)
		}
		return p.chat(m).Click(ctx, s.Click.By, m, s.Click.Verb)
	case s.Fill != nil:
		return p.fill(ctx, *s.Fill)
	case s.See != nil:
		return p.see(ctx, *s.See)
	case s.Files != nil:
		return p.look(ctx, *s.Files)
	case s.Shot != nil:
		return p.shoot(ctx, *s.Shot)
	case s.Work != "":
		d, err := time.ParseDuration(s.Work)
		if err != nil {
			return err
		}
		return p.load.goOn(ctx, d)
	}
	return errors.New("it does nothing")
}

func (p *play) filled(s string) string { return p.variables.Replace(s) }

func (p *play) chat(m teamtest.Message) teamtest.Chat {
	if m.Service == p.there.Name() {
		return p.there
	}
	return p.here
}

func (p *play) fill(ctx context.Context, f press) error {
	m, ok := p.named[f.Message]
	if !ok {
		return fmt.Errorf("filling in %s of %q: no message has that name", f.Verb, f.Message)
	}
	form, err := p.chat(m).Open(ctx, f.By, m, f.Verb)
	if err != nil {
		return err
	}
	shown := form.Values()
	for name, want := range f.Shows {
		if got, ok := shown[name]; !ok || got != p.filled(want) {
			return fmt.Errorf("the form of %s shows %q for %s, want %q", f.Verb, got, name, want)
		}
	}
	for name, want := range f.Holds {
		if !strings.Contains(shown[name], p.filled(want)) {
			return fmt.Errorf("the form of %s shows %q for %s, without %q", f.Verb, shown[name], name, want)
		}
	}
	send := map[string]string{}
	for name, v := range f.Send {
		send[name] = p.filled(v)
	}
	return form.Send(ctx, send)
}

func (p *play) see(ctx context.Context, s sight) error {
	named, known := p.named[s.As]
	where, chat := p.thread, p.here
	switch s.In {
	case "thread", "":
	case "alone": // where only the one who asked sees it: a direct message will do
	case "first": // where the first question was asked
		where = p.first
	case "approvals":
		where = p.here.Approvals()
	case "elsewhere":
		where, chat = p.there.Approvals(), p.there
	default:
		return fmt.Errorf("there is no place %q", s.In)
	}
	if known {
		where, chat = named.Thread, p.chat(named)
	}
	var close teamtest.Message // the one that came nearest
	most := -1
	has := func(text, words string) bool { // what somebody is called differs between services
		return strings.Contains(strings.ToLower(text), strings.ToLower(p.filled(words)))
	}
	fits := func(m teamtest.Message) bool {
		switch {
		case known && m.ID != named.ID, !known && p.isNamed(m):
			return false
		case s.In != "alone" && (m.Channel != where.Channel || m.Thread != where && m.Thread.ID != "" && where.ID != "" || m.Only != s.Only):
			return false
		case !has(m.Title, s.Title), s.File != "" && !slices.ContainsFunc(m.Files, func(f teamtest.File) bool { return strings.HasSuffix(f.Name, s.File) }):
			return false
		}
		right, want := 0, len(s.Says)+len(s.Lacks)+1
		for _, w := range s.Says {
			if has(m.Text, w) {
				right++
			}
		}
		for _, w := range s.Lacks {
			if !has(m.Text, w) {
				right++
			}
		}
		if s.Buttons == nil || slices.Equal(m.Verbs(), *s.Buttons) {
			right++
		}
		if right > most {
			close, most = m, right
		}
		return right == want
	}
	m, err := chat.Wait(ctx, fits)
	if err != nil {
		return fmt.Errorf("seeing %q: %w\nnearest:\n%v\n%s", s.As, err, close.Verbs(), close.Text)
	}
	p.named[s.As] = m
	return nil
}

func (p *play) isNamed(m teamtest.Message) bool {
	for _, n := range p.named {
		if n.Service == m.Service && n.ID == m.ID {
			return true
		}
	}
	return false
}

// look waits for the files of a run and reads them.
func (p *play) look(ctx context.Context, want files) error {
	take := func(kind string, is func(teamtest.File) bool) (teamtest.File, error) {
		m, err := p.here.Wait(ctx, teamtest.In(p.thread, func(m teamtest.Message) bool {
			return !p.files[m.ID] && slices.ContainsFunc(m.Files, is)
		}))
		if err != nil {
			return teamtest.File{}, fmt.Errorf("waiting for the %s: %w", kind, err)
		}
		p.files[m.ID] = true
		return m.Files[slices.IndexFunc(m.Files, is)], nil
	}
	if want.Picture {
		f, err := take("picture", func(f teamtest.File) bool { return strings.HasSuffix(f.Name, ".png") })
		if err != nil {
			return err
		}
		picture, err := png.Decode(bytes.NewReader(f.Data))
		if err != nil {
			return fmt.Errorf("reading %s: %w", f.Name, err)
		}
		if b := picture.Bounds(); b.Dx() < 300 || b.Dy() < 100 || f.Title == "" {
			return fmt.Errorf("the picture %s (%q) is %v", f.Name, f.Title, b)
		}
	}
	f, err := take("whole output", func(f teamtest.File) bool { return strings.HasSuffix(f.Name, ".jsonl") })
	if err != nil {
		return err
	}
	// When the next connection is on record, those before it are.
	if err := p.load.goOn(ctx, interval); err != nil {
		return err
	}
	return p.account(f.Data, want)
}

// account holds the whole output against what happened on this host.
func (p *play) account(data []byte, want files) error {
	var last output.Summary
	var ended bool
	events := map[string]uint64{}
	sources := map[string][]string{}
	ports := map[string]bool{}
	for line := range bytes.Lines(data) {
		rec, err := output.Decode(line)
		if err != nil {
			return fmt.Errorf("reading the whole output: %w in %q", err, line)
		}
		switch r := rec.(type) {
		case output.Event:
			events[r.Node]++
			port, _ := r.Data.Get("dport")
			ports[fmt.Sprint(port)] = true
			from, _ := r.Data.Get("sport")
			sources[r.Node] = append(sources[r.Node], fmt.Sprint(from))
			if to, _ := r.Data.Get("daddr"); fmt.Sprint(to) != p.load.address {
				return fmt.Errorf("an event of another address: %s", line)
			}
		case output.Summary:
			last, ended = r, true
		}
	}
	switch {
	case !ended:
		return errors.New("the whole output has no summary")
	case !last.Balanced():
		return fmt.Errorf("the account does not balance: %+v", last.Counters)
	case last.KernelLost+last.Dropped+last.BusTrimmed != 0:
		return fmt.Errorf("at this rate nothing may be lost: %+v", last.Counters)
	}
	for _, n := range last.Nodes {
		if n.Reason != want.Reason || n.Delivered != events[n.Node] || n.Delivered == 0 {
			return fmt.Errorf("%s ended as %q with %d delivered, %d in the file", n.Node, n.Reason, n.Delivered, events[n.Node])
		}
	}
	var got []string
	for port := range ports {
		got = append(got, port)
	}
	slices.Sort(got)
	var wanted []string
	for _, port := range want.Ports {
		wanted = append(wanted, p.filled(port))
	}
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		return fmt.Errorf("the output shows connections to %v, want %v", got, wanted)
	}
	for _, n := range want.Nodes {
		if err := p.load.complete(sources[n], want.Ports, p.filled); err != nil {
			return fmt.Errorf("the output of %s: %w", n, err)
		}
	}
	return nil
}

// load is a program that connects to two ports again and again.
type load struct {
	address, port string // the second port; the first one is 443

	mu   sync.Mutex
	made []connection
}

type connection struct{ from, to string } // ports

// interval is how often a connection is made.
const interval = 25 * time.Millisecond

// connectAllTheTime connects until the test ends.
func connectAllTheTime(t *testing.T, address string) *load {
	t.Helper()
	l := &load{address: address}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	var targets []string
	for _, port := range []string{"443", "0"} {
		listener, err := net.Listen("tcp", net.JoinHostPort(address, port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		targets = append(targets, listener.Addr().String())
		wg.Go(func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		})
	}
	t.Cleanup(func() { cancel() })
	_, l.port, _ = net.SplitHostPort(targets[1])
	wg.Go(func() {
		var d net.Dialer
		for i := 0; ctx.Err() == nil; i++ {
			c, err := d.DialContext(ctx, "tcp", targets[i%2])
			if err == nil {
				_, from, _ := net.SplitHostPort(c.LocalAddr().String())
				_, to, _ := net.SplitHostPort(targets[i%2])
				l.mu.Lock()
				l.made = append(l.made, connection{from, to})
				l.mu.Unlock()
				c.Close()
			}
			select {
			case <-ctx.Done():
			case <-time.After(interval):
			}
		}
	})
	t.Cleanup(func() {}) // the listeners are closed before wg is waited for
	return l
}

// goOn returns when as many connections were made as take at least d.
func (l *load) goOn(ctx context.Context, d time.Duration) error {
	l.mu.Lock()
	until := len(l.made) + int(d/interval)
	l.mu.Unlock()
	for {
		l.mu.Lock()
		enough := len(l.made) >= until
		l.mu.Unlock()
		if enough {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for connections: %w", ctx.Err())
		case <-time.After(interval):
		}
	}
}

// complete says whether what was seen is a piece without a gap of what was
// done.
func (l *load) complete(seen, ports []string, filled func(string) string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var done []string
	for _, c := range l.made {
		if slices.ContainsFunc(ports, func(p string) bool { return filled(p) == c.to }) {
			done = append(done, c.from)
		}
	}
	for i := range done {
		if len(seen) > 0 && done[i] == seen[0] && len(done)-i >= len(seen) && slices.Equal(done[i:i+len(seen)], seen) {
			return nil
		}
	}
	return fmt.Errorf("its %d connections are not a piece without a gap of the %d that were made", len(seen), len(done))
}

// slackPayloads is everything that the bot sent to Slack and that has a
// published type, each shape once.
func slackPayloads(s *teamtest.Slack) []slacktypes.Payload {
	var out []slacktypes.Payload
	seen := map[string]bool{}
	for i, c := range s.Calls("") {
		kind, body := slacktypes.Blocks, c.Args["blocks"]
		if view := c.Args["view"]; view != "" {
			kind, body = slacktypes.Modal, view
			if strings.HasSuffix(c.Method, "publish") {
				kind = slacktypes.Home
			}
		}
		if body == "" || seen[body] {
			continue
		}
		seen[body] = true
		out = append(out, slacktypes.Payload{Name: c.Method + " " + strconv.Itoa(i), Kind: kind, JSON: json.RawMessage(body)})
	}
	return out
}
