package codegen_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"kgent/agent/codegen"
)

// The program of testdata/slow.kc, as approvers read it. KGENT_UPDATE=1 writes it anew.
func TestGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/slow.kc")
	if err != nil {
		t.Fatal(err)
	}
	source, err := codegen.C(checked(t, string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("KGENT_UPDATE") != "" {
		if err := os.WriteFile("testdata/slow.bpf.c", []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/slow.bpf.c")
	if err != nil {
		t.Fatal(err)
	}
	if source != string(want) {
		t.Errorf("the program is another one; if it is better, write it with KGENT_UPDATE=1:\n%s", numbered(source))
	}
}

// What has no code is said with its line.
func TestUnsupported(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		line int
		says string
	}{
		"a name that C needs": {`contract "x"
event seen { default: k_pid }
hook tp_btf/sched_process_exec()
  case any: always
    emit seen { default: current.tgid }
  otherwise nothing
`, 2, "a member called default"},
		"two cells changed at once": {`contract "x"
event seen { pid: k_pid }
memory m { thread: k_tid } : { a: u32 }
hook tp_btf/sched_process_exec()
  case any: known m[1] && known m[2]
    change m[1] { a: m[2].a }
    change m[2] { a: m[1].a }
    emit seen { pid: current.tgid }
  otherwise
    remember m[1] { a: 0 }
`, 6, "beside other changes"},
		"a session": {`contract "x"
event failed { ret: k_ret }
hook kprobe.session/vfs_read(count, ret)
  case call: !probe.returns && count >= 4096
    return 0
  case failed: probe.returns && ret < 0
    emit failed { ret: ret }
    return 0
  otherwise return 1
`, 3, "kprobe.multi and kretprobe.multi with a memory by current.tid can ask the same"},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := codegen.C(checked(t, c.text))
			var u *codegen.Unsupported
			if !errors.As(err, &u) || source != "" {
				t.Fatalf("there is a program, or another error: %v\n%s", err, source)
			}
			if u.At.Line != c.line || !strings.Contains(u.What, c.says) {
				t.Errorf("line %d: %s; want line %d and %q", u.At.Line, u.What, c.line, c.says)
			}
		})
	}
}

// What is said to take a session's place is generated.
func TestInPlaceOfASession(t *testing.T) {
	source, err := codegen.C(checked(t, `contract "x"
event failed { ret: k_ret }
memory large { thread: k_tid } : { count: k_bytes }
hook kprobe.multi/vfs_read(count)
  case call: count >= 4096
    remember large[current.tid] { count: count }
  otherwise forget large[current.tid]
hook kretprobe.multi/vfs_read(ret)
  case failed: known large[current.tid] && ret < 0
    emit failed { ret: ret }
    forget large[current.tid]
  otherwise forget large[current.tid]
`))
	if err != nil || !strings.Contains(source, `SEC("kretprobe.multi/vfs_read")`) {
		t.Errorf("%v\n%s", err, source)
	}
}

// Words of a contract cannot end the comments that they stand in, nor add code.
func TestWordsAreComments(t *testing.T) {
	c := checked(t, `contract "Ends */ int evil; /* here"
param low: u8 = 3 means "*/ evil2(); /*"
# Doc */ evil3(); //
event seen { pid: k_pid }
# Hook */ evil4(); \
hook tp_btf/sched_process_exec()
  # Case */ evil5();
  case any: current.tgid > low
    emit seen { pid: current.tgid }
  otherwise nothing
`)
	source, err := codegen.C(c)
	if err != nil {
		t.Fatal(err)
	}
	for rest := source; ; {
		code, after, found := strings.Cut(rest, "/*")
		if strings.Contains(code, "evil") {
			t.Fatalf("words of the contract are code:\n%s", numbered(source))
		}
		if !found {
			break
		}
		_, rest, _ = strings.Cut(after, "*/")
	}
	built(t, source)
}

// Names that begin as the header's do come to an end as other ones.
func TestNamesOfTheHeader(t *testing.T) {
	for _, name := range []string{"k", "bpf", "kgent", "for"} {
		source, err := codegen.C(checked(t, strings.ReplaceAll(`contract "x"
param NAME_1: u8 = 3
event NAME { pid: k_pid }
memory NAME_2 { pid: k_pid } : {}
hook tp_btf/sched_process_exec()
  case any: current.tgid > NAME_1 && !known NAME_2[current.tgid]
    emit NAME { pid: current.tgid }
    remember NAME_2[current.tgid] {}
  otherwise nothing
`, "NAME", name)))
		var u *codegen.Unsupported
		if err != nil && !errors.As(err, &u) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			built(t, source)
		}
	}
}
