package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// The JSON form. By its schema everything is there and nothing else is allowed, and no
// object is more than five deep, which is what strict structured output takes. Expressions, types and
// arguments are in the words of the text form.
//
// The tag opt marks members that a reader does without, as if they were empty: not every author
// can be held to the schema. Those marked "people" are not in [DraftSchema].
type (
	jsonContract struct {
		Title    string       `json:"title" doc:"what the output shows, in one line"`
		Why      string       `json:"why" opt:"people" doc:"a comment, or empty"`
		Params   []jsonParam  `json:"params" opt:"yes" doc:"values that people set before the program is loaded; the contract holds for all of them"`
		Enums    []jsonEnum   `json:"enums" opt:"yes" doc:"closed sets of named numbers that are shown by name"`
		Defines  []jsonDefine `json:"defines" opt:"people" doc:"named expressions"`
		Events   []jsonEvent  `json:"events" opt:"yes" doc:"records that are emitted, one for each occurrence"`
		Tables   []jsonTable  `json:"tables" opt:"yes" doc:"tables of sums, counts and histograms by key"`
		Memories []jsonMemory `json:"memories" opt:"yes" doc:"what is remembered from one hook to another, by key (for the latency of calls: the start, by thread)"`
		Hooks    []jsonHook   `json:"hooks" doc:"where the program is called and what is to happen there"`
		Assume   []string     `json:"assume" opt:"yes" doc:"names of assumptions beyond those that always hold"`
		Show     []jsonView   `json:"show" opt:"yes" doc:"how tables are presented"`
	}
	jsonParam struct {
		Name    string `json:"name" doc:"as in expressions"`
		Type    string `json:"type" doc:"k_port, k_ip, char[16], u32, …"`
		Default string `json:"default" opt:"yes" doc:"a constant: 0, 10ms, \"text\" in quotes; empty: zero"`
		Min     string `json:"min" opt:"people" doc:"smallest value, or empty"`
		Max     string `json:"max" opt:"people" doc:"largest value, or empty"`
		Means   string `json:"means" opt:"yes" doc:"what it is for and which value means any"`
		Why     string `json:"why" opt:"people" doc:"a comment, or empty"`
	}
	jsonEnum struct {
		Name   string          `json:"name" doc:"used as a type"`
		Values []jsonEnumValue `json:"values" doc:"at least one"`
		Why    string          `json:"why" opt:"people" doc:"a comment, or empty"`
	}
	jsonEnumValue struct {
		Name  string `json:"name" doc:"as it is shown"`
		Value int64  `json:"value" doc:"the number"`
	}
	jsonDefine struct {
		Name  string   `json:"name" doc:"used as name or name(…)"`
		Args  []string `json:"args" opt:"yes" doc:"names of arguments"`
		Is    string   `json:"is" doc:"the expression it stands for"`
		Means string   `json:"means" opt:"yes" doc:"the English for it, with {arg} for an argument; or empty"`
		Why   string   `json:"why" opt:"people" doc:"a comment, or empty"`
	}
	jsonMember struct {
		Name string `json:"name" doc:"as it is shown"`
		Type string `json:"type" doc:"k_time, k_pid, k_port, k_ns, char[16], an enum, …"`
	}
	jsonEvent struct {
		Name    string       `json:"name" doc:"a word for what happens"`
		Members []jsonMember `json:"members" doc:"in the order they are shown"`
		More    bool         `json:"more" opt:"people" doc:"whether the program may show further members"`
		Why     string       `json:"why" opt:"people" doc:"a comment, or empty"`
	}
	jsonTable struct {
		Name   string       `json:"name" doc:"a word for what is counted"`
		Key    []jsonMember `json:"key" opt:"yes" doc:"what there is a row for; empty: one row for everything"`
		Values []jsonValue  `json:"values" doc:"what a row holds"`
		More   bool         `json:"more" opt:"people" doc:"whether the program may show further members"`
		Why    string       `json:"why" opt:"people" doc:"a comment, or empty"`
	}
	jsonValue struct {
		Name  string `json:"name" opt:"yes" doc:"empty if the row holds only one, unnamed"`
		How   string `json:"how" doc:"how samples are added up" enum:"count sum min max last stats log2 linear"`
		Type  string `json:"type" opt:"yes" doc:"of a sample: k_ns, k_bytes, …; k_count for count"`
		Step  uint64 `json:"step" opt:"yes" doc:"width of a slot of linear, else 0"`
		Slots uint64 `json:"slots" opt:"yes" doc:"slots of linear, else 0"`
	}
	jsonMemory struct {
		Name   string       `json:"name" doc:"used as name[key].field"`
		Key    []jsonMember `json:"key" doc:"such as thread: k_tid"`
		Fields []jsonMember `json:"fields" opt:"yes" doc:"what is remembered"`
		Why    string       `json:"why" opt:"people" doc:"a comment, or empty"`
	}
	jsonHook struct {
		Places []jsonPlace `json:"places" doc:"one, or several that share the cases"`
		Cases  []jsonCase  `json:"cases" doc:"tried in order; each step ends with the case otherwise"`
		Why    string      `json:"why" opt:"people" doc:"a comment, or empty"`
	}
	jsonPlace struct {
		At          string      `json:"at" doc:"tp_btf/sched_switch, tracepoint/syscalls/sys_enter_openat, …"`
		Args        []string    `json:"args" opt:"yes" doc:"the kernel's names of the arguments used; “sig as signo” renames; “host: user_pointer” says a type"`
		With        []jsonField `json:"with" opt:"yes" doc:"names bound to expressions at this place alone"`
		Alternative bool        `json:"alternative" opt:"people" doc:"used only if the kernel lacks the place before"`
		IfPresent   bool        `json:"if_present" opt:"yes" doc:"a kernel may lack it"`
		Why         string      `json:"why" opt:"people" doc:"a comment, or empty"`
	}
	jsonCase struct {
		Step    int          `json:"step" opt:"yes" doc:"1, or the number of the step: later steps see what earlier ones remembered"`
		Name    string       `json:"name" doc:"a word for the case; “otherwise” for the last of a step"`
		When    string       `json:"when" doc:"the condition, or “always”; “otherwise” for the last of a step"`
		Effects []jsonEffect `json:"effects" opt:"yes" doc:"empty: nothing"`
		Why     string       `json:"why" opt:"people" doc:"a comment, or empty"`
	}
	jsonEffect struct {
		Do     string      `json:"do" doc:"what is done" enum:"emit add remember change forget return"`
		To     string      `json:"to" opt:"yes" doc:"the event, table or memory; empty for return"`
		Key    []jsonField `json:"key" opt:"yes" doc:"of a table (named) or memory (in order, names empty); else empty"`
		Value  string      `json:"value" opt:"yes" doc:"what is added to an unnamed member, or returned; else empty"`
		Fields []jsonField `json:"fields" opt:"yes" doc:"the members with their values; else empty"`
		Why    string      `json:"why" opt:"people" doc:"a comment, or empty"`
	}
	jsonField struct {
		Name string `json:"name" opt:"yes" doc:"of the member"`
		Is   string `json:"is" doc:"an expression over inputs"`
	}
	jsonView struct {
		Of    string `json:"of" doc:"a table or event"`
		Top   int    `json:"top" opt:"yes" doc:"rows shown; 0: all"`
		Every string `json:"every" opt:"yes" doc:"an interval such as 5s; empty: at the end"`
	}
)

// EncodeJSON writes the JSON form.
func EncodeJSON(c *Contract) ([]byte, error) {
	j := jsonContract{Title: c.Title, Why: c.Doc, Params: []jsonParam{}, Enums: []jsonEnum{}, Defines: []jsonDefine{}, Events: []jsonEvent{},
		Tables: []jsonTable{}, Memories: []jsonMemory{}, Hooks: []jsonHook{}, Assume: []string{}, Show: []jsonView{}}
	for _, p := range c.Params {
		j.Params = append(j.Params, jsonParam{p.Name, p.Type.String(), exprText(p.Default), exprText(p.Min), exprText(p.Max), p.Means, p.Doc})
	}
	for _, e := range c.Enums {
		x := jsonEnum{Name: e.Name, Values: []jsonEnumValue{}, Why: e.Doc}
		for _, v := range e.Values {
			x.Values = append(x.Values, jsonEnumValue{v.Name, v.Value})
		}
		j.Enums = append(j.Enums, x)
	}
	for _, d := range c.Defines {
		x := jsonDefine{Name: d.Name, Args: []string{}, Is: ExprString(d.Body), Means: d.Means, Why: d.Doc}
		for _, a := range d.Args {
			x.Args = append(x.Args, a.Name)
		}
		j.Defines = append(j.Defines, x)
	}
	for _, e := range c.Events {
		j.Events = append(j.Events, jsonEvent{e.Name, jsonMembers(e.Members), e.More, e.Doc})
	}
	for _, t := range c.Tables {
		x := jsonTable{Name: t.Name, Key: jsonMembers(t.Key), Values: []jsonValue{}, More: t.More, Why: t.Doc}
		for _, v := range t.Values {
			x.Values = append(x.Values, jsonValue{v.Name, string(v.Agg), v.Type.String(), v.Step, v.Slots})
		}
		j.Tables = append(j.Tables, x)
	}
	for _, m := range c.Memories {
		j.Memories = append(j.Memories, jsonMemory{m.Name, jsonMembers(m.Key), jsonMembers(m.Fields), m.Doc})
	}
	for _, h := range c.Hooks {
		j.Hooks = append(j.Hooks, encodeHook(h))
	}
	for _, a := range c.Assume {
		j.Assume = append(j.Assume, a.Name)
	}
	for _, v := range c.Views {
		x := jsonView{Of: v.Table, Top: v.Top}
		if v.Every > 0 {
			x.Every = numberText(&Number{Value: uint64(v.Every), Unit: durationUnit(uint64(v.Every))})
		}
		j.Show = append(j.Show, x)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(j); err != nil {
		return nil, fmt.Errorf("writing the contract as JSON: %w", err)
	}
	return b.Bytes(), nil
}

func exprText(e Expr) string {
	if e == nil {
		return ""
	}
	return ExprString(e)
}

func jsonMembers(list []Member) []jsonMember {
	out := []jsonMember{}
	for _, m := range list {
		out = append(out, jsonMember{m.Name, m.Type.String()})
	}
	return out
}

func jsonFields(list []Field) []jsonField {
	out := []jsonField{}
	for _, f := range list {
		out = append(out, jsonField{f.Name, ExprString(f.Is)})
	}
	return out
}

func encodeHook(h *Hook) jsonHook {
	x := jsonHook{Places: []jsonPlace{}, Cases: []jsonCase{}, Why: h.Doc}
	for _, p := range h.Places {
		x.Places = append(x.Places, jsonPlace{p.String(), append([]string{}, argTexts(p.Args)...), jsonFields(p.With), p.Or, p.IfPresent, p.Doc})
	}
	for i, s := range h.Steps {
		for _, c := range s.Cases {
			when := "always"
			if c.When != nil {
				when = ExprString(c.When)
			}
			x.Cases = append(x.Cases, jsonCase{i + 1, c.Name, when, encodeEffects(c.Effects), c.Doc})
		}
		x.Cases = append(x.Cases, jsonCase{i + 1, "otherwise", "otherwise", encodeEffects(s.Otherwise), ""})
	}
	return x
}

func encodeEffects(list []*Effect) []jsonEffect {
	out := []jsonEffect{}
	for _, e := range list {
		out = append(out, jsonEffect{string(e.Verb), e.To, jsonFields(e.Key), exprText(e.Value), jsonFields(e.Fields), e.Doc})
	}
	return out
}

// DecodeJSON reads the JSON form: no member may be there that the schema does not have, none
// twice, and none left out unless its empty value says the same. Positions in the result, and
// in what Check says about it, are those of its text form, [Format].
func DecodeJSON(data []byte) (*Contract, error) {
	var j jsonContract
	if err := readStrictly(data, &j); err != nil {
		return nil, err
	}
	return j.decode()
}

// Draft is the answer of an author who is asked to write a contract.
type Draft struct {
	Analysis string
	// Cannot says why there is no contract; then Contract is nil.
	Cannot   string
	Contract *Contract
}

type jsonDraft struct {
	Analysis string `json:"analysis" opt:"yes" doc:"think first: what happens when, which hook sees it, what identifies it, what must be left out, where the request is ambiguous"`
	Cannot   string `json:"cannot" opt:"yes" doc:"empty, or why no contract can say this; then leave the rest empty"`
	jsonContract
}

// DraftSchema is the schema of a [Draft]: the JSON form without what only people write into contracts,
// such as comments, and before it the author's thoughts.
func DraftSchema() []byte {
	var b bytes.Buffer
	writeSchema(&b, reflect.TypeFor[jsonDraft](), "", "", true)
	return b.Bytes()
}

// DecodeDraft reads a draft as [DecodeJSON] reads a contract.
func DecodeDraft(data []byte) (Draft, error) {
	var j jsonDraft
	if err := readStrictly(data, &j); err != nil {
		return Draft{}, err
	}
	d := Draft{Analysis: j.Analysis, Cannot: strings.TrimSpace(j.Cannot)}
	if d.Cannot != "" && len(j.Hooks) == 0 {
		return d, nil
	}
	var err error
	d.Contract, err = j.jsonContract.decode()
	return d, err
}

// readStrictly reads data into what to points to.
func readStrictly(data []byte, to any) error {
	if len(data) > 4*maxText {
		return Errors{{Msg: fmt.Sprintf("the contract has %d bytes; at most %d are read", len(data), 4*maxText)}}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := strict(dec, reflect.TypeOf(to).Elem(), "the contract"); err != nil {
		var e *Error
		if errors.As(err, &e) {
			return Errors{e}
		}
		return Errors{{Msg: err.Error()}}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Errors{{Msg: "something follows the contract"}}
	}
	if err := json.Unmarshal(data, to); err != nil {
		return Errors{{Msg: "reading the contract: " + err.Error()}}
	}
	return nil
}

func (j jsonContract) decode() (*Contract, error) {
	d := &jsonDecoder{}
	c := d.contract(j)
	if len(d.errs) > 0 {
		return nil, d.errs[:min(len(d.errs), maxErrors)]
	}
	out, err := Parse(Format(c))
	if err != nil {
		return nil, err
	}
	return out, nil
}

// strict compares what a decoder reads with a type: exactly its members, each once.
func strict(dec *json.Decoder, t reflect.Type, path string) error {
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	kindOf := func() string {
		switch tok := tok.(type) {
		case json.Delim:
			return map[json.Delim]string{'{': "an object", '[': "a list"}[tok]
		case string:
			return "a text"
		case json.Number:
			return "a number"
		case bool:
			return "true or false"
		}
		return fmt.Sprint(tok)
	}
	wrong := func(want string) error {
		if tok == nil {
			return &nullError{path, want}
		}
		return fmt.Errorf("%s: expected %s, found %s", path, want, kindOf())
	}
	switch t.Kind() {
	case reflect.Struct:
		if tok != json.Delim('{') {
			return wrong("an object")
		}
		return strictObject(dec, t, path)
	case reflect.Slice:
		if tok != json.Delim('[') {
			return wrong("a list")
		}
		for i := 0; dec.More(); i++ {
			if i >= maxItems {
				return fmt.Errorf("%s: more than %d items", path, maxItems)
			}
			if err := strict(dec, t.Elem(), path+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
		_, err := dec.Token()
		return err
	case reflect.String:
		if _, ok := tok.(string); !ok {
			return wrong("a text")
		}
	case reflect.Bool:
		if _, ok := tok.(bool); !ok {
			return wrong("true or false")
		}
	default:
		if _, ok := tok.(json.Number); !ok {
			return wrong("a number")
		}
	}
	return nil
}

func strictObject(dec *json.Decoder, t reflect.Type, path string) error {
	fields := map[string]reflect.StructField{}
	var names []string
	for _, f := range membersIn(t) {
		name := f.Tag.Get("json")
		fields[name] = f
		names = append(names, name)
	}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		name, _ := tok.(string)
		f, ok := fields[name]
		if !ok {
			return &Error{Msg: fmt.Sprintf("%s has no member %q", path, name), Suggest: suggest(name, names)}
		}
		if seen[name] {
			return fmt.Errorf("%s has the member %q twice", path, name)
		}
		seen[name] = true
		below := name
		if path != "the contract" {
			below = path + "." + name
		}
		err = strict(dec, f.Type, below)
		var null *nullError
		if f.Tag.Get("opt") != "" && errors.As(err, &null) && null.path == below {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, n := range names {
		if !seen[n] && fields[n].Tag.Get("opt") == "" {
			return fmt.Errorf("%s lacks the member %q", path, n)
		}
	}
	return nil
}

// nullError says that there is null where something else is expected, which is as good as
// nothing where that will do.
type nullError struct{ path, want string }

func (e *nullError) Error() string {
	return fmt.Sprintf("%s: expected %s, found null", e.path, e.want)
}

// membersIn are the fields of a struct, those of embedded structs among them.
func membersIn(t reflect.Type) (out []reflect.StructField) {
	for f := range t.Fields() {
		if f.Anonymous {
			out = append(out, membersIn(f.Type)...)
		} else {
			out = append(out, f)
		}
	}
	return out
}

type jsonDecoder struct{ errs Errors }

func (d *jsonDecoder) failf(path, format string, args ...any) {
	d.errs = append(d.errs, &Error{Msg: path + ": " + fmt.Sprintf(format, args...)})
}

// wrap says where in the JSON an error of a text is.
func (d *jsonDecoder) wrap(path string, err error) {
	var list Errors
	if !errors.As(err, &list) {
		d.failf(path, "%v", err)
	}
	for _, e := range list {
		d.errs = append(d.errs, &Error{Msg: fmt.Sprintf("%s, column %d: %s", path, e.At.Column, e.Msg), Suggest: e.Suggest})
	}
}

// read runs a part of the text form's parser over a text.
func (d *jsonDecoder) read(path, text string, f func(p *parser)) {
	if strings.ContainsAny(text, "#\n") {
		d.failf(path, "%q has a character that does not belong there", text)
		return
	}
	tokens, errs := lex(text)
	p := &parser{tokens: tokens, errs: errs}
	p.try(func() {
		f(p)
		if t := p.peek(); t.kind != tokEOF {
			p.failf(t.at, "expected the end, found %s%s", t, hint(habits, t.text))
		}
	})
	if len(p.errs) > 0 {
		d.wrap(path, p.errs)
	}
}

func (d *jsonDecoder) name(path, text string) string {
	ok := text != "" && isLetter(text[0])
	for i := range len(text) {
		ok = ok && isWordByte(text[i])
	}
	if !ok {
		d.failf(path, "%q is not a name: letters, digits and _, a letter first", text)
	}
	return text
}

func (d *jsonDecoder) typ(path, text string) (t TypeName) {
	d.read(path, text, func(p *parser) { t = p.typeName() })
	return t
}

func (d *jsonDecoder) expr(path, text string) (e Expr) {
	d.read(path, text, func(p *parser) { e = p.expr() })
	if e == nil {
		e = &Number{} // an error has been reported
	}
	return e
}

func (d *jsonDecoder) optional(path, text string) Expr {
	if text == "" {
		return nil
	}
	return d.expr(path, text)
}

// plain makes sure that a text can stand in quotes or in a comment.
func (d *jsonDecoder) plain(path, text string, lines bool) string {
	visible := text
	if lines {
		visible = strings.ReplaceAll(text, "\n", "")
	}
	if !shown(visible) {
		d.failf(path, "the text has a character that cannot be shown")
		return ""
	}
	if !lines {
		return text
	}
	out := strings.Split(text, "\n")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return strings.Join(out, "\n")
}

func (d *jsonDecoder) contract(j jsonContract) *Contract {
	c := &Contract{Title: d.plain("title", j.Title, false), Doc: d.plain("why", j.Why, true)}
	at := func(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
	for i, x := range j.Params {
		p := at("params", i)
		param := &Param{Name: d.name(p+".name", x.Name), Type: d.typ(p+".type", x.Type), Default: d.optional(p+".default", x.Default),
			Min: d.optional(p+".min", x.Min), Max: d.optional(p+".max", x.Max), Means: d.plain(p+".means", x.Means, false), Doc: d.plain(p+".why", x.Why, true)}
		if (param.Min == nil) != (param.Max == nil) {
			d.failf(p, "a range has both min and max")
		}
		c.Params = append(c.Params, param)
	}
	for i, x := range j.Enums {
		p := at("enums", i)
		e := &Enum{Name: d.name(p+".name", x.Name), Doc: d.plain(p+".why", x.Why, true)}
		for _, v := range x.Values {
			if v.Value > 1<<31-1 || v.Value < -(1<<31-1) {
				d.failf(p, "%d does not fit 32 bits", v.Value)
			}
			e.Values = append(e.Values, EnumValue{Name: d.name(p+".values", v.Name), Value: v.Value})
		}
		c.Enums = append(c.Enums, e)
	}
	for i, x := range j.Defines {
		p := at("defines", i)
		def := &Define{Name: d.name(p+".name", x.Name), Body: d.expr(p+".is", x.Is), Means: d.plain(p+".means", x.Means, false), Doc: d.plain(p+".why", x.Why, true)}
		for _, a := range x.Args {
			def.Args = append(def.Args, Word{Name: d.name(p+".args", a)})
		}
		c.Defines = append(c.Defines, def)
	}
	for i, x := range j.Events {
		p := at("events", i)
		c.Events = append(c.Events, &Event{Name: d.name(p+".name", x.Name), Members: d.members(p+".members", x.Members), More: x.More, Doc: d.plain(p+".why", x.Why, true)})
	}
	for i, x := range j.Tables {
		c.Tables = append(c.Tables, d.table(at("tables", i), x))
	}
	for i, x := range j.Memories {
		p := at("memories", i)
		c.Memories = append(c.Memories, &Memory{Name: d.name(p+".name", x.Name), Key: d.members(p+".key", x.Key), Fields: d.members(p+".fields", x.Fields), Doc: d.plain(p+".why", x.Why, true)})
	}
	j.tidy()
	for i, x := range j.Hooks {
		c.Hooks = append(c.Hooks, d.hook(at("hooks", i), x))
	}
	for i, a := range j.Assume {
		c.Assume = append(c.Assume, Word{Name: d.name(at("assume", i), a)})
	}
	for i, v := range j.Show {
		c.Views = append(c.Views, d.view(at("show", i), v))
	}
	return c
}

// tidy puts right what can be meant in one way only: keys of memories that are named, a count
// that does not say by how much, an unnamed member under a name, the target of a return.
func (j jsonContract) tidy() {
	for h := range j.Hooks {
		for c := range j.Hooks[h].Cases {
			for e := range j.Hooks[h].Cases[c].Effects {
				x := &j.Hooks[h].Cases[c].Effects[e]
				switch x.Do {
				case string(Remember), string(Change), string(Forget):
					for _, m := range j.Memories {
						if m.Name == x.To {
							x.Key = inOrder(x.Key, m.Key)
						}
					}
				case string(Add):
					for _, t := range j.Tables {
						if t.Name == x.To && len(t.Values) == 1 && t.Values[0].Name == "" {
							x.unnamed(t.Values[0])
						}
					}
				case string(Return):
					x.To = ""
				}
			}
		}
	}
}

// unnamed makes a value of what is added to the only, unnamed member of a row.
func (x *jsonEffect) unnamed(to jsonValue) {
	if x.Value == "" && len(x.Fields) == 1 {
		x.Value, x.Fields = x.Fields[0].Is, nil
	}
	if x.Value == "" && len(x.Fields) == 0 && to.How == string(Count) {
		x.Value = "1"
	}
}

// inOrder takes the names off a key that has exactly those declared, and puts it into their
// order. Any other stays as it is.
func inOrder(given []jsonField, declared []jsonMember) []jsonField {
	if len(given) != len(declared) {
		return given
	}
	out := make([]jsonField, len(declared))
	for i, m := range declared {
		at := slices.IndexFunc(given, func(f jsonField) bool { return f.Name == m.Name })
		if at < 0 {
			return given
		}
		out[i] = jsonField{Is: given[at].Is}
	}
	return out
}

func (d *jsonDecoder) view(p string, v jsonView) *View {
	out := &View{Table: d.name(p+".of", v.Of), Top: v.Top}
	if v.Top < 0 || v.Top > 1000 {
		d.failf(p+".top", "1 to 1000 rows can be shown, or all (0), not %d", v.Top)
	}
	if v.Every != "" {
		d.read(p+".every", v.Every, func(p *parser) { out.Every = int64(p.number("an interval such as 5s")) })
		if out.Every < 1e8 || out.Every > 24*3600*1e9 {
			d.failf(p+".every", "an interval is from 100ms to 24h")
		}
	}
	return out
}

func (d *jsonDecoder) members(p string, list []jsonMember) (out []Member) {
	for i, m := range list {
		at := fmt.Sprintf("%s[%d]", p, i)
		out = append(out, Member{Name: d.name(at+".name", m.Name), Type: d.typ(at+".type", m.Type)})
	}
	return out
}

func (d *jsonDecoder) table(p string, x jsonTable) *Table {
	t := &Table{Name: d.name(p+".name", x.Name), Key: d.members(p+".key", x.Key), More: x.More, Doc: d.plain(p+".why", x.Why, true)}
	for i, v := range x.Values {
		at := fmt.Sprintf("%s.values[%d]", p, i)
		if v.How == string(Count) && v.Type == "" {
			v.Type = "k_count"
		}
		out := TableValue{Name: v.Name, Agg: Agg(v.How), Type: d.typ(at+".type", v.Type), Step: v.Step, Slots: v.Slots}
		if v.Name != "" || len(x.Values) > 1 {
			d.name(at+".name", v.Name)
		}
		if !slices.Contains(aggs, v.How) {
			d.errs = append(d.errs, &Error{Msg: fmt.Sprintf("%s.how: %q is none of %s", at, v.How, strings.Join(aggs, ", ")), Suggest: suggest(v.How, aggs)})
		}
		if out.Agg == Count && v.Type != "k_count" {
			d.failf(at+".type", "the type of a count is k_count")
		}
		if out.Agg != Linear && (v.Step != 0 || v.Slots != 0) {
			d.failf(at, "step and slots belong to linear")
		}
		t.Values = append(t.Values, out)
	}
	if x.More && len(x.Values) == 1 && x.Values[0].Name == "" {
		d.failf(p+".more", "a cell without named members has no further ones")
	}
	return t
}

func (d *jsonDecoder) hook(p string, x jsonHook) *Hook {
	h := &Hook{Doc: d.plain(p+".why", x.Why, true)}
	if len(x.Places) == 0 || len(x.Cases) == 0 {
		d.failf(p, "a hook has places and cases")
	}
	for i, j := range x.Places {
		at := fmt.Sprintf("%s.places[%d]", p, i)
		place := &Place{With: d.fields(at+".with", j.With, true), Or: j.Alternative, IfPresent: j.IfPresent, Doc: d.plain(at+".why", j.Why, true)}
		kind, target, err := cutPlace(j.At)
		if err == nil && strings.ContainsAny(j.At, "({#\"") {
			err = fmt.Errorf("%q is no place", j.At)
		}
		if err != nil {
			d.errs = append(d.errs, &Error{Msg: at + ".at: " + err.Error(), Suggest: suggest(kind, placeKinds)})
		}
		if i == 0 && j.Alternative {
			d.failf(at+".alternative", "there is no place before to which it is an alternative")
		}
		if i == 0 && place.Doc != "" {
			d.failf(at+".why", "the comment of the first place is that of the hook")
		}
		place.Kind, place.Target = kind, target
		for _, a := range j.Args {
			d.read(at+".args", asArgument(a), func(p *parser) { place.Args = append(place.Args, p.arg()) })
		}
		h.Places = append(h.Places, place)
	}
	for i, j := range x.Cases {
		d.oneCase(fmt.Sprintf("%s.cases[%d]", p, i), j, h, i > 0 && x.Cases[i-1].When == "otherwise")
	}
	if n := len(x.Cases); n > 0 && x.Cases[n-1].When != "otherwise" {
		d.failf(p+".cases", "the last case of step %d has to be “otherwise”", x.Cases[n-1].Step)
	}
	return h
}

func (d *jsonDecoder) oneCase(at string, j jsonCase, h *Hook, ended bool) {
	if ended || len(h.Steps) == 0 {
		h.Steps = append(h.Steps, &Step{})
	}
	if j.Step != len(h.Steps) && j.Step != 0 {
		d.failf(at+".step", "expected step %d: steps are numbered from 1, and each ends with “otherwise”", len(h.Steps))
	}
	step := h.Steps[len(h.Steps)-1]
	effects := d.effects(at+".effects", j.Effects)
	if j.When == "otherwise" {
		if j.Why != "" {
			d.failf(at+".why", "the case “otherwise” has no comment")
		}
		step.Otherwise = effects
		return
	}
	if j.When == "true" {
		j.When = "always"
	}
	c := &Case{Name: d.name(at+".name", j.Name), Effects: effects, Doc: d.plain(at+".why", j.Why, true)}
	if j.Name == "otherwise" {
		d.failf(at, "the case otherwise has the condition “otherwise”, not %q", j.When)
	}
	if j.When != "always" {
		c.When = d.expr(at+".when", j.When)
	}
	step.Cases = append(step.Cases, c)
}

func (d *jsonDecoder) effects(p string, list []jsonEffect) (out []*Effect) {
	for i, j := range list {
		at := fmt.Sprintf("%s[%d]", p, i)
		e := &Effect{Verb: Verb(j.Do), To: j.To, Doc: d.plain(at+".why", j.Why, true)}
		if !slices.Contains(verbs, j.Do) {
			d.errs = append(d.errs, &Error{Msg: fmt.Sprintf("%s.do: %q is none of %s", at, j.Do, strings.Join(verbs, ", ")), Suggest: suggest(j.Do, verbs)})
			continue
		}
		memory := e.Verb == Remember || e.Verb == Change || e.Verb == Forget
		e.Key = d.fields(at+".key", j.Key, false)
		e.Fields = d.fields(at+".fields", j.Fields, true)
		e.Value = d.optional(at+".value", j.Value)
		if e.Verb != Return {
			d.name(at+".to", j.To)
		}
		for _, k := range e.Key {
			if memory && k.Name != "" {
				d.failf(at+".key", "the key of a memory is given in order, without names")
			}
		}
		switch {
		case e.Verb == Return && (j.To != "" || len(j.Key)+len(j.Fields) > 0 || j.Value == ""):
			d.failf(at, "return has a value and nothing else")
		case memory && (len(j.Key) == 0 || j.Value != ""), e.Verb == Forget && len(j.Fields) > 0:
			d.failf(at, "%s has a key%s", e.Verb, map[bool]string{true: "", false: " and fields"}[e.Verb == Forget])
		case e.Verb == Emit && (len(j.Key) > 0 || j.Value != ""):
			d.failf(at, "emit has fields and nothing else")
		case e.Verb == Add && (j.Value != "") == (len(j.Fields) > 0):
			d.failf(at, "add has either a value or fields")
		}
		out = append(out, e)
	}
	return out
}

func (d *jsonDecoder) fields(p string, list []jsonField, named bool) (out []Field) {
	for i, f := range list {
		at := fmt.Sprintf("%s[%d]", p, i)
		if named || f.Name != "" {
			d.name(at+".name", f.Name)
		}
		out = append(out, Field{Name: f.Name, Is: d.expr(at+".is", f.Is)})
	}
	return out
}

// Schema is the JSON schema of the JSON form, as strict structured output wants it: all
// members required, no others allowed.
func Schema() []byte {
	var raw, out bytes.Buffer
	writeSchema(&raw, reflect.TypeFor[jsonContract](), "", "", false)
	if err := json.Indent(&out, raw.Bytes(), "", "  "); err != nil {
		panic("the schema is no JSON: " + err.Error()) // it is written here
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// writeSchema writes the schema of a type. Members keep their order, for a model answers in
// it: what is declared has to come before what uses it.
func writeSchema(b *bytes.Buffer, t reflect.Type, doc, enum string, draft bool) {
	quoted := func(s string) {
		enc := json.NewEncoder(b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			panic("a text cannot be written: " + err.Error())
		}
		b.Truncate(b.Len() - 1) // Encode ends the line
	}
	b.WriteByte('{')
	if doc != "" {
		b.WriteString(`"description":`)
		quoted(doc)
		b.WriteByte(',')
	}
	values := strings.Fields(enum)
	switch t.Kind() {
	case reflect.Struct:
		b.WriteString(`"type":"object","properties":{`)
		var names []string
		for _, f := range membersIn(t) {
			if draft && f.Tag.Get("opt") == "people" {
				continue
			}
			if len(names) > 0 {
				b.WriteByte(',')
			}
			name := f.Tag.Get("json")
			names = append(names, strconv.Quote(name))
			quoted(name)
			b.WriteByte(':')
			writeSchema(b, f.Type, f.Tag.Get("doc"), f.Tag.Get("enum"), draft)
		}
		fmt.Fprintf(b, `},"required":[%s],"additionalProperties":false`, strings.Join(names, ","))
	case reflect.Slice:
		b.WriteString(`"type":"array","items":`)
		writeSchema(b, t.Elem(), "", enum, draft)
	case reflect.String:
		b.WriteString(`"type":"string"`)
		if len(values) > 0 {
			fmt.Fprintf(b, `,"enum":["%s"]`, strings.Join(values, `","`))
		}
	case reflect.Bool:
		b.WriteString(`"type":"boolean"`)
	default:
		b.WriteString(`"type":"integer"`)
	}
	b.WriteByte('}')
}
