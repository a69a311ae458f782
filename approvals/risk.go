package approvals

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"kgent/agent/program"
	"kgent/executor/job"
)

// Tier says how much a program could do to the host or to the people on it.
// The zero value is no tier and allows nothing.
type Tier int

const (
	// Observe reads kernel state: names, numbers, addresses, counts.
	Observe Tier = iota + 1
	// ObserveSensitive reads what belongs to users: memory of processes,
	// packet content, keystrokes, text before it is encrypted.
	ObserveSensitive
	// Act changes something: packets, connections, processes, verdicts.
	Act
)

var tierNames = map[Tier]string{Observe: "observe", ObserveSensitive: "observe-sensitive", Act: "act"}

// String returns observe, observe-sensitive or act.
func (t Tier) String() string {
	if s, ok := tierNames[t]; ok {
		return s
	}
	return fmt.Sprintf("no tier (%d)", int(t))
}

// ParseTier is the reverse of [Tier.String].
func ParseTier(s string) (Tier, error) {
	for t, name := range tierNames {
		if s == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("%q is no tier: want observe, observe-sensitive or act", s)
}

// MarshalText writes the tier's name.
func (t Tier) MarshalText() ([]byte, error) {
	if _, ok := tierNames[t]; !ok {
		return nil, fmt.Errorf("encoding tier: %s", t)
	}
	return []byte(t.String()), nil
}

// UnmarshalText reads the tier's name.
func (t *Tier) UnmarshalText(b []byte) error {
	got, err := ParseTier(string(b))
	if err == nil {
		*t = got
	}
	return err
}

// Assessment is what follows from the bytes of a program alone.
type Assessment struct {
	Tier  Tier
	Base  Tier     // what follows from the bytes alone
	Why   []string // of the tier, for the card
	Does  []string // the program in plain words
	Facts []program.Facts
}

// Assess judges a program from its bytes: nothing that anybody says about it
// takes part, but whether it is proved to do what was asked. One that is not
// counts as one tier more.
func Assess(p job.Program, proved bool) (Assessment, error) {
	return AssessRun(p, job.Limits{}, proved)
}

// AssessRun judges a run. Of a dry run it judges the programs that the nodes make
// of the approved ones, which change nothing; that they do so is part of what is
// approved and signed.
func AssessRun(p job.Program, l job.Limits, proved bool) (Assessment, error) {
	fail := func(err error) (Assessment, error) { return Assessment{}, fmt.Errorf("judging program: %w", err) }
	o, m, err := program.Open(p.ELF, p.Manifest)
	if err != nil {
		return fail(err)
	}
	if l.DryRun {
		if o, err = o.DryRun(); err != nil {
			return fail(err)
		}
	}
	facts, err := o.Facts()
	if err != nil {
		return fail(err)
	}
	for i := range facts {
		facts[i].Hook = m.Programs[i].Hook // Check holds both in the same order
	}
	a := Assessment{Facts: facts, Does: Words(facts, o.Maps())}
	for _, d := range o.DryActions() {
		a.Does = append(a.Does, "counts, and does not do: "+d.Does)
	}
	if m.Where != "" {
		a.Does = append(a.Does, narrowedTo(m.Where))
	}
	if m.Script != nil {
		a.Does = wordsOfScript(a.Does)
	}
	a.Base, a.Why = Risk(facts)
	a.Tier = a.Base
	if !proved && a.Tier < Act {
		a.Tier++
		a.Why = append(a.Why, "it is not proved to do what was asked, which counts as one tier more")
	}
	return a, nil
}

// Risk derives the tier from what the programs' instructions can do, with a
// sentence for every reason, gravest first. What is not known raises the tier.
//
// A program that reads packets by itself, without a helper, could read all of
// them: how far it reads depends on the packet. It stays at [Observe] when
// what it keeps is too narrow to carry content, that is counters and sums by
// addresses and ports; when it reports events, or has room for more than 40
// bytes in a key or value, it is [ObserveSensitive].
func Risk(facts []program.Facts) (Tier, []string) {
	reasons := reasonsOf(facts)
	if len(reasons) == 0 {
		return Observe, []string{"reads kernel state only and changes nothing"}
	}
	why := make([]string, len(reasons))
	for i, x := range reasons {
		why[i] = x.text()
	}
	return reasons[0].tier, why
}

// reasonsOf returns what puts programs above [Observe], gravest first.
func reasonsOf(facts []program.Facts) []*reason {
	var r risk
	if len(facts) == 0 {
		r.add(Act, "does what could not be found out", "", "")
	}
	for _, f := range facts {
		r.program(f)
	}
	slices.SortStableFunc(r.reasons, func(a, b *reason) int { return cmp.Compare(b.tier, a.tier) })
	return r.reasons
}

// reason is one sentence: what is done, and by which call of which programs.
type reason struct {
	tier  Tier
	does  string
	parts []part
}

type part struct {
	detail   string // "bpf_send_signal in program %s"
	programs []string
}

// text returns the sentence without a full stop: "sends signals to processes
// (bpf_send_signal in program a)".
func (r reason) text() string {
	details := make([]string, len(r.parts))
	for i, p := range r.parts {
		word := "program "
		if len(p.programs) > 1 {
			word = "programs "
		}
		details[i] = strings.Replace(p.detail, "program %s", word+list(some(p.programs)), 1)
	}
	if len(details) == 0 {
		return r.does
	}
	return r.does + " (" + strings.Join(details, "; ") + ")"
}

type risk struct{ reasons []*reason }

// add notes that a program does something. detail holds "program %s" for the
// program's name.
func (r *risk) add(t Tier, does, detail, name string) {
	i := slices.IndexFunc(r.reasons, func(x *reason) bool { return x.tier == t && x.does == does })
	if i < 0 {
		i = len(r.reasons)
		r.reasons = append(r.reasons, &reason{tier: t, does: does})
	}
	x := r.reasons[i]
	if detail == "" {
		return
	}
	j := slices.IndexFunc(x.parts, func(p part) bool { return p.detail == detail })
	if j < 0 {
		j = len(x.parts)
		x.parts = append(x.parts, part{detail: detail})
	}
	if name = printable(name); !slices.Contains(x.parts[j].programs, name) {
		x.parts[j].programs = append(x.parts[j].programs, name)
	}
}

// widest is the most bytes an entry may hold that is made of addresses, ports
// and numbers: two IPv6 addresses and eight bytes more.
const widest = 40

func (r *risk) program(f program.Facts) {
	r.hook(f)
	if f.Turns > program.MaxTurns {
		r.add(Act, "can hold a processor for long", "the loops of program %s are bound by no small constants", f.Program)
	}
	for _, h := range f.Helpers {
		r.call("helper", h, f.Program)
	}
	for _, k := range f.Kfuncs {
		r.call("kernel function", k, f.Program)
	}
	for _, w := range f.Writes {
		switch w {
		case program.WritesPacket:
			r.add(Act, "changes packets", "program %s writes into them", f.Program)
		case program.WritesContext:
			r.add(Act, "changes what it is called for", "program %s writes into its context", f.Program)
		default:
			r.add(Act, "may change anything", "it could not be told where program %s writes", f.Program)
		}
	}
	if f.Packet {
		switch {
		case emits(f):
			r.add(ObserveSensitive, "may report the content of packets", "program %s reads them and sends events", f.Program)
		case f.Holds > widest:
			r.add(ObserveSensitive, "may keep the content of packets", fmt.Sprintf("program %%s reads them and fills entries of %d bytes", f.Holds), f.Program)
		}
	}
}

func (r *risk) call(what, called, name string) {
	detail := strings.ReplaceAll(printable(called), "%", "?") + " in program %s"
	effect, does, known := program.EffectOf(called)
	switch {
	case !known:
		r.add(Act, "calls a "+what+" this release knows nothing about", detail, name)
	case effect == program.Observes:
	case effect == program.ObservesUsers:
		r.add(ObserveSensitive, does, detail, name)
	default:
		r.add(Act, does, detail, name)
	}
}

// emits reports whether a program sends events or text.
func emits(f program.Facts) bool {
	return f.Calls("bpf_ringbuf_output", "bpf_ringbuf_reserve", "bpf_ringbuf_reserve_dynptr", "bpf_perf_event_output",
		"bpf_skb_output", "bpf_xdp_output", "bpf_seq_write", "bpf_seq_printf", "bpf_trace_printk", "bpf_trace_vprintk")
}

// orders says what programs could do by the values they return, at the hooks
// where a return value is an order.
var orders = map[program.Kind]string{
	program.XDP:           "drop or redirect packets",
	program.TCXIngress:    "drop packets, redirect them, or take them past other filters",
	program.TCXEgress:     "drop packets, redirect them, or take them past other filters",
	program.CgroupIngress: "drop packets",
	program.CgroupEgress:  "drop packets",
	program.CgroupSock:    "refuse operations of processes",
	program.LSM:           "refuse operations of processes",
	program.FmodRet:       "replace a kernel function",
}

func (r *risk) hook(f program.Facts) {
	switch k := f.Hook.Kind; k {
	case program.XDP, program.TCXIngress, program.TCXEgress, program.CgroupIngress, program.CgroupEgress, program.CgroupSock,
		program.LSM, program.FmodRet:
		harmless, _ := k.Harmless()
		switch bad := slices.DeleteFunc(slices.Clone(f.Verdicts), func(n int32) bool { return n == harmless }); {
		case len(f.Verdicts) == 0:
			r.add(Act, "may "+orders[k], fmt.Sprintf("it could not be told what program %%s returns at %s", k), f.Program)
		case len(bad) > 0:
			r.add(Act, "can "+orders[k], fmt.Sprintf("program %%s returns %s at %s", numbers(bad), k), f.Program)
		case k == program.LSM && slices.Contains(otherAnswers, f.Hook.Target):
			r.add(Act, "answers a security check whose usual answer is not 0", f.Hook.Target+" in program %s", f.Program)
		}
	case program.Uprobe, program.Uretprobe, program.USDT:
		if secret := secretBinary(f.Hook.Binary); secret != "" {
			r.add(ObserveSensitive, "listens inside "+printable(f.Hook.Binary)+", where "+secret+" pass", "program %s", f.Program)
		}
	case program.Kprobe, program.Kretprobe, program.Fentry, program.Fexit, program.TPBTF, program.RawTracepoint, program.Tracepoint,
		program.KprobeMulti, program.KretprobeMulti, program.KprobeSession:
		if keyboard(f.Hook.Target) {
			r.add(ObserveSensitive, "listens at "+printable(f.Hook.Target)+", where keystrokes pass", "program %s", f.Program)
		}
	case program.SocketFilter: // what it returns is about its own copy of a packet
	case program.Iter, program.PerfEvent, program.Interval, program.Software, program.ScriptEvent:
	default:
		r.add(Act, "runs at a kind of hook this release knows nothing about", strings.ReplaceAll(printable(string(k)), "%", "?")+" of program %s", f.Program)
	}
}

// otherAnswers are the LSM hooks at which 0 is not what the kernel takes for
// "no opinion"; see include/linux/lsm_hook_defs.h.
var otherAnswers = []string{
	"dentry_init_security", "fs_context_parse_param", "getprocattr", "getselfattr", "inode_copy_up_xattr", "inode_getsecctx",
	"inode_getsecurity", "inode_init_security", "inode_setsecurity", "lsmprop_to_secctx", "secid_to_secctx", "setprocattr", "setselfattr",
	"socket_getpeersec_dgram", "socket_getpeersec_stream", "task_prctl", "vm_enough_memory", "xfrm_state_pol_flow_match",
}

func numbers(list []int32) string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = fmt.Sprint(n)
	}
	return strings.Join(out, ", ")
}

// secretBinary returns what passes inside a binary that is not for other
// eyes: commands, passwords, text before encryption.
func secretBinary(binary string) string {
	name := strings.ToLower(path.Base(binary))
	lib, _, isLib := strings.Cut(name, ".so")
	lib = strings.TrimRight(lib, "-0123456789.") // libpython3.11.so, libcrypto-1.so
	switch {
	case isLib && slices.Contains([]string{"libreadline", "libedit", "libpam", "libcrypt"}, lib):
		return "commands and passwords"
	case isLib && slices.Contains([]string{"libssl", "libcrypto", "libgnutls", "libnss", "libnspr", "libmbedtls", "libwolfssl", "libboringssl", "libs2n", "libsodium", "libssh", "libgcrypt", "libgpgme"}, lib):
		return "texts before they are encrypted"
	case isLib:
		return ""
	case slices.Contains([]string{"bash", "sh", "dash", "zsh", "fish", "ksh", "mksh", "ash", "csh", "tcsh", "busybox", "rbash", "pwsh", "tmux", "screen"}, strings.TrimRight(name, "-0123456789.")):
		return "commands"
	case slices.Contains([]string{"login", "su", "sudo", "doas", "passwd", "ssh", "sshd", "sshd-session", "sshd-auth", "ssh-agent", "gpg", "gpg-agent", "openssl", "getty", "agetty", "polkitd", "unix_chkpwd"}, name):
		return "passwords and keys"
	}
	return ""
}

// keyboard reports whether typed text passes a kernel function or tracepoint.
func keyboard(target string) bool {
	// A list of functions (kprobe.multi) is as bad as the worst of them.
	for name := range strings.SplitSeq(target, ",") {
		if _, after, ok := strings.Cut(name, ":"); ok {
			name = after
		}
		if keyboardFunction(name) {
			return true
		}
	}
	return false
}

func keyboardFunction(name string) bool {
	// Of a pattern only what comes before its first wildcard is known.
	fixed, pattern := name, false
	if i := strings.IndexAny(name, "*?["); i >= 0 {
		fixed, pattern = name[:i], true
	}
	for _, prefix := range []string{"tty_", "n_tty_", "pty_", "kbd_", "input_", "hid_", "hidraw_", "evdev_", "uart_insert_char", "vt_"} {
		if strings.HasPrefix(fixed, prefix) || pattern && strings.HasPrefix(prefix, fixed) {
			return true
		}
	}
	return false
}
