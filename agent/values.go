package agent

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
)

// WithValues is the contract with the values that the program is loaded with as its defaults: what generates the same
// program, or judges it, for the same processes, ports and thresholds where only the contract is at hand. The zero contract is
// empty, as [Candidate.ContractText] is.
func (c *Candidate) WithValues() ([]byte, error) {
	if c.Contract == nil {
		return nil, nil
	}
	k, err := contract.Parse(string(c.ContractText()))
	if err != nil {
		return nil, fmt.Errorf("putting values into the contract: %w", err)
	}
	params := c.Object.Params()
	for _, v := range c.Manifest.Constants {
		at := slices.IndexFunc(k.Params, func(p *contract.Param) bool { return p.Name == v.Name })
		param := slices.IndexFunc(params, func(p program.Param) bool { return p.Name == v.Name })
		if at < 0 || param < 0 {
			continue // of a view of the program that the contract says nothing of
		}
		data, err := program.EncodeValue(params[param].Type, v.Value)
		if err != nil {
			return nil, fmt.Errorf("putting values into the contract: parameter %s: %w", v.Name, err)
		}
		of := k.Params[at]
		had := of.Default != nil
		if of.Default = constantOf(of.Type, v.Value, data); of.Default == nil && had {
			of.Default = zeroed(of.Type) // which is not what the program has of itself
		}
	}
	return []byte(contract.Format(k)), nil
}

var (
	aDuration = regexp.MustCompile(`^[0-9]+(ns|us|ms|s)$`)
	anErrno   = regexp.MustCompile(`^E[A-Z0-9]+$`)
	aSignal   = regexp.MustCompile(`^SIG[A-Z0-9]+$`)
	aCallName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
)

// constantOf is a value as a contract writes it: by its name, where the type has names; else its bytes, of the machine's order.
func constantOf(t contract.TypeName, value string, data []byte) contract.Expr {
	switch {
	case t.Size > 0 && value == "":
		return nil
	case t.Size > 0:
		return &contract.Text{Value: value}
	case t.Name == "k_ip" && !slices.ContainsFunc(data, func(b byte) bool { return b != 0 }):
		return nil
	case t.Name == "k_ip":
		return &contract.Text{Value: value}
	case t.Name == "k_errno" && anErrno.MatchString(value), t.Name == "k_signal" && aSignal.MatchString(value):
		return &contract.Name{Name: value}
	case t.Name == "k_syscall" && aCallName.MatchString(value):
		return &contract.Name{Name: "SYS_" + value}
	case t.Name == "k_ns":
		if d, err := time.ParseDuration(value); err == nil && d > 0 && aDuration.MatchString(value) {
			return &contract.Number{Value: uint64(d), Unit: aDuration.FindStringSubmatch(value)[1]}
		}
	}
	wide := make([]byte, 8)
	copy(wide, data)
	n := binary.NativeEndian.Uint64(wide)
	if len(data) < 8 && value != "" && value[0] == '-' {
		return &contract.Unary{Op: "-", X: &contract.Number{Value: 1<<(8*len(data)) - n}}
	}
	if n == 0 {
		return nil
	}
	return &contract.Number{Value: n}
}

// zeroed is what has no bits set, as a contract writes it.
func zeroed(t contract.TypeName) contract.Expr {
	switch {
	case t.Size > 0:
		return &contract.Text{}
	case t.Name == "k_ip":
		return &contract.Text{Value: "::"}
	}
	return &contract.Number{}
}

// shownDefault is what a program has of itself, as a person would write it, where its bytes alone do not tell.
func shownDefault(t contract.TypeName, data []byte) string {
	switch {
	case t.Size > 0:
		text, _, _ := strings.Cut(string(data), "\x00")
		return text
	case t.Name == "k_ip" && len(data) == 16:
		return netip.AddrFrom16([16]byte(data)).Unmap().String()
	case len(data) > 0 && !slices.ContainsFunc(data, func(b byte) bool { return b != 0xff }):
		return "-1" // all bits set, which is how any user is written
	}
	return ""
}

// given takes the values out of a contract's defaults that a program has other defaults for: they are set in its manifest, as those
// of a contract that was kept with its program, see [Candidate.WithValues]. So are those that the program has as well, if they
// mean something: the card shows what a manifest sets, and who asks may see other ids than programs do.
func given(c *contract.Contract, o *program.Object) (map[string]string, error) {
	if o.IsScript() {
		return settle(c), nil
	}
	set := map[string]string{}
	for _, p := range c.Params {
		i := slices.IndexFunc(o.Params(), func(q program.Param) bool { return q.Name == p.Name })
		if i < 0 || p.Default == nil {
			continue
		}
		has := o.Params()[i]
		value := strings.TrimPrefix(contract.ExprString(p.Default), "SYS_")
		switch d := p.Default.(type) {
		case *contract.Text:
			value = d.Value
		case *contract.Number:
			if p.Type.Name == "k_ns" && d.Unit != "" {
				break // a duration reads as one
			}
			value = strconv.FormatUint(d.Value, 10)
		}
		data, err := program.EncodeValue(has.Type, value)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", p.Name, err)
		}
		switch same := bytes.Equal(data, has.Default); {
		case !same:
			set[p.Name], p.Default = value, constantOf(p.Type, shownDefault(p.Type, has.Default), has.Default)
		case !isAny(p.Type, data):
			set[p.Name] = value
		}
	}
	return set, nil
}

// isAny tells whether a parameter leaves nothing out and changes nothing: it has no bits set, or for a user, who may be root, all.
func isAny(t contract.TypeName, data []byte) bool {
	none := byte(0)
	if t.Name == "k_uid" {
		none = 0xff
	}
	return !slices.ContainsFunc(data, func(b byte) bool { return b != none })
}
