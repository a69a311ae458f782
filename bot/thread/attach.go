package thread

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"kgent/agent"
)

// Attached is a file that came with a message, as the service names it.
type Attached struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Size int64  `json:"size"`
	// URL is where the service says that it is. Only the adapter reads it, and goes
	// nowhere but to the service's own hosts.
	URL string `json:"url,omitempty"`
}

// Reader is a [Platform] that can read files which people attach.
type Reader interface {
	// Read returns a file's content, at most most bytes; a longer one is an error. The error
	// is plain, a [*RateLimitedError] or a [*GoneError].
	Read(ctx context.Context, at Place, f Attached, most int) ([]byte, error)
}

const (
	// maxFiles is how many files of one message are looked at.
	maxFiles = 10
	// readTime is how long reading the files of a message may take: less than its thread
	// waits for it.
	readTime = 5 * time.Second
)

// fence is a block of code in a message: a language, or none, and what is between the marks.
var fence = regexp.MustCompile("(?s)```([a-zA-Z+_-]*)[ \\t]*\\r?\\n?(.*?)(?:```|$)")

// codeLike tells a program of C from other things that people paste, such as logs.
var codeLike = regexp.MustCompile(`\bSEC\s*\(\s*"|__attribute__\s*\(\(\s*section`)

// scriptLike tells a script of bpftrace from other things.
var scriptLike = regexp.MustCompile(`(?ms)^\s*(tracepoint|kprobe|kretprobe|uprobe|uretprobe|usdt|profile|interval|software):[^\s{]+.*\{`)

// pasted takes a program out of a message's words: a block of code that looks like one.
// Other blocks stay where they are.
func pasted(text string) (rest string, programs []string) {
	rest = fence.ReplaceAllStringFunc(text, func(block string) string {
		body := fence.FindStringSubmatch(block)[2]
		if !codeLike.MatchString(body) && !scriptLike.MatchString(body) {
			return block
		}
		programs = append(programs, body)
		return " "
	})
	if len(programs) > 0 {
		rest = strings.TrimSpace(rest)
	}
	return rest, programs
}

// kindOf says what an attached file is to kgent, by its name: "c", "contract", "object", or
// nothing, for pictures, logs and all else.
func kindOf(name string) string {
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".c", ".bt":
		return "c"
	case ".kc":
		return "contract"
	case ".o":
		return "object"
	}
	return ""
}

// brought finds the program, and its contract, in what somebody said: a file or a pasted
// block. It returns the other words. The error is a refusal, or one to try again.
func (c *Conversation) brought(ctx context.Context, e Event) (words string, b *agent.Brought, err error) {
	words, blocks := pasted(e.Text)
	for _, body := range blocks {
		if b != nil {
			return words, nil, refuse("there are several programs in it; send one at a time")
		}
		b = &agent.Brought{Name: "pasted.bpf.c", Source: body}
		if !codeLike.MatchString(body) {
			b.Name = "pasted.bt"
		}
	}
	kc := ""
	for _, f := range e.Files[:min(len(e.Files), maxFiles)] {
		switch kind := kindOf(f.Name); {
		case kind == "":
			continue
		case kind == "object":
			return words, nil, refuse("%s is an object; attach the source, or run `kgent ask --program` on the host", short(f.Name))
		case kind == "c" && b != nil, kind == "contract" && kc != "":
			return words, nil, refuse("there are several programs in it; send one at a time")
		default:
			text, err := c.readFile(ctx, e, f)
			if err != nil {
				return words, nil, err
			}
			if kind == "contract" {
				kc = text
				continue
			}
			b = &agent.Brought{Name: f.Name, Source: text}
		}
	}
	if kc != "" && b == nil {
		return words, nil, refuse("there is a contract in it and no program; attach the program, too, as a .c file")
	}
	if b == nil {
		return words, nil, nil
	}
	b.Contract = kc
	if len(b.Source) > agent.MaxSource {
		return words, nil, tooLong(b.Name, int64(len(b.Source)))
	}
	return words, b, nil
}

func tooLong(name string, n int64) error {
	return refuse("%s has %d bytes, at most %d are read", short(name), n, agent.MaxSource)
}

// readFile reads an attached file, which must be text.
func (c *Conversation) readFile(ctx context.Context, e Event, f Attached) (string, error) {
	if f.Size > agent.MaxSource {
		return "", tooLong(f.Name, f.Size)
	}
	p, err := c.platform(e.Place.Surface)
	if err != nil {
		return "", err
	}
	r, ok := p.(Reader)
	if !ok {
		return "", refuse("kgent reads no files from %s; paste the program instead", e.Place.Surface)
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	raw, err := r.Read(ctx, e.Place, f, agent.MaxSource)
	var gone *GoneError
	switch {
	case errors.As(err, &gone):
		return "", refuse("%s cannot be read: %s", short(f.Name), gone.Why)
	case err != nil:
		return "", fmt.Errorf("reading %s: %w", short(f.Name), err)
	case !utf8.Valid(raw):
		return "", refuse("%s is not text", short(f.Name))
	}
	return string(raw), nil
}
