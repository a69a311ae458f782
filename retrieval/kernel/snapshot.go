package kernel

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// ErrOnNode: the answer depends on the files of the node that the facts were taken
// from, which a snapshot does not hold: its binaries, network interfaces and cgroups.
// The node itself has to be asked.
var ErrOnNode = errors.New("only the node itself can tell")

// Bounds of a snapshot. That of a distribution's kernel with a hundred modules takes
// about 3 MiB, 20 MiB unpacked.
const (
	// MaxSnapshot is the size of the largest snapshot, in bytes.
	MaxSnapshot = 8 << 20

	maxUnpacked     = 64 << 20
	maxUnpackedFile = 32 << 20
	maxSnapshotFile = 32 << 10 // files; tracepoints have one each
	maxSnapshotPath = 512      // bytes
	maxSettingText  = 500      // bytes
)

// snapshotMagic begins every snapshot. What follows is compressed by DEFLATE: the
// settings as JSON, the number of files, and for each its path and contents, in the
// order of their paths; every length is a uvarint before what it counts.
const snapshotMagic = "kgent kernel snapshot 1\n"

// settings are the facts that are not read from files when they are asked for.
type settings struct {
	Release      string            `json:"release"`
	Arch         string            `json:"arch"`
	Lockdown     Lockdown          `json:"lockdown"`
	LSMs         []string          `json:"lsms"` // null: not known
	Capabilities Capabilities      `json:"capabilities"`
	Paranoid     int               `json:"perf_event_paranoid"`
	Unprivileged int               `json:"unprivileged_bpf_disabled"`
	BPFJIT       int               `json:"bpf_jit_enable"`
	CgroupMount  string            `json:"cgroup_mount"`
	TracefsMount string            `json:"tracefs_mount"`
	DebugfsMount string            `json:"debugfs_mount"`
	Refused      map[string]string `json:"refused"`
}

// SnapshotHash names a snapshot by its SHA-256, in hex. Nodes with the same hash have
// the same kernel, modules and settings: what is true of one is true of all.
func SnapshotHash(snapshot []byte) string {
	sum := sha256.Sum256(snapshot)
	return hex.EncodeToString(sum[:])
}

// Encode writes everything that [Decode] needs to answer as f does, except where the
// node's own files are asked for (see [ErrOnNode]). What differs between two boots of
// one kernel is left out, so that equal nodes have equal snapshots. Encode reads what
// was not read yet; it takes about a second.
func Encode(f *Facts) ([]byte, error) {
	if f.snapshot != nil {
		return f.snapshot, nil
	}
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("taking a snapshot of kernel %s: %w", f.Release, err)
	}
	files, err := f.files()
	if err != nil {
		return fail(err)
	}
	set := settings{
		Release: f.Release, Arch: f.Arch, Lockdown: f.Lockdown, LSMs: f.LSMs, Capabilities: f.Capabilities,
		Paranoid: f.PerfEventParanoid, Unprivileged: f.UnprivilegedBPFDisabled, BPFJIT: f.BPFJIT,
		CgroupMount: f.CgroupMount, TracefsMount: f.TracefsMount, DebugfsMount: f.debugfs, Refused: map[string]string{},
	}
	for kind, why := range f.Refused {
		set.Refused[kind] = plainSetting(why)
	}
	if err := set.check(); err != nil {
		return fail(err)
	}
	head, err := json.Marshal(set)
	if err != nil {
		return fail(err)
	}
	var b bytes.Buffer
	b.WriteString(snapshotMagic)
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		return fail(err)
	}
	unpacked := 0
	put := func(data []byte) {
		var length [binary.MaxVarintLen64]byte
		n := binary.PutUvarint(length[:], uint64(len(data)))
		w.Write(length[:n]) // writing to a Buffer does not fail
		w.Write(data)
		unpacked += n + len(data)
	}
	put(head)
	w.Write(binary.AppendUvarint(nil, uint64(len(files))))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if len(files[name]) > maxUnpackedFile {
			return fail(fmt.Errorf("%s has %d bytes, at most %d", name, len(files[name]), maxUnpackedFile))
		}
		put([]byte(name))
		put(files[name])
	}
	if err := w.Close(); err != nil {
		return fail(err)
	}
	if b.Len() > MaxSnapshot || unpacked > maxUnpacked || len(files) > maxSnapshotFile {
		return fail(fmt.Errorf("it has %d bytes in %d files, %d unpacked; at most %d in %d, %d unpacked: unload modules that are not in use",
			b.Len(), len(files), unpacked, MaxSnapshot, maxSnapshotFile, maxUnpacked))
	}
	return bytes.Clone(b.Bytes()), nil // it is kept, and the room beside it not
}

// Forget lets go of the large parts that were read. What is asked for after it is read
// again. It must not be called beside other methods.
func (f *Facts) Forget() { f.readLater() }

const kallsyms = "/proc/kallsyms"

// files collects the files that the look-ups read, cut down to what they read of them.
func (f *Facts) files() (archive, error) {
	files := archive{}
	raw, err := f.rawBTF()
	if err != nil {
		return nil, err
	}
	if f.BTFFile != "" {
		files[f.BTFFile] = raw
	} else {
		files[btfDir+"/vmlinux"] = raw
	}
	modules, err := f.src.readModuleBTF()
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		files[btfDir+"/"+m.name] = m.raw
	}

	symbols, err := f.symbols()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		var b bytes.Buffer
		for _, name := range symbols.names {
			for range max(symbols.many[name], 1) {
				b.WriteString("0 t " + name + "\n")
			}
		}
		files[kallsyms] = b.Bytes()
	}
	for _, device := range f.src.list(perfDevices) {
		files[perfDevices+"/"+device] = nil
	}
	rate, err := f.src.readNumber(maxSampleRate)
	if err != nil {
		return nil, err
	}
	if rate != Unknown {
		files[maxSampleRate] = []byte(strconv.Itoa(rate))
	}
	if f.debugfs != "" {
		list, err := f.src.readSmall(f.debugfs + errorInjection)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		if err == nil {
			files[f.debugfs+errorInjection] = []byte(list)
		}
	}
	return files, f.addTracefs(files)
}

// addTracefs adds the files of tracefs.
func (f *Facts) addTracefs(files archive) error {
	if f.TracefsMount == "" {
		return nil
	}
	events, err := f.events()
	if err != nil {
		return err
	}
	files[f.TracefsMount+availableEvents] = []byte(strings.Join(events, "\n"))
	for _, kind := range []string{"/kprobe_events", "/uprobe_events"} {
		if f.src.exists(f.TracefsMount + kind) {
			files[f.TracefsMount+kind] = nil
		}
	}
	traceable, err := f.traceable()
	if err != nil {
		return err
	}
	if traceable.known {
		files[f.TracefsMount+availableFunctions] = []byte(strings.Join(traceable.names, "\n"))
	}
	for _, category := range f.src.list(f.TracefsMount + "/events") {
		for _, name := range f.src.list(f.TracefsMount + "/events/" + category) {
			dir := f.eventDir(category, name)
			text, err := f.src.readSmall(dir + "/format")
			if errors.Is(err, fs.ErrNotExist) || !isEventName(category) || !isEventName(name) {
				continue // no event, or gone since
			}
			if err != nil {
				// Where category is a file, such as "enable", this is what it says.
				if !f.src.exists(dir + "/format") {
					continue
				}
				return fmt.Errorf("reading tracepoint %s:%s: %w", visible(category), visible(name), err)
			}
			files[dir+"/format"] = shortFormat(text)
			if f.src.exists(dir + "/enable") {
				files[dir+"/enable"] = nil
			}
		}
	}
	return nil
}

// shortFormat cuts a tracepoint's format down to its fields. The ID is left out: it
// differs between boots.
func shortFormat(text string) []byte {
	var b bytes.Buffer
	b.WriteString("ID:0\nformat:\n")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "field:") {
			b.WriteString(line + "\n")
		}
	}
	b.WriteString("print fmt:")
	return b.Bytes()
}

// Decode reads what [Encode] wrote on another machine. The bytes are not trusted:
// sizes are bounded before anything is unpacked, everything that the facts answer from
// is read and checked here, and no name holds a character that a terminal would act on.
// Whether what they say is true is another matter; the node's own kernel has the last
// word on every program.
//
// The Facts keep the snapshot, which must not be changed any more. They answer as
// those that were encoded, except that tracepoints have no ID, and that questions about
// the node's files end in [ErrOnNode].
func Decode(snapshot []byte) (_ *Facts, err error) {
	// The BTF library is a large piece of code fed with outside input.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading the snapshot of a kernel: malformed: %v", p)
		}
	}()
	f, err := decode(snapshot)
	if err != nil {
		return nil, fmt.Errorf("reading the snapshot of a kernel: %w", err)
	}
	return f, nil
}

func decode(snapshot []byte) (*Facts, error) {
	set, files, err := unpack(snapshot)
	if err != nil {
		return nil, err
	}
	if err := set.check(); err != nil {
		return nil, err
	}
	f := &Facts{
		Release: set.Release, Arch: set.Arch, Lockdown: set.Lockdown, LSMs: set.LSMs, Capabilities: set.Capabilities,
		PerfEventParanoid: set.Paranoid, UnprivilegedBPFDisabled: set.Unprivileged, BPFJIT: set.BPFJIT,
		CgroupMount: set.CgroupMount, TracefsMount: set.TracefsMount, debugfs: set.DebugfsMount, Refused: set.Refused,
		src: Sources{Arch: set.Arch, archive: files}, snapshot: snapshot, hash: SnapshotHash(snapshot),
	}
	if own := btfFile(f.Release); files[own] != nil && files[btfDir+"/vmlinux"] == nil {
		f.BTFFile = own
	}
	for name, data := range files {
		if !strings.HasPrefix(name, btfDir) && name != f.BTFFile && !isText(data, "\n\t") {
			return nil, fmt.Errorf("%s is not text", name)
		}
	}
	raw, err := f.rawBTF()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	f.BTFHash = hex.EncodeToString(sum[:])
	if f.BTF, err = btf.LoadSpecFromReader(bytes.NewReader(raw)); err != nil {
		return nil, fmt.Errorf("reading BTF: %w", err)
	}
	f.readLater()
	return f, f.readAll()
}

// readAll reads every part, so that what is malformed shows now.
func (f *Facts) readAll() error {
	all, err := f.allTypes()
	if err != nil {
		return err
	}
	for _, types := range all {
		if !isText([]byte(types.text), "\x00") {
			return fmt.Errorf("the BTF of %q has a name that is not text", types.module)
		}
	}
	if _, err := f.symbols(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := f.traceable(); err != nil {
		return err
	}
	if f.TracefsMount == "" {
		return nil
	}
	if _, err := f.events(); err != nil {
		return err
	}
	for name := range f.src.archive {
		event, isEvent := strings.CutPrefix(name, f.TracefsMount+"/events/")
		if event, isFormat := strings.CutSuffix(event, "/format"); isEvent && isFormat {
			category, name, _ := strings.Cut(event, "/")
			if _, err := f.Tracepoint(category, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remote tells whether the facts are those of another machine, read from a snapshot:
// what is in its files, it alone can tell.
func (f *Facts) Remote() bool { return f.src.archive != nil }

// Hash names the kernel with its modules and settings: the hash of the snapshot that the
// facts came out of, and for this machine's, of which there is one, that of its BTF.
func (f *Facts) Hash() string {
	if f.Remote() {
		return f.hash
	}
	return f.BTFHash
}

// onNode is the answer to a question about the node's files.
func onNode(what, name string) error {
	return fmt.Errorf("looking for %s %s: %w", what, visible(name), ErrOnNode)
}

// unpack reads the container.
func unpack(snapshot []byte) (settings, archive, error) {
	fail := func(format string, args ...any) (settings, archive, error) {
		return settings{}, nil, fmt.Errorf(format, args...)
	}
	if len(snapshot) > MaxSnapshot {
		return fail("%d bytes, at most %d", len(snapshot), MaxSnapshot)
	}
	packed, ok := bytes.CutPrefix(snapshot, []byte(snapshotMagic))
	if !ok {
		return fail("it does not begin as this version of kgent writes it")
	}
	rest := bytes.NewReader(packed)
	inflate := flate.NewReader(rest)
	all, err := io.ReadAll(io.LimitReader(inflate, maxUnpacked+1))
	switch {
	case err != nil:
		return fail("unpacking: %w", err)
	case len(all) > maxUnpacked:
		return fail("unpacking: more than %d bytes", maxUnpacked)
	case rest.Len() > 0:
		return fail("unpacking: data after its end")
	}
	take := func(most uint64) ([]byte, error) {
		n, used := binary.Uvarint(all)
		if used <= 0 || n > most || n > uint64(len(all)-used) {
			return nil, errors.New("unpacking: a length is wrong")
		}
		data := all[used : used+int(n) : used+int(n)]
		all = all[used+int(n):]
		return data, nil
	}
	head, err := take(1 << 20)
	if err != nil {
		return settings{}, nil, err
	}
	var set settings
	dec := json.NewDecoder(bytes.NewReader(head))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&set); err != nil {
		return fail("settings: %w", err)
	}
	if exact, err := json.Marshal(set); err != nil || !bytes.Equal(exact, head) {
		return fail("settings: not as Encode writes them")
	}
	count, used := binary.Uvarint(all)
	if used <= 0 || count > maxSnapshotFile {
		return fail("unpacking: the number of files is wrong")
	}
	all = all[used:]
	files, last := make(archive, count), ""
	for range count {
		name, err := take(maxSnapshotPath)
		if err != nil {
			return settings{}, nil, err
		}
		data, err := take(maxUnpackedFile)
		if err != nil {
			return settings{}, nil, err
		}
		p := string(name)
		if p <= last || !plainPath(p) {
			return fail("unpacking: path %.80q is malformed or out of order", p)
		}
		files[p], last = data, p
	}
	if len(all) > 0 {
		return fail("unpacking: data after the last file")
	}
	return set, files, nil
}

// check holds settings against what a kernel can say.
func (s *settings) check() error {
	word := func(text string, most int) bool {
		return text != "" && len(text) <= most && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
	}
	switch {
	case !word(s.Release, 64):
		return fmt.Errorf("release %.80q is malformed", s.Release)
	case !word(s.Arch, 64):
		return fmt.Errorf("architecture %.80q is malformed", s.Arch)
	case !slices.Contains([]Lockdown{LockdownNone, LockdownIntegrity, LockdownConfidentiality, LockdownUnknown}, s.Lockdown):
		return fmt.Errorf("lockdown mode %.80q is unknown", s.Lockdown)
	case len(s.LSMs) > 64 || slices.ContainsFunc(s.LSMs, func(name string) bool { return !word(name, 64) }):
		return errors.New("the list of security modules is malformed")
	case s.Refused == nil:
		return errors.New("what was refused is missing")
	}
	for _, dir := range []string{s.CgroupMount, s.TracefsMount, s.DebugfsMount} {
		if dir != "" && !plainPath(dir) {
			return fmt.Errorf("mount point %.80q is malformed", dir)
		}
	}
	for kind, why := range s.Refused {
		// Whoever makes trials may know kinds that this package does not.
		if !word(kind, 64) || len(s.Refused) > 64 {
			return fmt.Errorf("hook kind %.80q is malformed, or one of too many", kind)
		}
		if why == "" || why != plainSetting(why) {
			return fmt.Errorf("why %s is refused is malformed", kind)
		}
	}
	return nil
}

// plainSetting makes text fit for one line of a message.
func plainSetting(text string) string {
	text = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))), " ")
	if len(text) > maxSettingText {
		text = strings.ToValidUTF8(text[:maxSettingText-len("…")], "") + "…"
	}
	return text
}

// plainPath tells whether p is an absolute path in its shortest form, and printable.
func plainPath(p string) bool {
	return len(p) <= maxSnapshotPath && path.IsAbs(p) && p != "/" && path.Clean(p) == p && !strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r > '~' })
}

// isText tells whether text is printable ASCII, but for the bytes of also.
func isText(text []byte, also string) bool {
	var ok [256]bool
	for c := ' '; c <= '~'; c++ {
		ok[c] = true
	}
	for i := range len(also) {
		ok[also[i]] = true
	}
	for _, c := range text {
		if !ok[c] {
			return false
		}
	}
	return true
}

// archive is the files of a snapshot, by their absolute paths.
type archive map[string][]byte

func (a archive) read(p string) ([]byte, error) {
	data, ok := a[p]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: p, Err: unix.ENOENT}
	}
	return data, nil
}

// list returns the names in a directory, sorted; none if there is no such directory.
func (a archive) list(dir string) []string {
	var names []string
	for p := range a {
		if rest, ok := strings.CutPrefix(p, dir+"/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (a archive) exists(p string) bool {
	_, ok := a[p]
	return ok || len(a.list(p)) > 0
}

// readLater arranges for the large parts to be read when they are first asked for.
func (f *Facts) readLater() {
	f.kernelTypes = sync.OnceValues(f.readKernelTypes)
	f.moduleTypes = sync.OnceValues(f.readModuleTypes)
	f.symbols = sync.OnceValues(f.readSymbols)
	f.events = sync.OnceValues(f.readEvents)
	f.traceable = sync.OnceValues(f.readTraceable)
	f.hooks = sync.OnceValues(f.buildHookIndex)
}
