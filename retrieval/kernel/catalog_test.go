package kernel

import (
	"slices"
	"testing"
)

func TestCatalog(t *testing.T) {
	f := host(t)
	c, err := f.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d functions, %d kfuncs, %d helpers, %d structs", len(c.Functions), len(c.Kfuncs), len(c.Helpers), len(c.Structs))
	for name, list := range map[string][]string{"tcp_v4_connect": c.Functions, "bpf_ktime_get_ns": c.Helpers} {
		if _, ok := slices.BinarySearch(list, name); !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range c.Functions {
		if isGenerated(name) {
			t.Errorf("%s is listed", name)
		}
	}
	i := slices.IndexFunc(c.Structs, func(s Struct) bool { return s.Name == "task_struct" })
	if i < 0 || !slices.Contains(c.Structs[i].Members, "tgid") {
		t.Error("task_struct has no tgid")
	}
}
