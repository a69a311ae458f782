package contract

import (
	"strings"
	"testing"
)

// What people read must not promise another thing than what is proved, whatever names the
// author of a contract takes.
func TestEnglishOfDeceit(t *testing.T) {
	const event = "contract \"Connections\"\nevent e { pid: k_pid }\n"
	hook := func(head, when string) string {
		return event + head + "hook tp_btf/inet_sock_set_state(sk, oldstate as newstate, newstate as oldstate)\n  case c: " + when + "\n    emit e { pid: 1 }\n  otherwise nothing\n"
	}
	for _, tt := range []struct{ name, text, says string }{
		{"arguments with each other's names", hook("", "newstate == TCP_ESTABLISHED"), "Here, the new state is the old state."},
		{"a text that seems to end", event + "hook tracepoint/syscalls/sys_enter_openat()\n  case c: current.comm == \"nginx” or “x\"\n    emit e { pid: current.tgid }\n  otherwise nothing\n", `“nginx" or "x”`},
		{"a number cut short", event + "hook tracepoint/syscalls/sys_enter_openat()\n  case c: u8(current.uid) == 0\n    emit e { pid: current.tgid }\n  otherwise nothing\n", "the low 8 bits of the user id is 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := English(c); !strings.Contains(got, tt.says) {
				t.Errorf("it does not say %q:\n%s", tt.says, got)
			}
		})
	}
	for _, declaration := range []string{
		"enum mine { TCP_LISTEN = 1 }\n", "enum mine { IPPROTO_TCP = 17 }\n", "enum mine { SYS_openat = 0 }\n",
		"param TCP_LISTEN: u32\n", "define TCP_LISTEN = TCP_ESTABLISHED\n",
	} {
		c, err := Parse(hook(declaration, "newstate == TCP_ESTABLISHED"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Check(c, host(t)); err == nil || !strings.Contains(err.Error(), "kernel") {
			t.Errorf("%s: %v", strings.TrimSpace(declaration), err)
		}
	}
	c, err := Parse(hook("enum same { TCP_LISTEN = 10 }\n", "newstate == TCP_ESTABLISHED"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Check(c, host(t)); err != nil && strings.Contains(err.Error(), "TCP_LISTEN is") {
		t.Errorf("the kernel's own number is refused: %v", err)
	}
}
