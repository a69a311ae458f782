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
	answers := func(place, when, one, other string) string { // behind a hook of another kind
		return "contract \"Reads\"\nhook kprobe.session/vfs_read()\n  otherwise return 0\nhook " + place + "\n  case c: " + when + "\n    return " + one + "\n  otherwise return " + other + "\n"
	}
	for _, tt := range []struct{ name, text, says string }{
		{"arguments with each other's names", hook("", "newstate == TCP_ESTABLISHED"), "Here, the new state is the old state."},
		{"a text that seems to end", event + "hook tracepoint/syscalls/sys_enter_openat()\n  case c: current.comm == \"nginx” or “x\"\n    emit e { pid: current.tgid }\n  otherwise nothing\n", `“nginx" or "x”`},
		{"numbers by names of others", "contract \"States\"\nenum st { ESTABLISHED = 10, LISTEN = 1 }\nevent e { state: st }\nhook tp_btf/inet_sock_set_state(sk, oldstate, newstate)\n  case c: sk.__sk_common.skc_family == AF_INET\n    emit e { state: newstate }\n  otherwise nothing\n", "“state” is shown as ESTABLISHED for 10 and LISTEN for 1."},
		{"a number cut short", event + "hook tracepoint/syscalls/sys_enter_openat()\n  case c: u8(current.uid) == 0\n    emit e { pid: current.tgid }\n  otherwise nothing\n", "the low 8 bits of the user id is 0"},
		{"a denial beside a hook that only looks", answers("lsm/file_open(file)", "current.uid == 0", "1", "0"), "- If the user id is 0:\n  → answer 1\n- Otherwise:\n  → answer 0 (leave the decision to the kernel)"},
		{"a refusal in the words of another hook", answers("cgroup_skb/egress(skb)", "packet.len > 100", "TC_ACT_OK", "0"), "  → answer TC_ACT_OK\n- Otherwise:\n  → answer 0 (REFUSE IT)"},
		{"a decision at the second of two places", "contract \"Reads\"\nhook kprobe.session/vfs_read() and lsm/file_open(file)\n  otherwise return 1\n", "at kprobe.session answer 1 (do not look at the return), at lsm answer 1\n\nNothing else is shown, and nothing else is changed."},
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
