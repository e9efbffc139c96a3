package frames

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// compileSchema compiles a JSON Schema of the subset that schema96.json uses for params.
// A keyword outside it is an error, never ignored: a test compiles every definition.
func compileSchema(text string) (*node, error) {
	return compileNode(jsontext.Value(text))
}

// member is one member of a schema object, in the order written: error messages follow
// that order.
type schemaMember struct {
	name  string
	value jsontext.Value
}

// schemaMembers splits an object into its members.
func schemaMembers(v jsontext.Value) ([]schemaMember, error) {
	if v.Kind() != '{' {
		return nil, fmt.Errorf("schema: want an object, got %s", v)
	}
	var out []schemaMember
	var err error
	members(v, space(v, 0), func(name quoted, at int) int {
		end := skip(v, at)
		out = append(out, schemaMember{name.text(), v[at:end]})
		return end
	})
	return out, err
}

// ignoredKeywords say nothing about which values are valid.
var ignoredKeywords = map[string]bool{
	"description": true, "default": true, "deprecated": true, "title": true,
	"$id": true, "$schema": true, "x-openclaw-since": true,
}

// compileNode returns the compiled schema v, nil when it accepts anything.
func compileNode(v jsontext.Value) (*node, error) {
	switch v.Kind() {
	case 't':
		return nil, nil
	case 'f':
		return &node{never: true}, nil
	}
	list, err := schemaMembers(v)
	if err != nil {
		return nil, err
	}
	n := &node{}
	rules := 0
	for _, m := range list {
		if ignoredKeywords[m.name] {
			continue
		}
		rules++
		if err := n.keyword(m.name, m.value); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if rules == 0 {
		return nil, nil
	}
	n.combined = n.constv != nil || n.enum != nil || n.not != nil || n.allOf != nil || n.anyOf != nil || n.oneOf != nil
	return n, n.finish()
}

// keyword adds one keyword to n.
func (n *node) keyword(name string, v jsontext.Value) error {
	switch name {
	case "type":
		return n.typeKeyword(v)
	case "required", "properties", "patternProperties", "additionalProperties", "propertyNames", "minProperties", "maxProperties":
		if n.object == nil {
			n.object = &objectRules{maxProps: -1}
		}
		return n.object.keyword(name, v)
	case "items", "minItems", "maxItems", "uniqueItems":
		if n.array == nil {
			n.array = &arrayRules{maxItems: -1}
		}
		return n.array.keyword(name, v)
	case "minLength", "maxLength", "format", "pattern":
		if n.str == nil {
			n.str = &stringRules{maxLength: -1}
		}
		return n.str.keyword(name, v)
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		if n.number == nil {
			n.number = &numberRules{}
		}
		return n.number.keyword(name, v)
	}
	return n.combinedKeyword(name, v)
}

func (n *node) combinedKeyword(name string, v jsontext.Value) (err error) {
	switch name {
	case "const":
		var l literal
		l, err = compileLiteral(v)
		n.constv = &l
	case "enum":
		var list []jsontext.Value
		if err = json.Unmarshal(v, &list); err != nil {
			return err
		}
		n.enum = make([]literal, len(list))
		for i := range list {
			if n.enum[i], err = compileLiteral(list[i]); err != nil {
				return err
			}
		}
	case "not":
		if n.not, err = compileNode(v); err == nil && n.not == nil {
			n.never = true
		}
	case "allOf":
		n.allOf, err = compileNodes(v)
	case "anyOf":
		n.anyOf, err = compileNodes(v)
	case "oneOf":
		n.oneOf, err = compileNodes(v)
	default:
		err = fmt.Errorf("keyword is not supported")
	}
	return err
}

func compileNodes(v jsontext.Value) ([]*node, error) {
	var list []jsontext.Value
	if err := json.Unmarshal(v, &list); err != nil {
		return nil, err
	}
	out := make([]*node, len(list))
	for i := range list {
		var err error
		if out[i], err = compileNode(list[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func compileLiteral(v jsontext.Value) (literal, error) {
	switch v.Kind() {
	case '"':
		return literal{kind: kindString, text: string(Unquote(nil, v))}, nil
	case '0':
		return literal{kind: kindNumber, num: parseNumber(v).v}, nil
	case 't', 'f':
		return literal{kind: kindBoolean, yes: v.Kind() == 't'}, nil
	case 'n':
		return literal{kind: kindNull}, nil
	}
	return literal{}, fmt.Errorf("only scalars are supported, got %s", v)
}

var kindsByName = map[string]kinds{
	"object": kindObject, "array": kindArray, "string": kindString, "number": kindNumber,
	"integer": kindInteger, "boolean": kindBoolean, "null": kindNull,
}

func (n *node) typeKeyword(v jsontext.Value) error {
	var names []string
	if v.Kind() == '"' {
		names = []string{string(Unquote(nil, v))}
		n.typeText = "must be " + names[0]
	} else {
		if err := json.Unmarshal(v, &names); err != nil {
			return err
		}
		n.typeText = "must be either " + strings.Join(names, " or ")
	}
	for _, name := range names {
		k, ok := kindsByName[name]
		if !ok {
			return fmt.Errorf("unknown type %q", name)
		}
		n.types |= k
	}
	return nil
}

func (o *objectRules) keyword(name string, v jsontext.Value) (err error) {
	switch name {
	case "required":
		return json.Unmarshal(v, &o.required)
	case "minProperties":
		return json.Unmarshal(v, &o.minProps)
	case "maxProperties":
		return json.Unmarshal(v, &o.maxProps)
	case "propertyNames":
		o.propertyNames, err = compileNode(v)
		return err
	case "additionalProperties":
		o.additional, err = compileNode(v)
		o.closed = o.additional != nil
		return err
	}
	list, err := schemaMembers(v)
	if err != nil {
		return err
	}
	for _, m := range list {
		sub, err := compileNode(m.value)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if name == "properties" {
			o.props = append(o.props, property{name: m.name, node: sub, known: true})
			continue
		}
		match, err := compilePattern(m.name)
		if err != nil {
			return err
		}
		o.patterns = append(o.patterns, patternRule{m.name, match, sub})
	}
	return nil
}

// finish joins the required names with the properties.
func (n *node) finish() error {
	o := n.object
	if o == nil {
		return nil
	}
	o.index = make(map[string]int, len(o.props))
	for i := range o.props {
		o.index[o.props[i].name] = i
	}
	for _, name := range o.required {
		place, ok := o.index[name]
		if !ok {
			place = len(o.props)
			o.index[name] = place
			o.props = append(o.props, property{name: name})
		}
		o.props[place].required = true
	}
	o.needed = len(o.required)
	if len(o.props) > maxSchemaProps {
		return fmt.Errorf("schema: %d properties, at most %d are supported", len(o.props), maxSchemaProps)
	}
	return nil
}

func (a *arrayRules) keyword(name string, v jsontext.Value) (err error) {
	switch name {
	case "items":
		if v.Kind() == '[' {
			return fmt.Errorf("tuples are not supported")
		}
		a.items, err = compileNode(v)
	case "minItems":
		err = json.Unmarshal(v, &a.minItems)
	case "maxItems":
		err = json.Unmarshal(v, &a.maxItems)
	case "uniqueItems":
		err = json.Unmarshal(v, &a.unique)
	}
	return err
}

func (s *stringRules) keyword(name string, v jsontext.Value) (err error) {
	switch name {
	case "minLength":
		err = json.Unmarshal(v, &s.minLength)
	case "maxLength":
		err = json.Unmarshal(v, &s.maxLength)
	case "format":
		err = json.Unmarshal(v, &s.format)
		if err == nil && s.format != "uuid" && s.format != "date-time" {
			err = fmt.Errorf("format %q is not supported", s.format)
		}
	case "pattern":
		if err = json.Unmarshal(v, &s.pattern); err == nil {
			s.match, err = compilePattern(s.pattern)
		}
	}
	return err
}

func (r *numberRules) keyword(name string, v jsontext.Value) error {
	var limit float64
	if err := json.Unmarshal(v, &limit); err != nil {
		return err
	}
	switch name {
	case "minimum":
		r.min, r.hasMin = limit, true
	case "maximum":
		r.max, r.hasMax = limit, true
	case "exclusiveMinimum":
		r.xmin, r.hasXMin = limit, true
	case "exclusiveMaximum":
		r.xmax, r.hasXMax = limit, true
	}
	return nil
}
