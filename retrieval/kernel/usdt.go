package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// usdtSection is where a binary keeps the probes that its authors put into it.
const usdtSection = ".note.stapsdt"

// USDTProbes lists the probes that a binary's authors put into it, as
// "provider:name", sorted. The binary is given as [Facts.ResolveBinary] takes it. Most
// binaries have none.
func (f *Facts) USDTProbes(name string) ([]string, error) {
	path, err := f.ResolveBinary(name)
	if err != nil {
		return nil, err
	}
	var probes []string
	err = f.src.withELF(path, func(file *elf.File) error {
		section := file.Section(usdtSection)
		if section == nil {
			return nil
		}
		data, err := section.Data()
		if err != nil {
			return err
		}
		word := 8
		if file.Class == elf.ELFCLASS32 {
			word = 4
		}
		probes, err = parseUSDT(data, file.ByteOrder, word)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the USDT probes of %s: %w", visible(path), err)
	}
	return probes, nil
}

// parseUSDT reads the names out of the notes that SystemTap's sdt.h makes. An address
// in them has word bytes.
func parseUSDT(data []byte, order binary.ByteOrder, word int) ([]string, error) {
	const stapsdt = "stapsdt\x00"
	malformed := errors.New("malformed " + usdtSection + " section")
	padded := func(n uint32) uint64 { return (uint64(n) + 3) &^ 3 }
	var probes []string
	for len(data) > 0 {
		if len(data) < 12 {
			return nil, malformed
		}
		owner, note, kind := order.Uint32(data), order.Uint32(data[4:]), order.Uint32(data[8:])
		data = data[12:]
		if padded(owner)+padded(note) > uint64(len(data)) {
			return nil, malformed
		}
		name, body := data[:owner], data[padded(owner):][:note]
		data = data[padded(owner)+padded(note):]
		if kind != 3 || string(name) != stapsdt {
			continue
		}
		// Three addresses, then provider, name and arguments, each with a NUL behind it.
		if len(body) < 3*word {
			return nil, malformed
		}
		parts := bytes.SplitN(body[3*word:], []byte{0}, 3)
		if len(parts) < 3 || len(parts[0]) == 0 || len(parts[1]) == 0 || bytes.IndexByte(parts[0], ':') >= 0 {
			return nil, malformed
		}
		probes = append(probes, string(parts[0])+":"+string(parts[1]))
	}
	slices.Sort(probes)
	return slices.Compact(probes), nil
}
