// Package chart draws the answers of runs as pictures for a chat: histograms,
// several of them below one another or as a heat map, the longest bars of a
// table, lines over time, and flame graphs of stacks.
//
// A picture is read on a phone at night: it says in words what it shows, of how
// much and in which unit, marks what half and 99% of the values are below, and
// labels axes as people write quantities: 4 µs, 1 KiB, 12k.
//
// Pictures are 800 units wide, at two pixels a unit, and the same figure always
// gives the same bytes. Only rectangles, lines and text are needed, so they are
// drawn here, with the Go fonts, and not with a library for plots: none of those
// knows a logarithmic histogram whose buckets are given.
//
// Labels are cut and bounded here; that they are harmless text is up to the
// caller, and what the font has no glyph for is shown as "?".
package chart

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// Figure is one picture: a [Histogram], [Panels], [Heat], [Bars],
// [Series] or [Flame].
type Figure interface {
	// Alt says in a sentence what the picture shows, for people who cannot see
	// it and for notifications.
	Alt() string
	// height in units, for a width of [width].
	height() int
	draw(c *canvas)
}

// Heading is what stands above every figure.
type Heading struct {
	Title string
	// Note is a second line, smaller: of how much, from where, what is missing.
	Note string
}

// Theme is a set of colours.
type Theme struct {
	background, text, muted, grid, bar, mark, warn color.RGBA
	lines                                          [6]color.RGBA
	// heat goes from the background's neighbour to the strongest.
	cold, hot color.RGBA
	// boxes are filled by whose code they stand for, and written on with ink.
	boxes [kinds]color.RGBA
	ink   color.RGBA
}

func rgb(hex uint32) color.RGBA {
	return color.RGBA{uint8(hex >> 16), uint8(hex >> 8), uint8(hex), 255}
}

// Light is for a white background, Dark for a dark one; each can be read on the
// other too, as a card of its own. Colours that stand beside one another
// differ for the colour-blind.
func Light() Theme {
	return Theme{background: rgb(0xffffff), text: rgb(0x1d1c1d), muted: rgb(0x616b76), grid: rgb(0xe3e6ea), bar: rgb(0x2f6fde), mark: rgb(0xb3261e), warn: rgb(0x9a5b00),
		lines: [6]color.RGBA{rgb(0x2f6fde), rgb(0xd55e00), rgb(0x009e73), rgb(0xaa3bb0), rgb(0x8a6d00), rgb(0x555555)}, cold: rgb(0xe8f0fd), hot: rgb(0x0b3d91),
		boxes: [kinds]color.RGBA{rgb(0x8fbcfa), rgb(0x7fd6b8), rgb(0xf7b267), rgb(0xcfd4db), rgb(0xe3e6ea)}, ink: rgb(0x15181d)}
}

// Dark is the theme for a dark background.
func Dark() Theme {
	return Theme{background: rgb(0x1e2025), text: rgb(0xf1f2f4), muted: rgb(0xa6adb8), grid: rgb(0x363a43), bar: rgb(0x6ea8ff), mark: rgb(0xff8a80), warn: rgb(0xffc46b),
		lines: [6]color.RGBA{rgb(0x6ea8ff), rgb(0xffa45c), rgb(0x4fd6a8), rgb(0xe08bec), rgb(0xe6cf5a), rgb(0xc8ccd4)}, cold: rgb(0x28324a), hot: rgb(0x9cc6ff),
		boxes: [kinds]color.RGBA{rgb(0x7fb2f8), rgb(0x62c9a6), rgb(0xf0a455), rgb(0x9aa2ae), rgb(0xc3c9d2)}, ink: rgb(0x111318)}
}

// Sizes in units.
const (
	width  = 800
	margin = 24
	top    = 84 // where a figure begins below its heading
	scale  = 2  // pixels a unit
)

// maxHeight bounds a picture: figures have few rows.
const maxHeight = 1600

// PNG draws a figure.
func PNG(f Figure, t Theme) ([]byte, error) {
	img, err := render(f, t)
	if err != nil {
		return nil, fmt.Errorf("drawing a picture: %w", err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("drawing a picture: %w", err)
	}
	return b.Bytes(), nil
}

func render(f Figure, t Theme) (*image.RGBA, error) {
	c := &canvas{theme: t, img: image.NewRGBA(image.Rect(0, 0, width*scale, min(f.height(), maxHeight)*scale)), faces: map[face]font.Face{}}
	var err error
	if c.regular, err = opentype.Parse(goregular.TTF); err != nil {
		return nil, err
	}
	if c.bold, err = opentype.Parse(gobold.TTF); err != nil {
		return nil, err
	}
	draw.Draw(c.img, c.img.Bounds(), image.NewUniform(t.background), image.Point{}, draw.Src)
	f.draw(c)
	return c.img, c.err
}

// canvas draws in units.
type canvas struct {
	theme         Theme
	img           *image.RGBA
	regular, bold *sfnt.Font
	faces         map[face]font.Face
	buffer        sfnt.Buffer
	err           error // the first
}

// face is a font at a size, in units.
type face struct {
	size float64
	bold bool
}

var (
	titleFace = face{21, true}
	noteFace  = face{14, false}
	labelFace = face{13, false}
	valueFace = face{13, true}
)

func (c *canvas) face(f face) font.Face {
	if have := c.faces[f]; have != nil {
		return have
	}
	parsed := c.regular
	if f.bold {
		parsed = c.bold
	}
	made, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: f.size * scale, DPI: 72, Hinting: font.HintingNone})
	if err != nil && c.err == nil {
		c.err = err
	}
	c.faces[f] = made
	return made
}

// known replaces what the fonts have no glyph for.
func (c *canvas) known(s string) string {
	return strings.Map(func(r rune) rune {
		if i, err := c.regular.GlyphIndex(&c.buffer, r); err != nil || i == 0 {
			return '?'
		}
		return r
	}, s)
}

// textWidth is in units.
func (c *canvas) textWidth(s string, f face) float64 {
	if c.face(f) == nil {
		return 0
	}
	return float64(font.MeasureString(c.face(f), c.known(s))) / 64 / scale
}

// fit cuts text to a width.
func (c *canvas) fit(s string, f face, room float64) string {
	const most = 400 // characters: no line has room for more
	r := []rune(s)
	if len(r) > most {
		r = r[:most]
	}
	if len(r) == len([]rune(s)) && c.textWidth(s, f) <= room {
		return s
	}
	low, high := 0, len(r) // the most that fits
	for low < high {
		mid := (low + high + 1) / 2
		if c.textWidth(string(r[:mid])+"…", f) <= room {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return string(r[:low]) + "…"
}

// Where text stands beside its point.
const (
	left   = 0.0 // it begins there
	center = 0.5
	right  = 1.0 // it ends there
)

// text writes on a baseline.
func (c *canvas) text(x, y float64, s string, f face, anchor float64, col color.RGBA) {
	made := c.face(f)
	if made == nil {
		return
	}
	s = c.known(s)
	x -= c.textWidth(s, f) * anchor
	d := font.Drawer{Dst: c.img, Src: image.NewUniform(col), Face: made, Dot: fixed.Point26_6{X: fixed.Int26_6(math.Round(x * scale * 64)), Y: fixed.Int26_6(math.Round(y*scale) * 64)}}
	d.DrawString(s)
}

// rect fills a rectangle, its edges on whole pixels; what is not empty is at
// least a pixel.
func (c *canvas) rect(x, y, w, h float64, col color.RGBA) {
	if w <= 0 || h <= 0 {
		return
	}
	x0, y0, x1, y1 := int(math.Round(x*scale)), int(math.Round(y*scale)), int(math.Round((x+w)*scale)), int(math.Round((y+h)*scale))
	draw.Draw(c.img, image.Rect(x0, y0, max(x1, x0+1), max(y1, y0+1)), image.NewUniform(col), image.Point{}, draw.Src)
}

// dashed draws a vertical line of dashes.
func (c *canvas) dashed(x, y0, y1 float64, col color.RGBA) {
	for y := y0; y < y1; y += 7 {
		c.rect(x-0.75, y, 1.5, math.Min(4, y1-y), col)
	}
}

// line draws a line through points.
func (c *canvas) line(points [][2]float64, thick float64, col color.RGBA) {
	b := c.img.Bounds()
	r := vector.NewRasterizer(b.Dx(), b.Dy())
	half := thick / 2
	at := func(x, y float64) (float32, float32) { return float32(x * scale), float32(y * scale) }
	for i := 1; i < len(points); i++ {
		p, q := points[i-1], points[i]
		dx, dy := q[0]-p[0], q[1]-p[1]
		n := math.Hypot(dx, dy)
		if n == 0 {
			continue
		}
		// A little longer at both ends, so that corners are closed.
		ux, uy := dx/n*half, dy/n*half
		r.MoveTo(at(p[0]-ux-uy, p[1]-uy+ux))
		r.LineTo(at(q[0]+ux-uy, q[1]+uy+ux))
		r.LineTo(at(q[0]+ux+uy, q[1]+uy-ux))
		r.LineTo(at(p[0]-ux+uy, p[1]-uy-ux))
		r.ClosePath()
	}
	r.Draw(c.img, b, image.NewUniform(col), image.Point{})
}

// heading writes the lines above a figure.
func (c *canvas) heading(h Heading) {
	c.text(margin, 36, c.fit(h.Title, titleFace, width-2*margin), titleFace, left, c.theme.text)
	c.text(margin, 59, c.fit(h.Note, noteFace, width-2*margin), noteFace, left, c.theme.muted)
}

// mix is a colour between two.
func mix(a, b color.RGBA, t float64) color.RGBA {
	between := func(x, y uint8) uint8 { return uint8(math.Round(float64(x) + (float64(y)-float64(x))*t)) }
	return color.RGBA{between(a.R, b.R), between(a.G, b.G), between(a.B, b.B), 255}
}
