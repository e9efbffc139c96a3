package frames

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxIssues is how many faults upstream's validator collects in one context; each
// branch of anyOf, oneOf and allOf is a context of its own.
const maxIssues = 8

// issue is one fault.
type issue struct {
	keyword string
	path    string
	message string
	// names are the unknown properties or the missing ones.
	names []string
	// child marks a fault of an unknown property's own schema, which the aggregate
	// after it replaces.
	child bool
}

// issues collects the faults of one context, in upstream's order.
type issues struct{ list []issue }

func (c *issues) full() bool { return len(c.list) >= maxIssues }

// add records a fault and returns false, so that a rule can end with it.
func (c *issues) add(is issue) bool {
	if !c.full() {
		c.list = append(c.list, is)
	}
	return false
}

// location is where a value stands: its key below its parent. It is written out only for a
// fault, so that explaining a long list costs no memory a valid item.
type location struct {
	up    *location
	name  quoted
	index int
	prop  string
	kind  uint8 // 0 root, 1 name, 2 index, 3 prop
}

func (p *location) String() string {
	if p == nil || p.kind == 0 {
		return ""
	}
	key := p.prop
	switch p.kind {
	case 1:
		key = p.name.text()
	case 2:
		key = strconv.Itoa(p.index)
	}
	return p.up.String() + "/" + key
}

// explain words why n refuses the value at i. It is the slow walk, taken only when the
// fast one refused: it visits rules in upstream's order, and stops early only where
// upstream's collector would be full.
func (n *node) explain(b []byte, i int) string {
	var c issues
	n.faults(b, i, &location{}, &c)
	return formatIssues(c.list)
}

// faults adds the faults of the value at i to c and reports whether there is none.
func (n *node) faults(b []byte, i int, at *location, c *issues) bool {
	if c.full() {
		return false
	}
	if n == nil {
		return true
	}
	if n.never {
		return c.add(issue{keyword: "boolean", path: at.String(), message: "schema is false"})
	}
	end := skip(b, i)
	ok := n.typeFaults(b[i:end], at, c)
	switch b[i] {
	case '{':
		if n.object != nil {
			ok = n.object.faults(b, i, at, c) && ok
		}
	case '[':
		if n.array != nil {
			ok = n.array.faults(b, i, at, c) && ok
		}
	case '"':
		if n.str != nil {
			_, escaped := scanString(b, i)
			ok = n.str.faults(quoted{b[i:end], escaped}, at, c) && ok
		}
	case 't', 'f', 'n':
	default:
		if n.number != nil {
			ok = n.number.faults(parseNumber(b[i:end]), at, c) && ok
		}
	}
	return n.combinedFaults(b, i, end, at, c) && ok
}

func (n *node) typeFaults(raw []byte, at *location, c *issues) bool {
	if n.types == 0 {
		return true
	}
	var ok bool
	switch raw[0] {
	case '{':
		ok = n.types&kindObject != 0
	case '[':
		ok = n.types&kindArray != 0
	case '"':
		ok = n.types&kindString != 0
	case 't', 'f':
		ok = n.types&kindBoolean != 0
	case 'n':
		ok = n.types&kindNull != 0
	default:
		ok = n.types.number(parseNumber(raw))
	}
	return ok || c.add(issue{keyword: "type", path: at.String(), message: n.typeText})
}

func (n *node) combinedFaults(b []byte, i, end int, at *location, c *issues) bool {
	ok := true
	if n.constv != nil && !n.constv.is(b[i:end]) {
		ok = c.add(issue{keyword: "const", path: at.String(), message: "must be equal to constant"})
	}
	if n.enum != nil && !oneOfLiterals(n.enum, b[i:end]) {
		ok = c.add(issue{keyword: "enum", path: at.String(), message: "must be equal to one of the allowed values"})
	}
	if n.not != nil {
		if _, matches := n.not.check(b, i); matches {
			ok = c.add(issue{keyword: "not", path: at.String(), message: "must not be valid"})
		}
	}
	if n.allOf != nil && branchFaults(n.allOf, b, i, at, c, len(n.allOf)) != len(n.allOf) {
		ok = false
	}
	if n.anyOf != nil && branchFaults(n.anyOf, b, i, at, c, 1) == 0 {
		ok = c.add(issue{keyword: "anyOf", path: at.String(), message: "must match a schema in anyOf"})
	}
	if n.oneOf != nil && branchFaults(n.oneOf, b, i, at, c, 1) != 1 {
		ok = c.add(issue{keyword: "oneOf", path: at.String(), message: "must match exactly one schema in oneOf"})
	}
	return ok
}

// branchFaults returns how many of subs accept the value; when fewer than want do, the
// faults of the others are added, branch by branch.
func branchFaults(subs []*node, b []byte, i int, at *location, c *issues, want int) int {
	accepted := 0
	var failed []issue
	for _, sub := range subs {
		var own issues
		if sub.faults(b, i, at, &own) {
			accepted++
		} else if len(failed) < maxIssues {
			failed = append(failed, own.list...)
		}
	}
	if accepted < want {
		for _, is := range failed {
			c.add(is)
		}
	}
	return accepted
}

func (o *objectRules) faults(b []byte, i int, at *location, c *issues) bool {
	values := make([]int, len(o.props)) // where each property's value is; 0: absent
	count := 0
	var unknown []foundMember
	members(b, i, func(name quoted, value int) int {
		count++
		end := skip(b, value)
		if k, found := o.find(name); found {
			values[k] = value
			if o.props[k].known {
				return end
			}
		}
		for k := range o.patterns {
			if o.patterns[k].match(name) {
				return end
			}
		}
		if o.closed {
			unknown = append(unknown, foundMember{name, value})
		}
		return end
	})
	ok := o.requiredFaults(values, at, c)
	ok = o.unknownFaults(b, unknown, at, c) && ok
	ok = o.patternFaults(b, i, at, c) && ok
	for k := range o.props {
		if values[k] != 0 && o.props[k].known {
			below := location{up: at, prop: o.props[k].name, kind: 3}
			ok = o.props[k].node.faults(b, values[k], &below, c) && ok
		}
	}
	ok = o.nameFaults(b, i, at, c) && ok
	if count < o.minProps {
		ok = c.add(issue{keyword: "minProperties", path: at.String(), message: fmt.Sprintf("must not have fewer than %d properties", o.minProps)})
	}
	if o.maxProps >= 0 && count > o.maxProps {
		ok = c.add(issue{keyword: "maxProperties", path: at.String(), message: fmt.Sprintf("must not have more than %d properties", o.maxProps)})
	}
	return ok
}

// foundMember is a member of a value: its name and where its own value is.
type foundMember struct {
	name  quoted
	value int
}

func (o *objectRules) requiredFaults(values []int, at *location, c *issues) bool {
	var missing []string
	for _, name := range o.required {
		if values[o.index[name]] == 0 {
			missing = append(missing, name)
		}
	}
	return missing == nil || c.add(issue{keyword: "required", path: at.String(), names: missing,
		message: "must have required properties " + strings.Join(missing, ", ")})
}

// unknownFaults adds, for each unknown property, the faults of the schema it falls
// under, and then their aggregate.
func (o *objectRules) unknownFaults(b []byte, unknown []foundMember, at *location, c *issues) bool {
	sortLikeKeys(unknown)
	var names []string
	for _, m := range unknown {
		below := location{up: at, name: m.name, kind: 1}
		before := len(c.list)
		if o.additional.faults(b, m.value, &below, c) {
			continue
		}
		for k := before; k < len(c.list); k++ {
			c.list[k].child = c.list[k].keyword == "boolean"
		}
		// The error names the first; past the collector's bound no name is ever read.
		if len(names) <= maxIssues {
			names = append(names, m.name.text())
		}
	}
	return names == nil || c.add(issue{keyword: "additionalProperties", path: at.String(), names: names,
		message: "must not have additional properties"})
}

// sortLikeKeys orders members as a JavaScript object lists them: names that are array
// indexes first, by value, then the others as they came.
func sortLikeKeys(list []foundMember) {
	slices.SortStableFunc(list, func(a, b foundMember) int {
		x, xOK := arrayIndex(a.name)
		y, yOK := arrayIndex(b.name)
		switch {
		case xOK && yOK:
			return int(x) - int(y)
		case xOK:
			return -1
		case yOK:
			return 1
		}
		return 0
	})
}

func arrayIndex(q quoted) (uint32, bool) {
	if len(q.raw) > 12 || q.escaped {
		return 0, false
	}
	body := string(q.raw[1 : len(q.raw)-1])
	v, err := strconv.ParseUint(body, 10, 32)
	if err != nil || v == 1<<32-1 || strconv.FormatUint(v, 10) != body {
		return 0, false
	}
	return uint32(v), true
}

func (o *objectRules) patternFaults(b []byte, i int, at *location, c *issues) bool {
	if o.patterns == nil {
		return true
	}
	ok := true
	all := likeKeys(b, i)
	for k := range o.patterns {
		for _, m := range all {
			if o.patterns[k].match(m.name) {
				below := location{up: at, name: m.name, kind: 1}
				ok = o.patterns[k].node.faults(b, m.value, &below, c) && ok
			}
		}
	}
	return ok
}

func (o *objectRules) nameFaults(b []byte, i int, at *location, c *issues) bool {
	if o.propertyNames == nil {
		return true
	}
	var bad []string
	for _, m := range likeKeys(b, i) {
		below := location{up: at, name: m.name, kind: 1}
		if !o.propertyNames.faults(m.name.raw, 0, &below, c) && len(bad) <= maxIssues {
			bad = append(bad, m.name.text())
		}
	}
	return bad == nil || c.add(issue{keyword: "propertyNames", path: at.String(),
		message: "property names " + strings.Join(bad, ", ") + " are invalid"})
}

// likeKeys lists the members of the object at i in the order of Object.keys.
func likeKeys(b []byte, i int) []foundMember {
	var all []foundMember
	members(b, i, func(name quoted, value int) int {
		all = append(all, foundMember{name, value})
		return skip(b, value)
	})
	sortLikeKeys(all)
	return all
}

func (a *arrayRules) faults(b []byte, i int, at *location, c *issues) bool {
	ok, count, start := true, 0, i
	for i = space(b, i+1); b[i] != ']'; {
		if a.items != nil && !c.full() {
			below := location{up: at, index: count, kind: 2}
			ok = a.items.faults(b, i, &below, c) && ok
		}
		count++
		i = space(b, skip(b, i))
		if b[i] == ',' {
			i = space(b, i+1)
		}
	}
	if a.maxItems >= 0 && count > a.maxItems {
		ok = c.add(issue{keyword: "maxItems", path: at.String(), message: fmt.Sprintf("must not have more than %d items", a.maxItems)})
	}
	if count < a.minItems {
		ok = c.add(issue{keyword: "minItems", path: at.String(), message: fmt.Sprintf("must not have fewer than %d items", a.minItems)})
	}
	if a.unique && !c.full() && !uniqueItems(b, start) {
		ok = c.add(issue{keyword: "uniqueItems", path: at.String(), message: "must not have duplicate items"})
	}
	return ok
}

func (s *stringRules) faults(q quoted, at *location, c *issues) bool {
	ok := true
	if s.maxLength >= 0 && !atMost(q, s.maxLength) {
		ok = c.add(issue{keyword: "maxLength", path: at.String(), message: fmt.Sprintf("must not have more than %d characters", s.maxLength)})
	}
	if s.minLength > 0 && !atLeast(q, s.minLength) {
		ok = c.add(issue{keyword: "minLength", path: at.String(), message: fmt.Sprintf("must not have fewer than %d characters", s.minLength)})
	}
	if s.format != "" && !matchesFormat(s.format, q) {
		ok = c.add(issue{keyword: "format", path: at.String(), message: fmt.Sprintf("must match format %q", s.format)})
	}
	if s.match != nil && !s.match(q) {
		ok = c.add(issue{keyword: "pattern", path: at.String(), message: `must match pattern "` + s.pattern + `"`})
	}
	return ok
}

func (r *numberRules) faults(v number, at *location, c *issues) bool {
	if !v.finite {
		return true
	}
	ok := true
	limit := func(keyword, sign string, bound float64) {
		ok = c.add(issue{keyword: keyword, path: at.String(), message: "must be " + sign + " " + strconv.FormatFloat(bound, 'f', -1, 64)})
	}
	if r.hasXMax && v.v >= r.xmax {
		limit("exclusiveMaximum", "<", r.xmax)
	}
	if r.hasXMin && v.v <= r.xmin {
		limit("exclusiveMinimum", ">", r.xmin)
	}
	if r.hasMax && v.v > r.max {
		limit("maximum", "<=", r.max)
	}
	if r.hasMin && v.v < r.min {
		limit("minimum", ">=", r.min)
	}
	return ok
}
