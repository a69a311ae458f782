package kernel

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// ldCache makes a loader cache out of pairs of names and paths.
func ldCache(pairs ...string) []byte {
	order := binary.NativeEndian
	count := len(pairs) / 2
	table := append([]byte(ldMagic), order.AppendUint32(nil, uint32(count))...)
	table = append(table, make([]byte, ldHeaderLen-len(table))...)
	var text []byte
	place := func(s string) []byte {
		at := uint32(ldHeaderLen + count*ldEntryLen + len(text))
		text = append(append(text, s...), 0)
		return order.AppendUint32(nil, at)
	}
	for i := range count {
		table = order.AppendUint32(table, 0x303)
		table = append(table, place(pairs[2*i])...)
		table = append(table, place(pairs[2*i+1])...)
		table = append(table, make([]byte, 12)...)
	}
	return append(table, text...)
}

// oldLdCache puts a table in the old format, of one entry, before a cache.
func oldLdCache(cache []byte) []byte {
	old := append([]byte(ldOldMagic), 0)
	old = binary.NativeEndian.AppendUint32(old, 1)
	old = append(old, make([]byte, ldOldEntryLen)...)
	for len(old)%8 != 0 {
		old = append(old, 0)
	}
	return append(old, cache...)
}

func TestParseLdCacheOnHost(t *testing.T) {
	data, err := os.ReadFile("/etc/ld.so.cache")
	if os.IsNotExist(err) {
		t.Skip("this host's C library has no loader cache")
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseLdCache(data)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/sbin/ldconfig", "-p").Output()
	if err != nil {
		t.Fatal(err)
	}
	// "\tlibz.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libz.so.1"
	var want []ldEntry
	for line := range strings.Lines(string(out)) {
		if before, path, ok := strings.Cut(strings.TrimSpace(line), " => "); ok {
			soname, _, _ := strings.Cut(before, " (")
			want = append(want, ldEntry{soname, path})
		}
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("got %d entries, ldconfig prints %d", len(got), len(want))
	}
}

func TestParseLdCache(t *testing.T) {
	want := []ldEntry{{"libc.so.6", "/lib/libc.so.6"}, {"libz.so.1", "/lib/libz.so.1"}}
	good := ldCache("libc.so.6", "/lib/libc.so.6", "libz.so.1", "/lib/libz.so.1")
	for name, data := range map[string][]byte{"new": good, "old and new": oldLdCache(good)} {
		got, err := parseLdCache(data)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if got, err := parseLdCache(ldCache()); err != nil || len(got) != 0 {
		t.Errorf("empty: got %v, %v", got, err)
	}
	change := func(at int, value uint32) []byte {
		data := slices.Clone(good)
		binary.NativeEndian.PutUint32(data[at:], value)
		return data
	}
	long := ldCache("libc.so.6", strings.Repeat("x", 5000))
	for name, data := range map[string][]byte{
		"empty":                  nil,
		"other format":           []byte("glibc-ld.so.cache2.0" + strings.Repeat("\x00", 100)),
		"cut off in its header":  good[:ldHeaderLen-1],
		"too many entries":       change(20, 1<<31),
		"name outside":           change(ldHeaderLen+4, 1<<31),
		"path outside":           change(ldHeaderLen+8, uint32(len(good))),
		"path that does not end": bytes.TrimSuffix(good, []byte{0}),
		"path too long":          long,
		"old table cut off":      oldLdCache(nil)[:14],
		"old table too long":     append(append([]byte(ldOldMagic), 0, 0xff, 0xff, 0xff, 0x7f), good...),
		"old table only":         oldLdCache(nil),
	} {
		if got, err := parseLdCache(data); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func FuzzParseLdCache(f *testing.F) {
	good := ldCache("libc.so.6", "/lib/libc.so.6", "libz.so.1", "/lib/libz.so.1")
	f.Add(good)
	f.Add(oldLdCache(good))
	f.Add([]byte(ldMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseLdCache(data)
		if err != nil {
			return
		}
		if len(entries) > len(data)/ldEntryLen {
			t.Fatalf("%d entries in %d bytes", len(entries), len(data))
		}
		for _, e := range entries {
			if strings.ContainsRune(e.soname+e.path, 0) {
				t.Fatalf("got the entry %q", e)
			}
		}
	})
}
