package vmlinux

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// Records made at random, with everything that changes a layout, must come back
// as they were.
func TestRandomLayouts(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := generator{Rand: rand.New(rand.NewPCG(seed, 5))}
			g.WriteString("enum small { S0, S1 = 9 } __attribute__((packed)); enum wide { W0 = -1, W1 = 5 };\n")
			const records = 250
			for i := range records {
				g.define(i)
			}
			object := compile(t, nil, g.String(), "-w")
			header := roundTrip(t, objectSpec(t, object))
			if strings.Contains(header, "__opaque") {
				t.Errorf("a layout was not found:\n%s", header)
			}
			if n := strings.Count(header, "packed"); n < 20 {
				t.Errorf("only %d packed records", n)
			}
		})
	}
}

// generator writes C.
type generator struct {
	*rand.Rand
	strings.Builder
	members int
	records int
}

func (g *generator) printf(format string, args ...any) { fmt.Fprintf(g, format, args...) }

func (g *generator) oneIn(n int) bool { return g.IntN(n) == 0 }

func (g *generator) pick(words ...string) string { return words[g.IntN(len(words))] }

// define writes one record and a variable of its type, so that clang describes
// it.
func (g *generator) define(i int) {
	g.printf("%s r%d ", g.keyword(), i)
	g.body(0)
	// The keyword must be known later, so a typedef stands for it.
	g.printf(" v%d;\ntypedef typeof(v%d) t%d;\n", i, i, i)
	g.records++
}

func (g *generator) keyword() string { return g.pick("struct", "struct", "struct", "union") }

func (g *generator) body(depth int) {
	g.WriteString("{ ")
	for range g.IntN(7) {
		g.member(depth)
	}
	g.WriteString("}")
	g.attributes(6)
}

// attributes writes none in most cases.
func (g *generator) attributes(rarity int) {
	if g.oneIn(rarity) {
		g.WriteString(" __attribute__((packed))")
	}
	if g.oneIn(rarity) {
		g.printf(" __attribute__((aligned(%d)))", 1<<g.IntN(8))
	}
}

func (g *generator) member(depth int) {
	g.members++
	name := fmt.Sprintf("m%d", g.members)
	switch g.IntN(9) {
	case 0, 1, 2:
		g.bitField(name)
		return
	case 3:
		if depth < 3 {
			g.printf("%s ", g.keyword())
			g.body(depth + 1)
			if g.oneIn(2) {
				g.printf(" %s", name)
				g.attributes(10)
			}
			g.WriteString("; ")
			return
		}
		g.printf("char %s", name)
	case 4:
		if g.records > 0 {
			g.printf("t%d %s", g.IntN(g.records), name)
			if g.oneIn(3) {
				g.printf("[%d]", g.IntN(3))
			}
			break
		}
		g.printf("char %s", name)
	case 5:
		g.printf("%s %s[%d]", g.pick("char", "short", "int", "long", "void *"), name, g.IntN(20))
	case 6:
		g.printf("%s %s", g.pick("void *", "_Bool", "double", "float", "__int128", "enum small", "enum wide"), name)
	default:
		g.printf("%s %s", g.pick("char", "short", "int", "long"), name)
	}
	g.attributes(10)
	g.WriteString("; ")
}

func (g *generator) bitField(name string) {
	types := []struct {
		name string
		bits int
	}{{"char", 8}, {"unsigned short", 16}, {"int", 32}, {"unsigned", 32}, {"long", 64}, {"_Bool", 1}, {"enum wide", 32}, {"enum small", 8}}
	for range 1 + g.IntN(4) {
		t := types[g.IntN(len(types))]
		switch g.IntN(8) {
		case 0:
			g.printf("%s : 0; ", t.name)
		case 1:
			g.printf("%s : %d; ", t.name, 1+g.IntN(t.bits))
		default:
			g.members++
			g.printf("%s %s_%d : %d", t.name, name, g.members, 1+g.IntN(t.bits))
			g.attributes(20)
			g.WriteString("; ")
		}
	}
}
