package terminal

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kgent/bot/card"
	"kgent/bot/thread"
)

const (
	maxClients     = 100
	maxClientsUser = 10
	helloTime      = 5 * time.Second
	// writeTime is how long one record may take to be read by a client; then it
	// is let go.
	writeTime = 10 * time.Second
	// storeTime is how long the conversation has to store an event; it promises
	// a second.
	storeTime = 1500 * time.Millisecond
	// burst and pace bound how fast one client's commands are taken.
	burst = 20
	pace  = 100 * time.Millisecond
	// recent is how old the newest post of a thread may be that is over and yet
	// shown to who connects.
	recent = time.Hour
	// unfinished begins the name of the directory in which a socket is until its
	// permissions are set, and longer is how much longer its path is then at most.
	unfinished = ".kgent-"
	longer     = 24
)

// Run listens and serves clients until ctx ends.
func (a *Adapter) Run(ctx context.Context, front thread.Front) error {
	// A board that cannot be read shows in Health, and may be read later.
	a.look(ctx)
	l, err := a.listen()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { a.follow(ctx) })
	wg.Go(func() {
		<-ctx.Done()
		l.Close()
	})
	defer a.unlink(l)
	a.log.Info("terminals are served", "socket", a.cfg.Socket, "accounts", Surface+":"+a.cfg.Host)
	for {
		c, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case err != nil:
			a.log.Warn("accepting a terminal", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pace): // descriptors may have run out
			}
			continue
		}
		wg.Go(func() { a.serve(ctx, c, front) })
	}
}

// listen makes the socket: mode 0660, of the configured group. It appears under
// its name when it is complete. A socket that nobody listens at is replaced.
func (a *Adapter) listen() (*net.UnixListener, error) {
	path := a.cfg.Socket
	wrap := func(err error) error { return fmt.Errorf("making the socket %s: %w", path, err) }
	gid := -1
	if a.cfg.Group != "" {
		g, err := user.LookupGroup(a.cfg.Group)
		if err != nil {
			return nil, wrap(err)
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, wrap(err)
		}
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, wrap(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, wrap(err)
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return nil, wrap(fmt.Errorf("others may write to %s, so they could put a socket of their own there", dir))
	}
	switch old, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, wrap(err)
	case old.Mode().Type() != fs.ModeSocket:
		return nil, wrap(errors.New("something else is there"))
	default:
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			c.Close()
			return nil, wrap(errors.New("another bot listens there; each bot needs a socket of its own"))
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return nil, wrap(err)
		}
	}
	// Until its permissions are set nobody else reaches it.
	closed, err := os.MkdirTemp(dir, unfinished)
	if err != nil {
		return nil, wrap(err)
	}
	defer os.RemoveAll(closed)
	made := filepath.Join(closed, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, wrap(err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chown(made, -1, gid)
	if err == nil {
		err = os.Chmod(made, 0o660)
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		l.Close()
		return nil, wrap(err)
	}
	return l, nil
}

// unlink removes the socket unless another bot has put its own there.
func (a *Adapter) unlink(l *net.UnixListener) {
	l.Close()
	if c, err := net.DialTimeout("unix", a.cfg.Socket, time.Second); err == nil {
		c.Close()
		return
	}
	if err := os.Remove(a.cfg.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("removing the socket", "err", err)
	}
}

// follow keeps the posts up to date.
func (a *Adapter) follow(ctx context.Context) {
	tick := time.NewTicker(a.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.look(ctx)
	}
}

// look reads the board, and says what is wrong with it.
func (a *Adapter) look(ctx context.Context) {
	err := a.read(ctx)
	var bad *UnreadableError
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.As(err, &bad):
		a.log.Warn("posts on the terminals' board could not be read and were taken off it; who still waits for an answer there has to ask again. "+
			"They were sealed with a key that is not trusted any more, or somebody else writes to Redis",
			"posts", len(bad.IDs), "one_of_them", bad.IDs[len(bad.IDs)-1], "err", bad.Err)
	default:
		a.log.Warn("reading the terminals' board", "err", err)
	}
}

// read takes over what changed on the board and tells the clients.
func (a *Adapter) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a.mu.Lock()
	after := a.seq
	a.mu.Unlock()
	changed, next, err := a.cfg.Board.Since(ctx, after)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrong = err
	if bad := (*UnreadableError)(nil); errors.As(err, &bad) {
		a.wrong = nil // they are off the board
	}
	a.seq = next
	for _, p := range changed {
		a.posts[p.ID] = p
		for c := range a.conns {
			if visible(c.user, p) {
				c.want(p.ID)
			}
		}
	}
	if len(changed) > 0 {
		a.forget()
	}
	return err
}

// forget drops what the board does not keep either.
func (a *Adapter) forget() {
	for id, p := range a.posts {
		if p.Only != "" && a.now().Sub(p.At) > AnswerKept {
			delete(a.posts, id)
		}
	}
	if len(a.posts) <= KeptPosts {
		return
	}
	all := a.sorted(func(Post) bool { return true })
	for _, p := range all[:len(all)-KeptPosts] {
		delete(a.posts, p.ID)
	}
}

// sorted returns the posts that are wanted, oldest change first.
func (a *Adapter) sorted(want func(Post) bool) []Post {
	var out []Post
	for _, p := range a.posts {
		if want(p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, bySeq)
	return out
}

// shown returns what somebody sees who connects: what is open, in threads or by
// itself, and what changed lately; or all. Answers are for who was there.
func (a *Adapter) shown(user string, all bool) []Post {
	mine := a.sorted(func(p Post) bool { return p.Only == "" && visible(user, p) })
	keep := map[string]bool{}
	unit := func(p Post) string {
		if p.Place.Thread == "" {
			return p.ID
		}
		return p.Place.String()
	}
	newest := a.now().Add(-recent)
	for _, p := range mine {
		if all || open(p) || p.At.After(newest) {
			keep[unit(p)] = true
		}
	}
	return slices.DeleteFunc(mine, func(p Post) bool { return !keep[unit(p)] })
}

// open reports whether a post waits for somebody or is under way.
func open(p Post) bool { return p.Card.Tone == card.Asking || p.Card.Tone == card.Working }

// conn is one client.
type conn struct {
	a    *Adapter
	c    *net.UnixConn
	user string

	mu      sync.Mutex
	wanted  []string // ids of posts to be sent; "" stands for ready
	queued  map[string]bool
	wake    chan struct{}
	answers chan Record
}

// want has a post sent as it is when its turn comes. It never waits.
func (c *conn) want(id string) {
	c.mu.Lock()
	if !c.queued[id] {
		c.queued[id] = true
		c.wanted = append(c.wanted, id)
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) next() (id string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wanted) == 0 {
		return "", false
	}
	id = c.wanted[0]
	c.wanted = c.wanted[1:]
	delete(c.queued, id)
	return id, true
}

// serve serves one client until it or ctx ends.
func (a *Adapter) serve(ctx context.Context, uc *net.UnixConn, front thread.Front) {
	defer uc.Close()
	c := &conn{a: a, c: uc, queued: map[string]bool{}, wake: make(chan struct{}, 1), answers: make(chan Record, 16)}
	in := bufio.NewScanner(uc)
	in.Buffer(make([]byte, 4096), MaxCommand)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	// Reading ends when the connection is closed, which is when ctx ends.
	wg.Go(func() {
		<-ctx.Done()
		uc.Close()
	})
	defer a.leave(c)
	err := c.enter()
	if err == nil {
		err = c.greet(in)
	}
	if err != nil {
		a.log.Info("a terminal was not let in", "user", c.user, "err", err)
		if err := c.write(Record{Type: TypeError, Text: err.Error()}); err != nil {
			a.log.Debug("telling a terminal", "err", err)
		}
		return
	}
	wg.Go(func() {
		defer cancel()
		c.writer(ctx)
	})
	if err := c.reader(ctx, in, front); err != nil && ctx.Err() == nil {
		c.answer(ctx, Record{Type: TypeError, Text: err.Error()})
		// What is said last has a moment to arrive.
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// enter finds out who connected, and puts the client among those that are told
// of posts if there is room. Who does not say hello takes up room, too.
func (c *conn) enter() error {
	a := c.a
	uid, err := a.peer(c.c)
	if err != nil {
		return err
	}
	user, err := a.cfg.Users.Name(uid)
	switch {
	case errors.Is(err, ErrNoUser):
		return fmt.Errorf("the host has no name for your user id %d", uid)
	case err != nil:
		return fmt.Errorf("finding out who you are: %w", err)
	case !name(user):
		return fmt.Errorf("your user name %q cannot stand in a policy", user)
	}
	c.user = user
	a.mu.Lock()
	defer a.mu.Unlock()
	same := 0
	for o := range a.conns {
		if o.user == user {
			same++
		}
	}
	if len(a.conns) >= maxClients || same >= maxClientsUser {
		return fmt.Errorf("too many terminals are connected: at most %d, and %d of one user", maxClients, maxClientsUser)
	}
	a.conns[c] = true
	return nil
}

// greet exchanges hellos, and has the client told of what is there.
func (c *conn) greet(in *bufio.Scanner) error {
	if err := c.c.SetReadDeadline(time.Now().Add(helloTime)); err != nil {
		return err
	}
	if !in.Scan() {
		return fmt.Errorf("a client must begin with %s", `{"do":"hello","v":1}`)
	}
	hello, err := DecodeCommand(in.Bytes())
	switch {
	case err != nil:
		return err
	case hello.Do != DoHello:
		return fmt.Errorf("a client must begin with %s", `{"do":"hello","v":1}`)
	case hello.V != Version:
		return fmt.Errorf("this bot speaks version %d of the protocol, and the client version %d: use the same release", Version, hello.V)
	}
	if err := c.c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	account := thread.Account{Surface: Surface, Tenant: c.a.cfg.Host, User: c.user}
	if err := c.write(Record{Type: TypeHello, Hello: &Hello{V: Version, Host: c.a.cfg.Host, User: c.user, Account: account.String()}}); err != nil {
		return err
	}
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	for _, p := range c.a.shown(c.user, hello.All) {
		c.want(p.ID)
	}
	c.want("")
	return nil
}

func (a *Adapter) leave(c *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c)
}

// writer sends answers, and posts as they are.
func (c *conn) writer(ctx context.Context) {
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case r := <-c.answers:
			err = c.write(r)
		case <-c.wake:
			for id, ok := c.next(); ok && err == nil; id, ok = c.next() {
				err = c.post(id)
			}
		}
		if err != nil {
			if ctx.Err() == nil {
				c.a.log.Info("a terminal is let go", "user", c.user, "err", err)
			}
			return
		}
	}
}

func (c *conn) post(id string) error {
	if id == "" {
		return c.write(Record{Type: TypeReady})
	}
	c.a.mu.Lock()
	p, ok := c.a.posts[id]
	c.a.mu.Unlock()
	if !ok {
		return nil
	}
	return c.write(Record{Type: TypePost, Ref: p.Ref, Post: &p})
}

func (c *conn) write(r Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding a record: %w", err)
	}
	if len(line) >= maxRecord {
		// No post of the conversation is near this.
		c.a.log.Error("a record is too long for a terminal", "type", r.Type, "bytes", len(line))
		return nil
	}
	if err := c.c.SetWriteDeadline(time.Now().Add(c.a.writing)); err != nil {
		return err
	}
	_, err = c.c.Write(append(line, '\n'))
	return err
}

func (c *conn) answer(ctx context.Context, r Record) {
	select {
	case c.answers <- r:
	case <-ctx.Done():
	}
}

// reader takes commands, one after the other. What it returns is the client's
// fault.
func (c *conn) reader(ctx context.Context, in *bufio.Scanner, front thread.Front) error {
	tokens, last := float64(burst), time.Now()
	for in.Scan() {
		now := time.Now()
		tokens = min(burst, tokens+float64(now.Sub(last))/float64(pace))
		last = now
		if tokens--; tokens < 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pace):
			}
		}
		if len(strings.TrimSpace(in.Text())) == 0 {
			continue
		}
		cmd, err := DecodeCommand(in.Bytes())
		if err != nil {
			return err
		}
		switch cmd.Do {
		case DoHello:
			return errors.New("hello comes once, at the beginning")
		case DoFetch:
			c.fetch(ctx, cmd)
		default:
			c.answer(ctx, c.take(ctx, cmd, front))
		}
	}
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("a command has more than %d bytes", MaxCommand)
	}
	return nil // it hung up
}

// threadOf is the thread of what a user said.
func threadOf(host, user, ref string) string { return digest("thread", host, user, ref) }

// commands are words that are no request: their answer is for who asked.
var commands = []string{"help", "hello", "hi", "list", "status", "runs", "nodes", "recipes"}

// IsCommand reports whether words are no request.
func IsCommand(words string) bool {
	return slices.Contains(commands, strings.ToLower(strings.Trim(words, " \t\n.!?")))
}

// take hands a command to the conversation.
func (c *conn) take(ctx context.Context, cmd Command, front thread.Front) Record {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	host := c.a.cfg.Host
	refused := func(format string, args ...any) Record {
		return Record{Type: TypeRefused, Ref: cmd.Ref, Text: fmt.Sprintf(format, args...)}
	}
	e := thread.Event{
		Key: Surface + ":" + digest("event", host, c.user, cmd.Ref), Kind: thread.Ask, Reply: cmd.Ref, At: c.a.now().UTC(),
		By:    thread.Account{Surface: Surface, Tenant: host, User: c.user, Name: c.user},
		Place: thread.Place{Surface: Surface, Tenant: host, Channel: own + c.user, Thread: cmd.Thread},
	}
	switch cmd.Do {
	case DoSay:
		e.Text = cmd.Text
		e.Rootless = IsCommand(cmd.Text)
		if e.Place.Thread == "" {
			e.Place.Thread = threadOf(host, c.user, cmd.Ref)
		}
	case DoPress:
		e.Kind, e.Verb, e.ID, e.Message = thread.Click, cmd.Verb, cmd.ID, cmd.Message
		e.Place = c.placeOf(cmd.Message)
		form, no := front.Form(ctx, e)
		switch {
		case no != nil:
			return refused("%s", plainText(*no))
		case form != nil:
			fields, missing, err := fill(*form, cmd.Fields)
			if err != nil {
				return refused("%v", err)
			}
			if missing {
				return Record{Type: TypeForm, Ref: cmd.Ref, Form: form}
			}
			e.Kind, e.Verb, e.ID, e.Fields = thread.Submit, form.Verb, form.ID, fields
			for _, why := range front.Wrong(ctx, e) {
				return refused("%s", why)
			}
		}
	}
	if err := front.Receive(ctx, e); err != nil {
		c.a.log.Warn("storing an event from a terminal", "err", err)
		return refused("what kgent keeps its work in cannot be reached: nothing was taken; try again in a moment")
	}
	return Record{Type: TypeTaken, Ref: cmd.Ref}
}

// placeOf is where a post hangs that the user sees.
func (c *conn) placeOf(id string) thread.Place {
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	if p, ok := c.a.posts[id]; ok && visible(c.user, p) {
		return p.Place
	}
	return thread.Place{Surface: Surface, Tenant: c.a.cfg.Host, Channel: Console}
}

// fill fills in a form: what is not given keeps its value. missing says that
// something is not given that must be.
func fill(form card.Form, given map[string]string) (fields map[string]string, missing bool, err error) {
	fields = map[string]string{}
	var names []string
	for _, in := range form.Inputs {
		v, ok := given[in.Name]
		if !ok {
			v = in.Value
		}
		most := in.Max
		if most == 0 {
			most = 1000
		}
		if len([]rune(v)) > most {
			return nil, false, fmt.Errorf("%s has more than %d characters", in.Name, most)
		}
		if strings.TrimSpace(v) == "" && !in.Optional {
			missing = true
		}
		fields[in.Name] = v
		names = append(names, in.Name)
	}
	for k := range given {
		if !slices.Contains(names, k) {
			return nil, false, fmt.Errorf("there is nothing called %q to fill in; there is %s", k, strings.Join(names, ", "))
		}
	}
	return fields, missing || len(given) == 0, nil
}

// plainText is what a card says, on one line.
func plainText(c card.Card) string {
	for _, b := range c.Blocks {
		if t, ok := b.(card.Text); ok {
			return t.Body
		}
	}
	return c.Title
}

// fetch sends a file of a post that the user sees, in parts.
func (c *conn) fetch(ctx context.Context, cmd Command) {
	c.a.mu.Lock()
	p, ok := c.a.posts[cmd.Message]
	c.a.mu.Unlock()
	var data []byte
	err := ErrNotFound
	if ok && visible(c.user, p) && cmd.File < len(p.Files) {
		limit, cancel := context.WithTimeout(ctx, 10*time.Second)
		data, err = c.a.cfg.Board.File(limit, cmd.Message, cmd.File)
		cancel()
	}
	if err == nil && len(data) > MaxFile {
		err = fmt.Errorf("it has %d bytes, at most %d are sent", len(data), MaxFile)
	}
	if err != nil {
		if !errors.Is(err, ErrNotFound) {
			c.a.log.Warn("reading a file from the board", "err", err)
		}
		c.answer(ctx, Record{Type: TypeRefused, Ref: cmd.Ref, Text: "the file is not there, or not any more"})
		return
	}
	for at := 0; ; at += chunk {
		end := min(at+chunk, len(data))
		c.answer(ctx, Record{Type: TypeFile, Ref: cmd.Ref, File: &Part{Offset: at, Data: data[at:end], Last: end == len(data)}})
		if end == len(data) || ctx.Err() != nil {
			return
		}
	}
}
