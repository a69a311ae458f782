// Package output defines what comes out of a run: one JSON object a line. The
// same lines travel from a node over the bus, are printed by `kgent ask
// --output json`, and are decoded again to be shown in a terminal or a thread.
//
// Every record has a "type". A run's records start with stage, candidate and
// attached; then come event, map, hist, stack and text in any number; summary
// is always last. Values are rendered for people (addresses, error names), so
// a reader needs no knowledge of the program.
package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Type is the value of a record's "type".
type Type string

const (
	TypeStage     Type = "stage"
	TypeCandidate Type = "candidate"
	TypeAttached  Type = "attached"
	TypeEvent     Type = "event"
	TypeMap       Type = "map"
	TypeHist      Type = "hist"
	TypeStack     Type = "stack"
	TypeText      Type = "text"
	TypeSummary   Type = "summary"
	TypeCheck     Type = "check"
	TypeError     Type = "error"
)

// Record is one line of output: exactly one of the types below.
type Record interface{ recordType() Type }

// Stage is a step of the way from request to output.
type Stage struct {
	Name   string `json:"name"`             // match, write, facts, compile, prove, load, approve, dispatch, attach
	State  string `json:"state"`            // start, done, failed, skipped
	Detail string `json:"detail,omitempty"` // what a person wants to know of it
	Millis int64  `json:"ms,omitempty"`     // how long it took; with done and failed
}

// Candidate is what people are asked to approve.
type Candidate struct {
	Digest   string   `json:"digest"` // sha256, hexadecimal
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Origin   string   `json:"origin"`  // "recipe tcp-connect", "model gpt-…"
	Verdict  string   `json:"verdict"` // VERIFIED, REFUTED, VACUOUS, UNKNOWN
	Reason   string   `json:"reason,omitempty"`
	Contract string   `json:"contract,omitempty"`
	Reading  string   `json:"reading,omitempty"` // what a second reading of the program found, in words
	Script   string   `json:"script,omitempty"`  // what is run, where it is a bpftrace script
	Tier     string   `json:"tier"`
	Why      []string `json:"why"` // of the tier
	Hooks    []string `json:"hooks"`
	Params   []Param  `json:"params"`
	Does     []string `json:"does"` // in plain words, from the program's facts
	Nodes    []string `json:"nodes"`
	Duration string   `json:"duration"`
}

// Param is one parameter's value on the card.
type Param struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Attached says that every probe of a run really is attached on a node.
type Attached struct {
	Node string `json:"node"`
	Run  string `json:"run"`
	// Hooks are the places as resolved on the node.
	Hooks []string `json:"hooks"`
	// Where is the containers of the node that the run is narrowed to, as found when it
	// began; none where it is about all of the node.
	Where []string `json:"where,omitempty"`
	// ProgramIDs and MapIDs are the kernel's, so that anyone can look (and see
	// that they are gone afterwards).
	ProgramIDs []uint32 `json:"program_ids"`
	MapIDs     []uint32 `json:"map_ids"`
	Streams    []Stream `json:"streams"`
	Deadline   string   `json:"deadline"` // RFC 3339
}

// Stream describes the fields of the events of one ring buffer, or the key
// and value fields of one output map.
type Stream struct {
	Name string `json:"name"`
	// Events: of a ring buffer, each event a record of its own.
	Events  bool     `json:"events,omitempty"`
	Columns []Column `json:"columns"`
}

// Column is one field.
type Column struct {
	Name string `json:"name"`
	// Kind is the typedef that gives the field its meaning (k_ns), "string",
	// "enum", or "int".
	Kind string `json:"kind"`
	// Width is a good width in characters for a table, at least.
	Width int  `json:"width"`
	Right bool `json:"right,omitempty"` // numbers stand at the right
	// Merge says how the values of rows with one key make one, of all CPUs as of all
	// nodes; empty where they do not, or where that is not known.
	Merge Merge `json:"merge,omitempty"`
}

// Merge is how values make one.
type Merge string

const (
	MergeSum  Merge = "sum"
	MergeMin  Merge = "min"
	MergeMax  Merge = "max"
	MergeMean Merge = "mean" // the sum by the count, which stand beside it
)

// Event is one event of a ring buffer.
type Event struct {
	Node   string `json:"node"`
	Stream string `json:"stream"`
	Data   Fields `json:"data"`
}

// Map is the content of an output map, sorted by its first value column,
// largest first.
type Map struct {
	Node    string     `json:"node"`
	Name    string     `json:"name"`
	Entries []MapEntry `json:"entries"`
	// Total is how many entries the map had; more than len(Entries) when only
	// the top ones are shown.
	Total int `json:"total"`
	// Top is how many of the entries are for reading, when not all are. A node of
	// several sends more than that at the end, because sums over nodes are wrong
	// without them.
	Top int `json:"top,omitempty"`
	// At is when the map was read, RFC 3339; Seconds over how long was counted, since
	// the reading before or since the programs were attached; Final says that the
	// run is over.
	At      string  `json:"at"`
	Seconds float64 `json:"seconds,omitempty"`
	Final   bool    `json:"final"`
}

// MapEntry is one row.
type MapEntry struct {
	Key   Fields `json:"key"`
	Value Fields `json:"value"`
}

// Hist is one histogram: of a whole map, or of one key.
type Hist struct {
	Node    string   `json:"node"`
	Name    string   `json:"name"`
	Key     Fields   `json:"key,omitempty"`
	Unit    string   `json:"unit"` // ns, us, bytes, count
	Buckets []Bucket `json:"buckets"`
	Count   uint64   `json:"count"`
	At      string   `json:"at"`
	Seconds float64  `json:"seconds,omitempty"` // as in Map
	Final   bool     `json:"final"`
	// Minor histograms are beyond the top of the view: they are for sums over nodes,
	// and not for reading. Total is how many there were, when not all were sent.
	Minor bool `json:"minor,omitempty"`
	Total int  `json:"total,omitempty"`
}

// Bucket counts the values v with Min <= v <= Max.
type Bucket struct {
	Min   uint64 `json:"min"`
	Max   uint64 `json:"max"`
	Count uint64 `json:"count"`
}

// Stack is one stack trace, innermost frame first, and how often it was seen.
type Stack struct {
	Node   string   `json:"node"`
	Name   string   `json:"name"`
	Key    Fields   `json:"key,omitempty"` // without the stacks themselves
	Frames []string `json:"frames"`
	// Kernel is how many of the frames, from the innermost, are the kernel's.
	Kernel int    `json:"kernel,omitempty"`
	Count  uint64 `json:"count"`
	// Minor stacks are beyond the top of the view: they are for profiles and flame
	// graphs, which are wrong without them, and not for reading.
	Minor bool `json:"minor,omitempty"`
	Final bool `json:"final"`
}

// Text is a line that a program (an iterator) printed itself.
type Text struct {
	Node string `json:"node"`
	Line string `json:"line"`
}

// Counters account for every event of a run on one node or over all:
//
//	Produced = Delivered + KernelLost + Dropped + BusTrimmed
type Counters struct {
	Produced   uint64 `json:"produced"`
	Delivered  uint64 `json:"delivered"`
	KernelLost uint64 `json:"kernel_lost"` // there was no room in the buffer
	Dropped    uint64 `json:"dropped"`     // over the node's rate limit
	BusTrimmed uint64 `json:"bus_trimmed"` // gone between node and here
	// MapFull counts updates of output maps that found no room; they are not
	// events and not part of the identity.
	MapFull uint64 `json:"map_full"`
}

// Balanced reports whether the identity above holds.
func (c Counters) Balanced() bool {
	return c.Produced == c.Delivered+c.KernelLost+c.Dropped+c.BusTrimmed
}

// Add returns the sums of two accounts.
func (c Counters) Add(d Counters) Counters {
	return Counters{
		Produced: c.Produced + d.Produced, Delivered: c.Delivered + d.Delivered, KernelLost: c.KernelLost + d.KernelLost,
		Dropped: c.Dropped + d.Dropped, BusTrimmed: c.BusTrimmed + d.BusTrimmed, MapFull: c.MapFull + d.MapFull,
	}
}

// Reason says why a run ended.
type Reason string

const (
	ReasonDeadline    Reason = "deadline"    // its time was up
	ReasonStopped     Reason = "stopped"     // somebody stopped it
	ReasonInterrupted Reason = "interrupted" // SIGINT or SIGTERM
	ReasonOutput      Reason = "output"      // nobody reads the output any more
	ReasonBudget      Reason = "budget"      // it cost the node more than the node allows
	ReasonFailed      Reason = "failed"      // see the error record before
	ReasonRefused     Reason = "refused"     // the node did not run it
	ReasonDenied      Reason = "denied"      // people said no
	ReasonCandidate   Reason = "candidate"   // there is no program to approve
	ReasonShown       Reason = "shown"       // nothing more than the card was asked for
	ReasonChecked     Reason = "checked"     // it was only to be checked, and passed
	ReasonObeyed      Reason = "obeyed"      // it was an order to the node, which did it
)

// Overhead is what the run cost the node.
type Overhead struct {
	Runs      uint64  `json:"runs"`      // program runs measured
	Nanos     uint64  `json:"ns"`        // time spent in them
	CPUShare  float64 `json:"cpu_share"` // of one core, over the run
	Available bool    `json:"available"` // false when the kernel did not let us measure
	Missed    uint64  `json:"missed"`    // program runs the kernel skipped: the program or its hook was busy
	AttachMS  float64 `json:"attach_ms"` // from grant to attached
	// MissedUnknown says that a kernel does not count all of Missed: before Linux 6.7
	// neither what a busy kprobe leaves out nor what a program at a tracepoint or kprobe
	// does while another one runs on that CPU.
	MissedUnknown bool `json:"missed_unknown,omitempty"`
}

// What is known of the order of events. Of one ring buffer they come in the order in
// which programs made room for them in it, which on each CPU is the order in which
// things happened; between CPUs it is that of taking the buffer's lock. Of perf buffers, which take a ring
// buffer's place before Linux 5.8, they come in the order of each CPU, and between CPUs in that of the
// kernel's clock, but for one that took longer than a millisecond to be copied.
const (
	// OrderStream: within each stream. Streams of one node are read in turns.
	OrderStream = "stream"
	// OrderNodes: within each stream of each node. Nodes come as they arrive; to sort
	// them by a time in the event, remember that their clocks may differ.
	OrderNodes = "node-stream"
)

// NodeSummary is the end of a run on one node.
type NodeSummary struct {
	Node   string `json:"node"`
	Reason Reason `json:"reason"`
	Detail string `json:"detail,omitempty"`
	Counters
	Overhead Overhead `json:"overhead"`
}

// Summary is the last record of every request.
type Summary struct {
	Reason Reason `json:"reason"`
	Detail string `json:"detail,omitempty"`
	Counters
	Overhead Overhead `json:"overhead"`
	Seconds  float64  `json:"seconds"` // attached, the longest of the nodes
	// Order says in which order events came: [OrderStream] or [OrderNodes].
	Order string        `json:"order,omitempty"`
	Nodes []NodeSummary `json:"nodes"`
}

// Check is a node's answer when it was asked whether its kernel takes a
// program, which was not attached.
type Check struct {
	Node     string     `json:"node"`
	Kernel   string     `json:"kernel"` // release
	OK       bool       `json:"ok"`
	Programs []Verified `json:"programs,omitempty"`
	Rule     string     `json:"rule,omitempty"`   // who refused it: a rule of the node, program, hook, kernel, time
	Detail   string     `json:"detail,omitempty"` // why
	Millis   int64      `json:"ms"`
}

// Verified is what the verifier said of one program that it took.
type Verified struct {
	Program   string `json:"program"`
	Processed uint32 `json:"processed"` // instructions, over all paths; 0 when the kernel does not tell
}

// Error is something that went wrong, in words that say what to do.
type Error struct {
	Node    string `json:"node,omitempty"`
	Code    string `json:"code"` // stable, for programs: no-match, denied, policy, rejected, node, usage, internal; truncated in a file that is not whole
	Message string `json:"message"`
}

func (Stage) recordType() Type       { return TypeStage }
func (Candidate) recordType() Type   { return TypeCandidate }
func (Attached) recordType() Type    { return TypeAttached }
func (Event) recordType() Type       { return TypeEvent }
func (Map) recordType() Type         { return TypeMap }
func (Hist) recordType() Type        { return TypeHist }
func (Stack) recordType() Type       { return TypeStack }
func (Text) recordType() Type        { return TypeText }
func (Summary) recordType() Type     { return TypeSummary }
func (NodeSummary) recordType() Type { return "node_summary" }
func (Check) recordType() Type       { return TypeCheck }
func (Error) recordType() Type       { return TypeError }

// Fields are named values in the order of the program's struct; a plain JSON
// map would lose the order. Values are string, bool, json.Number, nested
// Fields, or []any of these.
type Fields []Field

// Field is one name and value.
type Field struct {
	Name  string
	Value any
}

// Get returns the value of a field.
func (f Fields) Get(name string) (any, bool) {
	for _, x := range f {
		if x.Name == name {
			return x.Value, true
		}
	}
	return nil, false
}

// MarshalJSON writes an object with the fields in order.
func (f Fields) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, x := range f {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(x.Name)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(x.Value)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", x.Name, err)
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads an object and keeps its order.
func (f *Fields) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t == nil {
		*f = nil
		return nil
	}
	if t != json.Delim('{') {
		return errors.New("fields: want an object")
	}
	out, err := fields(dec, 0)
	*f = out
	return err
}

// maxNesting bounds the nesting of fields, which are a C struct's.
const maxNesting = 16

func fields(dec *json.Decoder, depth int) (Fields, error) {
	if depth > maxNesting {
		return nil, errors.New("fields: nested too deeply")
	}
	out := Fields{}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return nil, err
		}
		v, err := value(dec, depth)
		if err != nil {
			return nil, err
		}
		out = append(out, Field{Name: k.(string), Value: v})
	}
	_, err := dec.Token()
	return out, err
}

func value(dec *json.Decoder, depth int) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		return fields(dec, depth+1)
	case json.Delim('['):
		if depth > maxNesting {
			return nil, errors.New("fields: nested too deeply")
		}
		list := []any{}
		for dec.More() {
			v, err := value(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	return t, nil
}

// Encode returns a record as a line, newline included. The line may be written
// to a terminal: see [AppendString].
func Encode(r Record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding %s record: %w", r.recordType(), err)
	}
	line := make([]byte, 0, len(body)+24)
	line = append(line, `{"type":"`...)
	line = append(line, r.recordType()...)
	line = append(line, '"')
	if len(body) > 2 {
		line = append(line, ',')
	}
	line = append(line, body[1:]...)
	return append(escapeLine(line), '\n'), nil
}

// MaxLine is the longest line [Decode] accepts, in bytes.
const MaxLine = 8 << 20

// Decode reads one line. Unknown types are errors; unknown fields are not, so
// that an older reader understands a newer node.
func Decode(line []byte) (Record, error) {
	if len(line) > MaxLine {
		return nil, fmt.Errorf("decoding record: line of %d bytes, at most %d", len(line), MaxLine)
	}
	var head struct {
		Type Type `json:"type"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("decoding record: %w", err)
	}
	decode, ok := decoders[head.Type]
	if !ok {
		return nil, fmt.Errorf("decoding record: unknown type %q", head.Type)
	}
	r, err := decode(line)
	if err != nil {
		return nil, fmt.Errorf("decoding %s record: %w", head.Type, err)
	}
	return r, nil
}

var decoders = map[Type]func([]byte) (Record, error){
	TypeStage:      as[Stage],
	TypeCandidate:  as[Candidate],
	TypeAttached:   as[Attached],
	TypeEvent:      as[Event],
	TypeMap:        as[Map],
	TypeHist:       as[Hist],
	TypeStack:      as[Stack],
	TypeText:       as[Text],
	TypeSummary:    as[Summary],
	"node_summary": as[NodeSummary],
	TypeCheck:      as[Check],
	TypeError:      as[Error],
}

func as[T Record](line []byte) (Record, error) {
	var r T
	dec := json.NewDecoder(bytes.NewReader(line))
	if err := dec.Decode(&r); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("data after the record")
	}
	return r, nil
}

// Time formats a moment as records do.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
