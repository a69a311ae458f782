package contract_test

import (
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/program/programtest"
)

// What a place at several functions, or at both ends of one, hands over, and what is said where it does not.
func TestSeveral(t *testing.T) {
	types, err := contract.NewTypes(programtest.Here(t).Facts)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, place, does string
		says              string // part of an error; none if empty
	}{
		{"by name", "kprobe.multi/vfs_read,vfs_write(count)", "case c: count > 1 && probe.function != 0\n    add 1 to n\n  otherwise nothing", ""},
		{"not called so by all", "kprobe.multi/vfs_read,vfs_fsync(count)", "case c: count > 1\n    add 1 to n\n  otherwise nothing", "has no argument count"},
		{"by position", "kprobe.multi/vfs_read,vfs_fsync(file, arg1)", "case c: file != null && arg1 > 1\n    add 1 to n\n  otherwise nothing", ""},
		{"behind a struct that takes two registers", "kprobe.multi/tcp_setsockopt,udp_setsockopt(optlen)", "case c: optlen > 4\n    add 1 to n\n  otherwise nothing", "does not find the argument optlen of tcp_setsockopt"},
		{"behind one, by position", "kprobe.multi/tcp_setsockopt,udp_setsockopt(arg4)", "case c: arg4 > 4\n    add 1 to n\n  otherwise nothing", "has no argument arg4; it has sk, level, optname"},
		{"behind one, of one function", "kprobe/tcp_setsockopt(optlen)", "case c: optlen > 4\n    add 1 to n\n  otherwise nothing", "does not find the argument optlen of tcp_setsockopt"},
		{"before one", "kprobe/tcp_setsockopt(optname)", "case c: optname == 1\n    add 1 to n\n  otherwise nothing", ""},
		{"of a pattern", "kprobe.multi/vfs_*(arg2)", "case c: arg2 > 1\n    add 1 to n\n  otherwise nothing", ""},
		{"no pattern", "kprobe.multi/vfs_[()", "case c: always\n    add 1 to n\n  otherwise nothing", ""},
		{"none such", "kprobe.multi/vfs_read,vfs_raed()", "case c: always\n    add 1 to n\n  otherwise nothing", "vfs_raed"},
		{"a result", "kretprobe.multi/vfs_read,vfs_write(ret)", "case c: ret < 0\n    add 1 to n\n  otherwise nothing", ""},
		{"a result at the call", "kprobe.multi/vfs_read,vfs_write(ret)", "case c: ret < 0\n    add 1 to n\n  otherwise nothing", "its end is kretprobe.multi/vfs_read,vfs_write"},
		{"the function of one", "kprobe/vfs_read()", "case c: probe.function != 0\n    add 1 to n\n  otherwise nothing", "it is known which one runs"},
		{"which end of one", "kprobe/vfs_read()", "case c: probe.returns\n    add 1 to n\n  otherwise nothing", "is for kprobe.session"},
		{"an answer", "kprobe.multi/vfs_read()", "case c: current.uid != 0\n    return 0\n  otherwise return 0", "means nothing"},
		{"both ends", "kprobe.session/vfs_read(count, ret)", "case c: probe.returns && ret < 0\n    add 1 to n\n    return 0\n  case d: probe.returns\n    return 0\n  case e: count > 4096\n    return 0\n  otherwise return 1", ""},
		{"a result too early", "kprobe.session/vfs_read(ret)", "case c: ret < 0\n    add 1 to n\n    return 0\n  otherwise return 0", "before a call returns it has no result"},
		{"an argument too late", "kprobe.session/vfs_read(count)", "case c: probe.returns && count > 1\n    add 1 to n\n    return 0\n  otherwise return 0", "at the return of a call its arguments are gone"},
		{"an argument in what is left", "kprobe.session/vfs_read(count, ret)", "case c: probe.returns && ret < 0\n    return 0\n  case d: count > 4096\n    return 0\n  otherwise return 1", "its arguments are gone"},
		{"no answer", "kprobe.session/vfs_read()", "case c: probe.returns\n    add 1 to n\n  otherwise nothing", "exactly one step"},
		{"a socket", "socket(skb)", "case c: packet.len > 60 && packet.u8(23) == 17\n    add 1 to n\n    return 0\n  otherwise return packet.len", ""},
		{"a task at a socket", "socket()", "case c: current.tgid == 1\n    add 1 to n\n    return 0\n  otherwise return 0", "no task can be named"},
		{"a cgroup at a socket", "socket()", "case c: packet.cgroup == 1\n    add 1 to n\n    return 0\n  otherwise return 0", "belongs to no cgroup"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := contract.Parse("contract \"Test\"\ntable n : count\nhook " + tt.place + "\n  " + tt.does + "\n")
			if err == nil {
				_, err = contract.Check(c, types)
				if again, err := contract.Parse(contract.Format(c)); err != nil || contract.Format(again) != contract.Format(c) {
					t.Errorf("it reads as something else when it is written: %v\n%s", err, contract.Format(c))
				}
			}
			switch {
			case tt.says == "" && tt.name != "no pattern" && err != nil:
				t.Errorf("error %v", err)
			case err == nil && tt.name == "no pattern", tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
}
