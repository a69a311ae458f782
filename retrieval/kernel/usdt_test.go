package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// stapNote is one note as an assembler makes it of sdt.h.
func stapNote(owner string, kind uint32, desc string) []byte {
	order := binary.NativeEndian
	note := order.AppendUint32(nil, uint32(len(owner)))
	note = order.AppendUint32(note, uint32(len(desc)))
	note = order.AppendUint32(note, kind)
	for _, part := range []string{owner, desc} {
		note = append(note, part...)
		for len(note)%4 != 0 {
			note = append(note, 0)
		}
	}
	return note
}

var addresses = strings.Repeat("\x01", 24)

func TestParseUSDT(t *testing.T) {
	good := slices.Concat(
		stapNote("stapsdt\x00", 3, addresses+"libc\x00setjmp\x008@%rdi\x00"),
		stapNote("stapsdt\x00", 3, addresses+"libc\x00longjmp\x00\x00"),
		stapNote("stapsdt\x00", 3, addresses+"libc\x00setjmp\x00\x00"),
		stapNote("GNU\x00", 3, "something else"),
		stapNote("stapsdt\x00", 4, "a later version"),
	)
	got, err := parseUSDT(good, binary.NativeEndian, 8)
	if want := []string{"libc:longjmp", "libc:setjmp"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	for name, data := range map[string][]byte{
		"cut off":      good[:20],
		"header only":  good[:8],
		"no addresses": stapNote("stapsdt\x00", 3, "short"),
		"no name":      stapNote("stapsdt\x00", 3, addresses+"libc\x00"),
		"empty name":   stapNote("stapsdt\x00", 3, addresses+"libc\x00\x00\x00"),
		"huge":         bytes.Repeat([]byte{0xff}, 16),
	} {
		if got, err := parseUSDT(data, binary.NativeEndian, 8); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// usdtSource is a program with two probes, as sdt.h makes them.
const usdtSource = `
#define PROBE(name) __asm__ volatile(                                      \
	"990: nop\n"                                                          \
	".pushsection .note.stapsdt,\"\",\"note\"\n"                         \
	".balign 4\n .4byte 992f-991f, 994f-993f, 3\n"                      \
	"991: .asciz \"stapsdt\"\n 992: .balign 4\n"                         \
	"993: .8byte 990b, 0, 0\n .asciz \"app\"\n .asciz \"" name "\"\n .asciz \"\"\n" \
	"994: .balign 4\n .popsection\n")
int main(void) { PROBE("begin"); PROBE("finish"); return 0; }
`

func TestUSDT(t *testing.T) {
	f := host(t)
	path := compile(t, usdtSource)
	got, err := f.USDTProbes(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"app:begin", "app:finish"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// What other programs read there.
	if out, err := exec.Command("readelf", "--notes", path).Output(); err == nil && strings.Count(string(out), "Provider: app") != 2 {
		t.Errorf("readelf prints\n%s", out)
	}
	if err := f.CheckHook(KindUSDT, path+":app:begin"); err != nil {
		t.Error(err)
	}
	for target, want := range map[string]string{
		path + ":app:begn":          "no USDT probe app:begn in " + path + "; did you mean app:begin",
		"/usr/bin/true:libc:setjmp": "no USDT probe libc:setjmp in /usr/bin/true, which has none at all",
		"/etc/passwd:libc:setjmp":   "is not an ELF binary",
	} {
		if err := f.CheckHook(KindUSDT, target); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", target, err, want)
		}
	}
	var missing *NotFoundError
	if err := f.CheckHook(KindUSDT, path+":app:begn"); !errors.As(err, &missing) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseUSDT(f *testing.F) {
	f.Add(stapNote("stapsdt\x00", 3, addresses+"libc\x00setjmp\x008@%rdi\x00"), 8)
	f.Add([]byte{}, 4)
	f.Fuzz(func(t *testing.T, data []byte, word int) {
		if word != 4 {
			word = 8
		}
		probes, err := parseUSDT(data, binary.NativeEndian, word)
		if err != nil {
			return
		}
		for _, p := range probes {
			if provider, name, ok := strings.Cut(p, ":"); !ok || provider == "" || name == "" {
				t.Fatalf("got %q", p)
			}
		}
	})
}
