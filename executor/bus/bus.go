// Package bus is how jobs reach nodes and output comes back: the seam between
// the side that decides what runs and the nodes that run it.
//
// A bus is not trusted with what runs. A job is an envelope that carries its own
// proof (see executor/job), so whoever controls a bus can delay, withhold or read
// jobs and end runs, but not run, change, re-aim or repeat anything. Output and
// announcements carry no such proof: whoever controls the bus can also invent
// them. A node's user on it cannot (see [NodeRules]), except in its own name.
// What a node was said to be when a run was approved, the node checks itself.
// Nor is a bus reliable beyond what is written here, which is what Redis Streams
// with consumer groups can keep:
//
//   - Jobs wait in one queue per node and are delivered at least once: one that
//     was taken and not acknowledged is delivered again.
//   - Output is one stream per run and node, in the order it was published, each
//     chunk at least once. A stream is bounded, in chunks and in bytes: when nobody
//     reads fast enough its oldest chunks are trimmed, which sequence numbers and
//     cumulative counters show.
//   - A stop is told twice: at once to whoever listens (at most once), and for
//     [StopKept] in the state of the run's lease.
//
// [Memory] serves one process, [Redis] any number on any number of hosts. Both
// pass the tests of package bustest.
package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"kgent/executor/output"
)

// Bounds that every implementation keeps.
const (
	// KeepChunks is how many of the newest chunks of a stream are kept, unless
	// [RunBytes] bounds them to fewer; at most twice as many are.
	KeepChunks = 1024
	// RunBytes is how much of a run's output is kept at most, in bytes, all its
	// nodes together, each of which has an equal share; but always the newest
	// chunk of each. So a bus needs room for this many bytes for each run of the
	// last [OutputKept], and about a third more for keeping them.
	RunBytes = 256 << 20
	// KeepJobs is how many jobs wait for a node at most; the oldest, which
	// have expired long before, give way.
	KeepJobs = 1024
	// OutputKept is how long a stream is kept after its last chunk.
	OutputKept = 15 * time.Minute
	// StopKept is how long a stop is remembered: longer than any grant can
	// wait for its node.
	StopKept = 15 * time.Minute
	// MaxBlock is how long a blocking call may take to notice that its context
	// has ended.
	MaxBlock = time.Second
	// MaxFacts is the size of the largest facts, in bytes: those of a kernel
	// with everything built in are a quarter of it.
	MaxFacts = 16 << 20
	// FactsKept is how long facts are kept at least, counted from when they
	// were published or a node that names them was last listed.
	FactsKept = 24 * time.Hour
)

// ChunkFormat and InfoFormat are the newest formats of chunks and announcements that
// are understood here. A format that an older kgent would misread gets the next
// number and says it; one that only has more members does not need to. What
// says none is of format 1, which is what is written here.
const (
	ChunkFormat = 1
	InfoFormat  = 1
)

var (
	// ErrStopped is the error of [Bus.Renew] for a run that was stopped.
	ErrStopped = errors.New("the run was stopped")
	// ErrNoFacts is wrapped by the error of [Bus.Facts] when there are none
	// under the hash, or what is there does not have it.
	ErrNoFacts = errors.New("no facts with this hash")
	// ErrUnheard is wrapped by the reasons of an [Unsent] that are no certain ones: the bus
	// was told, and has not answered.
	ErrUnheard = errors.New("it may be queued nevertheless")
)

// ErrHandOver, as the cause of the end of a follower's context, says that
// another process goes on with what it does.
var ErrHandOver = errors.New("handed over to another process")

// Unsent is an error: why these nodes' queues did not take a job, or, where that is
// [ErrUnheard], are not known to have taken it.
type Unsent map[string]error

func (u Unsent) Error() string {
	nodes := slices.Sorted(maps.Keys(u))
	words := fmt.Sprintf("queueing a job for %s: %v", nodes[0], u[nodes[0]])
	if n := len(nodes) - 1; n > 0 {
		words += fmt.Sprintf("; and for %d more", n)
	}
	return words
}

// Unwrap returns the reasons.
func (u Unsent) Unwrap() []error { return slices.Collect(maps.Values(u)) }

// Bus carries jobs and output. Its methods are safe for concurrent use, and
// fail with their context's error when it ends. Names of runs and nodes must
// pass [CheckName].
type Bus interface {
	Control
	Node
}

// Control is the side that sends jobs and reads output.
type Control interface {
	// Submit queues an envelope for nodes, which need not exist yet, in about one
	// way to the bus and back for hundreds of them. Where some queues did not take it or
	// could not be reached the error is an [Unsent], and all others have it.
	Submit(ctx context.Context, envelope []byte, nodes ...string) error

	// Follow calls each with every chunk that the streams of a run on these
	// nodes still keep and then with every new one, each stream in its order,
	// never two at once. It returns the error of each, or of the bus, or of
	// ctx. Calling it again begins at the beginning.
	Follow(ctx context.Context, run string, nodes []string, each func(Chunk) error) error

	// Renew lets a run live until ttl from now. Nodes detach a run whose
	// lease is gone. Once stopped, a run cannot be renewed: [ErrStopped].
	Renew(ctx context.Context, run string, ttl time.Duration) error

	// Stop ends a run on all its nodes, now or before it begins. It needs
	// nobody's approval. Stopping twice, or what never was, is no error.
	Stop(ctx context.Context, run string) error

	// Nodes returns the nodes that announced themselves lately, by name.
	Nodes(ctx context.Context) ([]NodeInfo, error)

	// Facts returns what a node published under a hash, and has checked that
	// the hash is that of what it returns. Otherwise: [ErrNoFacts].
	Facts(ctx context.Context, hash string) ([]byte, error)
}

// Node is the side that runs jobs.
type Node interface {
	// Consume calls each with the node's jobs, one at a time: first those that
	// any consumer of this node took and nobody acknowledged, then new ones as
	// they come, until ctx ends or the bus fails. Consumer names the process,
	// differently after each start. A job taken is delivered again when
	// Consume is called again, until it is acknowledged.
	Consume(ctx context.Context, node, consumer string, each func(Job)) error

	// Ack says that a job needs no further delivery.
	Ack(ctx context.Context, node, id string) error

	// Publish appends a chunk to its stream. When it fails the chunk may be
	// there nevertheless, and may be published again. Afterwards nothing of the
	// chunk's lines is kept or read.
	Publish(ctx context.Context, c Chunk) error

	// Lease returns the state of a run's lease.
	Lease(ctx context.Context, run string) (Lease, error)

	// Stops returns the names of runs as they are stopped. It may miss some.
	// The channel is closed when ctx ends or the bus fails.
	Stops(ctx context.Context) (<-chan string, error)

	// Announce lists the node for ttl from now, in place of what it announced
	// before; a ttl of 0 takes it off the list.
	Announce(ctx context.Context, n NodeInfo, ttl time.Duration) error

	// PublishFacts keeps a blob of at most [MaxFacts] bytes for the control
	// side, under its [FactsHash]. Nodes of equal kernels publish the same,
	// which is kept once. Publishing what is there already costs little, and a
	// bus can lose it: a node publishes whenever it announces itself.
	PublishFacts(ctx context.Context, hash string, blob []byte) error
}

// Job is one delivery of an envelope.
type Job struct {
	// ID is the bus's name for the job, the same at each delivery.
	ID string
	// Envelope must not be changed.
	Envelope []byte
	// Again says that the job was delivered before, perhaps to a process that
	// is gone.
	Again bool
}

// Chunk is a piece of the output of a run on a node.
type Chunk struct {
	Run  string `json:"run"`
	Node string `json:"node"`
	// Seq counts the chunks of the run on the node from 1, without gaps. It is
	// 0 in the last word of a node that keeps no count of the run, because it
	// refused it or because it has been restarted since.
	Seq uint64 `json:"seq"`
	// Lines are whole records, each with its newline, as executor/output
	// encodes them. A chunk without any is a sign of life.
	Lines []byte `json:"lines,omitempty"`
	// Events is how many of the lines are events.
	Events uint64 `json:"events,omitempty"`
	// Counters are the account of the run on the node up to and with this
	// chunk. They only grow. Until the final chunk events may be on their way,
	// so that they need not balance; BusTrimmed is not the node's to know.
	Counters output.Counters `json:"counters"`
	// Attached is how long the run has been attached.
	Attached time.Duration `json:"attached_ns"`
	// Final marks the last chunk, whose last line is a node's summary.
	Final bool `json:"final,omitempty"`
	// Format is that of the chunk, if it is not 1. When it is over [ChunkFormat] only Run
	// and Node are known besides; see [Chunk.Foreign].
	Format int `json:"format,omitempty"`
	// Nodes is how many nodes share [RunBytes], for who publishes; 0 is one. It
	// does not travel.
	Nodes int `json:"-"`
}

// Foreign says why the chunk cannot be understood; empty: it can.
func (c *Chunk) Foreign() string {
	if c.Format <= ChunkFormat {
		return ""
	}
	return fmt.Sprintf("its output is of format %d, and what follows it here reads up to format %d: the node's kgent is newer than the bot's; update the bot", c.Format, ChunkFormat)
}

// chunkCost is about what keeping a chunk takes beside its lines, in bytes.
const chunkCost = 512

// size is what a chunk counts as.
func (c *Chunk) size() int { return len(c.Lines) + chunkCost }

// share is how many bytes of the chunk's stream are kept at most.
func (c *Chunk) share() int { return RunBytes / max(1, c.Nodes) }

// Lease is the state of a run as the control side wants it.
type Lease int

const (
	// LeaseGone means that nobody follows the run any more, or not yet.
	LeaseGone Lease = iota
	// LeaseLive means that the run may go on.
	LeaseLive
	// LeaseStopped means that somebody stopped it.
	LeaseStopped
)

func (l Lease) String() string {
	switch l {
	case LeaseLive:
		return "live"
	case LeaseStopped:
		return "stopped"
	}
	return "gone"
}

// NodeInfo is what a node says of itself, for requests to be aimed by. It is
// the node's word, checked by nobody: text in it is as untrusted as output.
type NodeInfo struct {
	// Format is that of the announcement, if it is not 1. When it is over [InfoFormat]
	// only Name and Version are known besides, and Drained says so.
	Format int               `json:"format,omitempty"`
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Kernel string            `json:"kernel"` // release, as uname -r
	Arch   string            `json:"arch"`   // as uname -m
	// Instance tells two nodes of the same name apart: it stays when a node is
	// started again, and no other has it.
	Instance string `json:"instance,omitempty"`
	// Version is that of the node's kgent.
	Version string `json:"version,omitempty"`
	// BTF is the SHA-256 of the kernel's types, in hex: nodes with the same
	// take the same programs. It is empty when the kernel has none.
	BTF string `json:"btf,omitempty"`
	// Facts is the hash of the facts of its kernel that the node publishes, for
	// [Bus.Facts]. It is empty when it publishes none.
	Facts string `json:"facts,omitempty"`
	// Capabilities are those of the executor's process that tracing can need,
	// as CAP_BPF, in alphabetical order.
	Capabilities []string `json:"capabilities,omitempty"`
	// Kinds are the kinds of probes, and what else probes need, that the node
	// has tried: "" for what works, for the others the reason in words.
	Kinds map[string]string `json:"kinds,omitempty"`
	// Bpftrace is the release of the node's bpftrace, "0.17.0"; empty when it runs no
	// scripts.
	Bpftrace string `json:"bpftrace,omitempty"`
	// At is when it announced itself, by its own clock; zero: it does not say.
	At time.Time `json:"at,omitzero"`
	// Drained says why the node takes no runs for now, or none from here; empty: it does.
	Drained string `json:"drained,omitempty"`
}

// clone returns a copy that shares nothing with n.
func (n NodeInfo) clone() NodeInfo {
	n.Labels, n.Kinds = maps.Clone(n.Labels), maps.Clone(n.Kinds)
	n.Capabilities = slices.Clone(n.Capabilities)
	return n
}

// foreign is what there is to say of a node whose announcement is of a newer format.
func (n NodeInfo) foreign() NodeInfo {
	return NodeInfo{
		Format: n.Format, Name: n.Name, Version: n.Version, Kernel: "unknown", Arch: "unknown",
		Drained: fmt.Sprintf("it announces itself in format %d, and this kgent reads up to format %d: the node's is newer; update this one", n.Format, InfoFormat),
	}
}

// unreadable stands for an announcement that is none.
func unreadable(name string) NodeInfo {
	return NodeInfo{Name: name, Kernel: "unknown", Arch: "unknown", Version: "unknown", Drained: "what it announces of itself cannot be read"}
}

// maxWord is the length of the longest value that a node announces, in bytes.
const maxWord = 300

// tame takes out of an announcement what no node of ours announces: it goes
// into messages to people, and its labels into grants.
func (n *NodeInfo) tame() {
	maps.DeleteFunc(n.Labels, func(k, v string) bool { return CheckName(k) != nil || !isLine(v) })
	maps.DeleteFunc(n.Kinds, func(k, v string) bool { return CheckName(strings.ReplaceAll(k, " ", "-")) != nil || len(v) > 4*maxWord }) // "ring buffer"
	if n.Drained != "" && !isLine(n.Drained) {
		n.Drained = "in maintenance"
	}
	for _, s := range []*string{&n.Kernel, &n.Arch, &n.Version} {
		if !isLine(*s) {
			*s = "unknown"
		}
	}
	n.Capabilities = slices.DeleteFunc(n.Capabilities, func(c string) bool { return CheckName(c) != nil })
}

// isLine reports whether s is short, and of visible ASCII and spaces.
func isLine(s string) bool {
	return len(s) <= maxWord && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// FactsHash returns the hash under which a blob is published: its SHA-256 in
// hex.
func FactsHash(blob []byte) string {
	sum := sha256.Sum256(blob)
	return hex.EncodeToString(sum[:])
}

// checkFacts reports why a node may not publish a blob under a hash.
func checkFacts(hash string, blob []byte) error {
	if len(blob) > MaxFacts {
		return fmt.Errorf("publishing facts: %d bytes, at most %d", len(blob), MaxFacts)
	}
	if FactsHash(blob) != hash {
		return fmt.Errorf("publishing facts: %.80q is not their hash", hash)
	}
	return nil
}

// noFacts is the error of [Bus.Facts] for a hash.
func noFacts(hash string) error { return fmt.Errorf("reading facts %.64q: %w", hash, ErrNoFacts) }

// isHash reports whether s is what [FactsHash] returns, and so can be part of
// a key.
func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && strings.ToLower(s) == s
}

// maxName is the length of the longest name: that of a host name.
const maxName = 253

// CheckName reports what is wrong with the name of a run or a node: it has 1
// to 253 letters, digits, dots, dashes and underscores and begins with a letter
// or digit, so that it can be part of a key or a channel's name.
func CheckName(s string) error {
	ok := s != "" && len(s) <= maxName && s[0] != '.' && s[0] != '-' && s[0] != '_'
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
	}
	if !ok {
		return fmt.Errorf("name %.64q: want 1 to %d letters, digits, dots, dashes and underscores, the first a letter or digit", s, maxName)
	}
	return nil
}
