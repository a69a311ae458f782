package contract

import (
	"strings"
	"testing"
)

// A contract that is narrowed says where, in each of its forms.
func TestWhere(t *testing.T) {
	const text = `contract "Opens in a pod"

define wanted() = inside("pod:shop/db-0") && u32(pid_inside(current.task)) == 1

event opens { pid: k_pid }

hook tracepoint/syscalls/sys_enter_openat()
  case in: wanted()
    emit opens { pid: current.tgid }
  otherwise nothing
`
	c, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := Where(c); got != "pod:shop/db-0" {
		t.Errorf("where: %q", got)
	}
	if _, err := Check(c, host(t)); err != nil {
		t.Error(err)
	}
	if words := English(c); !strings.Contains(words, "the task is in pod shop/db-0") || !strings.Contains(words, "has in its own PID namespace") {
		t.Errorf("in English:\n%s", words)
	}
	raw, err := EncodeJSON(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	if Where(again) != "pod:shop/db-0" || Format(again) != Format(c) {
		t.Errorf("as JSON and back:\n%s", Format(again))
	}
	none, err := Parse(strings.Replace(text, `inside("pod:shop/db-0") && `, "", 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := Where(none); got != "" {
		t.Errorf("where: %q, of all of the node", got)
	}
}

// What is shown of a container's is found to be only that, or not.
func TestBeyond(t *testing.T) {
	head := "contract \"x\"\ndefine here() = inside(\"pod:db\") && current.uid != 0\ntable n : count\nmemory m { t: k_tid } : { at: k_time }\n" +
		"hook tracepoint/syscalls/sys_enter_openat() with there = inside(\"pod:db\")\n"
	const add, nothing = "\n    add 1 to n\n", "  otherwise nothing\n"
	for text, want := range map[string]string{
		"  case a: here()" + add + nothing:                                                     "",
		"  case a: there" + add + nothing:                                                      "",
		"  case a: inside(\"pod:db\") && current.uid != 0" + add + nothing:                     "",
		"  case a: inside(\"pod:db\") || current.uid != 0" + add + nothing:                     "a",
		"  case a: !inside(\"pod:db\")" + add + nothing:                                        "a",
		"  case a: !inside(\"pod:db\")\n    nothing\n  case b: always" + add + nothing:         "",
		"  case a: !here() || current.uid == 7\n    nothing\n  case b: always" + add + nothing: "",
		"  case a: !here() && current.uid == 7\n    nothing\n  case b: always" + add + nothing: "b",
		"  case a: here()" + add + "  otherwise" + add:                                         "otherwise",
		"  case a: here()" + add + "  case b: current.uid == 7" + add + nothing:                "b",
		"  case a: here()\n    remember m[current.tid] { at: now }\n" + nothing +
			"hook tracepoint/syscalls/sys_exit_openat()\n  case b: known m[current.tid]" + add + nothing: "",
		"  case a: always\n    remember m[current.tid] { at: now }\n" + nothing +
			"hook tracepoint/syscalls/sys_exit_openat()\n  case b: known m[current.tid]" + add + nothing: "a",
		"  case a: here()" + add + nothing +
			"hook lsm/bprm_check_security()\n  case b: current.uid == 7\n    return -1\n  otherwise return 0\n": "b",
		"  case a: here()" + add + nothing +
			"hook lsm/bprm_check_security()\n  case b: here() && current.uid == 7\n    return -1\n  otherwise return 0\n": "",
		"  case a: here()" + add + nothing +
			"hook lsm/bprm_check_security()\n  case b: here()\n    return 0\n  otherwise return -1\n": "otherwise",
	} {
		c, err := Parse(head + text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if got := Beyond(c); got != want {
			t.Errorf("%q, want %q:\n%s", got, want, text)
		}
	}
}
