package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"kgent/bot/card"
)

// Version is the version of the protocol that this package speaks.
//
// Both sides send JSON objects, one a line. A client begins with
//
//	{"do":"hello","v":1}
//
// and the bot answers with a [Hello], the posts that concern the user, and
// "ready". From then on the bot sends each post that changes, as it is now: a
// client that reads slowly misses steps on the way, never the end of it.
// Commands carry a ref that the client chooses; what answers a command carries
// it back. A command that is sent again with its ref is done once.
const Version = 1

// What a client may send, in bytes and numbers. A line of the bot has at most
// [maxRecord] bytes.
const (
	MaxCommand = 64 << 10 // a line
	maxText    = 8 << 10
	maxFields  = 16
	maxField   = 4 << 10
	maxRef     = 64
	maxRecord  = 1 << 20
	chunk      = 256 << 10 // of a file, before it is encoded
	// MaxFile is the largest file that is fetched: more than the bot makes.
	MaxFile = 16 << 20
)

// Do is what a command does.
type Do string

const (
	DoHello Do = "hello"
	DoSay   Do = "say"   // words: a request, or help, list, nodes, recipes, stop
	DoPress Do = "press" // a button, with what its form asks for
	DoFetch Do = "fetch" // a file of a post
)

// Command is one line of a client.
type Command struct {
	Do Do `json:"do"`
	// V and All are of hello: the protocol's version, and whether all that the
	// board keeps is wanted, and not only what is open or recent.
	V   int  `json:"v,omitempty"`
	All bool `json:"all,omitempty"`

	Ref string `json:"ref,omitempty"`
	// Text is what is said. Thread, if set, is the own thread that it is said in.
	Text   string `json:"text,omitempty"`
	Thread string `json:"thread,omitempty"`
	// Verb and ID are the button's, Message is the post with the button or file,
	// Fields what is filled in.
	Verb    string            `json:"verb,omitempty"`
	ID      string            `json:"id,omitempty"`
	Message string            `json:"message,omitempty"`
	Fields  map[string]string `json:"fields,omitempty"`
	File    int               `json:"file,omitempty"`
}

// DecodeCommand reads a client's line. The error is for the client.
func DecodeCommand(line []byte) (Command, error) {
	var c Command
	if len(line) > MaxCommand {
		return c, fmt.Errorf("a command of %d bytes is too long, at most %d", len(line), MaxCommand)
	}
	if !utf8.Valid(line) {
		return c, errors.New("a command must be UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return Command{}, fmt.Errorf("the command cannot be read: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Command{}, errors.New("one line holds one command")
	}
	if err := c.check(); err != nil {
		return Command{}, err
	}
	return c, nil
}

func (c Command) check() error {
	switch {
	case c.Do == DoHello:
		return nil
	case !only(c.Ref, maxRef, "-_"):
		return fmt.Errorf("ref must be 1 to %d letters, digits, - or _", maxRef)
	case c.Message != "" && !only(c.Message, maxRef, ""), c.Thread != "" && !only(c.Thread, maxRef, ""):
		return errors.New("message and thread are ids that the bot gave out")
	}
	switch c.Do {
	case DoSay:
		if strings.TrimSpace(c.Text) == "" || len(c.Text) > maxText {
			return fmt.Errorf("text must have 1 to %d bytes", maxText)
		}
	case DoPress:
		if !only(c.Verb, 20, "") || !only(c.ID, card.MaxID, "-_") {
			return errors.New("verb and id must be those of a button")
		}
		if len(c.Fields) > maxFields {
			return fmt.Errorf("at most %d fields", maxFields)
		}
		for k, v := range c.Fields {
			if !only(k, 40, "-_") || len(v) > maxField {
				return fmt.Errorf("the field %q is no word, or has more than %d bytes", k, maxField)
			}
		}
	case DoFetch:
		if c.Message == "" || c.File < 0 {
			return errors.New("fetch needs message and file")
		}
	default:
		return fmt.Errorf("there is no command %q; there are hello, say, press and fetch", c.Do)
	}
	return nil
}

// only reports whether s is 1 to n ASCII letters, digits or of more.
func only(s string, n int, more string) bool {
	return s != "" && len(s) <= n && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(more, r)
	})
}

// Type is what a record says.
type Type string

const (
	TypeHello   Type = "hello"
	TypePost    Type = "post"    // a post, new or changed
	TypeReady   Type = "ready"   // all posts that were there have come
	TypeTaken   Type = "taken"   // a command was stored; what becomes of it is shown in posts
	TypeRefused Type = "refused" // a command was not taken, and why
	TypeForm    Type = "form"    // a button needs something filled in: press it again with fields
	TypeFile    Type = "file"    // a part of a file
	TypeError   Type = "error"   // the connection ends, and why
)

// Record is one line of the bot.
type Record struct {
	Type  Type       `json:"type"`
	Ref   string     `json:"ref,omitempty"`
	Text  string     `json:"text,omitempty"`
	Hello *Hello     `json:"hello,omitempty"`
	Post  *Post      `json:"post,omitempty"`
	Form  *card.Form `json:"form,omitempty"`
	File  *Part      `json:"file,omitempty"`
}

// Hello says whom the bot takes the client for.
type Hello struct {
	V       int    `json:"v"`
	Host    string `json:"host"`
	User    string `json:"user"`
	Account string `json:"account"` // as the policy names it
}

// Part is a part of a file.
type Part struct {
	Offset int    `json:"offset"`
	Data   []byte `json:"data"`
	Last   bool   `json:"last,omitempty"`
}

// DecodeRecord reads a line of the bot.
func DecodeRecord(line []byte) (Record, error) {
	var r Record
	if len(line) > maxRecord {
		return r, fmt.Errorf("a record of %d bytes is too long", len(line))
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("reading the bot's record: %w", err)
	}
	if r.Type == TypePost && r.Post == nil || r.Type == TypeHello && r.Hello == nil || r.Type == TypeFile && r.File == nil || r.Type == TypeForm && r.Form == nil {
		return Record{}, fmt.Errorf("reading the bot's record: a %s without content", r.Type)
	}
	return r, nil
}
