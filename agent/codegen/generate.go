package codegen

import "kgent/agent/contract"

// generator writes one program.
type generator struct {
	c *contract.Checked
}

func (g *generator) program() (string, error) {
	for _, p := range g.c.Places {
		return "", &Unsupported{p.At, "hooks of kind " + p.Kind}
	}
	return "", &Unsupported{What: "a contract without hooks"}
}
