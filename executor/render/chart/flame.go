package chart

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"image/color"
	"math"
	"slices"
	"strings"
)

// Flame is where something was spent, by stack: a box for each function, as wide
// as what was counted in it and in all that it called, standing on its caller.
// Of the functions that one calls the largest stands first.
type Flame struct {
	Heading
	Unit string // of what was counted, as in output.Hist
	root frame
}

// Kind says whose code a function is.
type Kind uint8

const (
	Program Kind = iota // the program that was started
	Library             // a library that it uses
	Kernel
	Unknown // no name is known, or there is no stack
	Task    // no function: what the stacks are grouped by
	kinds   // how many there are
)

// Function is one frame of a stack.
type Function struct {
	Name   string
	Module string // the file or module that it is in, if known
	Kind   Kind
}

// frame is a function within one chain of callers.
type frame struct {
	Function
	self, total uint64
	callees     []*frame
	index       map[Function]*frame
	merged      int // how many frames of a chain it stands for beside itself
}

// Add counts a stack, outermost function first.
func (f *Flame) Add(stack []Function, count uint64) {
	at := &f.root
	at.total = saturate(at.total, count)
	for _, fn := range stack {
		next := at.index[fn]
		if next == nil {
			next = &frame{Function: fn}
			if at.index == nil {
				at.index = map[Function]*frame{}
			}
			at.index[fn] = next
			at.callees = append(at.callees, next)
		}
		next.total = saturate(next.total, count)
		at = next
	}
	at.self = saturate(at.self, count)
}

// Hot is a function and what was counted in it alone, whoever called it.
type Hot struct {
	Function
	Self uint64
}

// Hottest returns the n functions in which most was counted, callees not
// included, largest first.
func (f *Flame) Hottest(n int) []Hot {
	sums := map[Function]uint64{}
	f.root.walk(func(x *frame, _ int) {
		if x.self > 0 && x != &f.root {
			sums[x.Function] = saturate(sums[x.Function], x.self)
		}
	}, 0)
	out := make([]Hot, 0, len(sums))
	for fn, self := range sums {
		out = append(out, Hot{fn, self})
	}
	slices.SortFunc(out, func(a, b Hot) int {
		return cmp.Or(cmp.Compare(b.Self, a.Self), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Module, b.Module), cmp.Compare(a.Kind, b.Kind))
	})
	return out[:min(n, len(out))]
}

// Total is all that was counted.
func (f *Flame) Total() uint64 { return f.root.total }

// Share is a part of all that was counted: 12%.
func (f *Flame) Share(n uint64) string { return percent(n, f.root.total) }

func percent(n, total uint64) string {
	p := 100 * float64(n) / math.Max(float64(total), 1)
	switch {
	case n > 0 && p < 0.5:
		return "<1%"
	case n < total && p > 99.5:
		return ">99%"
	}
	return fmt.Sprintf("%.0f%%", p)
}

func (x *frame) walk(visit func(x *frame, depth int), depth int) {
	visit(x, depth)
	for _, c := range x.callees {
		c.walk(visit, depth+1)
	}
}

func (x *frame) depth() int {
	deepest := 0
	x.walk(func(_ *frame, d int) { deepest = max(deepest, d) }, 0)
	return deepest
}

// joined is the tree with its chains as one frame each: functions that call one
// other and do nothing else. What is left is where stacks part.
func (x *frame) joined(least int) *frame {
	out := &frame{Function: x.Function, self: x.self, total: x.total}
	end, n := x, 0
	for x.Kind != Task && len(end.callees) == 1 && end.self == 0 && end.callees[0].Kind == x.Kind {
		end = end.callees[0]
		n++
	}
	if n < least {
		end, n = x, 0
	} else {
		out.Name, out.Module = local(x.Name)+" … "+local(end.Name), end.Module
		out.merged, out.self = n, end.self
	}
	for _, c := range end.callees {
		out.callees = append(out.callees, c.joined(least))
	}
	return out
}

// box is a frame's place: x and w as shares of the whole.
type box struct {
	*frame
	x, w  float64
	depth int
	rest  bool // several functions, each too narrow to be drawn
}

// boxes lays out what is at least as wide as least; what is narrower stands
// together in one box at the end of its row.
func (x *frame) boxes(least float64, rows int) []box {
	var out []box
	whole := math.Max(float64(x.total), 1)
	var place func(of *frame, at float64, depth int)
	place = func(of *frame, at float64, depth int) {
		if depth == rows {
			return
		}
		callees := slices.Clone(of.callees)
		slices.SortFunc(callees, func(a, b *frame) int {
			return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Module, b.Module), cmp.Compare(a.Kind, b.Kind))
		})
		for i, c := range callees {
			w := float64(c.total) / whole
			if w < least {
				rest := frame{Function: Function{Name: fmt.Sprintf("%d more", len(callees)-i), Kind: Unknown}}
				for _, c := range callees[i:] {
					rest.total = saturate(rest.total, c.total)
				}
				if w = float64(rest.total) / whole; w >= least {
					out = append(out, box{&rest, at, w, depth, true})
				}
				return
			}
			out = append(out, box{c, at, w, depth, false})
			place(c, at, depth+1)
			at += w
		}
	}
	place(x, 0, 0)
	return out
}

const (
	flameRow  = 20
	flameRows = 34 // that a picture for a chat has
)

// leastBox is how wide a box is at least, as a share: slivers make a picture
// high and tell nothing.
const leastBox = 2.5 / (width - 2*margin)

// shown is what a picture has room for: its boxes, how many rows they have, and how
// many more there would be.
func (f *Flame) shown() (boxes []box, rows, hidden int) {
	root := &f.root
	for least := 24; ; least /= 2 {
		boxes = root.boxes(leastBox, math.MaxInt)
		rows = 0
		for _, b := range boxes {
			rows = max(rows, b.depth+1)
		}
		if rows <= flameRows || least == 0 {
			break
		}
		root = f.root.joined(least) // the longest chains first
	}
	if rows > flameRows {
		hidden, rows = rows-flameRows, flameRows
		boxes = slices.DeleteFunc(boxes, func(b box) bool { return b.depth >= rows })
	}
	return boxes, rows, hidden
}

func (f *Flame) height() int {
	_, rows, _ := f.shown()
	return top + flameRow*max(rows, 1) + 62
}

// Alt implements [Figure].
func (f *Flame) Alt() string {
	var parts []string
	for _, h := range f.Hottest(3) {
		parts = append(parts, f.Share(h.Self)+" in "+local(h.Name))
	}
	if len(parts) == 0 {
		return f.Title + ": nothing was counted"
	}
	return f.Title + ": " + strings.Join(parts, ", ")
}

func (f *Flame) draw(c *canvas) {
	c.heading(f.Heading)
	boxes, rows, hidden := f.shown()
	a := area{margin, top, width - 2*margin, float64(flameRow * rows)}
	if f.root.total == 0 {
		c.text(margin, top+14, "nothing was counted", noteFace, left, c.theme.muted)
		return
	}
	for _, b := range boxes {
		x, y, w := a.x+b.x*a.w, a.y+a.h-float64((b.depth+1)*flameRow), b.w*a.w
		c.rect(x, y, math.Max(w-1, 0.5), flameRow-1, c.theme.of(b.Function))
		c.boxLabel(x, y, w, b, f.root.total)
	}
	f.legend(c, a.y+a.h+28, hidden)
}

// boxLabel writes a function's name into its box, as much as there is room for,
// and its share where there is room for that too.
func (c *canvas) boxLabel(x, y, w float64, b box, total uint64) {
	const pad, least = 5, 26
	room := w - 2*pad
	if room < least {
		return
	}
	share := percent(b.total, total)
	if taken := c.textWidth(share, shareFace) + 14; room-taken > 60 {
		c.text(x+w-1-pad, y+14, share, shareFace, right, c.theme.ink)
		room -= taken
	}
	name := b.Name
	if b.merged > 0 {
		name += fmt.Sprintf(" (%d frames)", b.merged+1)
	}
	for _, shorter := range []func(string) string{local, leaf} {
		if c.textWidth(name, boxFace) > room && !b.rest && b.Kind != Unknown && b.Kind != Task {
			name = shorter(b.Name)
		}
	}
	c.text(x+pad, y+14, c.fit(name, boxFace, room), boxFace, left, c.theme.ink)
}

var (
	boxFace   = face{12, false}
	shareFace = face{12, true}
)

// kindNames are what a legend says.
var kindNames = [kinds]string{"program", "libraries", "kernel", "no name", ""}

// legend says whose code the colours are, and how much was counted in it.
func (f *Flame) legend(c *canvas, y float64, hidden int) {
	var sums [kinds]uint64
	f.root.walk(func(x *frame, _ int) { sums[x.Kind] = saturate(sums[x.Kind], x.self) }, 0)
	x := float64(margin)
	for k, n := range sums {
		if n == 0 || kindNames[k] == "" {
			continue
		}
		c.rect(x, y-10, 12, 12, c.theme.boxes[k])
		label := kindNames[k] + " " + percent(n, f.root.total)
		c.text(x+18, y, label, labelFace, left, c.theme.text)
		x += c.textWidth(label, labelFace) + 42
	}
	if hidden > 0 {
		c.text(width-margin, y, fmt.Sprintf("%d rows above are not shown", hidden), labelFace, right, c.theme.muted)
	}
}

// of is the colour of a function's box: its kind's, a little lighter or darker, so
// that neighbours can be told apart and a function is always the same.
func (t Theme) of(f Function) color.RGBA {
	c := t.boxes[f.Kind]
	if f.Kind == Task {
		return c
	}
	return mix(mix(c, rgb(0xffffff), 0.16), mix(c, rgb(0x000000), 0.07), tone(f.Name))
}

// tone is a number from 0 to 1 that is always the same for a name.
func tone(name string) float64 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return float64(h.Sum32()%64) / 63
}

// local is a name without the path of its package: smt.(*Builder).Add of
// example.com/a/smt.(*Builder).Add. What is in brackets is kept; how Go calls it is
// not.
func local(name string) string {
	name = strings.TrimSuffix(name, ".abi0")
	end := strings.IndexAny(name, "([<{ ")
	if end < 0 {
		end = len(name)
	}
	return name[strings.LastIndexByte(name[:end], '/')+1:]
}

// leaf is the last part of a name: Add of example.com/a/smt.(*Builder).Add, and
// push_back of std::vector::push_back.
func leaf(name string) string {
	name = local(name)
	end := strings.IndexAny(name, "[<{ ")
	if end < 0 {
		end = len(name)
	}
	for i := strings.LastIndexAny(name[:end], ".:"); i >= 0 && i+1 < end; i = strings.LastIndexAny(name[:i], ".:") {
		if !numbered(name[i+1:]) {
			return name[i+1:]
		}
	}
	return name
}

// numbered reports whether a name is one that Go gives to a function without: 1,
// func1, func2.3.
func numbered(name string) bool {
	return strings.Trim(strings.TrimPrefix(name, "func"), "0123456789.") == ""
}
