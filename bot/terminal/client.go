package terminal

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kgent/bot/card"
)

// Options are those of [Dial].
type Options struct {
	// All asks for everything that the board keeps.
	All bool
	// Record, if set, is called with every record that is read, in order, from
	// one goroutine. While it does not return nothing further is read.
	Record func(Record)
}

// Client is a connection to a bot's socket. Its methods may be called at once.
type Client struct {
	conn    net.Conn
	hello   Hello
	session string
	n       atomic.Uint64
	options Options
	done    chan struct{} // closed when the connection has ended

	write sync.Mutex

	mu      sync.Mutex
	posts   map[string]Post
	order   []string // ids of posts, in the order of their first sight
	changed chan struct{}
	waiting map[string]chan Record // by ref
	ready   bool
	err     error // why the connection has ended
}

// ErrDetached says that the connection was closed by this side.
var ErrDetached = errors.New("detached")

// RefusedError says that the bot did not take a command, and why.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

// FormError says that a button needs something filled in.
type FormError struct{ Form card.Form }

func (e *FormError) Error() string {
	var names []string
	for _, in := range e.Form.Inputs {
		names = append(names, in.Name)
	}
	return "it needs " + strings.Join(names, ", ")
}

// Dial connects to a bot, says hello and begins to read. A [*RefusedError] says
// that the bot does not let this user in.
func Dial(ctx context.Context, path string, o Options) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connecting to the bot: %w", err)
	}
	c := &Client{
		conn: conn, session: rand.Text()[:10], options: o, done: make(chan struct{}),
		posts: map[string]Post{}, changed: make(chan struct{}), waiting: map[string]chan Record{},
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	in := bufio.NewScanner(conn)
	in.Buffer(make([]byte, 64<<10), maxRecord)
	first, err := c.greet(in)
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	if o.Record != nil {
		o.Record(first)
	}
	go c.read(in)
	return c, nil
}

func (c *Client) greet(in *bufio.Scanner) (Record, error) {
	// A bot that lets nobody in has hung up by now, but said why.
	sent := c.send(Command{Do: DoHello, V: Version, All: c.options.All})
	if !in.Scan() {
		return Record{}, errors.Join(errors.New("the bot hung up"), sent, in.Err())
	}
	r, err := DecodeRecord(in.Bytes())
	switch {
	case err != nil:
		return r, err
	case r.Type == TypeError:
		return r, &RefusedError{r.Text}
	case r.Type != TypeHello || r.Hello.V != Version:
		return r, errors.New("what listens there does not speak the protocol of this kgent")
	}
	c.hello = *r.Hello
	return r, nil
}

// Hello says whom the bot takes this client for.
func (c *Client) Hello() Hello { return c.hello }

// Thread returns the thread that was begun by what this client said with a ref.
func (c *Client) Thread(ref string) string { return threadOf(c.hello.Host, c.hello.User, ref) }

// Session begins the refs of this client's commands.
func (c *Client) Session() string { return c.session }

func (c *Client) send(cmd Command) error {
	line, err := json.Marshal(cmd)
	if err != nil {
		return fmt.Errorf("encoding a command: %w", err)
	}
	if len(line) >= MaxCommand {
		return fmt.Errorf("a command of %d bytes is too long", len(line))
	}
	c.write.Lock()
	defer c.write.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err = c.conn.Write(append(line, '\n'))
	return err
}

// read takes what the bot sends until the connection ends.
func (c *Client) read(in *bufio.Scanner) {
	defer close(c.done)
	end := errors.New("the bot has ended the connection")
	for in.Scan() {
		r, err := DecodeRecord(in.Bytes())
		if err != nil {
			end = err
			break
		}
		c.take(r)
		if c.options.Record != nil {
			c.options.Record(r)
		}
		if r.Type == TypeError {
			end = &RefusedError{r.Text}
			break
		}
	}
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = end
	}
	for ref, ch := range c.waiting {
		delete(c.waiting, ref)
		close(ch)
	}
	c.broadcast()
}

// broadcast wakes who waits for a change. c.mu is held.
func (c *Client) broadcast() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Client) take(r Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.Type {
	case TypePost:
		if _, ok := c.posts[r.Post.ID]; !ok {
			c.order = append(c.order, r.Post.ID)
		}
		c.posts[r.Post.ID] = *r.Post
	case TypeReady:
		c.ready = true
	case TypeTaken, TypeRefused, TypeForm, TypeFile:
		if ch := c.waiting[r.Ref]; ch != nil {
			select {
			case ch <- r:
			default: // more parts than any file has
			}
			if r.Type != TypeFile || r.File.Last {
				delete(c.waiting, r.Ref)
				close(ch)
			}
		}
	}
	c.broadcast()
}

// Posts returns what is shown, in the order of its first sight.
func (c *Client) Posts() []Post {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Post, len(c.order))
	for i, id := range c.order {
		out[i] = c.posts[id]
	}
	return out
}

// Wait waits until the posts are as wanted, and returns the first one that is.
func (c *Client) Wait(ctx context.Context, want func(Post) bool) (Post, error) {
	var found Post
	err := c.until(ctx, func() bool {
		for _, id := range c.order {
			if p := c.posts[id]; want(p) {
				found = p
				return true
			}
		}
		return false
	})
	return found, err
}

// Ready waits until all posts have come that were there before.
func (c *Client) Ready(ctx context.Context) error {
	return c.until(ctx, func() bool { return c.ready })
}

func (c *Client) until(ctx context.Context, ok func() bool) error {
	for {
		c.mu.Lock()
		if ok() {
			c.mu.Unlock()
			return nil
		}
		err, changed := c.err, c.changed
		c.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Send sends a command and waits for what the bot says to it: a
// [*RefusedError], a [*FormError], or nil when it was taken. A command without
// a ref gets one, which is returned.
func (c *Client) Send(ctx context.Context, cmd Command) (ref string, err error) {
	ref, answers, err := c.begin(cmd)
	if err != nil {
		return ref, err
	}
	r, err := c.await(ctx, ref, answers)
	switch {
	case err != nil:
		return ref, err
	case r.Type == TypeRefused:
		return ref, &RefusedError{r.Text}
	case r.Type == TypeForm:
		return ref, &FormError{*r.Form}
	}
	return ref, nil
}

// parts is how many parts the largest file has.
const parts = MaxFile/chunk + 1

func (c *Client) begin(cmd Command) (string, chan Record, error) {
	if cmd.Ref == "" {
		cmd.Ref = c.session + "-" + strconv.FormatUint(c.n.Add(1), 10)
	}
	if err := cmd.check(); err != nil {
		return cmd.Ref, nil, err
	}
	answers := make(chan Record, parts)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return cmd.Ref, nil, c.err
	}
	c.waiting[cmd.Ref] = answers
	c.mu.Unlock()
	return cmd.Ref, answers, c.send(cmd)
}

func (c *Client) await(ctx context.Context, ref string, answers chan Record) (Record, error) {
	select {
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, ref)
		return Record{}, ctx.Err()
	case r, ok := <-answers:
		if !ok {
			return Record{}, c.Err()
		}
		return r, nil
	}
}

// Say says words: a request, or one of the commands help, list, nodes, recipes.
// thread is empty, or the own thread that they are said in.
func (c *Client) Say(ctx context.Context, text, thread string) (ref string, err error) {
	return c.Send(ctx, Command{Do: DoSay, Text: text, Thread: thread})
}

// Press presses a button of a post.
func (c *Client) Press(ctx context.Context, p Post, b card.Button, fields map[string]string) error {
	_, err := c.Send(ctx, Command{Do: DoPress, Message: p.ID, Verb: b.Verb, ID: b.ID, Fields: fields})
	return err
}

// File fetches a file of a post.
func (c *Client) File(ctx context.Context, post string, n int) ([]byte, error) {
	ref, answers, err := c.begin(Command{Do: DoFetch, Message: post, File: n})
	if err != nil {
		return nil, err
	}
	var data []byte
	for {
		r, err := c.await(ctx, ref, answers)
		switch {
		case err != nil:
			return nil, err
		case r.Type == TypeRefused:
			return nil, &RefusedError{r.Text}
		case r.Type != TypeFile || r.File.Offset != len(data) || len(data)+len(r.File.Data) > MaxFile:
			return nil, errors.New("the bot's parts of the file do not fit together")
		}
		data = append(data, r.File.Data...)
		if r.File.Last {
			return data, nil
		}
	}
}

// Err returns why the connection has ended, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close detaches. What runs goes on. It must not be called from
// [Options.Record].
func (c *Client) Close() error {
	c.mu.Lock()
	if c.err == nil {
		c.err = ErrDetached
	}
	c.mu.Unlock()
	err := c.conn.Close()
	<-c.done
	return err
}

// Buttons returns all buttons of a post, those of its rows included.
func (p Post) Buttons() []card.Button {
	var out []card.Button
	for _, b := range p.Card.Blocks {
		if r, ok := b.(card.Row); ok {
			out = append(out, r.Buttons...)
		}
	}
	return append(out, slices.Clone(p.Card.Buttons)...)
}

// Button returns a post's button of a verb.
func (p Post) Button(verb string) (card.Button, bool) {
	for _, b := range p.Buttons() {
		if b.Verb == verb {
			return b, true
		}
	}
	return card.Button{}, false
}
