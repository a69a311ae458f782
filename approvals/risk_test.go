package approvals

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kgent/agent/program"
)

func TestRisk(t *testing.T) {
	tracepoint := program.Hook{Kind: program.Tracepoint, Target: "sched:sched_switch"}
	hook := func(k program.Kind) program.Hook { return program.Hook{Kind: k, Target: "eth0"} }
	tests := []struct {
		name  string
		facts program.Facts
		tier  Tier
		why   []string // the start of each sentence, in order
	}{
		{"nothing but looking", program.Facts{Hook: tracepoint, Helpers: []string{"bpf_get_current_comm", "bpf_map_update_elem", "bpf_probe_read_kernel", "bpf_ringbuf_reserve"}}, Observe,
			[]string{"reads kernel state only and changes nothing"}},
		{"user memory", program.Facts{Hook: tracepoint, Helpers: []string{"bpf_probe_read_user_str"}}, ObserveSensitive,
			[]string{"reads the memory of processes (bpf_probe_read_user_str in program p)"}},
		{"the helper of old for both memories", program.Facts{Hook: tracepoint, Helpers: []string{"bpf_probe_read_str"}}, ObserveSensitive, []string{"may read the memory of processes"}},
		{"user memory by kfunc", program.Facts{Hook: tracepoint, Kfuncs: []string{"bpf_copy_from_user_str"}}, ObserveSensitive, []string{"reads the memory of processes (bpf_copy_from_user_str"}},
		{"the trace log", program.Facts{Hook: tracepoint, Helpers: []string{"bpf_trace_printk"}}, ObserveSensitive, []string{"writes into the trace log"}},
		{"a signal", program.Facts{Hook: tracepoint, Helpers: []string{"bpf_send_signal"}}, Act, []string{"sends signals to processes (bpf_send_signal in program p)"}},
		{"another's memory", program.Facts{Hook: tracepoint, Helpers: []string{"bpf_probe_write_user"}}, Act, []string{"writes into the memory of processes"}},
		{"an override", program.Facts{Hook: hook(program.Kprobe), Helpers: []string{"bpf_override_return"}}, Act, []string{"replaces the result of kernel functions"}},
		{"the gravest first", program.Facts{Hook: tracepoint, Helpers: []string{"bpf_probe_read_user", "bpf_send_signal"}}, Act, []string{"sends signals", "reads the memory"}},
		{"a helper of tomorrow", program.Facts{Hook: tracepoint, Helpers: []string{"bpf_builtin_func(999)"}}, Act, []string{"calls a helper this release knows nothing about (bpf_builtin_func(999) in program p)"}},
		{"a kfunc of tomorrow", program.Facts{Hook: tracepoint, Kfuncs: []string{"bpf_reboot"}}, Act, []string{"calls a kernel function this release knows nothing about (bpf_reboot"}},
		{"a kfunc without a name", program.Facts{Hook: tracepoint, Kfuncs: []string{""}}, Act, []string{"calls a kernel function"}},
		{"an ending kfunc", program.Facts{Hook: tracepoint, Kfuncs: []string{"bpf_throw"}}, Act, []string{"calls a kernel function"}},
		{"iterators", program.Facts{Hook: tracepoint, Kfuncs: []string{"bpf_iter_num_destroy", "bpf_iter_num_new", "bpf_iter_num_next"}}, Observe, []string{"reads kernel state only"}},
		{"a hook of tomorrow", program.Facts{Hook: hook("telepathy")}, Act, []string{"runs at a kind of hook this release knows nothing about (telepathy of program p)"}},
		{"no hook", program.Facts{}, Act, []string{"runs at a kind of hook"}},

		{"a socket's filter", program.Facts{Hook: hook(program.SocketFilter), Verdicts: []int32{0, 42}}, Observe, []string{"reads kernel state only"}},
		{"a socket's filter that reports packets", program.Facts{Hook: hook(program.SocketFilter), Packet: true, Helpers: []string{"bpf_ringbuf_reserve"}}, ObserveSensitive, []string{"may report the content of packets"}},
		{"XDP that passes", program.Facts{Hook: hook(program.XDP), Verdicts: []int32{2}}, Observe, []string{"reads kernel state only"}},
		{"XDP that drops", program.Facts{Hook: hook(program.XDP), Verdicts: []int32{1, 2}}, Act, []string{"can drop or redirect packets (program p returns 1 at xdp)"}},
		{"XDP that aborts and sends back", program.Facts{Hook: hook(program.XDP), Verdicts: []int32{0, 2, 3}}, Act, []string{"can drop or redirect packets (program p returns 0, 3 at xdp)"}},
		{"XDP that nobody knows", program.Facts{Hook: hook(program.XDP)}, Act, []string{"may drop or redirect packets (it could not be told what program p returns at xdp)"}},
		{"tcx that goes on", program.Facts{Hook: hook(program.TCXEgress), Verdicts: []int32{-1}}, Observe, []string{"reads kernel state only"}},
		{"tcx that passes others by", program.Facts{Hook: hook(program.TCXEgress), Verdicts: []int32{-1, 0}}, Act, []string{"can drop packets, redirect them, or take them past other filters (program p returns 0"}},
		{"tcx that drops", program.Facts{Hook: hook(program.TCXIngress), Verdicts: []int32{-1, 2}}, Act, []string{"can drop"}},
		{"cgroup_skb that passes", program.Facts{Hook: hook(program.CgroupIngress), Verdicts: []int32{1}}, Observe, []string{"reads kernel state only"}},
		{"cgroup_skb that drops", program.Facts{Hook: hook(program.CgroupEgress), Verdicts: []int32{0, 1}}, Act, []string{"can drop packets"}},
		{"cgroup that refuses", program.Facts{Hook: hook(program.CgroupSock), Verdicts: []int32{0}}, Act, []string{"can refuse operations"}},
		{"LSM that lets", program.Facts{Hook: hook(program.LSM), Verdicts: []int32{0}}, Observe, []string{"reads kernel state only"}},
		{"LSM that refuses", program.Facts{Hook: hook(program.LSM), Verdicts: []int32{-1, 0}}, Act, []string{"can refuse operations of processes (program p returns -1 at lsm)"}},
		{"LSM with another default", program.Facts{Hook: program.Hook{Kind: program.LSM, Target: "task_prctl"}, Verdicts: []int32{0}}, Act, []string{"answers a security check whose usual answer is not 0 (task_prctl in program p)"}},
		{"fmod_ret that goes on", program.Facts{Hook: hook(program.FmodRet), Verdicts: []int32{0}}, Observe, []string{"reads kernel state only"}},
		{"fmod_ret that replaces", program.Facts{Hook: hook(program.FmodRet), Verdicts: []int32{1}}, Act, []string{"can replace a kernel function"}},
		{"what a tracepoint returns", program.Facts{Hook: tracepoint, Verdicts: []int32{1}}, Observe, []string{"reads kernel state only"}},

		{"packet bytes counted", program.Facts{Hook: hook(program.XDP), Verdicts: []int32{2}, Packet: true, Holds: 40, Helpers: []string{"bpf_map_lookup_elem"}}, Observe, []string{"reads kernel state only"}},
		{"packet bytes sent", program.Facts{Hook: hook(program.XDP), Verdicts: []int32{2}, Packet: true, Helpers: []string{"bpf_ringbuf_reserve"}}, ObserveSensitive, []string{"may report the content of packets"}},
		{"packet bytes kept", program.Facts{Hook: hook(program.XDP), Verdicts: []int32{2}, Packet: true, Holds: 41}, ObserveSensitive, []string{"may keep the content of packets (program p reads them and fills entries of 41 bytes)"}},
		{"packet bytes by helper", program.Facts{Hook: hook(program.TCXIngress), Verdicts: []int32{-1}, Helpers: []string{"bpf_skb_load_bytes"}}, ObserveSensitive, []string{"reads the content of packets"}},
		{"events without packet bytes", program.Facts{Hook: hook(program.XDP), Verdicts: []int32{2}, Helpers: []string{"bpf_ringbuf_output"}}, Observe, []string{"reads kernel state only"}},

		{"a store into a packet", program.Facts{Hook: hook(program.XDP), Verdicts: []int32{2}, Writes: []string{program.WritesPacket}}, Act, []string{"changes packets (program p writes into them)"}},
		{"a store into registers", program.Facts{Hook: program.Hook{Kind: program.Uprobe, Binary: "/bin/true", Symbol: "main"}, Writes: []string{program.WritesContext}}, Act, []string{"changes what it is called for"}},
		{"a store nobody knows", program.Facts{Hook: tracepoint, Writes: []string{program.WritesUnknown}}, Act, []string{"may change anything"}},
		{"loops that are bounded", program.Facts{Hook: tracepoint, Turns: program.MaxTurns}, Observe, []string{"reads kernel state only"}},
		{"loops without end", program.Facts{Hook: tracepoint, Turns: program.MaxTurns + 1}, Act, []string{"can hold a processor for long (the loops of program p are bound by no small constants)"}},

		{"a shell", program.Facts{Hook: program.Hook{Kind: program.Uretprobe, Binary: "/usr/bin/bash", Symbol: "readline"}}, ObserveSensitive, []string{"listens inside /usr/bin/bash, where commands pass (program p)"}},
		{"a TLS library", program.Facts{Hook: program.Hook{Kind: program.Uprobe, Binary: "libssl.so.3", Symbol: "SSL_write"}}, ObserveSensitive, []string{"listens inside libssl.so.3, where texts before they are encrypted pass"}},
		{"a C library", program.Facts{Hook: program.Hook{Kind: program.Uprobe, Binary: "libc.so.6", Symbol: "getaddrinfo"}}, Observe, []string{"reads kernel state only"}},
		{"a terminal", program.Facts{Hook: program.Hook{Kind: program.Kprobe, Target: "tty_write"}}, ObserveSensitive, []string{"listens at tty_write, where keystrokes pass"}},
		{"a keyboard's tracepoint", program.Facts{Hook: program.Hook{Kind: program.Tracepoint, Target: "hid:hid_input_report"}}, ObserveSensitive, []string{"listens at hid:hid_input_report"}},
		{"a sampler", program.Facts{Hook: program.Hook{Kind: program.PerfEvent, Target: "cpu-clock", Hz: 99}, Helpers: []string{"bpf_get_stackid"}}, Observe, []string{"reads kernel state only"}},
		{"a hostile name", program.Facts{Program: "a\x1b[2J\u202e", Hook: tracepoint, Helpers: []string{"bpf_send_signal"}}, Act, []string{"sends signals to processes (bpf_send_signal in program a?[2J?)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.facts.Program == "" {
				tt.facts.Program = "p"
			}
			tier, why := Risk([]program.Facts{tt.facts})
			if tier != tt.tier {
				t.Errorf("%s (%q), want %s", tier, why, tt.tier)
			}
			if len(why) != len(tt.why) {
				t.Fatalf("reasons %q, want %q", why, tt.why)
			}
			for i := range why {
				if !strings.HasPrefix(why[i], tt.why[i]) {
					t.Errorf("reason %q, want %q", why[i], tt.why[i])
				}
			}
		})
	}
}

func TestRiskOfSeveral(t *testing.T) {
	if tier, why := Risk(nil); tier != Act || len(why) != 1 {
		t.Errorf("nothing known: %s, %q", tier, why)
	}
	hook := program.Hook{Kind: program.TPBTF, Target: "sched_switch"}
	tier, why := Risk([]program.Facts{
		{Program: "a", Hook: hook},
		{Program: "b", Hook: hook, Helpers: []string{"bpf_copy_from_user"}},
		{Program: "b", Hook: hook, Helpers: []string{"bpf_copy_from_user"}},
		{Program: "c", Hook: hook, Helpers: []string{"bpf_send_signal_thread"}},
		{Program: "%d", Hook: hook, Helpers: []string{"bpf_copy_from_user", "bpf_probe_read_user"}},
	})
	want := []string{
		"sends signals to processes (bpf_send_signal_thread in program c)",
		"reads the memory of processes (bpf_copy_from_user in programs b and %d; bpf_probe_read_user in program %d)",
	}
	if tier != Act || !slices.Equal(why, want) {
		t.Errorf("%s, %q, want %q", tier, why, want)
	}
	var many []program.Facts
	for i := range 20 {
		many = append(many, program.Facts{Program: fmt.Sprint("p", i), Hook: hook, Helpers: []string{"bpf_send_signal"}})
	}
	if _, why := Risk(many); len(why) != 1 || !strings.HasSuffix(why[0], "p5, p6 and 13 more)") {
		t.Errorf("%q", why)
	}
}

func TestSecretBinary(t *testing.T) {
	for binary, secret := range map[string]bool{
		"/usr/bin/bash": true, "bash": true, "/bin/sh": true, "zsh": true, "zsh-5.9": true, "/usr/bin/busybox": true, "BASH": true,
		"/usr/lib/x86_64-linux-gnu/libreadline.so.8": true, "libssl.so": true, "libssl.so.1.1": true, "libcrypto.so.3": true,
		"libgnutls.so.30": true, "libnss3.so": true, "libnspr4.so": true, "libpam.so.0": true, "/usr/sbin/sshd": true, "sudo": true,
		"libc.so.6": false, "/usr/lib/libpthread.so.0": false, "/usr/sbin/nginx": false, "postgres": false, "bashful": false, "shred": false, "": false,
	} {
		if got := secretBinary(binary) != ""; got != secret {
			t.Errorf("%q: secret %v, want %v", binary, got, secret)
		}
	}
}

func TestTier(t *testing.T) {
	if !(Observe < ObserveSensitive && ObserveSensitive < Act) || Tier(0) >= Observe {
		t.Error("tiers are out of order")
	}
	for _, tier := range []Tier{Observe, ObserveSensitive, Act} {
		raw, err := json.Marshal(tier)
		if err != nil {
			t.Fatal(err)
		}
		var got Tier
		if err := json.Unmarshal(raw, &got); err != nil || got != tier || string(raw) != `"`+tier.String()+`"` {
			t.Errorf("%s became %s by way of %s (%v)", tier, got, raw, err)
		}
	}
	for _, bad := range []string{"", "Observe", "no tier (0)", "4"} {
		if got, err := ParseTier(bad); err == nil {
			t.Errorf("%q is %s", bad, got)
		}
	}
	if raw, err := json.Marshal(Tier(0)); err == nil {
		t.Errorf("no tier encodes as %s", raw)
	}
}
