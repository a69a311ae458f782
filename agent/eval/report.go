package eval

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Share is a proportion with its 95 % Wilson interval.
type Share struct {
	Of   int     `json:"of"`
	N    int     `json:"n"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// ShareOf is n of all.
func ShareOf(n, all int) Share {
	s := Share{Of: all, N: n, High: 1}
	if all == 0 {
		return s
	}
	const z = 1.959964
	p, k := float64(n)/float64(all), float64(all)
	mid := p + z*z/(2*k)
	half := z * math.Sqrt(p*(1-p)/k+z*z/(4*k*k))
	s.Low, s.High = max(0, (mid-half)/(1+z*z/k)), min(1, (mid+half)/(1+z*z/k))
	return s
}

// String is "81 of 120 (68 %, 59–75)".
func (s Share) String() string {
	if s.Of == 0 {
		return "–"
	}
	return fmt.Sprintf("%d of %d (%.0f %%, %.0f–%.0f)", s.N, s.Of, 100*float64(s.N)/float64(s.Of), 100*s.Low, 100*s.High)
}

// Group is the summary of some results.
type Group struct {
	Name     string `json:"name"`
	Requests int    `json:"requests"` // that were measured: without faults
	Faults   int    `json:"faults"`   // nothing was measured
	// Pass counts right outcomes; First those with the first program.
	Pass  Share `json:"pass"`
	First Share `json:"first"`
	// Answers are requests for which a program was accepted. FalseAccept is how many
	// of these are wrong, VerifiedWrong how many of those that were called VERIFIED.
	Answers       int   `json:"answers"`
	FalseAccept   Share `json:"false_accept"`
	VerifiedWrong Share `json:"verified_wrong"`
	// FalseRefusal is how many requests that have a program got none.
	FalseRefusal Share `json:"false_refusal"`
	// Means over all that was measured.
	Tries   float64 `json:"tries"`
	Calls   float64 `json:"calls"`
	Tokens  float64 `json:"tokens"`
	Cost    float64 `json:"cost"`
	Seconds float64 `json:"seconds_median"`
}

// Report is a measurement's outcome.
type Report struct {
	Mode    Mode      `json:"mode"`
	Model   string    `json:"model,omitempty"`
	Kernel  string    `json:"kernel"`
	Cases   int       `json:"cases"`
	Repeats int       `json:"repeats"`
	Groups  []Group   `json:"groups"`
	Results []*Result `json:"results,omitempty"`
}

// Summarize groups results: all, ordinary and hard ones, those that must be
// refused, and each category.
func Summarize(results []*Result) []Group {
	groups := []Group{
		summary("all", results, func(*Result) bool { return true }),
		summary("ordinary", results, func(r *Result) bool { return !r.Hard && r.Category != Refusal }),
		summary("hard", results, func(r *Result) bool { return r.Hard && r.Category != Refusal }),
	}
	for _, c := range categories {
		name := string(c)
		if c == Refusal {
			name = "to be refused"
		}
		groups = append(groups, summary(name, results, func(r *Result) bool { return r.Category == c }))
	}
	return groups
}

func summary(name string, results []*Result, of func(*Result) bool) Group {
	g := Group{Name: name}
	var pass, first, wrong, verified, verifiedWrong, refused, answerable int
	var seconds []float64
	for _, r := range results {
		if !of(r) {
			continue
		}
		if r.Outcome == Faulty {
			g.Faults++
			continue
		}
		g.Requests++
		pass += one(r.Pass)
		first += one(r.First)
		if r.Outcome == Answered {
			g.Answers++
			wrong += one(r.FalseAccept)
			if r.Verdict == verdictVerified {
				verified++
				verifiedWrong += one(r.FalseAccept)
			}
		}
		if r.Category != Refusal {
			answerable++
			refused += one(r.FalseRefusal)
		}
		g.Tries += float64(r.Tries)
		g.Calls += float64(r.Calls)
		g.Tokens += float64(r.Tokens)
		g.Cost += r.Cost
		seconds = append(seconds, r.Seconds)
	}
	g.Pass, g.First = ShareOf(pass, g.Requests), ShareOf(first, g.Requests)
	g.FalseAccept, g.VerifiedWrong = ShareOf(wrong, g.Answers), ShareOf(verifiedWrong, verified)
	g.FalseRefusal = ShareOf(refused, answerable)
	if n := float64(g.Requests); n > 0 {
		g.Tries, g.Calls, g.Tokens, g.Cost = g.Tries/n, g.Calls/n, g.Tokens/n, g.Cost/n
		slices.Sort(seconds)
		g.Seconds = seconds[len(seconds)/2]
	}
	return g
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Text is the report as a table, and what went wrong.
func (r *Report) Text() string {
	var b strings.Builder
	model := ""
	if r.Model != "" {
		model = " with " + r.Model
	}
	fmt.Fprintf(&b, "mode %s%s, Linux %s, %d cases, every request %d×; 95 %% Wilson intervals\n\n", r.Mode, model, r.Kernel, r.Cases, r.Repeats)
	fmt.Fprintf(&b, "%-14s %-26s %-26s %-24s %-24s %-26s %6s %7s %8s\n", "", "right", "right at once", "wrong among accepted", "wrong among VERIFIED", "no answer though possible", "tries", "tokens", "seconds")
	for _, g := range r.Groups {
		if g.Requests+g.Faults == 0 {
			continue
		}
		fmt.Fprintf(&b, "%-14s %-26s %-26s %-24s %-24s %-26s %6.1f %7.0f %8.1f", g.Name, g.Pass, g.First, g.FalseAccept, g.VerifiedWrong, g.FalseRefusal, g.Tries, g.Tokens, g.Seconds)
		if g.Faults > 0 {
			fmt.Fprintf(&b, "  (%d not measured)", g.Faults)
		}
		b.WriteByte('\n')
	}
	for _, list := range []struct {
		what string
		of   func(*Result) bool
	}{
		{"Accepted and wrong", func(r *Result) bool { return r.FalseAccept }},
		{"No answer though one is possible", func(r *Result) bool { return r.FalseRefusal }},
		{"Other wrong outcomes", func(r *Result) bool {
			return !r.Pass && !r.FalseAccept && !r.FalseRefusal && r.Outcome != Faulty
		}},
		{"Not measured", func(r *Result) bool { return r.Outcome == Faulty }},
	} {
		n := 0
		for _, x := range r.Results {
			if !list.of(x) {
				continue
			}
			if n++; n == 1 {
				fmt.Fprintf(&b, "\n%s:\n", list.what)
			}
			why := x.Why
			if len(x.Found) > 0 {
				why = strings.Join(x.Found, "; ")
			}
			why, _, _ = strings.Cut(why, "\n")
			fmt.Fprintf(&b, "  %s #%d.%d %s %s: %q: %s\n", x.Case, x.Request+1, x.Repeat+1, x.Outcome, x.Verdict, clipTo(x.Text, 90), clipTo(why, 200))
		}
	}
	return b.String()
}

// SVG is the report as a picture: shares with their intervals.
func (r *Report) SVG() string {
	type bar struct {
		name  string
		share Share
		fill  string
	}
	const left, width, row = 170, 420, 22
	var bars []bar
	for _, g := range r.Groups {
		if g.Requests == 0 {
			continue
		}
		bars = append(bars, bar{g.Name + ": right", g.Pass, "#2a7"})
		if g.Answers > 0 {
			bars = append(bars, bar{"wrong among accepted", g.FalseAccept, "#c33"})
		}
	}
	height := row*len(bars) + 70
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", left+width+190, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="10" y="20" font-size="14">kgent eval, mode %s %s</text>`+"\n", html.EscapeString(string(r.Mode)), html.EscapeString(r.Model))
	for i := range 11 {
		x := left + width*i/10
		fmt.Fprintf(&b, `<line x1="%d" y1="32" x2="%d" y2="%d" stroke="#ddd"/><text x="%d" y="%d" text-anchor="middle" fill="#666">%d %%</text>`+"\n", x, x, height-30, x, height-14, i*10)
	}
	for i, k := range bars {
		y := 36 + i*row
		p := float64(k.share.N) / float64(max(k.share.Of, 1))
		at := func(f float64) float64 { return left + width*f }
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="12" fill="%s"/>`, left-8, y+11, html.EscapeString(k.name), left, y+1, width*p, k.fill)
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#000"/><text x="%d" y="%d">%s</text>`+"\n", at(k.share.Low), y+7, at(k.share.High), y+7, left+width+10, y+11, html.EscapeString(k.share.String()))
	}
	b.WriteString("</svg>\n")
	return b.String()
}
