package thread

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"kgent/agent/recipes"
	"kgent/agent/team"
	"kgent/approvals"
	"kgent/bot/card"
	"kgent/executor/bus"
	"kgent/executor/output"
)

// Conversation holds all conversations of a bot. Several processes may hold
// the same ones over one [Store]: each event is handled by one of them, and a
// request that one of them drops is picked up by another. Its fields are set
// before it is used and not changed afterwards.
type Conversation struct {
	// Name names this process in locks, differently after each start.
	Name      string
	Store     Store
	Maker     Maker
	Desk      *approvals.Desk
	Policy    Policy
	Runner    Runner
	Platforms []Platform
	// Nodes selects the nodes of requests that name none; empty asks people to
	// name them, unless there is only one.
	Nodes string
	// Recipes are what can be asked for without a model, for help and
	// completion.
	Recipes []Recipe
	// Team keeps the team's own recipes; nil: there are none. Builtin are those that they
	// must not stand in for.
	Team    team.Store
	Builtin *recipes.Library
	// Results makes what a run's output is shown as.
	Results func(r Request) Output
	Now     func() time.Time
	Log     *slog.Logger

	sealed sync.Map      // envelopes that were signed and are about to be sent, by request
	wake   chan struct{} // there may be something to do
	work   sync.Map      // ids of requests that this process is at work on
	roll   roll
}

// Recipe is one thing that can be asked for without a model.
type Recipe struct{ Name, Title, Example string }

// Output gathers the output of one run. It is used by one goroutine at a time,
// except that Line may be called beside the others.
type Output interface {
	// Line takes one record, a line of JSON.
	Line(line []byte)
	// Tail shows the newest of it in at most n characters, in a fixed pitch.
	Tail(n int) string
	// Final returns what came out, in about n characters: blocks for a card with
	// the account of the run, pictures, and everything as a file.
	Final(n int, s output.Summary) ([]card.Block, []File)
	// Close removes what it kept on disk.
	Close() error
}

// How often this process looks for something to do.
const (
	lookEvery   = time.Second     // for requests that nobody is at work on
	sweepEvery  = 5 * time.Second // for what has expired
	lockTTL     = 6 * time.Second // of a request that somebody is at work on
	lockEvery   = 2 * time.Second // renewing it
	threadTTL   = 8 * time.Second // of a thread whose event is handled: less than Visibility
	receiveTime = 900 * time.Millisecond
	lookTime    = 5 * time.Second // for a service's leave to look somebody up
	tailFirst   = 700 * time.Millisecond
	tailEvery   = 2 * time.Second // with one run; grows with their number
	tailMost    = 10 * time.Second
	// keptWords is how much of what was said before is kept with a request.
	keptWords   = 8
	keptHandled = 30
)

// Prepare must be called before anything else.
func (c *Conversation) Prepare() error {
	if c.Name == "" || c.Store == nil || c.Maker == nil || c.Desk == nil || c.Policy == nil || c.Runner == nil || c.Results == nil || c.Now == nil {
		return errors.New("preparing conversations: name, store, maker, desk, policy, runner, results and clock must be set")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.wake = make(chan struct{}, 1)
	return nil
}

// Run handles events, works on requests and sends messages until ctx ends.
// Runs that are under way go on if another process follows them.
func (c *Conversation) Run(ctx context.Context) {
	driving, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	context.AfterFunc(ctx, func() { stop(bus.ErrHandOver) })

	var wg sync.WaitGroup
	wg.Go(func() { c.handleEvents(ctx) })
	wg.Go(func() { c.lookAfter(driving, &wg) })
	wg.Go(func() { c.sweep(ctx) })
	for _, p := range c.Platforms {
		wg.Go(func() { (&sender{c: c, platform: p}).run(ctx) })
	}
	wg.Wait()
}

// Receive implements [Front].
func (c *Conversation) Receive(ctx context.Context, e Event) error {
	ctx, cancel := context.WithTimeout(ctx, receiveTime)
	defer cancel()
	// Stopping waits for nothing, not even for its turn.
	if e.Kind == Click && e.Verb == verbStop {
		if r, err := c.Store.Load(ctx, requestOf(e.ID)); err == nil && r.Grant != nil && r.State == Running && c.Policy.MayStop(c.speaker(e)) == nil {
			if err := c.Runner.Stop(ctx, r.Grant.Run); err != nil {
				c.Log.Warn("stopping at once", "run", r.Grant.Run, "err", err)
			}
		}
	}
	if _, err := c.Store.Receive(ctx, e); err != nil {
		return fmt.Errorf("storing event: %w", err)
	}
	return nil
}

// handleEvents takes events and handles them, those of one thread in order.
func (c *Conversation) handleEvents(ctx context.Context) {
	q := queues{waiting: map[string][]Delivery{}, here: map[string]bool{}}
	defer q.wg.Wait()
	for ctx.Err() == nil {
		d, ok, err := c.Store.Take(ctx, c.Name)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.Log.Warn("taking events", "err", err)
			pause(ctx, time.Second)
		case ok:
			q.add(d, func(d Delivery) { c.deliver(ctx, d) })
		}
	}
}

// queues keep the deliveries of each thread in order, and the threads apart.
type queues struct {
	mu      sync.Mutex
	waiting map[string][]Delivery // by thread; there is a goroutine for each key
	here    map[string]bool       // ids of deliveries that wait here or are handled
	wg      sync.WaitGroup
}

func (q *queues) add(d Delivery, do func(Delivery)) {
	key := d.Event.Place.String()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.here[d.ID] {
		return // it took long, so it was delivered again
	}
	q.here[d.ID] = true
	_, busy := q.waiting[key]
	q.waiting[key] = append(q.waiting[key], d)
	if busy {
		return
	}
	q.wg.Go(func() {
		for {
			q.mu.Lock()
			if len(q.waiting[key]) == 0 {
				delete(q.waiting, key)
				q.mu.Unlock()
				return
			}
			next := q.waiting[key][0]
			q.waiting[key] = q.waiting[key][1:]
			q.mu.Unlock()
			do(next)
			q.mu.Lock()
			delete(q.here, next.ID)
			q.mu.Unlock()
		}
	})
}

// deliver handles one delivery, alone in its thread. What fails is delivered
// again later, and put aside in the end.
func (c *Conversation) deliver(ctx context.Context, d Delivery) {
	err := c.alone(ctx, "thread:"+d.Event.Place.String(), func(ctx context.Context) error { return c.handle(ctx, d.Event) })
	switch {
	case ctx.Err() != nil:
		return // somebody else gets it
	case err == nil:
		if err := c.Store.Settle(ctx, d); err != nil {
			c.Log.Warn("settling event", "event", d.Event.Key, "err", err)
		}
		c.notify()
	case d.Tries >= MaxTries:
		c.Log.Error("event put aside", "event", d.Event.Key, "kind", d.Event.Kind, "err", err)
		if d.Event.By.User == "" { // nobody's
		} else if err := c.whisper(ctx, d.Event, card.Card{Title: "That did not work", Tone: card.Bad, Blocks: []card.Block{
			card.Text{Body: "A fault of kgent kept it from being done; nothing was run. Its operator finds it in the log under the name below. Please try again."},
			card.Note{Body: short(d.Event.Key)}}}); err != nil {
			c.Log.Warn("telling of an event put aside", "err", err)
		}
		if err := c.Store.Bury(ctx, d, err.Error()); err != nil {
			c.Log.Warn("putting event aside", "event", d.Event.Key, "err", err)
		}
	default:
		c.Log.Warn("handling event", "event", d.Event.Key, "kind", d.Event.Kind, "try", d.Tries, "err", err)
	}
}

// alone does something while no other process does anything under the name.
func (c *Conversation) alone(ctx context.Context, name string, do func(context.Context) error) error {
	owner := c.Name + "/" + name
	for deadline := c.Now().Add(threadTTL); ; {
		ok, err := c.Store.Lock(ctx, name, owner, threadTTL)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		if c.Now().After(deadline) {
			return fmt.Errorf("waiting for another process to finish with %s", name)
		}
		if !pause(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, threadTTL-time.Second)
	defer cancel()
	err := do(ctx)
	if unlock := c.Store.Unlock(context.WithoutCancel(ctx), name, owner); unlock != nil {
		c.Log.Warn("giving a lock back", "name", name, "err", unlock)
	}
	return err
}

// lookAfter keeps somebody at work on every request that needs it.
func (c *Conversation) lookAfter(ctx context.Context, wg *sync.WaitGroup) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		ids, err := c.Store.Open(ctx)
		if err != nil && ctx.Err() == nil {
			c.Log.Warn("looking for requests", "err", err)
		}
		for _, id := range ids {
			if _, busy := c.work.LoadOrStore(id, true); busy {
				continue
			}
			wg.Go(func() {
				defer c.work.Delete(id)
				if err := c.own(ctx, id); err != nil && ctx.Err() == nil {
					c.Log.Warn("working on request", "request", id, "err", err)
				}
			})
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-c.wake:
		}
	}
}

// notify has requests looked at now rather than in a moment.
func (c *Conversation) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func lockOf(request string) string { return "request:" + request }

// own works on a request as long as there is something to do, if nobody else
// does.
func (c *Conversation) own(ctx context.Context, id string) error {
	r, err := c.Store.Load(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil // forgotten
	}
	if err != nil {
		return err
	}
	if !r.driven() {
		return nil
	}
	name := lockOf(id)
	if ok, err := c.Store.Lock(ctx, name, c.Name, lockTTL); err != nil || !ok {
		return err
	}
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	renewing, done := context.WithCancel(ctx)
	wg.Go(func() { c.keep(renewing, name, lose) })
	err = c.drive(ctx, id)
	c.sealed.Delete(id)
	done()
	wg.Wait()
	free, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(err, c.Store.Unlock(free, name, c.Name))
}

// has returns a function that returns nil while this process has a request, and
// [bus.ErrHandOver] when another has taken it over.
func (c *Conversation) has(id string) func(context.Context) error {
	return func(ctx context.Context) error {
		ok, err := c.Store.Lock(ctx, lockOf(id), c.Name, lockTTL)
		if err == nil && !ok {
			err = bus.ErrHandOver
		}
		return err
	}
}

// keep renews a lock until ctx ends, and calls lose when somebody else has it.
// While the store is out of reach for everybody nobody else can take over, and
// nodes end a run by themselves: then the work goes on, for its end to be told.
// While it is for this process only another may have taken over, which is asked
// before anything is ended (has).
func (c *Conversation) keep(ctx context.Context, name string, lose context.CancelCauseFunc) {
	for pause(ctx, lockEvery) {
		limit, cancel := context.WithTimeout(ctx, lockEvery)
		ok, err := c.Store.Lock(limit, name, c.Name, lockTTL)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && !ok:
			c.Log.Warn("another process took over", "name", name)
			lose(bus.ErrHandOver)
			return
		case err != nil:
			c.Log.Warn("the store is out of reach", "name", name, "err", err)
		}
	}
}

// sweep ends what has expired, and brings requests up to date with their cases
// when a process died in between.
func (c *Conversation) sweep(ctx context.Context) {
	for pause(ctx, sweepEvery) {
		if _, _, err := c.nodes(ctx); err != nil && ctx.Err() == nil { // so that it is known when one was last there
			c.Log.Warn("calling the roll of the nodes", "err", err)
		}
		if _, err := c.Desk.Sweep(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn("sweeping", "err", err)
		}
		ids, err := c.Store.Open(ctx)
		if err != nil {
			continue
		}
		for _, id := range ids {
			r, err := c.Store.Load(ctx, id)
			if err == nil && r.State == Asking {
				if err := c.unanswered(ctx, r); err != nil && ctx.Err() == nil {
					c.Log.Warn("ending a question", "request", id, "err", err)
				}
			}
			if err != nil || r.State != Pending {
				continue
			}
			cs, err := c.Desk.Get(ctx, r.Case)
			if errors.Is(err, approvals.ErrNotFound) {
				cs, err = approvals.Case{State: approvals.Expired, Reason: "the store forgot the question; ask again", Decided: c.Now()}, nil
			}
			if err != nil || cs.State == approvals.Pending {
				continue
			}
			if err := c.catchUp(ctx, r.ID, r.Revision, cs); err != nil && ctx.Err() == nil {
				c.Log.Warn("catching up", "request", id, "err", err)
			}
		}
		c.notify()
	}
}

// change changes a request as it stands now, with the messages that show it.
// do may be called several times; when it returns false nothing is stored.
func (c *Conversation) change(ctx context.Context, id string, do func(r *Request) bool, more ...Message) (Request, error) {
	for {
		r, err := c.Store.Load(ctx, id)
		if err != nil {
			return Request{}, fmt.Errorf("reading request: %w", err)
		}
		if !do(&r) {
			return r, nil
		}
		got, err := c.Store.Update(ctx, r, append(c.show(r), more...)...)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return r, fmt.Errorf("storing request: %w", err)
		}
		c.notify()
		return got, nil
	}
}

// once notes in r that the event is handled, and reports whether it was not
// before.
func (r *Request) once(e Event) bool {
	if slices.Contains(r.Handled, e.Key) {
		return false
	}
	r.Handled = append(r.Handled, e.Key)
	if len(r.Handled) > keptHandled {
		r.Handled = slices.Clone(r.Handled[len(r.Handled)-keptHandled:])
	}
	if account := e.By.String(); e.By.Name != "" && (e.By.Name != e.By.User || r.Names[account] == "") {
		if r.Names == nil {
			r.Names = map[string]string{}
		}
		r.Names[account] = e.By.Name
	}
	return true
}

// named is an account with the name that it is known by: services do not tell
// it with everything that somebody does.
func (r Request) named(a Account) Account {
	if n := r.Names[a.String()]; n != "" && (a.Name == "" || a.Name == a.User) {
		a.Name = n
	}
	return a
}

// catchUp makes a request show what its case says.
func (c *Conversation) catchUp(ctx context.Context, id string, revision int, cs approvals.Case) error {
	_, err := c.change(ctx, id, func(r *Request) bool {
		if r.State != Pending || r.Revision != revision {
			return false
		}
		r.follow(cs)
		return true
	})
	return err
}

// follow takes over what a case says.
func (r *Request) follow(cs approvals.Case) {
	if len(cs.Votes) > 0 {
		r.Votes = cs.Votes
	}
	end := func(o Outcome) {
		r.State, r.Outcome, r.Detail = Ended, o, cs.Reason
		r.Decided, r.EndedAt = cs.Decided, cs.Decided
	}
	switch cs.State {
	case approvals.Approved:
		r.State, r.Decided = Approved, cs.Decided
	case approvals.Denied:
		end(Denied)
	case approvals.Cancelled:
		end(Cancelled)
	case approvals.Undeliverable:
		end(Undeliverable)
	case approvals.Expired:
		end(Expired)
	case approvals.Superseded:
		end(Cancelled)
	}
}

// platform returns the platform of a surface.
func (c *Conversation) platform(surface string) (Platform, error) {
	for _, p := range c.Platforms {
		if p.Surface() == surface {
			return p, nil
		}
	}
	return nil, fmt.Errorf("this bot does not speak %s", surface)
}

// person makes sure that an account is a person's and says whose. A
// [*approvals.RefusedError] is for them to read.
func (c *Conversation) person(ctx context.Context, e Event) (approvals.Person, error) {
	p, err := c.platform(e.By.Surface)
	if err != nil {
		return approvals.Person{}, err
	}
	err = p.Human(ctx, e.By)
	// When many ask at once the service wants a moment between the questions.
	for left := lookTime; ; {
		var busy *RateLimitedError
		if !errors.As(err, &busy) || busy.After > left {
			break
		}
		wait := max(busy.After, 50*time.Millisecond)
		if left -= wait; !pause(ctx, wait) {
			break
		}
		err = p.Human(ctx, e.By)
	}
	var not *NotHumanError
	switch {
	case errors.As(err, &not):
		return approvals.Person{}, &approvals.RefusedError{Rule: approvals.RuleHuman, Reason: not.Why}
	case err != nil:
		return approvals.Person{}, &approvals.RefusedError{Rule: approvals.RuleHuman, Reason: "kgent cannot look you up at " + e.By.Surface + " right now, so it takes nothing from you; try again in a minute"}
	}
	who := c.speaker(e)
	who.Message = p.Link(ctx, e.Place, Handle{Channel: e.Place.Channel, ID: e.Message})
	return who, nil
}

// speaker is whose account an event came from, as far as can be said without
// asking anybody.
func (c *Conversation) speaker(e Event) approvals.Person {
	account := e.By.String()
	id, _ := c.Policy.Person(account)
	return approvals.Person{ID: id, Account: account, Place: channelOf(e.Place), Surface: e.By.Surface, Human: true}
}

// whisper answers the person of an event, and nobody else.
func (c *Conversation) whisper(ctx context.Context, e Event, what card.Card) error {
	return c.Store.Put(ctx, c.whispered(e, what))
}

func (c *Conversation) whispered(e Event, what card.Card) Message {
	return Message{Key: "w:" + hash(e.Key), Place: e.Place, Only: e.By.User, Reply: e.Reply, Card: what, Class: Urgent}
}

// refused answers with a refusal's words.
func (c *Conversation) refused(ctx context.Context, e Event, err error) error {
	return c.whisper(ctx, e, refusal(e, err))
}

// refusal is what somebody reads whose event changed nothing.
func refusal(e Event, err error) card.Card {
	title := "Not taken"
	switch e.Verb {
	case verbApprove:
		title = "Your approval does not count"
	case verbDeny:
		title = "Your denial does not count"
	}
	what := card.Card{Title: title, Tone: card.Bad, Blocks: []card.Block{card.Text{Body: words(err)}}}
	// The form is gone, and with it what was written.
	if e.Kind == Submit && (e.Verb == verbEdit || e.Verb == verbRefine) {
		var wrote []string
		for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
			if v := strings.TrimSpace(e.Fields[name]); v != "" {
				wrote = append(wrote, name+": "+strings.ReplaceAll(cut(v, maxShown), "\n", "\n  "))
			}
		}
		if len(wrote) > 0 {
			what.Blocks = append(what.Blocks, card.Note{Body: "You wrote:"}, card.Code{Body: card.Visible(strings.Join(wrote, "\n"))})
		}
	}
	return what
}

// words returns an error's text for people: a refusal's reason by itself.
func words(err error) string {
	var refused *approvals.RefusedError
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return err.Error()
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

func short(s string) string {
	if len(s) > 60 {
		return s[:60]
	}
	return s
}

// pause waits, and reports false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
