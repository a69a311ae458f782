package thread

import (
	"fmt"
	"io"
	"time"

	"kgent/bot/card"
	"kgent/bot/result"
	"kgent/executor/output"
	"kgent/executor/render/chart"
)

// Gather returns the [Output] of a run of r, as people are to see it. dir is
// where output waits that is too much for memory; empty is the system's
// directory for temporary files.
func Gather(r Request, dir string, now func() time.Time) Output {
	run := ""
	if r.Grant != nil {
		run = r.Grant.Run
	}
	return &gathered{result.New(result.Options{Columns: columns(r.Place), Recipe: fileName(r.Card.Name), Run: run, Nodes: r.Card.Nodes, Dir: dir, Now: now})}
}

type gathered struct{ *result.Result }

// fewNodes are listed one by one.
const fewNodes = 4

// maxPictures is how many pictures a result has at most.
const maxPictures = 3

// Final implements [Output].
func (g *gathered) Final(n int, s output.Summary) ([]card.Block, []File) {
	g.End(s)
	f := g.Result.Final()
	blocks := []card.Block{card.Text{Body: f.Headline}}
	for _, b := range f.Blocks {
		if n < 200 {
			blocks = append(blocks, card.Note{Body: "There is more in the file."})
			break
		}
		body := result.Cut(b.Text, n)
		n -= len(body)
		if b.Title != "" {
			blocks = append(blocks, card.Note{Body: b.Title})
		}
		blocks = append(blocks, card.Code{Body: body})
	}
	var nodes []string
	if len(f.Nodes) <= fewNodes {
		for _, x := range f.Nodes {
			nodes = append(nodes, result.Group{State: x.State, Detail: cut(x.Detail, 200), Nodes: []string{x.Name}}.String())
		}
	} else {
		for _, g := range result.Groups(f.Nodes) {
			g.Detail = cut(g.Detail, 200)
			nodes = append(nodes, g.String())
		}
	}
	if len(nodes) > 0 {
		blocks = append(blocks, list("Nodes", nodes))
	}
	if len(f.Errors) > 0 {
		blocks = append(blocks, list("What went wrong", f.Errors))
	}
	account := f.Account
	for _, more := range []string{f.Ended, f.Cost} {
		if more != "" {
			account += " · " + more
		}
	}
	return append(blocks, card.Note{Body: account}), g.files()
}

// files are the pictures and the whole output. What cannot be made is said in
// a file of its own: nobody must take its absence for an empty answer.
func (g *gathered) files() []File {
	var out []File
	for i, figure := range g.Figures() {
		if i == maxPictures {
			break
		}
		png, err := chart.PNG(figure, chart.Dark())
		if err != nil {
			out = append(out, File{Name: fmt.Sprintf("picture-%d.txt", i+1), Title: "A picture that could not be drawn", Data: []byte(err.Error() + "\n")})
			continue
		}
		out = append(out, File{Name: fmt.Sprintf("picture-%d.png", i+1), Title: figure.Alt(), Data: png, Picture: true})
	}
	exports, err := g.Exports()
	for _, e := range exports {
		out = append(out, File{Name: e.Name, Title: e.Title, Data: e.Data})
	}
	if err != nil {
		out = append(out, File{Name: "profile.txt", Title: "A profile that could not be made", Data: []byte(err.Error() + "\n")})
	}
	f, ok, err := g.File()
	var data []byte
	if err == nil && ok {
		data, err = io.ReadAll(f.Open())
	}
	switch {
	case err != nil:
		out = append(out, File{Name: "output.txt", Title: "The whole output could not be kept", Data: []byte(err.Error() + "\n")})
	case ok:
		title := "The whole output"
		if f.Note != "" {
			title += " (" + f.Note + ")"
		}
		out = append(out, File{Name: f.Name, Title: title, Data: data})
	}
	return out
}
