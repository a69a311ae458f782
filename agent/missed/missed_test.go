package missed_test

import (
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/missed"
	"kgent/agent/recipes"
)

func TestWhy(t *testing.T) {
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	own, err := contract.Parse(`contract "IPv4 only"
event tries { pid: k_pid, dport: k_port }
hook tp_btf/inet_sock_set_state(sk, newstate)
  case v4: newstate == TCP_SYN_SENT && sk.__sk_common.skc_family == AF_INET
    emit tries { pid: current.tgid, dport: ntohs(sk.__sk_common.skc_dport) }
  otherwise nothing
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, recipe string
		values       map[string]string
		thing        string
		want         string // part of what excludes it; empty: nothing does
		all          bool
		spoken       bool
	}{
		{"another port", "tcp-connect", map[string]string{"dport": "443"}, "port 80", "remote_port(sk) == 443 (the parameter dport), and you ask about port 80", true, true},
		{"that port", "tcp-connect", map[string]string{"dport": "443"}, "connections to port 443", "", false, true},
		{"any port", "tcp-connect", nil, "port 80", "", false, true},
		{"another address", "tcp-connect", map[string]string{"daddr": "10.0.0.1"}, "10.0.0.2", `remote_ip(sk) == "10.0.0.1" (the parameter daddr)`, true, true},
		{"another process id", "tcp-connect", map[string]string{"pid": "12"}, "pid 13", "current.tgid == 12 (the parameter pid), and you ask about pid 13", true, true},
		{"another name", "tcp-connect", map[string]string{"comm": "nginx"}, "curl", `== "nginx" (the parameter comm), and you ask about curl`, true, true},
		{"another user", "tcp-connect", map[string]string{"uid": "33"}, "user root", "current.uid == 33 (the parameter uid)", true, true},
		{"the family", "", nil, "IPv6", "skc_family == AF_INET, and you ask about IPv6", true, true},
		{"the family of an address", "", nil, "2001:db8::1", "and you ask about 2001:db8::1", true, true},
		{"the right family", "", nil, "v4", "", false, true},
		{"another signal", "signals", map[string]string{"sig": "SIGKILL"}, "SIGTERM", `signo == SIGKILL (the parameter sig), and you ask about SIGTERM`, true, true},
		{"a name and its number", "signals", map[string]string{"sig": "SIGKILL"}, "signal 9", "", false, true},
		{"nothing it speaks of", "tcp-connect", nil, "/etc/passwd", "", false, false},
		{"nothing at all", "tcp-connect", nil, "the 12 of it", "", false, false},
		{"not read as a condition", "tcp-connect", map[string]string{"dport": "443"}, `port 443 || dport == 80`, "", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := own
			if tc.recipe != "" {
				r, ok := library.Lookup(tc.recipe)
				if !ok {
					t.Fatal("no such recipe")
				}
				c = r.Contract
			}
			a := missed.Why(c, tc.values, tc.thing)
			got := strings.Join(a.Excludes, "\n")
			if tc.want == "" && tc.name != "not read as a condition" && (got != "" || a.All) || !strings.Contains(got, tc.want) || a.All != tc.all {
				t.Errorf("excludes %q, all %v; want %q, %v", got, a.All, tc.want, tc.all)
			}
			if (len(a.Spoken) > 0) != tc.spoken {
				t.Errorf("spoken of: %q, want %v", a.Spoken, tc.spoken)
			}
		})
	}
}
