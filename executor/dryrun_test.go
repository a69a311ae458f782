package executor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"kgent/agent/program"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
)

const xdpVerdicts = prelude + `
struct xdp_md { __u32 data; __u32 data_end; };
SEC("xdp") int p(struct xdp_md *ctx) {
	unsigned char *d = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (d + 14 > end) return 0;
	if (d[0] == 1) return 1;
	if (d[0] == 3) return 3;
	if (d[0] == 4) return bpf_redirect(1, 0);
	if (d[0] > 100) return d[0];
	return 2;
}`

// killer sends the signal of its choice to a process that asks for its parent.
const killer = prelude + `
const volatile __u32 pid = 0;
SEC("tp/syscalls/sys_enter_getppid") int p(void *ctx) {
	if (bpf_get_current_pid_tgid() >> 32 == pid && bpf_send_signal(9)) return 1;
	return 0;
}`

// In a dry run every verdict is the one that changes nothing, every call that
// changes something is left out, and the node's policy sees a program that only
// observes.
func TestDryRun(t *testing.T) {
	for _, test := range []struct {
		name, source string
		opt          program.Options
		does         []string
		refused      string
	}{
		{"verdicts", xdpVerdicts, program.Options{Interface: "lo"}, []string{"returns XDP_ABORTED", "returns XDP_DROP", "returns XDP_TX", "returns XDP_REDIRECT", "returns another verdict than XDP_PASS"}, ""},
		{"a signal", killer, program.Options{}, []string{"sends signals to processes (bpf_send_signal)"}, ""},
		{"in a subprogram", prelude + `static __attribute__((noinline)) int sub(int s) { return bpf_send_signal(s) + 1; }
SEC("raw_tp/sys_enter") int p(void *ctx) { return sub((long)ctx & 7); }`, program.Options{}, []string{"sends signals to processes (bpf_send_signal)"}, ""},
		{"a result", prelude + `SEC("kprobe/do_nanosleep") int p(void *ctx) { bpf_override_return(ctx, 0); return 0; }`, program.Options{}, []string{"replaces the result of kernel functions (bpf_override_return)"}, ""},
		{"a helper that nobody knows", prelude + `SEC("raw_tp/sys_enter") int p(void *ctx) { bpf_from_the_future(); return 0; }`, program.Options{}, []string{"does what nobody here knows ("}, ""},
		{"only looks", plain, program.Options{}, nil, "nothing to leave out"},
		{"writes into a packet", prelude + `struct xdp_md { __u32 data; __u32 data_end; };
SEC("xdp") int p(struct xdp_md *ctx) { unsigned char *d = (void *)(long)ctx->data; if (d + 1 > (unsigned char *)(long)ctx->data_end) return 2; d[0] = 1; return 2; }`, program.Options{Interface: "lo"}, nil, "writes into its packet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, m := built(t, test.source, test.opt)
			dry, err := o.DryRun()
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("%v, want %q", err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var does []string
			for _, a := range dry.DryActions() {
				does = append(does, a.Does)
			}
			for _, want := range test.does {
				if !strings.Contains(strings.Join(does, "\n"), want) {
					t.Errorf("it counts %q, not %q", does, want)
				}
			}
			if len(does) > len(test.does) && len(test.does) == 1 {
				t.Errorf("it counts %q", does)
			}
			if err := DefaultPolicy().Check(o, m, tierObserve, 2); err == nil {
				t.Error("the program itself passes as one that observes")
			}
			if err := DefaultPolicy().Check(dry, m, tierObserve, 2); err != nil {
				t.Errorf("the dry run does not: %v", err)
			}
		})
	}
}

// The kernel takes it, and lets every packet pass.
func TestDryRunByKernel(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	o, m := built(t, xdpVerdicts, program.Options{Interface: "lo"})
	dry, err := o.DryRun()
	if err != nil {
		t.Fatal(err)
	}
	spec, err := dry.Collection(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) {
		t.Fatalf("%+v", refused)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	packet := make([]byte, 64)
	for _, first := range []byte{0, 1, 1, 3, 4, 4, 4, 101, 2, 9} {
		packet[0] = first
		verdict, out, err := coll.Programs["p"].Test(packet)
		if err != nil || verdict != 2 || string(out) != string(packet) {
			t.Errorf("%d: verdict %d, %v", first, verdict, err)
		}
	}
	counters, err := coll.Maps[program.DryMap].LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]byte{}
	for i, a := range dry.DryActions() {
		got[a.Does] = counters[8*i] // they are small
	}
	if want := map[string]byte{"returns XDP_ABORTED": 0, "returns XDP_DROP": 2, "returns XDP_TX": 1, "returns XDP_REDIRECT": 3, "returns another verdict than XDP_PASS": 1}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// Through an executor: a program that would kill, and kills nobody.
func TestDryRunOnANode(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	b := realBench(t, killer, program.Options{Constants: map[string]string{"pid": fmt.Sprint(os.Getpid())}})
	b.e.Kernel = NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv())
	b.e.Policy.CPUPerRun, b.e.Policy.CPUTotal = 0, 0 // others may call what is traced all the time
	told := b.told()
	b.serve()
	defer b.end()
	g := b.grant(time.Minute)
	g.Limits.DryRun = true
	g = b.dispatch(g)
	var r result
	done := make(chan struct{})
	go func() { defer close(done); r = b.follow(t.Context(), g) }()
	const asked = 20
	for attached := false; !attached; {
		switch e := <-told; e.What {
		case "attached":
			attached = true
		case "refused", "ended":
			t.Fatalf("%+v", e)
		}
	}
	for range asked {
		syscall.Getppid() // this process would be killed
	}
	if err := Stop(t.Context(), b.bus, g.Run); err != nil {
		t.Fatal(err)
	}
	<-done
	r.want(t, output.ReasonStopped, "")
	var counted int64
	for _, line := range r.lines {
		if rec, err := output.Decode([]byte(line)); err == nil {
			if m, ok := rec.(output.Map); ok && m.Name == dryStream && m.Final {
				counted = numberOf(m.Entries[0])
				if does, _ := m.Entries[0].Key.Get("would_have"); does != "sends signals to processes (bpf_send_signal)" {
					t.Errorf("entries %+v", m.Entries)
				}
			}
		}
	}
	if counted != asked {
		t.Errorf("it would have killed %d times, it was asked for %d times", counted, asked)
	}
}

// dropper drops what is sent to a port of the loopback interface.
const dropper = prelude + `
struct __sk_buff { __u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end; };
const volatile __u32 port = 0;
SEC("tcx/ingress") int p(struct __sk_buff *skb) {
	unsigned char *d = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	if (d + 14 + 20 + 8 > end || d[12] != 8 || d[13] || d[14] != 0x45 || d[23] != 17) return -1;
	return ((__u32)d[36] << 8 | d[37]) == port ? 2 : -1;
}`

// A program that acts does so until its deadline, and not a moment longer.
func TestActsUntilTheDeadline(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	arrives := func(patience time.Duration) bool {
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		server.SetReadDeadline(time.Now().Add(patience))
		n, _, err := server.ReadFromUDP(b[:])
		return err == nil && n == 1
	}
	b := realBench(t, dropper, program.Options{Interface: "lo", Constants: map[string]string{"port": fmt.Sprint(server.LocalAddr().(*net.UDPAddr).Port)}})
	b.e.Kernel = NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv())
	b.e.Policy.AllowAct = true
	b.e.Policy.CPUPerRun, b.e.Policy.CPUTotal = 0, 0 // others may send over the loopback interface all the time
	b.serve()
	defer b.end()
	for _, dry := range []bool{true, false} {
		g := b.grant(3 * time.Second)
		g.Approval.Tier, g.Limits.DryRun = TierAct, dry
		g = b.dispatch(g)
		attached := make(chan struct{})
		var sum output.Summary
		done := make(chan error, 1)
		go func() {
			var err error
			sum, err = Follow(t.Context(), b.bus, &g, func(line []byte) {
				if strings.HasPrefix(string(line), `{"type":"attached"`) {
					close(attached)
				}
			})
			done <- err
		}()
		select {
		case <-attached:
			patience := surely
			if !dry {
				patience = hardly
			}
			if got := arrives(patience); got != dry {
				t.Errorf("dry run %v: a packet arrives: %v", dry, got)
			}
		case err := <-done:
			if strings.Contains(sum.Detail, "6.6") {
				t.Skipf("needs tcx: %s", sum.Detail)
			}
			t.Fatalf("%+v, %v", sum, err)
		}
		if err := <-done; err != nil || sum.Reason != output.ReasonDeadline {
			t.Errorf("%+v, %v", sum, err)
		}
		if !arrives(surely) {
			t.Errorf("dry run %v: after the deadline packets are still dropped", dry)
		}
	}
}
