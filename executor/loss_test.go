package executor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/executor/job"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
)

// told gives the bench's audit entries as they come, beside what it has.
func (b *bench) told() <-chan Entry {
	out := make(chan Entry, 64)
	note := b.e.Audit
	b.e.Audit = func(e Entry) {
		note(e)
		out <- e
	}
	return out
}

// The bus is gone for good in mid-run. Runs end by themselves, at their deadlines
// or when the node has waited long enough, whichever comes first, and nothing
// of their programs stays.
func TestBusLostForGood(t *testing.T) {
	needsCapabilities(t)
	rdb.Quiet()
	residue.Check(t)
	server := rdbtest.Start(t)
	b := realBench(t, plain, program.Options{})
	b.e.Kernel = NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv())
	b.e.Policy.CPUPerRun, b.e.Policy.CPUTotal = 0, 0 // others may call what is traced all the time
	b.bus.Bus = bus.NewRedis(server.Client())
	told := b.told()
	b.serve()
	defer b.end()

	var programs []job.Program // compiled before any runs
	for _, name := range []string{"tracepoint", "raw", "uprobe", "perf", "cgroup", "tcx"} {
		elf := compile(t, held[name].source)
		_, m := built(t, held[name].source, held[name].opt)
		manifest, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, job.Program{ELF: elf, Manifest: manifest, Contract: []byte("{}")})
	}
	reasons := map[string]output.Reason{}
	for i, p := range programs {
		lasts, reason := time.Minute, output.ReasonOutput
		if i >= len(programs)/2 {
			lasts, reason = 2*time.Second, output.ReasonDeadline
		}
		b.prog = p
		g := b.grant(lasts)
		reasons[g.Run] = reason
		b.dispatch(g)
	}
	var ids []uint32
	attached, ended := 0, 0
	for killed := false; ended < len(reasons); {
		switch e := <-told; e.What {
		case "attached":
			attached++
			ids = append(ids, e.ProgramIDs...)
		case "refused":
			t.Fatalf("%+v", e)
		case "ended":
			ended++
			if s := e.Summary; s.Reason != reasons[e.Run] || !s.Balanced() {
				t.Errorf("it ended %s: %s; %+v, want it to end %s", s.Reason, s.Detail, s.Counters, reasons[e.Run])
			}
		}
		if attached == len(reasons) && !killed {
			killed = true
			server.Kill()
		}
	}
	residue.Gone(t, slices.Compact(ids), nil)
}

// pinger drops what comes back to a ping, where it is attached.
var pinger = map[string]string{
	"xdp": prelude + `
struct xdp_md { __u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
SEC("xdp") int p(struct xdp_md *ctx) {
	unsigned char *d = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (d + 14 + 20 > end || d[12] != 8 || d[13] || d[23] != 1) return 2;
	return 1;
}`,
	"tcx": prelude + `
struct __sk_buff { __u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end; };
SEC("tcx/ingress") int p(struct __sk_buff *skb) {
	unsigned char *d = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	if (d + 14 + 20 > end || d[12] != 8 || d[13] || d[23] != 1) return -1;
	return 2;
}`,
}

// neighbour is a machine, a network namespace, at the other end of an interface.
type neighbour struct {
	t         *testing.T
	ifc       string // of this machine's
	icmp      *net.IPConn
	other     net.IP
	id, asked uint16
}

// newNeighbour makes one, and removes it when the test ends.
func newNeighbour(t *testing.T) *neighbour {
	t.Helper()
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	pid := os.Getpid()
	n := &neighbour{t: t, ifc: fmt.Sprintf("kgl%d", pid%1e6), id: uint16(pid)}
	there := fmt.Sprintf("kgr%d", pid%1e6)
	// The namespace of a process that ends with its input.
	cmd := exec.Command("unshare", "--net", "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	fmt.Fprintln(in, "ready")
	if _, err := out.Read(make([]byte, 8)); err != nil { // it is cat, in its namespace, by now
		t.Fatalf("making a network namespace: %v", err)
	}
	ns := fmt.Sprint(cmd.Process.Pid)
	ip("link", "add", n.ifc, "type", "veth", "peer", "name", there, "netns", ns)
	t.Cleanup(func() { exec.Command("ip", "link", "del", n.ifc).Run() }) // a test may have removed it
	// A network of four addresses for each process, of those that RFC 2544 has for tests.
	net4 := 198<<24 | 18<<16 | uint32(pid)%(1<<15)<<2
	address := func(host uint32) net.IP { return binary.BigEndian.AppendUint32(nil, net4|host) }
	n.other = address(2)
	ip("address", "add", address(1).String()+"/30", "dev", n.ifc)
	ip("link", "set", n.ifc, "up")
	inside := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("nsenter", append([]string{"--net=/proc/" + ns + "/ns/net", "ip"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("nsenter ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	inside("address", "add", address(2).String()+"/30", "dev", there)
	inside("link", "set", there, "up")
	if n.icmp, err = net.ListenIP("ip4:icmp", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.icmp.Close() })
	return n
}

// answers pings until an answer comes, for so long.
func (n *neighbour) answers(patience time.Duration) bool {
	n.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n.asked++
		ping := []byte{8, 0, 0, 0, byte(n.id >> 8), byte(n.id), byte(n.asked >> 8), byte(n.asked)}
		sum := uint32(8)<<8 + uint32(n.id) + uint32(n.asked)
		binary.BigEndian.PutUint16(ping[2:], ^uint16(sum+sum>>16))
		if _, err := n.icmp.WriteToIP(ping, &net.IPAddr{IP: n.other}); err != nil {
			n.t.Fatal(err)
		}
		for n.icmp.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); ; {
			var b [64]byte
			size, from, err := n.icmp.ReadFromIP(b[:])
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				n.t.Fatal(err)
			}
			if size >= 8 && from.IP.Equal(n.other) && b[0] == 0 && binary.BigEndian.Uint16(b[4:]) == n.id && binary.BigEndian.Uint16(b[6:]) == n.asked {
				return true
			}
		}
	}
	return false
}

const (
	surely = 20 * time.Second       // comes an answer, if one comes at all
	hardly = 150 * time.Millisecond // worth waiting for one that is dropped
)

// What drops packets does so until its deadline, or until its executor is gone;
// then traffic flows again.
func TestTrafficFlowsAgain(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	n := newNeighbour(t)
	if !n.answers(surely) {
		t.Fatal("the neighbour does not answer")
	}
	for _, where := range []string{"xdp", "tcx"} {
		b := realBench(t, pinger[where], program.Options{Interface: n.ifc})
		b.e.Kernel = NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv())
		b.e.Policy.AllowAct, b.e.Policy.CPUPerRun, b.e.Policy.CPUTotal = true, 0, 0
		told := b.told()
		b.serve()
		g := b.grant(3 * time.Second)
		g.Approval.Tier = TierAct
		b.dispatch(g)
		for attached := false; !attached; {
			switch e := <-told; e.What {
			case "attached":
				attached = true
			case "ended", "refused":
				b.end()
				t.Fatalf("%s: %+v, %+v", where, e, e.Summary)
			}
		}
		if n.answers(hardly) {
			t.Errorf("%s: nothing is dropped", where)
		}
		for ended := false; !ended; {
			e := <-told
			if ended = e.What == "ended"; ended && e.Summary.Reason != output.ReasonDeadline {
				t.Errorf("%s: it ended %s: %s", where, e.Summary.Reason, e.Summary.Detail)
			}
		}
		if !n.answers(surely) {
			t.Errorf("%s: packets are dropped after the deadline", where)
		}
		b.end()
	}

	// The executor dies.
	dir := t.TempDir()
	for name, source := range pinger {
		hand(t, dir, name, source, program.Options{Interface: n.ifc})
	}
	h := startHolding(t, dir)
	if n.answers(hardly) {
		t.Error("nothing is dropped")
	}
	h.cmd.Process.Kill()
	h.cmd.Wait()
	if !n.answers(surely) {
		t.Error("packets are dropped after the executor has died")
	}
	residue.Gone(t, h.programs, h.maps)
}

// What a program is attached to goes away in mid-run: a cgroup, an interface. The
// run goes on to its end, which is an orderly one.
func TestPlaceGoesAway(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	mount := cgroupMount(t)
	group, err := os.MkdirTemp(mount, "kgent-goes-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(group) })
	n := newNeighbour(t)
	for _, test := range []struct {
		name, source string
		opt          program.Options
		goes         func() error
	}{
		{
			"a cgroup",
			held["cgroup"].source,
			program.Options{Cgroup: "/" + filepath.Base(group)},
			func() error { return os.Remove(group) },
		},
		{
			"an interface, tcx",
			held["tcx"].source,
			program.Options{Interface: n.ifc},
			func() error { return exec.Command("ip", "link", "set", n.ifc, "down").Run() },
		},
		{
			"an interface, xdp",
			prelude + `SEC("xdp") int p(void *ctx) { return 2; }`,
			program.Options{Interface: n.ifc},
			func() error { return exec.Command("ip", "link", "del", n.ifc).Run() },
		},
	} {
		b := realBench(t, test.source, test.opt)
		b.e.Kernel = NewKernel("n1", probe.NewLoader(probe.Options{Cgroups: mount}), render.NewEnv())
		b.e.Policy.CPUPerRun, b.e.Policy.CPUTotal = 0, 0
		told := b.told()
		b.serve()
		b.dispatch(b.grant(time.Second))
		var ids []uint32
		for ended := false; !ended; {
			switch e := <-told; e.What {
			case "attached":
				ids = e.ProgramIDs
				if err := test.goes(); err != nil {
					t.Errorf("%s: %v", test.name, err)
				}
			case "refused":
				t.Errorf("%s: %+v", test.name, e)
				ended = true
			case "ended":
				ended = true
				if s := e.Summary; s.Reason != output.ReasonDeadline || s.Detail != "" || !s.Balanced() {
					t.Errorf("%s: it ended %s: %s; %+v", test.name, s.Reason, s.Detail, s.Counters)
				}
			}
		}
		b.end()
		residue.Gone(t, ids, nil)
	}
}

// little makes a cgroup that may use so much memory. kills says how many of its
// processes were killed for wanting more.
func little(t *testing.T, bytes uint64) (dir string, kills func() string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	top, limit, swap, events := "", "", "", ""
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 3 && f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), "memory"):
			top, limit, swap, events = f[1], "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control"
		case len(f) > 2 && f[2] == "cgroup2" && top == "":
			// In a container it is the cgroup that this test is in.
			on, err := os.ReadFile(filepath.Join(f[1], "cgroup.subtree_control"))
			if err == nil && slices.Contains(strings.Fields(string(on)), "memory") {
				top, limit, swap, events = f[1], "memory.max", "memory.swap.max", "memory.events"
			}
		}
	}
	if top == "" {
		t.Skip("needs the memory controller of cgroups")
	}
	dir, err = os.MkdirTemp(top, "kgent-little-")
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
		t.Skipf("needs cgroups that can be written: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, limit), fmt.Append(nil, bytes), 0); err != nil {
		t.Fatal(err)
	}
	none := "0"
	if swap == "memory.memsw.limit_in_bytes" {
		none = fmt.Sprint(bytes) // of both together
	}
	// There is no such file without swap in the kernel.
	if err := os.WriteFile(filepath.Join(dir, swap), []byte(none), 0); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EACCES) {
		t.Fatal(err)
	}
	return dir, func() string {
		text, err := os.ReadFile(filepath.Join(dir, events))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				return strings.TrimSpace(n)
			}
		}
		t.Fatalf("%s does not count who was killed: %s", events, text)
		return ""
	}
}

// holding is a process that holds programs.
type holding struct {
	cmd            *exec.Cmd
	tell           func(what string)
	programs, maps []uint32
}

// startHolding starts one for the programs in a directory, and returns when all are
// attached.
func startHolding(t *testing.T, dir string) *holding {
	t.Helper()
	h, err := tryHolding(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// tryHolding starts one by a command that starts others, and says what the process
// says that cannot attach them.
func tryHolding(t *testing.T, dir string, by ...string) (*holding, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	args := append(slices.Clone(by), os.Args[0])
	h := &holding{cmd: exec.CommandContext(ctx, args[0], args[1:]...)}
	h.cmd.Env = append(os.Environ(), holdEnv+"="+dir, "GOTRACEBACK=none")
	in, err := h.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.tell = func(what string) { fmt.Fprintln(in, what) }
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	attached, err := readAttached(out)
	if err != nil {
		cancel()
		h.cmd.Wait()
		return nil, err
	}
	for _, a := range attached {
		h.programs, h.maps = append(h.programs, a.ProgramIDs...), append(h.maps, a.MapIDs...)
	}
	return h, nil
}
