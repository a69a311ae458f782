package agent

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/llm/schema"
	"kgent/retrieval/kernel"
)

// mendDraft puts right, in a model's contract, what is not kgent's language and has one meaning in
// it: words of C and of other tracers, lists written as objects, a step that does not end. It guesses
// no reading: whatever the contract then says is checked as any other, and shown in English to those who approve.
func mendDraft(raw json.RawMessage) (json.RawMessage, []string) {
	var draft map[string]any
	if json.Unmarshal(raw, &draft) != nil {
		return raw, nil
	}
	if inner, ok := draft["contract"].(map[string]any); ok && draft["hooks"] == nil { // wrapped once more
		for k, v := range inner {
			draft[k] = v
		}
		delete(draft, "contract")
	}
	if len(list(draft["hooks"])) == 0 && draft["cannot"] == nil && draft["title"] == nil {
		return raw, nil // nothing of a contract
	}
	if why := strings.TrimSpace(text(draft["cannot"])); why != "" && len(list(draft["hooks"])) == 0 {
		// Who says that it cannot be said need not fill in the rest rightly.
		draft = map[string]any{"analysis": text(draft["analysis"]), "cannot": why, "title": text(draft["title"])}
	}
	params := objects(draft["params"])
	for _, p := range params {
		mendType(p)
		if s, ok := p["default"].(string); ok {
			p["default"] = defaultText(s, text(p["type"]))
		}
	}
	for _, list := range []string{"events", "memories", "tables"} {
		for _, x := range objects(draft[list]) {
			for _, of := range []string{"members", "fields", "key"} {
				x[of] = pairs(x[of], "type")
				for _, m := range objects(x[of]) {
					mendType(m)
				}
			}
			for _, v := range objects(x["values"]) {
				mendValue(v)
			}
		}
	}
	for _, h := range objects(draft["hooks"]) {
		mendHook(h)
	}
	// What is not one of the few assumptions there are is not assumed, which only asks for more.
	var assume []any
	for _, a := range list(draft["assume"]) {
		if s := strings.ToLower(text(a)); s == "returns" || s == "identity" || s == "lru" {
			assume = append(assume, s)
		}
	}
	draft["assume"] = assume
	out, err := json.Marshal(draft)
	if err != nil {
		return raw, nil
	}
	shape, err := schema.Parse(contract.DraftSchema())
	if err != nil {
		return raw, nil
	}
	fitted, did, err := shape.Fit(out)
	if err != nil {
		return raw, nil
	}
	return fitted, did
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// objects are the objects of a list; or the one that stands where a list should.
func objects(v any) (out []map[string]any) {
	if m, ok := v.(map[string]any); ok {
		return []map[string]any{m}
	}
	for _, x := range list(v) {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// pairs makes a list of {"name", what} of an object of names; a list stays.
func pairs(v any, what string) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	if _, is := m["name"].(string); is && len(m) <= 2 {
		return []any{m}
	}
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	out := []any{}
	for _, k := range names {
		out = append(out, map[string]any{"name": k, what: m[k]})
	}
	return out
}

// types of C and other languages, and what they are here.
var otherTypes = map[string]string{
	"int": "s32", "unsigned int": "u32", "unsigned": "u32", "long": "s64", "unsigned long": "u64", "long long": "s64", "short": "s16", "bool": "k_bool", "boolean": "k_bool",
	"uint8_t": "u8", "uint16_t": "u16", "uint32_t": "u32", "uint64_t": "u64", "int8_t": "s8", "int16_t": "s16", "int32_t": "s32", "int64_t": "s64",
	"uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64", "int8": "s8", "int16": "s16", "int32": "s32", "int64": "s64", "i32": "s32", "i64": "s64",
	"__u8": "u8", "__u16": "u16", "__u32": "u32", "__u64": "u64", "__s8": "s8", "__s16": "s16", "__s32": "s32", "__s64": "s64", "__be16": "be16", "__be32": "be32",
	"pid_t": "k_pid", "pid": "k_pid", "tid": "k_tid", "uid_t": "k_uid", "uid": "k_uid", "gid_t": "k_gid", "size_t": "k_bytes", "ssize_t": "s64", "bytes": "k_bytes", "k_size": "k_bytes",
	"comm": "char[16]", "k_comm": "char[16]", "timestamp": "k_time", "time": "k_time", "k_timestamp": "k_time", "k_ts": "k_time", "duration": "k_ns", "k_duration": "k_ns", "ns": "k_ns", "k_latency": "k_ns",
	"ip": "k_ip", "ipv4": "k_ipv4", "ipv6": "k_ip", "k_ipv6": "k_ip", "ip_addr": "k_ip", "port": "k_port", "errno": "k_errno", "signal": "k_signal", "count": "k_count", "kstack": "k_kstack", "ustack": "k_ustack",
	"k_path": "char[256]", "path": "char[256]", "k_filename": "char[256]", "k_dev_t": "k_dev", "k_state": "k_tcpstate", "ret": "k_ret",
}

var sizedText = regexp.MustCompile(`^(?:string|text|str|char|k_text|k_string|k_str)[ ]*[\[(]([0-9]+)[\])]$`)

// mendType writes a member's type in kgent's words.
func mendType(m map[string]any) {
	t := strings.TrimSpace(text(m["type"]))
	low := strings.ToLower(t)
	if to, ok := otherTypes[low]; ok {
		m["type"] = to
		return
	}
	if s := sizedText.FindStringSubmatch(low); s != nil {
		m["type"] = "char[" + s[1] + "]"
		return
	}
	switch low {
	case "string", "text", "str", "char", "char[]", "k_text", "k_string", "k_str":
		switch name := strings.ToLower(text(m["name"])); {
		case strings.HasSuffix(name, "comm"):
			m["type"] = "char[16]"
		case strings.Contains(name, "path"), strings.Contains(name, "file"), strings.Contains(name, "dir"):
			m["type"] = "char[256]"
		default:
			m["type"] = "char[64]"
		}
	}
}

// mendValue names an aggregate as it is named here.
func mendValue(v map[string]any) {
	switch how := strings.ToLower(text(v["how"])); how {
	case "histogram", "hist", "log2_histogram", "log2hist", "log_2", "distribution", "quantize":
		v["how"] = "log2"
	case "average", "avg", "mean":
		v["how"] = "stats"
	case "maximum":
		v["how"] = "max"
	case "minimum":
		v["how"] = "min"
	case "total":
		v["how"] = "sum"
	case "lhist":
		v["how"] = "linear"
	default:
		v["how"] = how
	}
	if v["how"] == "count" {
		v["type"] = "k_count"
	}
	if v["how"] != "linear" {
		v["step"], v["slots"] = 0, 0
	}
	mendType(v)
}

// mendHook brings a hook's places and cases into form.
func mendHook(h map[string]any) {
	if h["places"] == nil {
		for _, name := range []string{"at", "place", "hook", "name"} {
			if s := text(h[name]); s != "" {
				h["places"] = []any{map[string]any{"at": s, "args": h["args"]}}
				break
			}
		}
	}
	places := list(h["places"])
	if s := text(h["places"]); s != "" {
		places = []any{s}
	}
	for i, p := range places {
		if s := text(p); s != "" {
			places[i] = map[string]any{"at": s}
		}
	}
	if len(places) > 0 {
		h["places"] = places
	}
	for _, p := range objects(h["places"]) {
		at := text(p["at"])
		if open := strings.IndexByte(at, '('); open > 0 { // "tp_btf/sched_switch(prev, next)"
			if len(list(p["args"])) == 0 {
				var args []any
				for _, a := range strings.Split(strings.Trim(at[open:], "() "), ",") {
					if a = strings.TrimSpace(a); a != "" {
						args = append(args, a)
					}
				}
				p["args"] = args
			}
			at = strings.TrimSpace(at[:open])
		}
		at = strings.Trim(strings.TrimPrefix(at, "SEC("), `")' `)
		if strings.HasPrefix(at, "sys_enter_") || strings.HasPrefix(at, "sys_exit_") {
			at = "syscalls/" + at
		}
		if strings.HasPrefix(at, "syscalls/") || strings.HasPrefix(at, "syscalls:") {
			at = "tracepoint/" + at
		}
		p["at"] = at
		var args []any
		for _, a := range list(p["args"]) {
			if m, ok := a.(map[string]any); ok {
				a = m["name"]
			}
			args = append(args, a)
		}
		if args != nil {
			p["args"] = args
		}
		p["with"] = mendFields(p["with"])
	}
	var cases []any
	all := objects(h["cases"])
	step, ended := 0, true
	for i, c := range all {
		when := strings.TrimSpace(text(c["when"]))
		last := i == len(all)-1
		if strings.EqualFold(text(c["name"]), "otherwise") && (when == "" || when == "always" || when == "true" || when == "1") || strings.EqualFold(when, "else") || strings.EqualFold(when, "default") {
			when = "otherwise"
		}
		if n, ok := c["step"].(float64); ok && int(n) > step {
			if !ended { // the step before did not say what happens otherwise: nothing
				cases = append(cases, nothing())
			}
			step, ended = int(n), false
		}
		delete(c, "step")
		switch when {
		case "otherwise":
			ended = true
		case "":
			when = "always"
			ended = false
		default:
			when = mendExpr(when)
			ended = false
		}
		c["when"] = when
		if text(c["name"]) == "" {
			c["name"] = "case_" + string(rune('a'+i%26))
		}
		effects(c)
		cases = append(cases, c)
		if last && !ended {
			cases = append(cases, nothing())
		}
	}
	if cases != nil {
		h["cases"] = cases
	}
}

func nothing() map[string]any {
	return map[string]any{"name": "otherwise", "when": "otherwise", "effects": []any{}}
}

var verbs = map[string]string{
	"record": "remember", "store": "remember", "save": "remember", "set": "remember", "put": "remember",
	"delete": "forget", "remove": "forget", "clear": "forget", "output": "emit", "report": "emit", "send": "emit", "event": "emit", "print": "emit",
	"count": "add", "increment": "add", "inc": "add", "sum": "add", "update": "change", "modify": "change",
}

// effects brings a case's effects into form.
func effects(c map[string]any) {
	for _, e := range objects(c["effects"]) {
		do := strings.ToLower(text(e["do"]))
		if to, ok := verbs[do]; ok {
			do = to
		}
		e["do"] = do
		e["key"], e["fields"] = mendFields(e["key"]), mendFields(e["fields"])
		if s := text(e["value"]); s != "" {
			e["value"] = mendExpr(s)
		}
	}
}

// mendFields makes a list of fields of whatever is there.
func mendFields(v any) any {
	v = pairs(v, "is")
	if s := text(v); s != "" {
		v = []any{s}
	}
	out := []any{}
	for _, f := range list(v) {
		switch f := f.(type) {
		case string: // the expression alone
			out = append(out, map[string]any{"name": "", "is": mendExpr(f)})
		case map[string]any:
			for _, other := range []string{"value", "expr", "expression"} {
				if f["is"] == nil && f[other] != nil {
					f["is"] = f[other]
				}
			}
			if s := text(f["is"]); s != "" {
				f["is"] = mendExpr(s)
			}
			out = append(out, f)
		}
	}
	return out
}

// defaultText puts a text that is a parameter's default into quotes.
func defaultText(s, typ string) string {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(typ, "char[") || typ == "k_ip" {
		if s != "" && !strings.HasPrefix(s, `"`) {
			return `"` + strings.Trim(s, `'`) + `"`
		}
	}
	return s
}

// phrases of C and of other tracers, and what they are here; in this order.
var phrases = []struct {
	was *regexp.Regexp
	is  string
}{
	{regexp.MustCompile(`\(?[ ]*bpf_get_current_pid_tgid\(\)[ ]*>>[ ]*32[ ]*\)?`), "current.tgid"},
	{regexp.MustCompile(`\((?:__)?u32\)[ ]*bpf_get_current_pid_tgid\(\)|bpf_get_current_pid_tgid\(\)[ ]*&[ ]*0x[fF]{8}`), "current.tid"},
	{regexp.MustCompile(`bpf_ktime_get_boot_ns\(\)`), "now_boot"},
	{regexp.MustCompile(`bpf_ktime_get_ns\(\)|\bktime_get_ns\(\)|\bnow\(\)`), "now"},
	{regexp.MustCompile(`\bbpf_(ntoh|hton)([sl])\b`), "$1$2"},
	{regexp.MustCompile(`\bcurrent->`), "current.task."},
	{regexp.MustCompile(`->`), "."},
	{regexp.MustCompile(`\b(?:ctx|args)\.([a-z_])`), "$1"},
	{regexp.MustCompile(`\bretval\b`), "ret"},
	{regexp.MustCompile(`\b(?:AND|and)\b`), "&&"},
	{regexp.MustCompile(`\b(?:OR|or)\b`), "||"},
	{regexp.MustCompile(`\b(?:NOT|not)[ ]+`), "!"},
	{regexp.MustCompile(`([^=!<>])===([^=])`), "$1==$2"},
}

// mendExpr writes an expression in kgent's words. Texts in quotes stay.
func mendExpr(s string) string {
	s = strings.TrimSpace(strings.ReplaceAll(s, "\n", " "))
	if !strings.Contains(s, `"`) && strings.Count(s, "'")%2 == 0 {
		s = strings.ReplaceAll(s, "'", `"`)
	}
	parts := strings.Split(s, `"`)
	for i := 0; i < len(parts); i += 2 {
		for _, p := range phrases {
			parts[i] = p.was.ReplaceAllString(parts[i], p.is)
		}
	}
	return strings.Join(parts, `"`)
}

// withUsed lists the arguments of places that a hook's cases use and its list lacks.
func withUsed(c *contract.Contract, k *kernel.Facts) {
	declared := map[string]bool{}
	for _, p := range c.Params {
		declared[p.Name] = true
	}
	for _, d := range c.Defines {
		declared[d.Name] = true
	}
	for _, h := range c.Hooks {
		used := namesIn(h)
		for _, p := range h.Places {
			for _, name := range argumentsOf(k, p) {
				has := slices.ContainsFunc(p.Args, func(a contract.Arg) bool { return a.Name == name || a.Local() == name }) ||
					slices.ContainsFunc(p.With, func(f contract.Field) bool { return f.Name == name })
				if used[name] && !declared[name] && !has {
					p.Args = append(p.Args, contract.Arg{Name: name})
				}
			}
		}
	}
}

// argumentsOf are the names of what a place hands over, as far as contracts name them.
func argumentsOf(k *kernel.Facts, p *contract.Place) (names []string) {
	switch p.Kind {
	case "tracepoint":
		category, name, _ := strings.Cut(p.Target, "/")
		t, err := k.Tracepoint(category, name)
		if err != nil {
			return nil
		}
		if category == "syscalls" && strings.HasPrefix(name, "sys_exit_") {
			return []string{"ret"}
		}
		for _, f := range t.Fields {
			if !f.Common() && f.Name != "__syscall_nr" {
				names = append(names, f.Name)
			}
		}
	case "tp_btf", "raw_tracepoint":
		t, err := k.RawTracepoint(p.Target)
		if err != nil {
			return nil
		}
		for _, x := range t.Params {
			names = append(names, x.Name)
		}
	case "kprobe", "fentry", "fexit", "lsm":
		f, err := k.Function(p.Target)
		if err != nil {
			return nil
		}
		for _, x := range f.Proto.Params {
			names = append(names, x.Name)
		}
		if p.Kind == "fexit" {
			names = append(names, "ret")
		}
	case "kretprobe", "uretprobe":
		return []string{"ret"}
	}
	return slices.DeleteFunc(names, func(s string) bool { return s == "" })
}

// namesIn are the plain names in a hook's expressions.
func namesIn(h *contract.Hook) map[string]bool {
	names := map[string]bool{}
	var walk func(e contract.Expr)
	each := func(list []contract.Expr) {
		for _, x := range list {
			walk(x)
		}
	}
	walk = func(e contract.Expr) {
		switch e := e.(type) {
		case *contract.Name:
			names[e.Name] = true
		case *contract.Select:
			walk(e.X)
		case *contract.Index:
			walk(e.X)
			each(e.I)
		case *contract.Call:
			if e.Recv != nil {
				walk(e.Recv)
			}
			each(e.Args)
		case *contract.Unary:
			walk(e.X)
		case *contract.Binary:
			walk(e.X)
			walk(e.Y)
		case *contract.Cond:
			walk(e.If)
			walk(e.Then)
			walk(e.Else)
		case *contract.In:
			walk(e.X)
			each(e.Set)
		case *contract.Known:
			walk(e.Cell)
		}
	}
	effects := func(list []*contract.Effect) {
		for _, x := range list {
			for _, f := range append(slices.Clone(x.Key), x.Fields...) {
				walk(f.Is)
			}
			if x.Value != nil {
				walk(x.Value)
			}
		}
	}
	for _, p := range h.Places {
		for _, f := range p.With {
			walk(f.Is)
		}
	}
	for _, s := range h.Steps {
		for _, c := range s.Cases {
			if c.When != nil {
				walk(c.When)
			}
			effects(c.Effects)
		}
		effects(s.Otherwise)
	}
	return names
}
