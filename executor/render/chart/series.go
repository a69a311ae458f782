package chart

import (
	"fmt"
	"math"
	"time"
)

// Series is how one or more quantities went over time.
type Series struct {
	Heading
	Unit     string
	Lines    []Line
	Location *time.Location // of the labels; nil is UTC
}

// Line is one quantity. Points are in the order of time.
type Line struct {
	Label  string
	Points []Point
}

// Point is a value at a moment.
type Point struct {
	At    time.Time
	Value float64
}

const maxLines = 6

func (s Series) shown() []Line { return s.Lines[:min(len(s.Lines), maxLines)] }

func (s Series) height() int { return 440 }

func (s Series) Alt() string {
	out := s.Title
	for _, l := range s.shown() {
		most := math.Inf(-1)
		for _, p := range l.Points {
			most = math.Max(most, p.Value)
		}
		if len(l.Points) > 0 {
			out += "; " + l.Label + " at most " + exact(s.Unit, most)
		}
	}
	return out
}

func (s Series) draw(c *canvas) {
	c.heading(s.Heading)
	lines := s.shown()
	var from, to time.Time
	most := 0.0
	for _, l := range lines {
		for _, p := range l.Points {
			if from.IsZero() || p.At.Before(from) {
				from = p.At
			}
			if p.At.After(to) {
				to = p.At
			}
			most = math.Max(most, p.Value)
		}
	}
	a := area{margin + 60, top + 6, width - 2*margin - 60, 280}
	if from.IsZero() {
		c.text(a.x+a.w/2, a.y+a.h/2, "no values", noteFace, center, c.theme.muted)
		return
	}
	span := math.Max(to.Sub(from).Seconds(), 1e-9)
	ceiling := math.Max(most, 1e-9) * headroom
	for _, v := range ticks(s.Unit, most, 5) {
		if v > ceiling {
			break
		}
		y := a.y + a.h - v/ceiling*a.h
		c.rect(a.x, y-0.5, a.w, 1, c.theme.grid)
		c.text(a.x-8, y+4, about(s.Unit, v), labelFace, right, c.theme.muted)
	}
	c.rect(a.x, a.y+a.h, a.w, 1, c.theme.muted)
	c.timeAxis(a, from, span, s.Location)
	for i, l := range lines {
		points := make([][2]float64, len(l.Points))
		for j, p := range l.Points {
			points[j] = [2]float64{a.x + p.At.Sub(from).Seconds()/span*a.w, a.y + a.h - math.Max(p.Value, 0)/ceiling*a.h}
		}
		if len(points) == 1 {
			points = append(points, [2]float64{points[0][0] + 3, points[0][1]})
		}
		c.line(points, 2.2, c.theme.lines[i])
	}
	// The names stand below, beside their colours.
	x, y := a.x, a.y+a.h+52
	for i, l := range lines {
		label := c.fit(l.Label, labelFace, 200)
		w := c.textWidth(label, labelFace) + 40
		if x+w > width-margin && x > a.x {
			x, y = a.x, y+22
		}
		c.rect(x, y-7, 16, 4, c.theme.lines[i])
		c.text(x+22, y, label, labelFace, left, c.theme.text)
		x += w
	}
	if more := len(s.Lines) - len(lines); more > 0 {
		c.text(x, y, fmt.Sprintf("and %d more", more), labelFace, left, c.theme.muted)
	}
}

// timeAxis labels moments at round times of the clock.
func (c *canvas) timeAxis(a area, from time.Time, span float64, loc *time.Location) {
	if loc == nil {
		loc = time.UTC
	}
	form := "15:04:05"
	step := time.Second
	for _, d := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		10 * time.Minute, 30 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour} {
		if step = d; span/d.Seconds() <= 7 {
			break
		}
	}
	if step >= time.Minute {
		form = "15:04"
	}
	for t, n := from.Truncate(step), 0; n < 20; t, n = t.Add(step), n+1 {
		x := a.x + t.Sub(from).Seconds()/span*a.w
		if x > a.x+a.w+0.5 {
			break
		}
		if x < a.x-0.5 {
			continue
		}
		c.rect(x-0.5, a.y+a.h, 1, 4, c.theme.muted)
		c.text(math.Min(x, width-34), a.y+a.h+19, t.In(loc).Format(form), labelFace, center, c.theme.muted)
	}
}
