package contract

import "fmt"

// Allows says why a parameter cannot be set to a number: it is out of the range that the
// contract gives it, and so nothing is known of what a program does then. bits are
// the number, extended to 64 bits as its sign asks for. nil for parameters without a range.
func (c *Contract) Allows(name string, bits uint64, signed bool) error {
	less := func(a, b uint64) bool {
		if signed {
			return int64(a) < int64(b)
		}
		return a < b
	}
	for _, p := range c.Params {
		if p.Name != name {
			continue
		}
		least, hasLeast := constantOf(p.Min)
		most, hasMost := constantOf(p.Max)
		if hasLeast && less(bits, least) || hasMost && less(most, bits) {
			return fmt.Errorf("%s: the contract allows %s", name, rangeOf(p))
		}
	}
	return nil
}

// constantOf is the value of a bound as it is written.
func constantOf(e Expr) (uint64, bool) {
	switch x := e.(type) {
	case *Number:
		return x.Value, true
	case *Unary:
		if v, ok := constantOf(x.X); ok && x.Op == "-" {
			return -v, true
		}
	}
	return 0, false
}

func rangeOf(p *Param) string {
	switch {
	case p.Max == nil:
		return ExprString(p.Min) + " or more"
	case p.Min == nil:
		return ExprString(p.Max) + " or less"
	}
	return ExprString(p.Min) + " to " + ExprString(p.Max)
}
