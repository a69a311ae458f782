package chart

import (
	"fmt"
	"math"
	"strings"
)

// Bars are the longest rows of a table.
type Bars struct {
	Heading
	Unit string
	Rows []Bar
	// More is how many rows are not among Rows, and Rest their sum if known.
	More int
	Rest float64
}

// Bar is one row.
type Bar struct {
	Label string
	Value float64
}

const (
	maxBars   = 15
	barHeight = 30
)

func (b Bars) shown() []Bar { return b.Rows[:min(len(b.Rows), maxBars)] }

func (b Bars) more() (n int, rest float64) {
	n, rest = b.More, b.Rest
	for _, r := range b.Rows[len(b.shown()):] {
		n++
		rest += r.Value
	}
	return n, rest
}

func (b Bars) height() int {
	h := top + barHeight*max(len(b.shown()), 1) + margin - 8
	if n, _ := b.more(); n > 0 {
		h += barHeight
	}
	return h
}

func (b Bars) Alt() string {
	var parts []string
	for _, r := range b.Rows[:min(len(b.Rows), 3)] {
		parts = append(parts, r.Label+" "+exact(b.Unit, r.Value))
	}
	return b.Title + ": " + strings.Join(parts, ", ")
}

func (b Bars) draw(c *canvas) {
	c.heading(b.Heading)
	const mostLabel = 300
	labels, values, most := 0.0, 0.0, 0.0
	for _, r := range b.shown() {
		labels = math.Max(labels, math.Min(c.textWidth(r.Label, noteFace), mostLabel))
		values = math.Max(values, c.textWidth(exact(b.Unit, r.Value), valueFace))
		most = math.Max(most, r.Value)
	}
	x := margin + labels + 12
	room := width - margin - x - values - 10
	for i, r := range b.shown() {
		y := float64(top + i*barHeight)
		c.text(x-12, y+18, c.fit(r.Label, noteFace, mostLabel), noteFace, right, c.theme.text)
		w := 0.0
		if r.Value > 0 && most > 0 {
			w = math.Max(r.Value/most*room, 2)
		}
		c.rect(x, y+3, w, barHeight-8, c.theme.bar)
		c.text(x+w+8, y+18, exact(b.Unit, r.Value), valueFace, left, c.theme.text)
	}
	if n, rest := b.more(); n > 0 {
		s := fmt.Sprintf("and %d more", n)
		if rest > 0 {
			s += ", together " + exact(b.Unit, rest)
		}
		c.text(x, float64(top+len(b.shown())*barHeight+18), s, noteFace, left, c.theme.muted)
	}
}
