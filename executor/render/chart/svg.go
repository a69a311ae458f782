package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/color"
	"math"
	"strings"
)

// Sizes of an SVG, in its own units. Text is in fixed pitch, since its width
// must be known without the reader's fonts.
const (
	svgWidth  = 1200
	svgMargin = 12
	svgTop    = 64
	svgRow    = 18
	svgChar   = 7.25 // of the font below at 12 units
	maxBoxes  = 20_000
)

// SVG draws a flame graph for a browser, whole: a box tells its function and
// share when the pointer is on it, a click makes it as wide as the picture, and
// what is searched for is marked. It follows the browser's dark or light
// setting. The picture is one file that loads nothing from elsewhere.
func (f *Flame) SVG() []byte {
	rows := max(f.root.depth(), 1)
	height := svgTop + rows*svgRow + 44
	var b bytes.Buffer
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="100%%" font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="12">
<title>%s</title>
<style>
%s@media (prefers-color-scheme: dark) {
%s}
.f { cursor: pointer } .f:hover rect { stroke: var(--t); stroke-width: 1 } .f text { fill: var(--i); pointer-events: none }
.m rect { fill: var(--s) } .d { opacity: .45 } .b { cursor: pointer; text-decoration: underline }
</style>
<rect width="100%%" height="100%%" fill="var(--bg)"/>
`, svgWidth, height, escaped(f.Alt()), svgColours("svg", Light()), svgColours("svg", Dark()))
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"26\" font-size=\"18\" font-weight=\"bold\" fill=\"var(--t)\">%s</text>\n", svgMargin, escaped(cut(f.Title, 100)))
	fmt.Fprintf(&b, "<text id=\"note\" x=\"%d\" y=\"48\" fill=\"var(--u)\">%s</text>\n", svgMargin, escaped(cut(f.Note, 150)))
	fmt.Fprintf(&b, "<text id=\"find\" class=\"b\" x=\"%d\" y=\"26\" text-anchor=\"end\" fill=\"var(--u)\">search</text>\n", svgWidth-svgMargin)
	inner := float64(svgWidth - 2*svgMargin)
	var boxes []box
	for least := 0.3 / inner; ; least *= 2 {
		if boxes = f.root.boxes(least, rows); len(boxes) <= maxBoxes {
			break
		}
	}
	b.WriteString("<g id=\"boxes\">\n")
	for _, x := range boxes {
		f.svgBox(&b, x, float64(svgMargin)+x.x*inner, float64(svgTop+(rows-1-x.depth)*svgRow), x.w*inner)
	}
	b.WriteString("</g>\n")
	at := svgMargin
	for k, name := range kindNames {
		if name == "" {
			continue
		}
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"11\" height=\"11\" fill=\"var(--k%d)\"/><text x=\"%d\" y=\"%d\" fill=\"var(--u)\">%s</text>\n", at, height-28, k, at+17, height-18, name)
		at += 34 + int(svgChar*float64(len(name)))
	}
	fmt.Fprintf(&b, "<text id=\"told\" x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"var(--t)\"> </text>\n<script><![CDATA[%s]]></script>\n</svg>\n", svgWidth-svgMargin, height-18, svgScript)
	return b.Bytes()
}

// svgBox draws a box. Its place as a share of the whole goes with it, for the
// script.
func (f *Flame) svgBox(b *bytes.Buffer, x box, left, y, w float64) {
	name := x.Name
	if x.Module != "" {
		name += " (" + x.Module + ")"
	}
	told := fmt.Sprintf("%s: %s, %s", name, exact(f.Unit, float64(x.total)), f.Share(x.total))
	if x.self > 0 && x.self != x.total {
		told += "; " + f.Share(x.self) + " in itself"
	}
	label := local(x.Name)
	if room := int((w - 6) / svgChar); room < 3 {
		label = ""
	} else {
		label = cut(label, room)
	}
	fmt.Fprintf(b, "<g class=\"f\" data-x=\"%.7f\" data-w=\"%.7f\" data-n=\"%s\"><title>%s</title><rect x=\"%.2f\" y=\"%.0f\" width=\"%.2f\" height=\"%d\" rx=\"1.5\" fill=\"var(--k%d)\" fill-opacity=\"%.2f\"/><text x=\"%.2f\" y=\"%.0f\">%s</text></g>\n",
		x.x, x.w, escaped(local(x.Name)), escaped(told), left, y, math.Max(w-0.6, 0.2), svgRow-1, x.Kind, 0.78+0.22*tone(x.Name), left+3, y+13, escaped(label))
}

func svgColours(selector string, t Theme) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s { --bg: %s; --t: %s; --u: %s; --i: %s; --s: %s;", selector, css(t.background), css(t.text), css(t.muted), css(t.ink), css(t.lines[3]))
	for k, c := range t.boxes {
		fmt.Fprintf(&b, " --k%d: %s;", k, css(c))
	}
	return b.String() + " }\n"
}

func css(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// escaped makes text of XML: nothing that a traced program has chosen can become
// an element or an attribute.
func escaped(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // into memory: it cannot fail
	return b.String()
}

func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:max(n-1, 0)]) + "…"
}

// svgScript zooms, and marks what is searched for. It reads what it shows from
// attributes and writes it as text only.
const svgScript = `
(function () {
  var left = 12, room = 1176, pitch = 7.25;
  var boxes = Array.prototype.slice.call(document.querySelectorAll('.f'));
  var told = document.getElementById('told');
  function show(from, share) {
    boxes.forEach(function (g) {
      var x = (+g.dataset.x - from) / share, w = +g.dataset.w / share;
      var beside = x + w <= 1e-7 || x >= 1 - 1e-7;
      g.style.display = beside ? 'none' : '';
      if (beside) return;
      g.classList.toggle('d', w > 1 + 1e-6);
      var end = Math.min(x + w, 1);
      x = Math.max(x, 0);
      w = (end - x) * room;
      var r = g.querySelector('rect'), t = g.querySelector('text'), fit = Math.floor((w - 6) / pitch), n = g.dataset.n;
      r.setAttribute('x', left + x * room);
      r.setAttribute('width', Math.max(w - 0.6, 0.2));
      t.setAttribute('x', left + x * room + 3);
      t.textContent = fit < 3 ? '' : n.length <= fit ? n : n.slice(0, fit - 1) + '\u2026';
    });
  }
  boxes.forEach(function (g) {
    g.addEventListener('click', function () { show(+g.dataset.x, +g.dataset.w); });
    g.addEventListener('mouseover', function () { told.textContent = g.querySelector('title').textContent.slice(0, 110); });
  });
  document.getElementById('note').addEventListener('click', function () { show(0, 1); });
  document.addEventListener('keydown', function (e) { if (e.key === 'Escape') show(0, 1); });
  document.getElementById('find').addEventListener('click', function () {
    var word = (prompt('functions whose name has') || '').toLowerCase(), ends = [], sum = 0, at = -1;
    boxes.forEach(function (g) {
      var hit = word !== '' && g.dataset.n.toLowerCase().indexOf(word) >= 0;
      g.classList.toggle('m', hit);
      if (hit) ends.push([+g.dataset.x, +g.dataset.x + +g.dataset.w]);
    });
    ends.sort(function (a, b) { return a[0] - b[0]; }).forEach(function (p) {
      if (p[1] > at) { sum += p[1] - Math.max(p[0], at); at = p[1]; }
    });
    told.textContent = word === '' ? ' ' : word + ': ' + (100 * sum).toFixed(1) + '%';
  });
})();
`
