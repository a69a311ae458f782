package eval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/mutate"
)

// Noise is a source of programs and contracts that makes mistakes as models do, at
// a given rate, behind the protocol of an OpenAI-compatible endpoint. It knows the
// right answer of the case that it is set to, so that nothing but the loop is
// measured: what becomes of mutated programs, misnamed hooks, invented helpers,
// contracts that ask for something else, broken objects and prose.
//
// It is no model, and says nothing about one.
type Noise struct {
	// Rate is the share of answers with a mistake, 0 to 1.
	Rate float64
	// Seed makes the same mistakes again.
	Seed uint64

	listener net.Listener
	server   *http.Server
	mu       sync.Mutex
	rng      *rand.Rand
	right    *material
	made     map[string]int // mistakes, by kind
}

// material is what answers are made of.
type material struct {
	contract, source string
	fields           map[string]any // of an answer with the right program
	mutants          []mutate.Mutant
}

// Start serves on loopback until [Noise.Close].
func (n *Noise) Start() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serving the source of mistakes: %w", err)
	}
	n.listener, n.made = l, map[string]int{}
	n.server = &http.Server{Handler: n, ReadHeaderTimeout: 10 * time.Second}
	go n.server.Serve(l)
	return nil
}

// URL is the endpoint's base URL.
func (n *Noise) URL() string { return "http://" + n.listener.Addr().String() + "/v1" }

// Close ends the server.
func (n *Noise) Close() error { return n.server.Close() }

// Made counts the mistakes that were handed out, by kind.
func (n *Noise) Made() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[string]int{}
	for k, v := range n.made {
		out[k] = v
	}
	return out
}

// Noisy answers with kgent's loop before a [Noise].
type NoisyAgent struct {
	Agent
	Bench *Bench
	Noise *Noise
}

// Answer implements [Answerer].
func (a NoisyAgent) Answer(ctx context.Context, c *Case, request string) Answer {
	if err := a.Noise.set(ctx, a.Bench, c, request); err != nil {
		return Answer{Outcome: Faulty, Why: "the source of mistakes has no right answer: " + err.Error()}
	}
	return a.Agent.Answer(ctx, c, request)
}

// set makes the material of a case. Where there is no right program every answer
// says so, or is a mistake.
func (n *Noise) set(ctx context.Context, b *Bench, c *Case, request string) error {
	var m *material
	if c.Category != Refusal {
		var err error
		if m, err = materialOf(ctx, b, c); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.right = m
	// Each request has its own mistakes, whatever was asked before.
	var sum uint64
	for _, r := range c.Name + request {
		sum = sum*31 + uint64(r)
	}
	n.rng = rand.New(rand.NewPCG(n.Seed, sum))
	return nil
}

func materialOf(ctx context.Context, b *Bench, c *Case) (*material, error) {
	right, err := b.Right(c)
	if err != nil {
		return nil, err
	}
	if right.Contract == nil {
		return nil, errors.New("the right program has no contract")
	}
	for name, value := range right.Program.Set {
		if strings.Contains(value, "$") {
			return nil, fmt.Errorf("parameter %s is only known while the workload runs", name)
		}
	}
	o, _, err := b.Build(ctx, Source{Program: Program{Interface: "lo"}, Text: right.Text}, nil)
	if err != nil {
		return nil, err
	}
	m := &material{contract: contract.Format(right.Contract), source: right.Text}
	set := []any{}
	for _, p := range o.Params() {
		value, ok := right.Program.Set[p.Name]
		if !ok || value == "" {
			continue
		}
		if slices.Contains([]string{"pid", "comm", "uid"}, p.Name) { // the standard filter is set in the manifest
			set = append(set, map[string]any{"name": p.Name, "value": value})
		} else if m.source, err = literal(m.source, p, value); err != nil {
			return nil, err
		}
		if m.contract, err = defaults(m.contract, p, value); err != nil {
			return nil, err
		}
	}
	programs, maps := []any{}, []any{}
	for _, p := range o.Programs() {
		programs = append(programs, map[string]any{"name": p.Name, "section": p.SectionName})
	}
	for _, info := range o.Maps() {
		if info.Name != program.StatsMap {
			maps = append(maps, map[string]any{"name": info.Name, "role": string(info.Role)})
		}
	}
	m.fields = map[string]any{"name": "eval", "title": "what was asked for", "source": m.source, "programs": programs, "maps": maps, "parameters": set,
		"top": right.Program.Top, "interface": right.Program.Interface, "explanation": "What was asked for."}
	m.mutants = mutate.Mutants(m.source)
	return m, nil
}

// literal makes a value the default of a parameter in the source.
func literal(source string, p program.Param, value string) (string, error) {
	decl := regexp.MustCompile(`(const volatile [A-Za-z_0-9 ]*\b` + p.Name + `(?:\[[^\]]*\])?)\s*=\s*[^;]*;`)
	if len(decl.FindAllString(source, -1)) != 1 {
		return "", fmt.Errorf("parameter %s is not declared in one line", p.Name)
	}
	text, err := constant(p, value)
	if err != nil {
		return "", err
	}
	return decl.ReplaceAllString(source, "${1} = "+strings.ReplaceAll(text, "$", "$$")+";"), nil
}

// constant writes a value in C.
func constant(p program.Param, value string) (string, error) {
	if n, signed, ok := program.Number(p, value); ok {
		if signed {
			return strconv.FormatInt(int64(n), 10), nil
		}
		return strconv.FormatUint(n, 10), nil
	}
	b, err := program.EncodeValue(p.Type, value)
	if err != nil {
		return "", err
	}
	var list []string
	for _, x := range b {
		list = append(list, strconv.Itoa(int(x)))
	}
	if len(b) == 16 && strings.Contains(fmt.Sprint(p.Type), "k_ip") {
		return "{{" + strings.Join(list, ", ") + "}}", nil
	}
	return "{" + strings.Join(list, ", ") + "}", nil
}

// defaults makes a value the default of a parameter in the contract.
func defaults(text string, p program.Param, value string) (string, error) {
	decl := regexp.MustCompile(`(?m)^(param ` + p.Name + `: [a-z_0-9]+(?:\[\d+\])?)(?: = \S+)?`)
	if !decl.MatchString(text) {
		return "", fmt.Errorf("the contract has no parameter %s", p.Name)
	}
	if n, signed, ok := program.Number(p, value); ok {
		value = strconv.FormatUint(n, 10)
		if signed {
			value = strconv.FormatInt(int64(n), 10)
		}
	} else {
		value = strconv.Quote(value)
	}
	out := decl.ReplaceAllString(text, "${1} = "+strings.ReplaceAll(value, "$", "$$"))
	_, err := contract.Parse(out)
	return out, err
}

// asked is what the endpoint reads of a request.
type asked struct {
	Model  string `json:"model"`
	Format struct {
		Schema struct {
			Name   string         `json:"name"`
			Schema map[string]any `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

// ServeHTTP answers one chat completion.
func (n *Noise) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var q asked
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/chat/completions") {
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": "there are only chat completions here", "type": "invalid_request_error"}})
		return
	}
	body := http.MaxBytesReader(w, r.Body, 16<<20)
	if err := json.NewDecoder(body).Decode(&q); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": err.Error(), "type": "invalid_request_error"}})
		return
	}
	text := n.answer(q)
	json.NewEncoder(w).Encode(map[string]any{
		"id": "chatcmpl-noise", "object": "chat.completion", "created": 0, "model": "noise",
		"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": text, "refusal": nil}}},
		"usage":   map[string]any{"prompt_tokens": r.ContentLength / 4, "completion_tokens": len(text) / 4, "total_tokens": r.ContentLength/4 + int64(len(text)/4)},
	})
}

// answer is right, or a mistake.
func (n *Noise) answer(q asked) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	isContract := q.Format.Schema.Name == "kgent_contract"
	isProgram := q.Format.Schema.Name == "ebpf_program"
	schema := q.Format.Schema.Schema
	if n.right == nil {
		return object(schema, map[string]any{"cannot": "There is no program for this."})
	}
	wrong := n.rng.Float64() < n.Rate
	switch {
	case isContract && !wrong:
		return n.right.contract
	case isContract:
		return n.wrongContract(schema)
	case isProgram && !wrong:
		return object(schema, n.right.fields)
	case isProgram:
		return n.wrongProgram(schema)
	}
	return object(schema, nil)
}

// count notes a mistake.
func (n *Noise) count(kind string) { n.made[kind]++ }

func (n *Noise) wrongContract(schema map[string]any) string {
	text := n.right.contract
	switch n.rng.IntN(4) {
	case 0:
		n.count("contract: broken")
		return text[:len(text)*2/3]
	case 1:
		n.count("contract: unknown field")
		return strings.Replace(text, "current.tgid", "current.process_id", 1)
	case 2:
		n.count("contract: no contract")
		return object(schema, map[string]any{"cannot": "I am not certain how to write this down."})
	}
	n.count("contract: prose")
	return "Sure! Here is the contract you asked for. It covers all of the cases."
}

var section = regexp.MustCompile(`SEC\("((?:tp|tp_btf|tracepoint|raw_tp|uprobe|uretprobe)/[^"]+)"\)`)

func (n *Noise) wrongProgram(schema map[string]any) string {
	fields := map[string]any{}
	for k, v := range n.right.fields {
		fields[k] = v
	}
	roll := n.rng.IntN(10)
	switch {
	case roll < 5 && len(n.right.mutants) > 0:
		m := n.right.mutants[n.rng.IntN(len(n.right.mutants))]
		n.count("program: mutated")
		fields["source"] = m.Source
		return object(schema, fields)
	case roll == 5 && section.MatchString(n.right.source):
		n.count("program: hook misnamed")
		old := section.FindStringSubmatch(n.right.source)[1]
		fields["source"] = strings.Replace(n.right.source, old, old+"ed", 1)
		text, _ := json.Marshal(fields["programs"])
		var programs any
		json.Unmarshal([]byte(strings.Replace(string(text), old, old+"ed", 1)), &programs)
		fields["programs"] = programs
		return object(schema, fields)
	case roll == 6:
		n.count("program: helper invented")
		fields["source"] = strings.Replace(n.right.source, "bpf_ktime_get_ns()", "bpf_ktime_get_wall_ns()", 1) + "\nstatic __always_inline int extra(void) { return bpf_get_current_container_id(); }\n"
		return object(schema, fields)
	case roll == 7:
		n.count("program: cut off")
		text := object(schema, fields)
		return text[:len(text)*3/4]
	case roll == 8:
		n.count("program: other map names")
		fields["maps"] = []any{map[string]any{"name": "results", "role": "output"}}
		return object(schema, fields)
	}
	n.count("program: prose around it")
	return "Here is your program:\n\n```c\n" + n.right.source + "\n```\nLet me know if it helps."
}

// object fills a strict schema: known fields with their values, others with
// nothing of their type.
func object(schema map[string]any, fields map[string]any) string {
	out := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		if v, ok := fields[name]; ok && v != nil {
			out[name] = v
			continue
		}
		p, _ := p.(map[string]any)
		out[name] = empty(p)
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(errors.Join(errors.New("a value of a decoded schema cannot be encoded"), err))
	}
	return string(b)
}

func empty(p map[string]any) any {
	kind := p["type"]
	if list, ok := kind.([]any); ok && len(list) > 0 {
		kind = list[0]
	}
	if values, ok := p["enum"].([]any); ok && len(values) > 0 {
		return values[0]
	}
	switch kind {
	case "array":
		return []any{}
	case "integer", "number":
		return 0
	case "boolean":
		return false
	case "object":
		out := map[string]any{}
		properties, _ := p["properties"].(map[string]any)
		for name, x := range properties {
			x, _ := x.(map[string]any)
			out[name] = empty(x)
		}
		return out
	}
	return ""
}
