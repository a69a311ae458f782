package compare

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"kgent/agent/contract"
)

// Programs are divided by what they show, and for each two classes there is an input.
func TestClasses(t *testing.T) {
	process := oneEvent("__u32 v;", "", "e->v = p->tgid;")
	thread := oneEvent("__u32 v;", "", "e->v = p->pid;")
	programs := []Program{
		compiled(t, "", thread),
		compiled(t, "", process),
		compiled(t, "", oneEvent("__u32 _pad; __u64 v;", "__u32 x = p->tgid;", "e->v = x;")),
	}
	classes, differences, err := Classes(context.Background(), programs, here(t))
	if err != nil {
		t.Fatal(err)
	}
	var members [][]int
	for _, c := range classes {
		members = append(members, c.Members)
		if c.Within != 0 || len(c.Doubts) > 0 {
			t.Errorf("class %+v", c)
		}
	}
	if want := [][]int{{1, 2}, {0}}; !reflect.DeepEqual(members, want) {
		t.Errorf("classes %v, want %v", members, want)
	}
	if len(differences) == 0 {
		t.Fatal("there is no difference between the classes")
	}
	for _, d := range differences {
		wellSaid(t, d)
		if d.A != "program 1" || !strings.Contains(d.Question(), "thread id") {
			t.Errorf("difference %s, question %q", d, d.Question())
		}
	}
	opt := here(t)
	opt.Limits.Time = time.Nanosecond
	classes, differences, err = Classes(context.Background(), programs[1:], opt)
	if err != nil || len(classes) != 2 || len(differences) != 0 || len(classes[0].Doubts)+len(classes[1].Doubts) != 1 {
		t.Errorf("without time: %+v, %v, %v", classes, differences, err)
	}
}

// Two programs that were proved against one contract are the same if it leaves nothing open, and if they are
// set alike.
func TestOneContract(t *testing.T) {
	parse := func(text string) *contract.Contract {
		c, err := contract.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const total = "contract \"Exits\"\nevent seen { v: u32 }\nhook tp_btf/sched_process_exit(p)\n  case all: always\n    emit seen { v: p.tgid }\n  otherwise nothing\n"
	open := strings.Replace(total, "v: u32 }", "v: u32, ... }", 1)
	if !Total(parse(total)) || Total(parse(open)) {
		t.Error("what is left open was not seen")
	}
	a, b := compiled(t, "a", oneEvent("__u32 v;", "", "e->v = p->tgid;")), compiled(t, "b", oneEvent("__u32 v;", "", "e->v = p->pid;"))
	a.Kept, b.Kept = parse(total), parse(total)
	if r := held(t, a, b, here(t)); r.Verdict != Same || r.Within != 0 || !strings.Contains(r.How, "one contract") {
		t.Errorf("%+v", r)
	}
	a.Kept, b.Kept = parse(open), parse(open)
	if r := held(t, a, b, here(t)); r.Verdict != Different {
		t.Errorf("%+v", r)
	}
	b.Kept = parse(strings.Replace(total, "p.tgid", "p.pid", 1))
	if r := held(t, a, b, here(t)); r.Verdict != Different {
		t.Errorf("%+v", r)
	}
}

func TestVerdicts(t *testing.T) {
	if (Result{}).Verdict != Unknown {
		t.Error("the zero value is not Unknown")
	}
	for _, v := range []Verdict{Unknown, Same, Different} {
		var back Verdict
		raw, err := json.Marshal(v)
		if err != nil || json.Unmarshal(raw, &back) != nil || back != v {
			t.Errorf("%s became %s", v, back)
		}
	}
	if err := new(Verdict).UnmarshalText([]byte("EQUAL")); err == nil {
		t.Error("EQUAL is a verdict")
	}
	if _, err := Compare(context.Background(), Program{}, Program{}, Options{}); err == nil {
		t.Error("nothing can be compared with nothing")
	}
}

// Whatever names and texts a program brings, they are told in one line of plain characters.
func FuzzWords(f *testing.F) {
	f.Add("comm[3]", []byte("a\x00\xff\u202eb"), uint64(1<<63))
	f.Add("ret", []byte("%s\n"), ^uint64(3))
	f.Fuzz(func(t *testing.T, name string, raw []byte, n uint64) {
		d := &Difference{A: name, B: string(raw), Kind: Member, Subject: clean(name, 128), ADoes: "shows " + quote(name), BDoes: "shows " + textWords(raw),
			Scenario: []Step{{Place: clean(name, 128), Inputs: []Value{{Name: clean(name, 96), Value: numberWords(column{merge: "ret", signed: true}, n)}}}}}
		for _, text := range []string{d.String(), (&Result{Verdict: Different, Difference: d, Reasons: []string{name}}).Text()} {
			for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
				if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("%q", line)
				}
			}
		}
		element(name)
		packetValue(int(n%64), map[int]byte{12: byte(n), 13: byte(n >> 8), 14: byte(n >> 16)})
	})
}
