package symbol

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
)

const kallsyms = `0000000000000000 A fixed_percpu_data
ffffffff81000000 t local_first
ffffffff81000000 T _stext
ffffffff81000000 T another
ffffffff81000100 t short_one
ffffffff81000110 T next_one
malformed
zz T bad_address
ffffffff81000200 W weak_one
ffffffff81000300 d table_of_data
ffffffff81000400 T last_one
ffffffff81000500 T _etext
ffffffffc0000000 t nf_hook	[nf_tables]
ffffffffc0100000 t bpf_prog_6deef7357e7b4530_x	[bpf]
`

func TestKernelNames(t *testing.T) {
	k, err := ParseKernel(strings.NewReader(kallsyms))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr uint64
		want string // empty: unknown
	}{
		{0, ""},
		{0x400000, ""},
		{0xffffffff80ffffff, ""},
		{0xffffffff81000000, "_stext"}, // the first global one of three
		{0xffffffff81000010, "_stext+0x10"},
		{0xffffffff8100010f, "short_one+0xf"},
		{0xffffffff81000110, "next_one"},
		{0xffffffff81000210, "weak_one+0x10"},
		{0xffffffff81000310, ""}, // data
		{0xffffffff810004ff, "last_one+0xff"},
		{0xffffffff81000500, ""}, // behind the text
		{0xffffffffa0000000, ""},
		{0xffffffffc0000004, "nf_hook+0x4 [nf_tables]"},
		{0xffffffffc00fffff, ""}, // too far from anything
		{0xffffffffc0100001, "bpf_prog_6deef7357e7b4530_x+0x1 [bpf]"},
		{0xffffffffffffffff, ""},
	} {
		got, ok := k.Name(tt.addr)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%#x: %q, %v, want %q", tt.addr, got, ok, tt.want)
		}
	}
	// A return address right behind a call that never returns belongs to the
	// caller; the innermost address is where the processor is.
	got := k.Frames([]uint64{0xffffffff81000110, 0xffffffff81000110, 0x1})
	if want := "next_one short_one+0x10 [unknown] 0x1"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (*Kernel)(nil).Frames([]uint64{0xffffffff81000110}); got[0] != "[unknown] 0xffffffff81000110" {
		t.Errorf("without symbols: %q", got)
	}
}

func TestKernelHidden(t *testing.T) {
	_, err := ParseKernel(strings.NewReader("0000000000000000 T _stext\n0000000000000000 T schedule\n"))
	if !errors.Is(err, ErrHidden) {
		t.Errorf("got %v", err)
	}
	if k, err := ParseKernel(strings.NewReader("")); err != nil || len(k.addrs) != 0 {
		t.Errorf("nothing at all: %v", err)
	}
}

// The names of this kernel are those it gives itself.
func TestLoadKernel(t *testing.T) {
	k, err := LoadKernel()
	if errors.Is(err, ErrHidden) && os.Geteuid() != 0 {
		t.Skip("needs CAP_SYSLOG: the kernel hides its addresses")
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) == 3 && fields[1] == "T" && (fields[2] == "schedule" || fields[2] == "vfs_read" || fields[2] == "tcp_connect") {
			addr, err := strconv.ParseUint(fields[0], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := k.Name(addr + 5); got != fields[2]+"+0x5" {
				t.Errorf("%s: got %q", fields[2], got)
			}
			found++
		}
	}
	if found == 0 {
		t.Error("none of the functions was found in /proc/kallsyms")
	}
}

func FuzzParseKernel(f *testing.F) {
	f.Add([]byte(kallsyms), uint64(0xffffffff81000010))
	f.Fuzz(func(t *testing.T, text []byte, addr uint64) {
		k, err := ParseKernel(strings.NewReader(string(text)))
		if err != nil {
			return
		}
		k.Name(addr)
		for _, a := range k.addrs {
			k.Name(a)
			k.Name(a - 1)
		}
	})
}

func BenchmarkLoadKernel(b *testing.B) {
	for b.Loop() {
		if _, err := LoadKernel(); err != nil {
			b.Fatal(err)
		}
	}
}
