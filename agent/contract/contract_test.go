package contract

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"

	"kgent/retrieval/kernel"
)

var hostTypes = sync.OnceValues(func() (*Types, error) {
	ctx := context.Background()
	_ = kernel.EnsureMounts(ctx) // without root there is no tracefs; the error shows below
	f, err := kernel.Live(ctx)
	if err != nil {
		return nil, err
	}
	return NewTypes(f)
})

func host(t testing.TB) *Types {
	t.Helper()
	types, err := hostTypes()
	if err != nil {
		t.Fatalf("the tests need a kernel with BTF: %v", err)
	}
	return types
}

func recipeFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../recipes/*/contract.kc")
	if err != nil || len(files) == 0 {
		t.Fatalf("no contracts of recipes: %v", err)
	}
	return files
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRecipesCheckOnThisKernel(t *testing.T) {
	for _, file := range recipeFiles(t) {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			c, err := Parse(readFile(t, file))
			if err != nil {
				t.Fatal(err)
			}
			k, err := Check(c, host(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range k.Remarks {
				t.Errorf("remark: %v", r)
			}
			once := Format(c)
			again, err := Parse(once)
			if err != nil {
				t.Fatalf("the formatted text does not parse: %v\n%s", err, once)
			}
			if twice := Format(again); twice != once {
				t.Errorf("formatting is not stable:\n%s\n---\n%s", once, twice)
			}
			if strings.Contains(once, "?\n") {
				t.Log(once)
			}
		})
	}
}

// btfOnly is this kernel as it looks where there is nothing but its BTF.
func btfOnly(t testing.TB) *Types {
	t.Helper()
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	types, err := NewTypes(FromBTF(spec))
	if err != nil {
		t.Fatal(err)
	}
	return types
}
