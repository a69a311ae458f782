package symbolic

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Behind a struct that takes two registers no argument is at its position, whichever of several functions has it.
func TestPositions(t *testing.T) {
	number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	pair := &btf.Struct{Name: "pair", Size: 16}
	one := &btf.FuncProto{Return: number, Params: []btf.FuncParam{{Name: "a", Type: number}, {Name: "b", Type: pair}, {Name: "c", Type: number}}}
	other := &btf.FuncProto{Return: number, Params: []btf.FuncParam{{Name: "a", Type: number}, {Name: "b", Type: number}, {Name: "c", Type: number}}}
	p := &Program{types: &kernelTypes{kernel: &Kernel{}}}
	for _, tt := range []struct {
		name   string
		protos []*btf.FuncProto
		want   int // how many are at their positions
	}{
		{"none", []*btf.FuncProto{other}, 6}, {"one", []*btf.FuncProto{one}, 1},
		{"the first", []*btf.FuncProto{one, other}, 1}, {"the second", []*btf.FuncProto{other, one}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := map[int]bool{}
			for _, f := range registersModel(p, commonProto(tt.protos), false, KernelSpace).fields {
				if f.position > 0 {
					found[f.position] = true
				}
			}
			for i := 1; i <= 6; i++ {
				if found[i] != (i <= tt.want) {
					t.Errorf("argument %d is modelled at its position: %v", i, found[i])
				}
			}
		})
	}
}
