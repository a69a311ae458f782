// Package thread holds conversations in chat threads: who asked for what, what
// was put to whom, who agreed, what runs and what came out, over any number of
// chat services at once and through crashes.
//
// What comes in is an [Event]: it is stored before the service is told that it
// was received, handled once, in the order of its thread. What goes out is a
// [Message] with a key: it is posted once and from then on edited, the newest
// content wins, and whatever waits is sent most urgent first. Between them
// stands a [Request], which moves along one line:
//
//	preparing ─▶ pending ─▶ approved ─▶ running ─▶ ended
//
// Every step is one atomic change of the [Store], which takes the messages that
// show it with it. So the messages are never ahead of what is true, and
// whoever takes over from a process that died goes on where the store says.
// What takes long (preparing, running) is done by whoever holds the request's
// lock; what people do (approving, stopping) only changes the request, and
// waits for nobody.
//
// The package knows no service and no eBPF.
package thread

import (
	"context"
	"errors"
	"strings"
	"time"

	"kgent/bot/card"
)

// Account is somebody on a chat service.
type Account struct {
	Surface string `json:"surface"` // slack, discord
	Tenant  string `json:"tenant"`  // Slack team or Discord guild, also of who writes a direct message
	User    string `json:"user"`    // the service's id
	// Name is what people call them, for display only: nothing is decided by
	// a name.
	Name string `json:"name,omitempty"`
}

// String names the account for policies and logs: "slack:T024/U061",
// "discord:G1/U061".
func (a Account) String() string {
	return a.Surface + ":" + a.Tenant + "/" + a.User
}

// Place is where messages go.
type Place struct {
	Surface string `json:"surface"`
	Tenant  string `json:"tenant"`
	Channel string `json:"channel"`
	// Thread is the thread's first message (Slack: its ts; Discord: the id that
	// the message and its thread share). Empty is the channel itself, as in a
	// Discord direct message.
	Thread string `json:"thread,omitempty"`
	// Home, if set, is a user whose own page this is (Slack's App Home);
	// Channel and Thread are then empty.
	Home string `json:"home,omitempty"`
}

// String names the place in keys and logs.
func (p Place) String() string {
	if p.Home != "" {
		return p.Surface + ":" + p.Tenant + "/@" + p.Home
	}
	s := p.Surface + ":" + p.Tenant + "/" + p.Channel
	if p.Thread != "" {
		s += "/" + p.Thread
	}
	return s
}

// ParsePlace reads "slack:T024/C061" or "discord:G1/C2", with a thread behind a
// further slash.
func ParsePlace(s string) (Place, error) {
	surface, rest, ok := strings.Cut(s, ":")
	parts := strings.Split(rest, "/")
	if !ok || surface == "" || len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return Place{}, errors.New(`a place is written as "slack:TEAM/CHANNEL" or "discord:GUILD/CHANNEL"`)
	}
	p := Place{Surface: surface, Tenant: parts[0], Channel: parts[1]}
	if len(parts) == 3 {
		p.Thread = parts[2]
	}
	return p, nil
}

// Kind is what an event is.
type Kind string

const (
	// Ask is a request in words: a mention, a direct message, a slash command,
	// a message's shortcut. Words that are a command (help, list, nodes,
	// recipes) are one.
	Ask Kind = "ask"
	// Reply is a message without a mention in a thread. It counts only where a
	// conversation is under way.
	Reply Kind = "reply"
	// Click is a pressed button.
	Click Kind = "click"
	// Submit is a form that was filled in and sent.
	Submit Kind = "submit"
	// Home says that somebody opened their own page (Slack's App Home).
	Home Kind = "home"
	// Failed is made by the sender: a message could not be delivered.
	Failed Kind = "failed"
)

// Event is something that happened, apart from any service.
type Event struct {
	// Key is the service's own name of the event, the same at each delivery of
	// it: "slack:Ev0123", "discord:<interaction id>".
	Key   string  `json:"key"`
	Kind  Kind    `json:"kind"`
	By    Account `json:"by"`
	Place Place   `json:"place"`
	// Message is the id of the message that it is about: the one with the words
	// or the one with the button.
	Message string `json:"message,omitempty"`
	// Text is what was said, without the mention, and without the service's
	// escapes.
	Text string `json:"text,omitempty"`
	// Files came with the message.
	Files []Attached `json:"files,omitempty"`
	// Rootless says that there is no message to hang a thread on, as with a
	// slash command: the answer posts one first.
	Rootless bool `json:"rootless,omitempty"`
	// Verb and ID are the button's or form's, Fields what was filled in.
	Verb   string            `json:"verb,omitempty"`
	ID     string            `json:"id,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
	// Reply is the service's own handle (an interaction token) with which an
	// answer reaches only this person. Only the adapter reads it.
	Reply string    `json:"reply,omitempty"`
	At    time.Time `json:"at"`
}

// Class is how urgent a message is. Lower goes first.
type Class int

const (
	Urgent   Class = 1 // approval cards, answers to clicks, what was stopped
	Result   Class = 2 // results and errors
	Progress Class = 3 // what is being done
	Tail     Class = 4 // live output, and pages that can wait
)

// Message is one message as it should be. A key that was sent before is
// edited.
type Message struct {
	// Key names the message for ever, at most 100 characters.
	Key   string `json:"key"`
	Place Place  `json:"place"`
	// Under, if set, is the key of the message in whose thread this one goes:
	// its handle is the thread, once it was posted. Place.Thread is then empty.
	Under string `json:"under,omitempty"`
	// Only, if set, is the user who alone sees it, once. Reply is the Reply of
	// the event that it answers.
	Only  string    `json:"only,omitempty"`
	Reply string    `json:"reply,omitempty"`
	Card  card.Card `json:"card"`
	// Files go with the message; they are sent when it is first posted. A
	// message may have files and an empty card.
	Files []File `json:"files,omitempty"`
	Class Class  `json:"class"`
	// Late says that it only makes sense as a change of what is there already.
	Late bool `json:"late,omitempty"`

	// Version, Handle, Tried, Anew, Gone, Tries and At are the store's. Version counts the
	// contents that this key had.
	Version uint64 `json:"version"`
	Handle  Handle `json:"handle,omitzero"`
	// Tried says that it was about to be posted once before, and nobody knows
	// whether it was.
	Tried bool `json:"tried,omitempty"`
	// Anew says that what Handle names can no longer be edited, so that the
	// message is posted again. Handle is still the old one's, for it not to be
	// taken for the new one.
	Anew bool `json:"anew,omitempty"`
	// Gone says that it was given up before it was ever posted: what hangs from
	// it hangs from nothing.
	Gone  bool      `json:"gone,omitempty"`
	Tries int       `json:"tries,omitempty"`
	At    time.Time `json:"at"` // when it was first asked for
}

// File is a file in a thread.
type File struct {
	Name  string `json:"name"`
	Title string `json:"title"` // what a person reads; the alternative text of a picture
	Data  []byte `json:"data"`
	// Picture says that it is a PNG, to be shown.
	Picture bool `json:"picture,omitempty"`
}

// Handle is where a message ended up.
type Handle struct {
	Channel string `json:"channel,omitempty"`
	ID      string `json:"id,omitempty"`
}

// Platform is one chat service, outbound. Its methods may be called at once.
// Errors are plain, or one of the types below.
type Platform interface {
	// Surface is its name in accounts and places.
	Surface() string
	// Post sends a new message. When m.Tried is set it first looks whether the
	// message is there already (by m.Key), and returns that one's handle. For a
	// message with Only it returns no handle.
	Post(ctx context.Context, m Message) (Handle, error)
	// Edit makes a message that was posted look as m. Files stay as they are.
	Edit(ctx context.Context, h Handle, m Message) error
	// Human returns nil when the account is a person of the organisation, now:
	// no bot, no workflow, no guest, nobody of another workspace, nobody who
	// has left. A [*NotHumanError] says why not; another error that it is not
	// known.
	Human(ctx context.Context, a Account) error
	// Member reports whether the account is in a group of the service
	// ("slack:T024/S012" a user group, "discord:G1/R2" a role) now; what it
	// remembers is at most a minute old.
	Member(ctx context.Context, a Account, group string) (bool, error)
	// Link returns a link to a message, or "" when there is none.
	Link(ctx context.Context, p Place, h Handle) string
}

// NotHumanError says that an account is not one that may ask or answer.
type NotHumanError struct{ Why string }

func (e *NotHumanError) Error() string { return e.Why }

// RateLimitedError says when to try again. Nothing was sent.
type RateLimitedError struct{ After time.Duration }

func (e *RateLimitedError) Error() string {
	return "the service asks to wait " + e.After.String()
}

// GoneError says that the message, channel or person is gone or closed to us:
// trying again does not help.
type GoneError struct{ Why string }

func (e *GoneError) Error() string { return e.Why }

// TooOldError says that a message can no longer be edited, because it is too
// old or was deleted; it is to be posted anew.
type TooOldError struct{ Why string }

func (e *TooOldError) Error() string { return e.Why }

// UnknownError says that a message may or may not have been sent: the answer
// was lost.
type UnknownError struct{ Err error }

func (e *UnknownError) Error() string { return "no one knows whether it was sent: " + e.Err.Error() }
func (e *UnknownError) Unwrap() error { return e.Err }

// Front is what an adapter hands inbound events to. Conversation implements
// it.
type Front interface {
	// Receive stores an event. When it returns nil the service may be told that
	// it was received; otherwise it must not be, so that it delivers again. It
	// returns within a second or fails.
	Receive(ctx context.Context, e Event) error
	// Form returns the form that a click opens, or nil when it opens none (then
	// the click goes to Receive), or a card for the person who clicked when it
	// cannot be opened. It is asked before the service's three seconds are
	// over and answers within one.
	Form(ctx context.Context, e Event) (*card.Form, *card.Card)
	// Wrong returns what is wrong with a form that was filled in and sent, in words
	// by the input's name, for services that can show it in the form. When it is
	// empty the event goes to Receive, which may refuse it all the same. It answers
	// within a second.
	Wrong(ctx context.Context, e Event) map[string]string
	// Complete returns at most 25 suggestions for what somebody is typing: field
	// is "request", "node" or "recipe".
	Complete(ctx context.Context, by Account, field, prefix string) []string
}
