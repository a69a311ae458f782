package thread

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"kgent/bot/target"
	"kgent/executor/bus"
)

// How long, and how many at most, nodes are remembered that do not answer any
// more.
const (
	lostKept = 24 * time.Hour
	maxLost  = 500
)

// roll remembers which nodes were there. It is this process's own memory: of
// what was lost before it started it knows nothing.
type roll struct {
	mu   sync.Mutex
	seen map[string]target.Lost // by name
}

// note takes down who is there, and returns who was, by name.
func (r *roll) note(nodes []bus.NodeInfo, now time.Time) []target.Lost {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]target.Lost{}
	}
	here := map[string]bool{}
	for _, n := range nodes {
		here[n.Name] = true
		if _, known := r.seen[n.Name]; known || len(r.seen) < maxLost {
			r.seen[n.Name] = target.Lost{NodeInfo: n, Seen: now}
		}
	}
	maps.DeleteFunc(r.seen, func(_ string, l target.Lost) bool { return now.Sub(l.Seen) > lostKept })
	var lost []target.Lost
	for _, name := range slices.Sorted(maps.Keys(r.seen)) {
		if !here[name] {
			lost = append(lost, r.seen[name])
		}
	}
	return lost
}

// nodes returns the nodes that answer, and those that did lately.
func (c *Conversation) nodes(ctx context.Context) ([]bus.NodeInfo, []target.Lost, error) {
	nodes, err := c.Runner.Nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	return nodes, c.roll.note(nodes, c.Now()), nil
}

// unknownNode returns what is wrong with the nodes that somebody named, if it
// is that.
func unknownNode(err error) (*target.UnknownError, bool) {
	var unknown *target.UnknownError
	return unknown, errors.As(err, &unknown)
}
