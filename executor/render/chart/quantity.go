package chart

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Units of quantities, as output.Hist names them; everything else is counted.
const (
	unitNanos  = "ns"
	unitMicros = "us"
	unitMillis = "ms"
	unitBytes  = "bytes"
)

// about writes a quantity as people say it, for an axis: 4 µs for 4096 ns, 1 KiB,
// 12k.
func about(unit string, v float64) string { return quantity(unit, v, 0.05) }

// exact writes a quantity with three digits, a count with all that people can
// read.
func exact(unit string, v float64) string {
	switch unit {
	case unitNanos, unitMicros, unitMillis, unitBytes:
	default:
		if v >= 0 && v < 1e7 && v == math.Trunc(v) {
			return grouped(v)
		}
	}
	return quantity(unit, v, 0.004)
}

func quantity(unit string, v, tolerance float64) string {
	if v < 0 {
		return "−" + quantity(unit, -v, tolerance)
	}
	switch unit {
	case unitNanos:
		return duration(v, tolerance)
	case unitMicros:
		return duration(v*1e3, tolerance)
	case unitMillis:
		return duration(v*1e6, tolerance)
	case unitBytes:
		return scaled(v, 1024, []string{" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"}, tolerance)
	}
	if v < 10000 {
		return grouped(v)
	}
	return scaled(v, 1000, []string{"", "k", "M", "G", "T", "P", "E"}, tolerance)
}

func duration(ns, tolerance float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1, " ns"}, {1e3, " µs"}, {1e6, " ms"}} {
		if ns < u.size*999.5 {
			return short(ns/u.size, tolerance) + u.name
		}
	}
	s := ns / 1e9
	switch {
	case s < 120:
		return short(s, tolerance) + " s"
	case s < 7200:
		return short(s/60, tolerance) + " min"
	case s < 48*3600:
		return short(s/3600, tolerance) + " h"
	}
	return short(s/86400, tolerance) + " d"
}

func scaled(v, base float64, names []string, tolerance float64) string {
	i := 0
	for v >= base*0.9995 && i < len(names)-1 {
		v /= base
		i++
	}
	return short(v, tolerance) + names[i]
}

// short writes a number with as few digits as the tolerance allows.
func short(v, tolerance float64) string {
	if whole := math.Round(v); v == 0 || math.Abs(v-whole) <= tolerance*v || v >= 100 {
		return strconv.FormatFloat(whole, 'f', 0, 64)
	}
	if v >= 1 {
		return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

// grouped writes a number with its thousands apart.
func grouped(v float64) string {
	if v != math.Trunc(v) {
		return short(v, 0.001)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%s %ss", grouped(float64(n)), noun)
}

// ticks returns at most n+1 round numbers from 0 to at least limit, in the steps
// that fit the unit.
func ticks(unit string, limit float64, n int) []float64 {
	if !(limit > 0) || math.IsInf(limit, 0) {
		limit = 1
	}
	step := 1.0
	if unit == unitBytes {
		for step*float64(n) < limit {
			step *= 2
		}
	} else {
		step = math.Pow(10, math.Floor(math.Log10(limit/float64(n))))
		for _, m := range []float64{1, 2, 5, 10} {
			if step*m*float64(n) >= limit*(1-1e-9) {
				step *= m
				break
			}
		}
		if unit != unitNanos && unit != unitMicros && unit != unitMillis && limit >= 1 {
			step = math.Max(step, 1)
		}
	}
	var out []float64
	for v := 0.0; len(out) <= n; v += step {
		out = append(out, v)
		if v >= limit*(1-1e-9) {
			break
		}
	}
	return out
}
