package agent

import (
	"slices"
	"strings"
	"testing"
)

func TestAmend(t *testing.T) {
	const license = "\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n"
	for name, tc := range map[string]struct {
		source, want string
		notes        []string // their beginnings
	}{
		"nothing to do": {includeLine + license, includeLine + license, nil},
		"habits": {
			"#include \"vmlinux.h\"\n#include <bpf/bpf_helpers.h>\n # include <linux/bpf.h> // types\n#include \"bpf/bpf_core_read.h\"\r\nint x;" + license,
			includeLine + "\n\n\n\nint x;" + license,
			[]string{`left out #include "vmlinux.h"`, "added #include", "left out #include <bpf/bpf_helpers.h>", "left out #include <linux/bpf.h>", `left out #include "bpf/bpf_core_read.h"`}},
		"beside its own": {"#include <stdint.h>\n" + includeLine + license, "\n" + includeLine + license, []string{"left out #include <stdint.h>"}},
		"in angles":      {"#include <kgent.bpf.h>" + license, "#include <kgent.bpf.h>" + license, nil},
		"no include":     {"int x;" + license, includeLine + "\nint x;" + license, []string{"added #include"}},
		"no license":     {includeLine + "\nint x;", includeLine + "\nint x;\n\n" + licenseLine + "\n", []string{"added the license"}},
		"another form":   {includeLine + "\n__attribute__((section(\"license\"), used)) char l[] = \"GPL\";", includeLine + "\n__attribute__((section(\"license\"), used)) char l[] = \"GPL\";", nil},
		"fenced":         {"```c\n" + includeLine + license + "```\n", includeLine + license[:len(license)-1], []string{"took the code fence off"}},
		// Not ours to forgive: the compiler says what is wrong.
		"a file":         {includeLine + "\n#include \"/etc/passwd\"" + license, includeLine + "\n#include \"/etc/passwd\"" + license, nil},
		"up":             {includeLine + "\n#include <../x.h>" + license, includeLine + "\n#include <../x.h>" + license, nil},
		"their own":      {includeLine + "\n#include \"types.h\"" + license, includeLine + "\n#include \"types.h\"" + license, nil},
		"no directive":   {includeLine + "\nchar *s = \"#include <x.h>\";" + license, includeLine + "\nchar *s = \"#include <x.h>\";" + license, nil},
		"nothing at all": {" \n", " \n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, notes := amend(tc.source)
			if got != tc.want {
				t.Errorf("got\n%q, want\n%q", got, tc.want)
			}
			if !slices.EqualFunc(notes, tc.notes, strings.HasPrefix) {
				t.Errorf("notes %q, want %q", notes, tc.notes)
			}
			if again, notes := amend(got); again != got || len(notes) > 0 {
				t.Errorf("a second time it does more: %q, %q", notes, again)
			}
		})
	}
}

func FuzzAmend(f *testing.F) {
	f.Add("#include <linux/bpf.h>\nint x;")
	f.Add("```c\nint x;\n```")
	f.Fuzz(func(t *testing.T, source string) {
		once, _ := amend(source)
		if twice, notes := amend(once); twice != once && !strings.Contains(once, "```") {
			t.Errorf("%q, then %q (%q)", once, twice, notes)
		}
	})
}
