package teamtest

import (
	"context"
	"slices"
	"strings"
)

// Chat is a chat service as its users have it. People are called by their short
// names: alice, bob, carol, who have an account on every service, and others
// that the service knows.
type Chat interface {
	// Name is the service's name: "slack", "discord".
	Name() string
	// Ask addresses words to kgent, in the service's channel for incidents, and
	// returns the thread in which it answers.
	Ask(ctx context.Context, who, words string) (Thread, error)
	// Approvals is the channel to which [Policy] sends the cards of what was asked
	// elsewhere; its Service is empty where there is none.
	Approvals() Thread
	// Reply says something in a thread, to nobody in particular.
	Reply(ctx context.Context, who string, in Thread, words string) error
	// Click presses a button of a message, which must be in its present
	// version, and waits until kgent has acknowledged it.
	Click(ctx context.Context, who string, m Message, verb string) error
	// Open presses a button that opens a form, and returns it.
	Open(ctx context.Context, who string, m Message, verb string) (Form, error)
	// Wait waits until there is a message that matches in its present version,
	// one that only one person sees included, and returns the oldest that does.
	Wait(ctx context.Context, match func(Message) bool) (Message, error)
	// Messages are all of kgent's messages in their present versions, oldest
	// first, without those that were deleted.
	Messages() []Message
	// Versions are all versions of a message, the oldest first.
	Versions(m Message) []Message
}

// Thread is a conversation: where a request and all about it are.
type Thread struct {
	Service string
	Channel string
	ID      string // of the thread; empty is the channel itself
}

// Message is one version of a message of kgent's as people see it.
type Message struct {
	Thread
	ID    string
	Title string // its first line
	Text  string // everything that is read, in order, without the buttons
	// Buttons are those that can be pressed, in order.
	Buttons []Button
	// Only is the one who alone sees it, if there is one.
	Only  string
	Files []File
}

// Button is a button of a message.
type Button struct{ Verb, ID, Label string }

// Has says whether a message has a button for a verb.
func (m Message) Has(verb string) bool {
	return slices.ContainsFunc(m.Buttons, func(b Button) bool { return b.Verb == verb })
}

// Verbs are those of a message's buttons, in order.
func (m Message) Verbs() []string {
	var out []string
	for _, b := range m.Buttons {
		out = append(out, b.Verb)
	}
	return out
}

// File is a file in a thread.
type File struct {
	Name, Title, Type string
	Data              []byte
}

// Form is a form that is open before somebody.
type Form interface {
	// Title and Labels are what the person reads, Values what stands in the
	// boxes at first.
	Title() string
	Values() map[string]string
	// Send fills in some boxes and sends the form.
	Send(ctx context.Context, values map[string]string) error
}

// In matches messages of a thread.
func In(th Thread, match func(Message) bool) func(Message) bool {
	return func(m Message) bool { return m.Thread == th && match(m) }
}

// Titled matches messages whose title contains words.
func Titled(words string) func(Message) bool {
	return func(m Message) bool { return strings.Contains(m.Title, words) }
}

// Saying matches messages that contain all of the words.
func Saying(words ...string) func(Message) bool {
	return func(m Message) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(m.Text, w) })
	}
}

// Having matches messages with buttons for all of the verbs.
func Having(verbs ...string) func(Message) bool {
	return func(m Message) bool {
		return !slices.ContainsFunc(verbs, func(v string) bool { return !m.Has(v) })
	}
}

// Only matches messages that nobody but who sees.
func Only(who string) func(Message) bool {
	return func(m Message) bool { return m.Only == who }
}

// All matches what everything matches.
func All(matches ...func(Message) bool) func(Message) bool {
	return func(m Message) bool {
		return !slices.ContainsFunc(matches, func(match func(Message) bool) bool { return !match(m) })
	}
}
