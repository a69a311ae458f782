package thread

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"kgent/approvals"
	"kgent/bot/card"
	"kgent/executor/output"
)

// How many characters of output a message shows, beside its other lines.
const (
	tailSize  = 2600
	finalSize = 1600
	// maxShown bounds quoted requests and reasons.
	maxShown = 600
	maxItems = 8 // of a list on a card
)

// maxReading is how much of a second reading a card shows, in bytes.
const maxReading = 700

// show returns the messages that show a request as it is. It is a pure
// function of the request.
func (c *Conversation) show(r Request) []Message {
	var out []Message
	if !r.Quiet || r.State != Preparing {
		out = append(out, c.progressMessage(r))
	}
	out = append(out, questionMessages(r)...)
	for _, o := range r.Old {
		out = append(out, cardMessages(r, o.Revision, o.Copies, superseded(r, o))...)
	}
	if r.Card.Digest != "" && r.State != Preparing && r.State != Asking && r.Revision > 0 && r.Outcome != Rejected {
		out = append(out, cardMessages(r, r.Revision, r.Copies, c.candidateCard(r))...)
	}
	out = append(out, loudMessages(r)...)
	if r.Grant != nil {
		switch {
		case r.State == Running && (r.StopBy != nil || !r.Dispatched):
			out = append(out, c.runMessage(r, ""))
		case r.State == Ended:
			out = append(out, c.overMessage(r))
		}
	}
	return out
}

func (r Request) message(key string, class Class, what card.Card) Message {
	return Message{Key: key, Place: r.Place, Under: r.Root, Class: class, Card: what}
}

// rootMessage is what a thread hangs from when nobody wrote a message.
func (c *Conversation) rootMessage(r Request) Message {
	m := r.message(r.Root, Urgent, card.Card{
		Title:  called(r.By) + " asks",
		Blocks: []card.Block{card.Text{Body: cut(r.Text, maxShown), Quoted: true}},
	})
	m.Under = ""
	return m
}

func called(a Account) string {
	if a.Name != "" {
		return a.Name
	}
	return a.User
}

// progressMessage is the one message that says what is being done and, when
// there is no program, why.
func (c *Conversation) progressMessage(r Request) Message {
	key := "progress:" + r.ID
	switch {
	case r.State == Ended && r.Outcome == Rejected:
		title := "No program"
		if r.Program != nil {
			title = "The program was refused"
		}
		what := card.Card{Title: orElse(r.Heading, title), Tone: card.Warning, Buttons: []card.Button{{Verb: verbRefine, ID: idOf(r), Label: "Refine"}}}
		if r.Refusal != nil && len(r.Refusal.Steps) > 0 {
			what.Blocks = append(what.Blocks, refusalBlocks(r)...)
		} else {
			what.Blocks = append(what.Blocks, card.Text{Body: sentence(cut(r.Detail, 1500))})
		}
		what.Blocks = append(what.Blocks, card.Note{Body: differently(r.Place)})
		if r.Quiet {
			what.Buttons = nil
			what.Blocks = append(what.Blocks, card.Note{Body: "You wrote in a thread where kgent works for you, so it took your words as a change. Only you see this."})
			return Message{Key: "w:" + hash(key), Place: r.Place, Only: r.Author.User, Reply: r.Reply, Card: what, Class: Urgent}
		}
		return r.message(key, Result, what)
	case r.State == Asking:
		return r.message(key, Progress, card.Card{Title: "Waiting for an answer", Tone: card.Asking, Blocks: []card.Block{card.Note{Body: orElse(stepsText(r.Steps), "…")}}})
	case r.Outcome == Explained && r.Said != nil:
		return r.message(key, Result, *r.Said)
	case r.State == Preparing:
		title := "Looking for a program"
		if r.Program != nil {
			title = "Reading the program"
		}
		if r.Revision > 1 || r.Change != nil {
			title = "Making the program ready"
		}
		body := stepsText(r.Steps)
		if body == "" {
			body = "…"
		}
		return r.message(key, Progress, card.Card{Title: title, Tone: card.Working, Blocks: []card.Block{card.Text{Body: body}}})
	}
	took := int64(0)
	for _, s := range r.Steps {
		took += s.Millis
	}
	m := r.message(key, Progress, card.Card{Title: fmt.Sprintf("Prepared in %.1f s", float64(took)/1000), Tone: card.Good, Blocks: []card.Block{card.Note{Body: stepsText(r.Steps)}}})
	m.Late = true // the card says more, and stands above it then
	return m
}

// refusalBlocks say why a program was refused, with the input that shows it.
func refusalBlocks(r Request) []card.Block {
	f := r.Refusal
	lead := "The program did not pass: its bytecode was checked for all inputs, and for this one it is wrong."
	if f.Programs > 1 {
		lead = fmt.Sprintf("None of %d programs passed. The last one was checked for all inputs, and for this one it is wrong.", f.Programs)
	}
	steps := slices.Clone(f.Steps)
	if len(steps) > 1 {
		for i := range steps {
			steps[i] = fmt.Sprintf("%d. %s", i+1, steps[i])
		}
	}
	fields := card.Fields{
		{Label: "Has to hold", Text: cut(f.Holds, 400)},
		{Label: "But when", Text: cut(strings.Join(steps, "\n"), 900)},
		{Label: "Expected", Text: cut(f.Expected, 300)},
		{Label: "Got", Text: cut(f.Got, 300)},
	}
	out := []card.Block{card.Text{Body: lead}, fields}
	if f.Line != "" {
		out = append(out, card.Text{Body: "The line to look at:"}, card.Code{Body: cut(card.Visible(f.Line), 300)})
	}
	if _, ended, more := strings.Cut(r.Detail, "; there was no further try: "); more {
		out = append(out, card.Note{Body: "There was no further try: " + cut(ended, 400)})
	}
	return out
}

// isTerminal reports whether people type there, with neither mentions nor
// buttons nor threads.
func isTerminal(p Place) bool { return p.Surface == "terminal" }

func inThread(p Place) string {
	if isTerminal(p) {
		return ""
	}
	return " in this thread"
}

func differently(p Place) string {
	if isTerminal(p) {
		return "Nothing was run. Say it differently: “on db-1” or “only port 443” changes your last request."
	}
	return "Nothing was run. Say it differently in this thread, or press Refine."
}

// sentence begins with a capital letter.
func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	if word, _, _ := strings.Cut(s, " "); strings.ContainsAny(word, "-_=.0123456789") { // a name
		return s
	}
	return string(unicode.ToUpper(first)) + s[size:]
}

var marks = map[string]string{"start": "…", "done": "✓", "failed": "✗", "skipped": "–"}

func stepsText(steps []output.Stage) string {
	var lines []string
	for _, s := range steps {
		l := marks[s.State] + " " + card.Stage(s.Name)
		if s.Detail != "" {
			l += ": " + cut(s.Detail, 160)
		}
		if s.Millis >= 100 {
			l += fmt.Sprintf(" (%.1f s)", float64(s.Millis)/1000)
		}
		lines = append(lines, l)
	}
	if len(lines) > 12 {
		lines = append([]string{"…"}, lines[len(lines)-12:]...)
	}
	return strings.Join(lines, "\n")
}

// cardMessages is the card of a revision in the thread and in the other places
// where people are asked.
func cardMessages(r Request, revision int, copies []Place, what card.Card) []Message {
	key := "card:" + r.ID + ":" + strconv.Itoa(revision)
	out := []Message{r.message(key, Urgent, what)}
	for i, p := range copies {
		elsewhere := what
		elsewhere.Blocks = append([]card.Block{card.Note{Body: "Asked by " + called(r.By) + " on " + r.Place.Surface + "; the output goes there.", URL: r.Link}}, what.Blocks...)
		out = append(out, Message{Key: key + "@" + strconv.Itoa(i), Place: p, Card: elsewhere, Class: Urgent})
	}
	return out
}

// loudMessages tell that somebody broke the glass.
func loudMessages(r Request) []Message {
	i := slices.IndexFunc(r.Votes, func(v approvals.Vote) bool { return v.Choice == approvals.BreakGlass })
	if i < 0 {
		return nil
	}
	v := r.Votes[i]
	what := card.Card{Title: r.name(v.By) + " broke the glass", Tone: card.Warning, Blocks: []card.Block{
		card.Text{Body: cut(v.Reason, maxShown), Quoted: true},
		card.Fields{
			{Label: "What", Text: cut(r.Card.Title, 200)},
			{Label: "Risk", Text: r.Card.Tier},
			{Label: "Runs on", Text: cut(strings.Join(r.Card.Nodes, ", "), 300)},
			{Label: "For", Text: spoken(r.Card.Duration)},
			{Label: "Asked by", Text: called(r.By) + " on " + r.Place.Surface},
			{Label: "At", Text: v.At.UTC().Format("15:04:05 UTC"), At: v.At},
		},
		card.Note{Body: "It ran without the approval that the policy asks for. Look at it afterwards. Digest " + short12(r.Card.Digest)},
	}}
	if r.State == Running {
		what.Buttons = []card.Button{{Verb: verbStop, ID: idOf(r), Label: "Stop", Style: card.Danger}}
	}
	var out []Message
	for n, p := range r.Loud {
		out = append(out, Message{Key: "loud:" + r.ID + "@" + strconv.Itoa(n), Place: p, Card: what, Class: Urgent})
	}
	return out
}

func superseded(r Request, o Old) card.Card {
	return card.Card{Title: "Revision " + strconv.Itoa(o.Revision) + ": out of date", Blocks: []card.Block{
		card.Note{Body: fmt.Sprintf("Revision %d takes its place. No vote for this one counts any more. Digest %s.", max(r.Revision, o.Revision+1), short12(o.Digest))},
	}}
}

// candidateCard is what people decide on. All of it follows from the program,
// the policy and what people said; the author's own words are quoted.
func (c *Conversation) candidateCard(r Request) card.Card {
	if r.Keep != nil {
		return c.keepCard(r)
	}
	k := r.Card
	what := card.Card{Title: r.titled(card.Title(k.Origin, cut(k.Title, 100)))}
	if denied := r.denial(); denied != "" {
		what.Title = "Denied: " + what.Title
		what.Blocks = append(what.Blocks, card.Text{Body: denied})
	}
	asked := called(r.By) + " asks: " + cut(strings.Join(r.words(), " · "), maxShown)
	if r.Author.String() != r.By.String() && len(r.Edits) == 0 {
		asked += "\n(revision " + strconv.Itoa(r.Revision) + " by " + called(r.Author) + ")"
	}
	what.Blocks = append(what.Blocks, card.Text{Body: asked, Quoted: true})
	if edits := r.edits(); edits != "" {
		what.Blocks = append(what.Blocks, card.Text{Body: cut(edits, maxShown)})
	}
	verdict := card.Verdict(k, len(r.Kernels) > 0 && !slices.ContainsFunc(r.Kernels, func(k Kernel) bool { return !k.OK }))
	runsOn := strings.Join(k.Nodes, ", ")
	if len(k.Nodes) > 1 {
		runsOn = fmt.Sprintf("%d nodes: %s", len(k.Nodes), cut(runsOn, 300))
	}
	facts := card.Fields{
		{Label: "Runs on", Text: runsOn},
		{Label: "For", Text: fmt.Sprintf("%s, at most %s events a second from each node", spoken(k.Duration), thousands(r.Limits.EventsPerSecond))},
		{Label: "Risk", Text: k.Tier + ": " + cut(strings.Join(k.Why, "; "), 160)},
		{Label: "Verdict", Text: cut(verdict, 260)},
	}
	switch {
	case r.MayDry && !r.Limits.DryRun: // whatever the words above it say
		facts = append(facts, card.Field{Label: "Dry run", Text: "no: it does what it says, until its time is over"})
	case r.Limits.DryRun:
		facts = append(facts, card.Field{Label: "Dry run", Text: "each node leaves out whatever the program would change, and counts it; what is left changes nothing"})
	}
	if k.Reading != "" {
		facts = append(facts, card.Field{Label: "Second reading", Text: cut(strings.TrimPrefix(k.Reading, "A second reading "), maxReading)})
	}
	what.Blocks = append(what.Blocks, list("What it does", k.Does), facts)
	if k.Script != "" {
		what.Blocks = append(what.Blocks, card.Code{Body: card.Script(k.Script, maxScript)})
	}
	if k.Contract != "" {
		what.Blocks = append(what.Blocks, card.Text{Body: "What it has to do, by its contract:\n" + card.Contract(k.Contract, maxContract)})
	}
	if r.Explanation != "" && !ownWords(k.Origin) {
		what.Blocks = append(what.Blocks, card.Text{Body: "The author says: " + cut(r.Explanation, 400), Quoted: true})
	}
	var params []string
	for _, p := range k.Params {
		params = append(params, p.Name+" = "+p.Value)
	}
	c.decisionBlocks(r, &what)
	if len(r.Unreached) > 0 {
		what.Blocks = append(what.Blocks, card.Text{Body: "kgent could not post in " + cut(strings.Join(r.Unreached, ", "), 200) + ", so nobody there knows of this. Invite kgent there."})
	}
	// For whoever looks closer.
	small := []string{}
	add := func(label string, items []string, sep string) {
		if len(items) > 0 {
			small = append(small, label+": "+cut(strings.Join(items, sep), 300))
		}
	}
	if r.Explanation != "" && ownWords(k.Origin) {
		add("About", []string{r.Explanation}, "")
	}
	add("Parameters", params, ", ")
	understood := "Understood"
	if len(r.Edits) > 0 {
		understood = "Understood of the words, before it was edited"
	}
	add(understood, r.Understood, "; ")
	add("Hooks", k.Hooks, ", ")
	add("Kernels", kernelWords(r.Kernels), "; ")
	small = append(small, "Revision "+strconv.Itoa(r.Revision)+" · digest "+short12(k.Digest)+" · program: "+k.Origin)
	what.Blocks = append(what.Blocks, card.Note{Body: strings.Join(small, "\n")})
	return what
}

// maxScript is how much of a script a card shows, in bytes: as much as services let
// a block of code have. It says so when there is more.
const maxScript = 2400

// maxContract is how much of a contract a card shows, in bytes: what can be read
// without scrolling for long. The rest is in a file.
const maxContract = 1200

// denial says who denied a request, and why, or nothing.
func (r Request) denial() string {
	if r.State != Ended || r.Outcome != Denied || r.Grant != nil {
		return ""
	}
	s := "Denied by " + orElse(decider(r), "somebody")
	if n := len(r.Votes); n > 0 && r.Votes[n-1].Reason != "" {
		s += ": " + cut(r.Votes[n-1].Reason, 300)
	}
	return s
}

// edits says who changed what by hand.
func (r Request) edits() string {
	var out []string
	for _, e := range r.Edits {
		out = append(out, "edited by "+called(e.By)+": "+e.What)
	}
	return strings.Join(out, "\n")
}

// spoken is a length of time without what it has none of: 1m0s is 1m.
func spoken(d string) string {
	if strings.HasSuffix(d, "m0s") {
		d = strings.TrimSuffix(d, "0s")
	}
	if strings.HasSuffix(d, "h0m") {
		d = strings.TrimSuffix(d, "0m")
	}
	return d
}

// thousands shows a number with its thousands apart.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// kernelWords say how the target kernels took the program.
func kernelWords(kernels []Kernel) []string {
	var out []string
	for _, k := range kernels {
		s := "accepted by Linux " + k.Release
		if !k.OK {
			s = "not asked: Linux " + k.Release
		}
		if len(k.Nodes) > 1 || len(kernels) > 1 {
			s += " (" + cut(strings.Join(k.Nodes, ", "), 100) + ")"
		}
		if k.Detail != "" {
			s += ", " + cut(k.Detail, 160)
		}
		out = append(out, s)
	}
	return out
}

// decisionBlocks add where the votes stand, and the buttons as long as there
// is something to decide.
func (c *Conversation) decisionBlocks(r Request, what *card.Card) {
	var votes []string
	for _, v := range r.Votes {
		said := map[approvals.Choice]string{approvals.Approve: "approved", approvals.Deny: "denied", approvals.Cancel: "took it back", approvals.BreakGlass: "BROKE THE GLASS"}[v.Choice]
		s := r.name(v.By) + " " + said + " at " + v.At.UTC().Format("15:04:05 UTC") + " on " + v.By.Surface
		if v.Reason != "" {
			s += ": " + cut(v.Reason, 300)
		}
		votes = append(votes, s)
	}
	if r.State == Pending {
		what.Tone = card.Asking
		have := 0
		for _, v := range r.Votes {
			if v.Choice == approvals.Approve {
				have++
			}
		}
		what.Blocks = append(what.Blocks, card.Divider{}, card.Fields{
			{Label: "Approved", Text: fmt.Sprintf("%d of %d", have, r.Quorum)},
			{Label: "Expires", Text: r.Expires.UTC().Format("15:04 UTC"), At: r.Expires},
			{Label: "May approve", Text: cut(r.Approvers, 200)},
		})
		if len(votes) > 0 {
			what.Blocks = append(what.Blocks, list("Votes", votes))
		}
		id := idOf(r)
		what.Buttons = []card.Button{
			{Verb: verbApprove, ID: id, Label: "Approve", Style: card.Primary},
			{Verb: verbDeny, ID: id, Label: "Deny", Style: card.Danger},
			{Verb: verbEdit, ID: id, Label: "Edit"},
			{Verb: verbRefine, ID: id, Label: "Refine"},
			{Verb: verbSource, ID: id, Label: "Source"},
			{Verb: verbCancel, ID: id, Label: "Take back"},
		}
		if b, ok := r.otherWay(); ok {
			what.Buttons = slices.Insert(what.Buttons, 2, b)
		}
		if len(r.Loud) > 0 {
			what.Buttons = append(what.Buttons, card.Button{Verb: verbGlass, ID: id, Label: "Break glass", Style: card.Danger})
		}
		return
	}
	decision, tone := decisionWords(r)
	what.Tone = tone
	what.Blocks = append(what.Blocks, card.Divider{}, list(decision, votes))
}

// otherWay is the button that makes a dry run of a real one, and the reverse.
func (r Request) otherWay() (card.Button, bool) {
	if r.Limits.DryRun {
		return card.Button{Verb: verbReal, ID: idOf(r), Label: "For real"}, r.MayDry
	}
	return card.Button{Verb: verbDry, ID: idOf(r), Label: "Dry run"}, r.MayDry
}

// titled is a title that says when it is one of a dry run.
func (r Request) titled(title string) string {
	if r.Limits.DryRun && r.Keep == nil {
		return "Dry run: " + title
	}
	return title
}

// decisionWords say how the question itself was decided.
func decisionWords(r Request) (string, card.Tone) {
	switch {
	case r.Keep != nil && r.State != Ended:
		return "Approved.", card.Good
	case r.Keep != nil && r.Outcome == Completed:
		return "Approved: " + r.Detail + ".", card.Good
	case r.Keep != nil && r.Outcome == FailedAll:
		return "Approved, but nothing was changed: " + cut(r.Detail, 300), card.Bad
	case r.State == Running && r.StopBy != nil:
		return "Approved. It is being stopped.", card.Good
	case r.State == Running && !r.Dispatched:
		return "Approved. It is starting now.", card.Good
	case r.State == Running:
		return "Approved. It runs until " + r.Started.Add(r.Limits.Duration).UTC().Format("15:04:05 UTC") + ".", card.Good
	case r.State != Ended:
		return "Approved. It starts now.", card.Good
	case r.Grant != nil:
		return "Approved. The run is over.", card.Good
	case r.Outcome == Denied:
		return "Denied. Nothing ran.", card.Bad
	case r.Outcome == Expired:
		return "Expired: " + cut(orElse(r.Detail, "nobody decided in time"), 300) + ". Nothing ran.", card.Warning
	case r.Outcome == Cancelled && r.StopBy != nil:
		return "Approved, and stopped by " + called(*r.StopBy) + " before it started. Nothing ran.", card.Plain
	case r.Outcome == Cancelled:
		return "Taken back. Nothing ran.", card.Plain
	case r.Outcome == Undeliverable:
		return "Undeliverable: " + cut(r.Detail, 300) + ". Nothing ran.", card.Warning
	}
	return "Approved, but nothing ran: " + cut(r.Detail, 300), card.Bad
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// runMessage is the live output.
func (c *Conversation) runMessage(r Request, tail string) Message {
	what := card.Card{Title: r.titled("Running: " + cut(r.Card.Title, 100)), Tone: card.Working}
	until := r.Started.Add(r.Limits.Duration)
	what.Blocks = append(what.Blocks, card.Fields{
		{Label: "On", Text: cut(strings.Join(r.Card.Nodes, ", "), 300)},
		{Label: "Until", Text: until.UTC().Format("15:04:05 UTC"), At: until},
	})
	if tail == "" {
		tail = "waiting for the first output …"
	}
	what.Blocks = append(what.Blocks, card.Code{Body: tail})
	if r.StopBy != nil {
		what.Title = r.titled("Stopping: " + cut(r.Card.Title, 100))
		what.Blocks = append(what.Blocks, card.Note{Body: "Stopped by " + called(*r.StopBy)})
	} else {
		what.Buttons = []card.Button{{Verb: verbStop, ID: idOf(r), Label: "Stop", Style: card.Danger}}
	}
	return r.message("run:"+r.ID, Tail, what)
}

// overMessage takes the place of the live output when the run is over.
func (c *Conversation) overMessage(r Request) Message {
	note := "The live output has ended; the result is below."
	if r.Summary == nil {
		note = cut(r.Detail, 600)
	}
	if r.StopBy != nil {
		note = "Stopped by " + called(*r.StopBy) + ". " + note
	}
	return r.message("run:"+r.ID, Urgent, card.Card{Title: r.titled("Over: " + cut(r.Card.Title, 100)), Tone: card.Plain, Blocks: []card.Block{card.Note{Body: note}}})
}

// resultMessages are what came out, with pictures and the whole output.
func (c *Conversation) resultMessages(r Request, blocks []card.Block, files []File) []Message {
	what := card.Card{Title: "Result: " + cut(r.Card.Title, 100), Tone: card.Good, Blocks: blocks}
	switch r.Outcome {
	case Partial:
		what.Tone = card.Warning
		what.Title = "Result of some of the nodes: " + cut(r.Card.Title, 80)
	case Completed:
		if r.cutShort() {
			what.Tone = card.Warning
			what.Title = "Result, cut short: " + cut(r.Card.Title, 80)
		}
	default:
		what.Tone = card.Bad
		what.Title = "It did not run to its end: " + cut(r.Card.Title, 80)
	}
	what.Title = r.titled(what.Title)
	if r.Detail != "" {
		what.Blocks = append(what.Blocks, card.Text{Body: cut(r.Detail, 600)})
	}
	if gone := r.notReplaced(); gone != "" {
		what.Blocks = append(what.Blocks, card.Text{Body: gone})
	}
	what.Blocks = append(what.Blocks, card.Note{Body: "Revision " + strconv.Itoa(r.Revision) + " · digest " + short12(r.Card.Digest)})
	id := idOf(r)
	what.Buttons = []card.Button{
		{Verb: verbAgain, ID: id, Label: "Run again"}, {Verb: verbRefine, ID: id, Label: "Refine"}, {Verb: verbSave, ID: id, Label: "Save"},
	}
	if b, ok := r.otherWay(); ok {
		what.Buttons = append(what.Buttons, b)
	}
	if c.mayKeep(r) == nil {
		what.Buttons = append(what.Buttons, card.Button{Verb: verbKeep, ID: id, Label: "Save as recipe"})
	}
	out := []Message{r.message("result:"+r.ID, Result, what)}
	for i, f := range files {
		m := r.message("file:"+r.ID+":"+strconv.Itoa(i), Progress, card.Card{}) // below the result
		m.Files = []File{f}
		out = append(out, m)
	}
	return out
}

// notReplaced says of nodes that were chosen, and then did not run the program or not to its
// end, that no others could take their places, and what does that; "" without such.
func (r Request) notReplaced() string {
	if r.Choice == "" || r.Summary == nil {
		return ""
	}
	var gone []string
	for _, n := range r.Summary.Nodes {
		if n.Reason == output.ReasonFailed || n.Reason == output.ReasonRefused {
			gone = append(gone, n.Node)
		}
	}
	if len(gone) == 0 {
		return ""
	}
	return fmt.Sprintf("No other node took the place of %s: what was approved is for %s alone, which %s of “%s”. Run again chooses anew among those that answer; that has to be approved, too.",
		cut(strings.Join(gone, ", "), 200), cut(strings.Join(r.Card.Nodes, ", "), 200), wereChosen(r.Card.Nodes), cut(r.Choice, 100))
}

// cutShort reports whether a run ended before its time on some node, and
// nobody asked for that.
func (r Request) cutShort() bool {
	return r.Summary != nil && slices.ContainsFunc(r.Summary.Nodes, func(n output.NodeSummary) bool {
		return n.Reason == output.ReasonOutput || n.Reason == output.ReasonInterrupted || n.Reason == output.ReasonBudget
	})
}

// listCard is what concerns a person: what waits for them, what runs, what
// they asked for.
func (c *Conversation) listCard(ctx context.Context, p approvals.Person, where Place) (card.Card, error) {
	what := card.Card{Title: "kgent: your list"}
	ids, err := c.Store.Recent(ctx, 200)
	if err != nil {
		return what, err
	}
	var waiting, running, mine []card.Block
	for _, id := range ids {
		r, err := c.Store.Load(ctx, id)
		if err != nil {
			continue
		}
		line := cut(strings.Join(r.words(), " · "), 160) + " (" + called(r.By) + ", " + r.Opened.UTC().Format("15:04 UTC") + "): " + stateWords(r)
		if scope := r.scope(); scope != "" {
			line += "\n" + scope
		}
		own := r.Person == p.ID
		switch {
		case r.State == Running && len(running) < maxItems:
			running = append(running, card.Row{Body: line, Buttons: []card.Button{{Verb: verbStop, ID: idOf(r), Label: "Stop", Style: card.Danger}}})
		case r.State == Pending && !own && r.AuthorPerson != p.ID && len(waiting) < maxItems:
			cs, err := c.Desk.Get(ctx, r.Case)
			if err != nil || c.Policy.MayApprove(ctx, cs, p) != nil {
				continue
			}
			b := []card.Button{{Verb: verbApprove, ID: idOf(r), Label: "Approve", Style: card.Primary}, {Verb: verbDeny, ID: idOf(r), Label: "Deny", Style: card.Danger}}
			line += "; digest " + short12(r.Card.Digest)
			waiting = append(waiting, card.Row{Body: line, Buttons: b})
		case own && r.State != Running && len(mine) < maxItems:
			row := card.Row{Body: line}
			if r.State == Pending {
				row.Buttons = []card.Button{{Verb: verbCancel, ID: idOf(r), Label: "Take back"}}
			}
			mine = append(mine, row)
		}
	}
	none := "None yet: mention kgent with what you want to see."
	if isTerminal(where) {
		none = "None yet: type what you want to see."
	}
	for _, part := range []struct {
		heading, none string
		rows          []card.Block
	}{{"Waiting for you", "Nothing.", waiting}, {"Running", "Nothing.", running}, {"Your requests", none, mine}} {
		if len(part.rows) == 0 {
			what.Blocks = append(what.Blocks, card.List{Heading: part.heading, Items: []string{part.none}})
			continue
		}
		what.Blocks = append(what.Blocks, card.List{Heading: part.heading})
		what.Blocks = append(what.Blocks, part.rows...)
	}
	return what, nil
}

// scope says what a request would do, does or did, whatever its words were.
func (r Request) scope() string {
	if r.State == Preparing || r.State == Asking || r.Card.Digest == "" || r.Outcome == Rejected {
		return ""
	}
	s := fmt.Sprintf("%s on %s for %s", r.titled(r.Card.Tier), cut(strings.Join(r.Card.Nodes, ", "), 100), spoken(r.Card.Duration))
	if n := len(r.Edits); n > 0 {
		s += ", edited by " + called(r.Edits[n-1].By)
	}
	return s
}

func stateWords(r Request) string {
	switch r.State {
	case Preparing:
		return "is being prepared"
	case Asking:
		return "waits for " + called(r.By) + " to say what was meant"
	case Pending:
		return fmt.Sprintf("waits for approval until %s", r.Expires.UTC().Format("15:04 UTC"))
	case Approved:
		return "is approved and about to start"
	case Running:
		return fmt.Sprintf("runs until %s", r.Started.Add(r.Limits.Duration).UTC().Format("15:04:05 UTC"))
	}
	return string(r.Outcome)
}

func (c *Conversation) helpCard(where Place) card.Card {
	items := []string{"which processes get ECONNREFUSED on db-3", "fsync latency of postgres on db-1 and db-2 as a histogram, for a minute"}
	if len(c.Recipes) > 0 {
		items = append(items, c.Recipes[0].Example)
	}
	if isTerminal(where) { // the client says what can be typed
		return card.Card{Title: "kgent: ask the kernel", Blocks: []card.Block{
			card.Text{Body: "Type what you want to see. kgent finds or writes a program, shows what it does, asks those who may approve it, runs it for a bounded time on the nodes you name, and answers here."},
			card.List{Heading: "For example", Items: items},
			card.Note{Body: "Durations: “for 2 minutes”. Nodes: a name, key=value, all, any 2 of key=value."},
		}}
	}
	return card.Card{Title: "kgent: ask the kernel", Blocks: []card.Block{
		card.Text{Body: "Mention kgent, write it a direct message, or use /kgent, and say what you want to see. It finds or writes a program, shows what it does, asks those who may approve it, runs it for a bounded time on the nodes you name, and answers in the thread."},
		card.List{Heading: "For example", Items: items},
		card.List{Heading: "In the thread of a request", Items: []string{"“only port 443”, “also IPv6”, “on db-4”: say what should be different", "“stop”: ends what runs there; anybody may"}},
		card.List{Heading: "Commands", Items: []string{"list: what waits for you, what runs, what you asked for", "nodes: where it can run", "recipes: what it knows without a model", "help: this"}},
		card.Note{Body: "Durations: “for 2 minutes”. Nodes: a name, key=value, all, any 2 of key=value."},
	}}
}

// withTeam adds the team's own recipes to the built-in ones.
func (c *Conversation) withTeam(ctx context.Context, what card.Card) card.Card {
	if c.Team == nil {
		return what
	}
	all, err := c.Team.List(ctx)
	if err != nil {
		c.Log.Warn("listing team recipes", "err", err)
		what.Blocks = append(what.Blocks, card.Note{Body: "Your team's own recipes cannot be read right now."})
		return what
	}
	var items []string
	for _, r := range all {
		items = append(items, r.Name+": “"+strings.Join(r.Phrasings, "”, “")+"”, by "+cut(r.By, 60)+" on "+r.At.UTC().Format("2006-01-02"))
	}
	if len(items) > 20 {
		items = append(items[:20], fmt.Sprintf("and %d more", len(items)-20))
	}
	if len(items) > 0 {
		what.Blocks = append(what.Blocks, card.List{Heading: "Your team's own", Items: items}, card.Note{Body: "“forget recipe NAME” asks for one to be removed."})
	}
	return what
}

func (c *Conversation) nodesCard(ctx context.Context, width int) card.Card {
	what := card.Card{Title: "Nodes"}
	nodes, lost, err := c.nodes(ctx)
	if err != nil {
		c.Log.Warn("listing nodes", "err", err)
		return card.Card{Title: "Nodes", Tone: card.Bad, Blocks: []card.Block{card.Text{Body: "They cannot be asked for right now; try again in a minute."}}}
	}
	if len(nodes)+len(lost) == 0 {
		what.Blocks = []card.Block{card.Text{Body: "None has announced itself. Start `kgent executor` on the nodes."}}
		return what
	}
	if len(nodes) == 0 {
		what.Tone = card.Warning
		what.Blocks = append(what.Blocks, card.Text{Body: "None answers."})
	}
	var rows [][]string
	for _, n := range nodes {
		var labels []string
		for k, v := range n.Labels {
			labels = append(labels, k+"="+v)
		}
		slices.Sort(labels)
		rows = append(rows, []string{n.Name, "Linux " + n.Kernel, n.Arch, strings.Join(labels, " ")})
	}
	slices.SortFunc(rows, slices.Compare)
	more := len(rows) - 40
	if more > 0 {
		rows = rows[:40]
	}
	if len(rows) > 0 {
		what.Blocks = append(what.Blocks, card.Code{Body: aligned(rows, width)})
	}
	if more > 0 {
		what.Blocks = append(what.Blocks, card.Note{Body: fmt.Sprintf("and %d more", more)})
	}
	var gone []string
	for _, l := range lost {
		gone = append(gone, l.Name+": last seen "+c.clock(l.Seen))
	}
	if len(gone) > 0 {
		what.Blocks = append(what.Blocks, list("Do not answer any more", gone))
	}
	return what
}

// clock is a time of the last hours, or with its day an older one.
func (c *Conversation) clock(t time.Time) string {
	if c.Now().Sub(t) > 12*time.Hour {
		return t.UTC().Format("2006-01-02 15:04 UTC")
	}
	return t.UTC().Format("15:04 UTC")
}

// columns is how wide text of fixed pitch may be where it is shown: what does
// not fit on a line is folded, and a folded table cannot be read.
func columns(p Place) int {
	if p.Surface == "discord" {
		return 56
	}
	return 80
}

// aligned puts the cells of rows, all of which have as many, below each other. What is too long for a line
// goes on below its last cell, or, where there is little room, that cell has
// lines of its own. Single words that are wider still are left whole.
func aligned(rows [][]string, width int) string {
	var widths []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	if len(widths) == 0 {
		return ""
	}
	last := len(widths) - 1
	at := 0 // where the last cell begins
	for _, w := range widths[:last] {
		at += w + 2
	}
	below := at+widths[last] > width && width-at < 24
	if below {
		at = 2
	}
	var out []string
	for _, r := range rows {
		line := ""
		for i, cell := range r[:last] {
			line += cell + strings.Repeat(" ", widths[i]+2-utf8.RuneCountInString(cell))
		}
		if below {
			out = append(out, strings.TrimRight(line, " "))
			line = strings.Repeat(" ", at)
		}
		tail := folded(r[len(r)-1], width-at)
		if len(tail) == 0 && !below {
			out = append(out, strings.TrimRight(line, " "))
		}
		for _, l := range tail {
			out = append(out, line+l)
			line = strings.Repeat(" ", at)
		}
	}
	return strings.Join(out, "\n")
}

// folded breaks text at blanks.
func folded(s string, width int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			out, line = append(out, line), ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	if line == "" {
		return out
	}
	return append(out, line)
}

func (c *Conversation) recipesCard(width int) card.Card {
	var rows [][]string
	for _, r := range c.Recipes {
		rows = append(rows, []string{r.Name, r.Title})
	}
	return card.Card{Title: "What kgent knows without a model", Blocks: []card.Block{
		card.Code{Body: aligned(rows, width)},
		card.Note{Body: "Ask in your own words; these are only the subjects."},
	}}
}

// list shows at most so many items that a card stays readable.
func list(heading string, items []string) card.List {
	l := card.List{Heading: heading}
	for i, s := range items {
		if i == maxItems {
			l.Items = append(l.Items, fmt.Sprintf("… and %d more", len(items)-i))
			break
		}
		l.Items = append(l.Items, cut(s, 300))
	}
	return l
}

// cut shortens text to n characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

func short12(digest string) string {
	if len(digest) > 12 {
		return digest[:12]
	}
	return digest
}

// fileName keeps of a program's name what is harmless in a file's.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, cut(s, 40))
	return orElse(strings.Trim(s, "-"), "program")
}

// ownWords tells whether what is said of a program are kgent's own words: those of a
// built-in recipe, or of what it composed itself.
func ownWords(origin string) bool {
	return strings.HasPrefix(origin, "recipe ") || strings.HasPrefix(origin, "composed ")
}
