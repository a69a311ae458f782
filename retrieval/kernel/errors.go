package kernel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	// ErrNoBTF: the kernel does not describe its own types.
	ErrNoBTF = errors.New("no BTF: this kernel does not describe its types; boot a kernel built with CONFIG_DEBUG_INFO_BTF=y")

	// ErrNoTracefs: tracepoints cannot be looked up because tracefs is not mounted.
	ErrNoTracefs = errors.New("tracefs is not mounted; as root: mount -t tracefs nodev /sys/kernel/tracing")

	// ErrNotSupported: the hook exists, or is well formed, but a program cannot be
	// attached to it here. The error that wraps it says why, and what to use instead.
	ErrNotSupported = errors.New("cannot be attached to")

	// ErrAmbiguous: the name stands for several different things.
	ErrAmbiguous = errors.New("ambiguous name")
)

// NotFoundError says that a name does not exist, and which names were probably meant.
type NotFoundError struct {
	// Kind is what was looked for, in words: "tracepoint", "function", "field".
	Kind string
	// Name is the name as it was asked for.
	Name string
	// Where is where it was looked for: "on kernel 6.18.44", "in /usr/bin/bash"; empty
	// if there is nothing to say.
	Where string
	// Suggestions are existing names, the likeliest first; at most five, often none.
	Suggestions []string
}

// Error reads "no tracepoint sched:sched_swich on kernel 6.18.44; did you mean
// sched:sched_switch?". Characters that a terminal would act on are escaped.
func (e *NotFoundError) Error() string {
	var b strings.Builder
	b.WriteString("no " + e.Kind + " " + visible(e.Name))
	if e.Where != "" {
		b.WriteString(" " + visible(e.Where))
	}
	for i, s := range e.Suggestions {
		switch {
		case i == 0:
			b.WriteString("; did you mean ")
		case i == len(e.Suggestions)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(visible(s))
	}
	if len(e.Suggestions) > 0 {
		b.WriteByte('?')
	}
	return b.String()
}

// maxVisible bounds a name in a message, in bytes. Names come from requests and
// models and may be of any size.
const maxVisible = 256

// visible returns s fit to stand in a message: short, and quoted if it is empty or
// holds anything but printable characters.
func visible(s string) string {
	if len(s) > maxVisible {
		cut := maxVisible
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	if s == "" || !utf8.ValidString(s) {
		return strconv.Quote(s)
	}
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// UnsupportedError says of a hook that exists, or is well formed, why a program cannot be attached to it. It is an
// [ErrNotSupported].
type UnsupportedError struct {
	Kind, Target string
	Why          string
	// Instead says what to use or do, "use kprobe vfs_read"; empty if nothing is known.
	Instead string
}

func (e *UnsupportedError) Error() string {
	instead := e.Instead
	if instead != "" {
		instead = "; " + instead
	}
	return fmt.Sprintf("%s %s %v: %s%s", e.Kind, visible(e.Target), ErrNotSupported, e.Why, instead)
}

func (e *UnsupportedError) Unwrap() error { return ErrNotSupported }
