package chart

import (
	"fmt"
	"image/color"
	"math"

	"kgent/executor/output"
)

// Histogram is one distribution: a column for each bucket, logarithmic or
// linear as the buckets are.
type Histogram struct {
	Heading
	Unit    string // as in output.Hist
	Buckets []output.Bucket
}

func (h Histogram) height() int { return 460 }

func (h Histogram) Alt() string { return h.Title + ": " + percentiles(h.Unit, h.Buckets) }

func (h Histogram) draw(c *canvas) {
	c.heading(h.Heading)
	c.columns(area{margin + 54, top + 26, width - 2*margin - 54, 280}, h.Unit, shown(h.Buckets), true)
}

// Panels are several distributions below one another, over the same buckets.
// The height of each is its own: the shapes are compared, not the numbers.
type Panels struct {
	Heading
	Unit  string
	Parts []Part
}

// Part is one of several distributions.
type Part struct {
	Label   string
	Buckets []output.Bucket
}

// MaxPanels is how many panels are drawn; more distributions are a [Heat].
const MaxPanels = 4

const panelHeight = 150

func (p Panels) shown() []Part { return p.Parts[:min(len(p.Parts), MaxPanels)] }

func (p Panels) height() int { return top + panelHeight*max(len(p.shown()), 1) + 36 }

func (p Panels) Alt() string { return alt(p.Heading, p.Unit, p.Parts) }

func (p Panels) draw(c *canvas) {
	c.heading(p.Heading)
	scales := align(p.shown())
	for i, part := range p.shown() {
		y := float64(top + i*panelHeight)
		c.text(margin, y+14, c.fit(part.Label, valueFace, 330), valueFace, left, c.theme.text)
		c.text(width-margin, y+14, percentiles(p.Unit, part.Buckets), labelFace, right, c.theme.muted)
		c.columns(area{margin + 54, y + 26, width - 2*margin - 54, panelHeight - 56}, p.Unit, scales[i], i == len(p.shown())-1)
	}
}

// Heat is many distributions, a row for each: the darker, the more of the row's
// values.
type Heat struct {
	Heading
	Unit string
	Rows []Part
}

// MaxRows is how many rows are drawn; the heading should say of how many.
const MaxRows = 24

const heatRow = 30

func (h Heat) shown() []Part { return h.Rows[:min(len(h.Rows), MaxRows)] }

func (h Heat) height() int { return top + heatRow*max(len(h.shown()), 1) + 64 }

func (h Heat) Alt() string { return alt(h.Heading, h.Unit, h.Rows) }

func (h Heat) draw(c *canvas) {
	c.heading(h.Heading)
	rows := align(h.shown())
	if len(rows) == 0 || len(rows[0]) == 0 {
		return
	}
	labels := 0.0
	for _, r := range h.shown() {
		labels = math.Max(labels, math.Min(c.textWidth(r.Label, labelFace), 190))
	}
	a := area{margin + labels + 12, top + 16, 0, float64(heatRow * len(rows))}
	a.w = width - margin - 150 - a.x
	c.text(a.x+a.w+8, top+8, "p50 <", labelFace, left, c.theme.muted)
	c.text(a.x+a.w+72, top+8, "p99 <", labelFace, left, c.theme.muted)
	step := a.w / float64(len(rows[0]))
	for i, buckets := range rows {
		y := a.y + float64(i*heatRow)
		c.text(a.x-10, y+19, c.fit(h.Rows[i].Label, labelFace, 190), labelFace, right, c.theme.text)
		most := uint64(1)
		for _, b := range buckets {
			most = max(most, b.Count)
		}
		for j, b := range buckets {
			col := c.theme.grid
			if b.Count > 0 { // what is rare must still be seen
				col = mix(c.theme.cold, c.theme.hot, 0.15+0.85*math.Sqrt(float64(b.Count)/float64(most)))
			} else {
				col = mix(c.theme.background, c.theme.grid, 0.45)
			}
			c.rect(a.x+float64(j)*step+0.5, y+1, step-1, heatRow-2, col)
		}
		c.text(a.x+a.w+8, y+19, limit(h.Unit, buckets, 0.5), valueFace, left, c.theme.text)
		c.text(a.x+a.w+72, y+19, limit(h.Unit, buckets, 0.99), valueFace, left, c.theme.mark)
	}
	c.bucketAxis(a, h.Unit, rows[0])
}

func alt(h Heading, unit string, parts []Part) string {
	s := h.Title
	for i, p := range parts {
		if i == 3 {
			return s + fmt.Sprintf("; and %d more", len(parts)-i)
		}
		s += "; " + p.Label + ": " + percentiles(unit, p.Buckets)
	}
	return s
}

// area is a rectangle to draw in.
type area struct{ x, y, w, h float64 }

// maxBuckets is how many columns have room.
const maxBuckets = 64

// shown bounds what is drawn.
func shown(buckets []output.Bucket) []output.Bucket { return output.Coarser(buckets, maxBuckets) }

func saturate(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

// align gives all parts the same buckets: those that any of them has.
func align(parts []Part) [][]output.Bucket {
	var all []output.Bucket
	for _, p := range parts {
		all = append(all, p.Buckets...)
	}
	axis := Merge(all)
	out := make([][]output.Bucket, len(parts))
	for i, p := range parts {
		counts := map[[2]uint64]uint64{}
		for _, b := range p.Buckets {
			k := [2]uint64{b.Min, b.Max}
			counts[k] = saturate(counts[k], b.Count)
		}
		row := make([]output.Bucket, len(axis))
		for j, b := range axis {
			row[j] = output.Bucket{Min: b.Min, Max: b.Max, Count: counts[[2]uint64{b.Min, b.Max}]}
		}
		out[i] = shown(row)
	}
	return out
}

// limit is what a share of the values is below, as far as buckets tell.
func limit(unit string, buckets []output.Bucket, share float64) string {
	i, ok := at(buckets, share)
	switch {
	case !ok:
		return "–"
	case buckets[i].Max == math.MaxUint64:
		return "∞"
	}
	return exact(unit, float64(buckets[i].Max)+1)
}

// at is the bucket that a share of the values is not above.
func at(buckets []output.Bucket, share float64) (i int, ok bool) {
	total, sum := 0.0, 0.0
	for _, b := range buckets {
		total += float64(b.Count)
	}
	for i, b := range buckets {
		if sum += float64(b.Count); sum > 0 && sum >= share*total {
			return i, true
		}
	}
	return 0, false
}

func percentiles(unit string, buckets []output.Bucket) string {
	n := uint64(0)
	for _, b := range buckets {
		n = saturate(n, b.Count)
	}
	if n == 0 {
		return "no values"
	}
	return fmt.Sprintf("%s, p50 < %s, p99 < %s", plural(n, "value"), limit(unit, buckets, 0.5), limit(unit, buckets, 0.99))
}

const (
	headroom     = 1.06 // how much higher than the highest value an area is
	widestColumn = 120  // units: one bucket alone need not fill the picture
	small        = 120  // areas lower than that have no labels within
)

// columns draws a histogram into an area, its axis below.
func (c *canvas) columns(a area, unit string, buckets []output.Bucket, axis bool) {
	a.w = math.Min(a.w, widestColumn*float64(len(buckets)))
	half, ok := at(buckets, 0.5)
	if !ok {
		if a.h >= small {
			c.text(margin, a.y+a.h/2, "no values", noteFace, left, c.theme.muted)
		}
		if axis && len(buckets) > 0 {
			c.rect(a.x, a.y+a.h, a.w, 1, c.theme.muted)
			c.bucketAxis(a, unit, buckets)
		}
		return
	}
	most := 0.0
	for _, b := range buckets {
		most = math.Max(most, float64(b.Count))
	}
	ceiling := most * headroom
	for _, v := range ticks("", most, max(int(a.h/60), 2)) {
		y := a.y + a.h - v/ceiling*a.h
		if v > ceiling {
			break
		}
		c.rect(a.x, y-0.5, a.w, 1, c.theme.grid)
		c.text(a.x-8, y+4, about("", v), labelFace, right, c.theme.muted)
	}
	step := a.w / float64(len(buckets))
	gap := math.Min(3, step*0.15)
	p99, _ := at(buckets, 0.99)
	for i, b := range buckets {
		h := float64(b.Count) / ceiling * a.h
		if b.Count > 0 {
			h = math.Max(h, 2) // what is not nothing is to be seen
		}
		col := c.theme.bar
		if i > p99 {
			col = mix(c.theme.bar, c.theme.mark, 0.75)
		}
		c.rect(a.x+float64(i)*step+gap/2, a.y+a.h-h, step-gap, h, col)
	}
	c.rect(a.x, a.y+a.h, a.w, 1, c.theme.muted)
	if half == p99 {
		c.percentile(a, step, half, "p50, p99 < "+limit(unit, buckets, 0.5), c.theme.text, false)
	} else {
		c.percentile(a, step, half, "p50 < "+limit(unit, buckets, 0.5), c.theme.text, false)
		c.percentile(a, step, p99, "p99 < "+limit(unit, buckets, 0.99), c.theme.mark, float64(p99-half)*step < 130)
	}
	if axis {
		c.bucketAxis(a, unit, buckets)
	}
}

// percentile marks the end of a bucket. The label stands above the area, to the
// right of the line when the left is taken.
func (c *canvas) percentile(a area, step float64, i int, label string, col color.RGBA, toRight bool) {
	x := a.x + float64(i+1)*step
	if a.h < small { // the panel's own line says it
		c.dashed(x, a.y, a.y+a.h, col)
		return
	}
	c.dashed(x, a.y-8, a.y+a.h, col)
	w := c.textWidth(label, valueFace)
	switch {
	case toRight && x+6+w < a.x+a.w:
		c.text(x+6, a.y-8, label, valueFace, left, col)
	case x-6-w > a.x-60:
		c.text(x-6, a.y-8, label, valueFace, right, col)
	default:
		c.text(x+6, a.y-8, label, valueFace, left, col)
	}
}

// bucketAxis labels the borders of buckets: every one, or every second, third …
// as there is room.
func (c *canvas) bucketAxis(a area, unit string, buckets []output.Bucket) {
	step := a.w / float64(len(buckets))
	labels := make([]string, 0, len(buckets)+1)
	widest := 0.0
	write := about
	for i := range buckets[1:] { // narrow ones need more digits
		if buckets[i].Min != buckets[i+1].Min && about(unit, float64(buckets[i].Min)) == about(unit, float64(buckets[i+1].Min)) {
			write = exact
		}
	}
	for _, b := range buckets {
		labels = append(labels, write(unit, float64(b.Min)))
	}
	if last := buckets[len(buckets)-1].Max; last != math.MaxUint64 {
		labels = append(labels, write(unit, float64(last)+1))
	}
	for i, s := range labels {
		widest = math.Max(widest, c.textWidth(s, labelFace))
		c.rect(a.x+float64(i)*step-0.5, a.y+a.h, 1, 4, c.theme.muted)
	}
	for i := 0; i < len(labels); i += max(int(math.Ceil((widest+8)/step)), 1) {
		x := math.Min(a.x+float64(i)*step, width-4-c.textWidth(labels[i], labelFace)/2)
		c.text(x, a.y+a.h+19, labels[i], labelFace, center, c.theme.muted)
	}
}
