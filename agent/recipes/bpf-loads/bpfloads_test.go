package bpfloads_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"load": load, "other": other})
}

// Instructions: r0 = 0; exit.
const (
	zeroR0 = 0xb7
	exit   = 0x95
)

// Program types, as in enum bpf_prog_type.
const (
	socketFilter = 1
	schedCls     = 3
	xdp          = 6
)

// fullSize is the size of the attributes up to the name; shortSize ends before
// the name, as in programs from before Linux 4.15.
const (
	fullSize  = 64
	shortSize = 48
)

// program is where a program and its license are, in memory that does not move.
type program struct {
	address, license uint64
	length           uint32
}

func assemble(insns ...uint64) (program, error) {
	mem, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return program{}, err
	}
	for i, insn := range insns {
		binary.NativeEndian.PutUint64(mem[8*i:], insn)
	}
	end := 8 * len(insns)
	copy(mem[end:], "MIT")
	address := func(i int) uint64 { return uint64(uintptr(unsafe.Pointer(&mem[i]))) }
	return program{address(0), address(end), uint32(len(insns))}, nil
}

// attributes are what bpf(2) takes to load a program, as the kernel lays them
// out.
func attributes(kind uint32, code program, name string) []byte {
	attr := make([]byte, fullSize)
	binary.NativeEndian.PutUint32(attr[0:], kind)
	binary.NativeEndian.PutUint32(attr[4:], code.length)
	binary.NativeEndian.PutUint64(attr[8:], code.address)
	binary.NativeEndian.PutUint64(attr[16:], code.license)
	copy(attr[48:], name)
	return attr
}

// bpf calls bpf(2) with attributes that end where memory does, so that reading
// beyond them gets nothing; size tells the kernel how many of them there are.
func bpf(cmd uintptr, attr []byte, size int) (int, error) {
	page := os.Getpagesize()
	mem, err := unix.Mmap(-1, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return -1, err
	}
	defer unix.Munmap(mem)
	if err := unix.Mprotect(mem[page:], unix.PROT_NONE); err != nil {
		return -1, err
	}
	at := page - len(attr)
	copy(mem[at:page], attr)
	fd, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(&mem[at])), uintptr(size))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// load loads programs in a thread, and says what the kernel says of each.
func load([]string) error {
	good, err := assemble(zeroR0, exit)
	if err != nil {
		return err
	}
	bad, err := assemble(exit)
	if err != nil {
		return err
	}
	return recipetest.Thread("rt-bpf-thread", func(int) error {
		for _, p := range []struct {
			kind uint32
			code program
			name string
			trim int // of the attributes, so that they end with what the kernel is told of
			size int
			want error
		}{
			{socketFilter, good, "rt_one", 0, fullSize, nil},
			{xdp, good, "rt_name_of_15__", 0, fullSize, nil},
			{schedCls, bad, "rt_rejected", 0, fullSize, unix.EACCES},
			{socketFilter, good, "", fullSize - shortSize, shortSize, nil},
			{socketFilter, good, "rt_beyond", 0, shortSize, nil},
		} {
			attr := attributes(p.kind, p.code, p.name)
			fd, err := bpf(unix.BPF_PROG_LOAD, attr[:len(attr)-p.trim], p.size)
			if err != p.want {
				return fmt.Errorf("loading %s: %v, want %v", p.name, err, p.want)
			}
			id := "0"
			if err == nil {
				if id, err = programID(fd); err != nil {
					return err
				}
				unix.Close(fd)
			}
			recipetest.Say(id)
		}
		return nil
	})
}

// programID asks procfs for the id that the kernel gave to a program.
func programID(fd int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/thread-self/fdinfo/%d", fd))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if id, ok := strings.CutPrefix(line, "prog_id:"); ok {
			return strings.TrimSpace(id), nil
		}
	}
	return "", fmt.Errorf("no program id in %q", b)
}

// other calls bpf(2) for other things under another real user id, and once to
// load what cannot be read.
func other([]string) error {
	if err := unix.Setresuid(65533, -1, -1); err != nil {
		return err
	}
	attr := make([]byte, fullSize) // an array of one value of 8 bytes
	for i, v := range []uint32{2, 4, 8, 1} {
		binary.NativeEndian.PutUint32(attr[4*i:], v)
	}
	fd, err := bpf(unix.BPF_MAP_CREATE, attr, 16)
	if err != nil {
		return fmt.Errorf("making a map: %w", err)
	}
	unix.Close(fd)
	// Attributes that nobody can read.
	if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, 8, fullSize); errno != unix.EFAULT {
		return fmt.Errorf("loading from nowhere: %v", errno)
	}
	return nil
}

func TestLoads(t *testing.T) {
	var ids []string
	var p *recipetest.Process
	var user int
	result := recipetest.Run(t, "who loads eBPF programs?", func(a *recipetest.Live) {
		p = recipetest.Start(t, "rt-bpf", "load")
		for range 5 {
			ids = append(ids, p.Hear())
		}
		p.Wait()
		user = a.Child("rt-bpf-user", "other")
	})
	var got []string
	for _, ev := range result.Events("loads", recipetest.Want{"pid": p.Pid, "comm": "rt-bpf", "uid": 0}) {
		var line []string
		for _, name := range []string{"name", "type", "instructions", "id", "result"} {
			v, _ := ev.Get(name)
			line = append(line, fmt.Sprint(v))
		}
		got = append(got, strings.Join(line, " "))
	}
	want := []string{
		"rt_one socket_filter 2 " + ids[0] + " OK",
		"rt_name_of_15__ xdp 2 " + ids[1] + " OK",
		"rt_rejected sched_cls 1 0 EACCES",
		" socket_filter 2 " + ids[3] + " OK",
		" socket_filter 2 " + ids[4] + " OK",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	result.Event("loads", recipetest.Want{"pid": user, "uid": 65533, "comm": "rt-bpf-user", "result": "EFAULT", "id": 0, "instructions": 0})
	if n := len(result.Events("loads", recipetest.Want{"pid": user})); n != 1 {
		t.Errorf("%d events of a process that loaded once", n)
	}
	// kgent's own.
	for _, id := range result.Attached.ProgramIDs {
		result.NoEvent("loads", recipetest.Want{"id": strconv.Itoa(int(id))})
	}
}
