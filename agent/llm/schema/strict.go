package schema

import (
	"fmt"
	"slices"
)

// Strict reports the first reason for which an endpoint with strict structured output would refuse the schema, as an
// [*Error], or nil. The rules are: the root is an object; every object forbids additional properties and requires all
// of its own; every array says what its items are; every place has a type, an enum, an anyOf or a $ref that exists; a
// $ref stands alone; no keyword from outside the permitted subset; no more than 5000 properties, 10 levels, 1000 enum
// values and 120,000 bytes of names.
func (s *Schema) Strict() error {
	if len(s.root.types) != 1 || s.root.types[0] != "object" {
		got := "None"
		if len(s.root.types) > 0 {
			got = s.root.types[0]
		}
		return wrong(nil, "schema must be a JSON Schema of 'type: \"object\"', got 'type: %q'.", got)
	}
	c := &strictCheck{schema: s}
	if err := c.node(s.root, nil, 0); err != nil {
		return err
	}
	switch {
	case c.properties > maxProperties:
		return wrong(nil, "%d properties in total, at most %d are allowed.", c.properties, maxProperties)
	case c.enums > maxEnumValues:
		return wrong(nil, "%d enum values in total, at most %d are allowed.", c.enums, maxEnumValues)
	case c.names > maxNameBytes:
		return wrong(nil, "names and enum values of %d bytes in total, at most %d are allowed.", c.names, maxNameBytes)
	}
	return nil
}

type strictCheck struct {
	schema                   *Schema
	properties, enums, names int
}

// node checks one subschema; level counts the objects and arrays around it.
func (c *strictCheck) node(n *node, path []string, level int) error {
	if level > maxNesting {
		return wrong(path, "%d levels of nesting exceeds limit of %d.", level, maxNesting)
	}
	if len(n.foreign) > 0 {
		return wrong(path, "'%s' is not permitted.", n.foreign[0])
	}
	c.enums += len(n.enum)
	c.names += n.nameBytes
	if n.ref != "" {
		if c.schema.resolve(n.ref) == nil {
			return wrong(path, "reference to component '%s' which was not found in the schema.", n.ref)
		}
		if n.keywords > 1 {
			return wrong(path, "$ref cannot have keywords beside it.")
		}
	} else if n.types == nil && n.enum == nil && n.anyOf == nil {
		return wrong(path, "schema must have a 'type' key.")
	}
	if slices.Contains(n.types, "object") {
		if err := c.object(n, path); err != nil {
			return err
		}
		level++
	}
	if slices.Contains(n.types, "array") {
		if n.items == nil {
			return wrong(path, "array schema missing items.")
		}
		level++
	}
	return c.children(n, path, level)
}

func (c *strictCheck) object(n *node, path []string) error {
	c.properties += len(n.props)
	if string(n.additional) != "false" {
		return wrong(path, "'additionalProperties' is required to be supplied and to be false.")
	}
	const must = "'required' is required to be supplied and to be an array including every key in properties."
	if !n.hasReq && len(n.props) > 0 {
		return wrong(path, must)
	}
	for _, name := range n.names {
		if !slices.Contains(n.required, name) {
			return wrong(path, "%s Missing '%s'.", must, name)
		}
	}
	for _, name := range n.required {
		if n.props[name] == nil {
			return wrong(path, "%s Extra required key '%s' supplied.", must, name)
		}
	}
	return nil
}

func (c *strictCheck) children(n *node, path []string, level int) error {
	at := func(more ...string) []string { return append(slices.Clone(path), more...) }
	for _, name := range n.names {
		if err := c.node(n.props[name], at("properties", name), level); err != nil {
			return err
		}
	}
	if n.items != nil {
		if err := c.node(n.items, at("items"), level); err != nil {
			return err
		}
	}
	for i, sub := range n.anyOf {
		if err := c.node(sub, at("anyOf", fmt.Sprint(i)), level); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(n.defs) {
		if err := c.node(n.defs[name], at("$defs", name), level); err != nil {
			return err
		}
	}
	return nil
}
