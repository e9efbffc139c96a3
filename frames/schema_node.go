package frames

// node is one compiled schema. A nil *node accepts anything.
type node struct {
	never    bool // the schema `false`
	types    kinds
	typeText string // the error of a value of another type
	object   *objectRules
	array    *arrayRules
	str      *stringRules
	number   *numberRules
	constv   *literal
	enum     []literal
	not      *node
	allOf    []*node
	anyOf    []*node
	oneOf    []*node
	// combined is set when one of const, enum, not, allOf, anyOf, oneOf is.
	combined bool
}

// kinds is a set of JSON types.
type kinds uint8

const (
	kindObject kinds = 1 << iota
	kindArray
	kindString
	kindNumber
	kindInteger
	kindBoolean
	kindNull
)

// objectRules are the keywords for objects.
type objectRules struct {
	props    []property
	index    map[string]int
	required []string
	// needed counts the props that are required; a required name without a property is
	// a property with known false.
	needed        int
	patterns      []patternRule
	additional    *node
	closed        bool // additionalProperties is given and is not true
	propertyNames *node
	minProps      int
	maxProps      int // -1: none
}

type property struct {
	name     string
	node     *node
	required bool
	known    bool
}

type patternRule struct {
	source string
	match  matcher
	node   *node
}

// arrayRules are the keywords for arrays. A maximum of -1 is none.
type arrayRules struct {
	items    *node
	minItems int
	maxItems int
	unique   bool
}

// stringRules are the keywords for strings; lengths are in characters as upstream
// counts them (graphemes). A maximum of -1 is none.
type stringRules struct {
	minLength int
	maxLength int
	format    string
	pattern   string
	match     matcher
}

// numberRules are the keywords for numbers.
type numberRules struct {
	min, max         float64
	hasMin, hasMax   bool
	xmin, xmax       float64
	hasXMin, hasXMax bool
}

// literal is a scalar of const or enum.
type literal struct {
	kind kinds
	text string
	num  float64
	yes  bool
}

// matcher reports whether a string matches a pattern.
type matcher func(q quoted) bool

// check walks the value at i, which is valid JSON, and reports whether n accepts it;
// when it does, end is the index after the value.
func (n *node) check(b []byte, i int) (end int, ok bool) {
	if n == nil {
		end, _ = scanValue(b, i, 0)
		return end, true
	}
	if n.never {
		return i, false
	}
	switch c := b[i]; c {
	case '{':
		if n.types != 0 && n.types&kindObject == 0 {
			return i, false
		}
		if n.object != nil {
			end, ok = n.object.check(b, i)
		} else {
			end, ok = skip(b, i), true
		}
	case '[':
		if n.types != 0 && n.types&kindArray == 0 {
			return i, false
		}
		if n.array != nil {
			end, ok = n.array.check(b, i)
		} else {
			end, ok = skip(b, i), true
		}
	default:
		end, ok = n.checkScalar(b, i)
	}
	if !ok || !n.combined {
		return end, ok
	}
	return end, n.checkCombined(b, i, end)
}

// skip returns the index after the value at i, which is valid JSON.
func skip(b []byte, i int) int {
	end, _ := scanValue(b, i, 0)
	return end
}

func (n *node) checkScalar(b []byte, i int) (end int, ok bool) {
	switch b[i] {
	case '"':
		end, escaped := scanString(b, i)
		if n.types != 0 && n.types&kindString == 0 {
			return end, false
		}
		if n.str != nil && !n.str.check(quoted{b[i:end], escaped}) {
			return end, false
		}
		return end, true
	case 't', 'f':
		return skip(b, i), n.types == 0 || n.types&kindBoolean != 0
	case 'n':
		return skip(b, i), n.types == 0 || n.types&kindNull != 0
	}
	end = scanNumber(b, i)
	if n.number == nil && n.types&(kindNumber|kindInteger) == 0 {
		return end, n.types == 0
	}
	v := parseNumber(b[i:end])
	if !n.types.number(v) {
		return end, false
	}
	return end, n.number == nil || n.number.check(v)
}

// number reports whether the number v has one of the types t.
func (t kinds) number(v number) bool {
	switch {
	case t == 0:
		return true
	case t&kindNumber != 0:
		return v.finite
	case t&kindInteger != 0:
		return v.integer
	}
	return false
}

// checkCombined checks the keywords that apply to a value of any type.
func (n *node) checkCombined(b []byte, i, end int) bool {
	if n.constv != nil && !n.constv.is(b[i:end]) {
		return false
	}
	if n.enum != nil && !oneOfLiterals(n.enum, b[i:end]) {
		return false
	}
	if n.not != nil {
		if _, ok := n.not.check(b, i); ok {
			return false
		}
	}
	for _, sub := range n.allOf {
		if _, ok := sub.check(b, i); !ok {
			return false
		}
	}
	if n.anyOf != nil && !anyAccepts(n.anyOf, b, i) {
		return false
	}
	return n.oneOf == nil || acceptedBy(n.oneOf, b, i) == 1
}

func anyAccepts(subs []*node, b []byte, i int) bool {
	for _, sub := range subs {
		if _, ok := sub.check(b, i); ok {
			return true
		}
	}
	return false
}

func acceptedBy(subs []*node, b []byte, i int) int {
	count := 0
	for _, sub := range subs {
		if _, ok := sub.check(b, i); ok {
			count++
		}
	}
	return count
}

// members calls yield for each member of the object at i, which is valid JSON, until it
// returns -1; yield gets the name and the index of the value and returns the index
// after it. members returns the index after the object, or -1 when it was stopped.
func members(b []byte, i int, yield func(name quoted, value int) int) int {
	i = space(b, i+1)
	if b[i] == '}' {
		return i + 1
	}
	for {
		end, escaped := scanString(b, i)
		name := quoted{b[i:end], escaped}
		i = space(b, end)
		if i = yield(name, space(b, i+1)); i < 0 {
			return -1
		}
		i = space(b, i)
		if b[i] == '}' {
			return i + 1
		}
		i = space(b, i+1)
	}
}

// maxSchemaProps bounds the properties of one schema, so that which of them were seen
// fits in four words on the stack. The largest schema has fewer than 80.
const maxSchemaProps = 256

func (o *objectRules) check(b []byte, i int) (end int, ok bool) {
	var seen [maxSchemaProps / 64]uint64
	needed, count := o.needed, 0
	i = space(b, i+1)
	if b[i] == '}' {
		return i + 1, needed == 0 && o.minProps == 0
	}
	for {
		nameEnd, escaped := scanString(b, i)
		name := quoted{b[i:nameEnd], escaped}
		i = space(b, nameEnd)
		i = space(b, i+1)
		count++
		place, found := o.find(name)
		if found && seen[place>>6]>>(place&63)&1 == 0 {
			seen[place>>6] |= 1 << (place & 63)
			if o.props[place].required {
				needed--
			}
		}
		if i, ok = o.checkMember(b, i, name, place, found); !ok {
			return i, false
		}
		i = space(b, i)
		if b[i] == '}' {
			return i + 1, needed == 0 && count >= o.minProps && (o.maxProps < 0 || count <= o.maxProps)
		}
		i = space(b, i+1)
	}
}

// find returns the place of the property called name.
func (o *objectRules) find(name quoted) (int, bool) {
	if !name.escaped {
		place, ok := o.index[string(name.raw[1:len(name.raw)-1])]
		return place, ok
	}
	for place := range o.props {
		if name.is(o.props[place].name) {
			return place, true
		}
	}
	return 0, false
}

// checkMember checks the member's value at i against each rule that names it.
func (o *objectRules) checkMember(b []byte, i int, name quoted, place int, found bool) (end int, ok bool) {
	if o.propertyNames != nil {
		if _, ok := o.propertyNames.check(name.raw, 0); !ok {
			return i, false
		}
	}
	known := found && o.props[place].known
	if known && len(o.patterns) == 0 {
		return o.props[place].node.check(b, i)
	}
	end = -1
	if known {
		if end, ok = o.props[place].node.check(b, i); !ok {
			return i, false
		}
	}
	for k := range o.patterns {
		if o.patterns[k].match(name) {
			known = true
			if end, ok = o.patterns[k].node.check(b, i); !ok {
				return i, false
			}
		}
	}
	if !known && o.closed {
		return o.additional.check(b, i)
	}
	if end < 0 {
		end = skip(b, i)
	}
	return end, true
}

func (a *arrayRules) check(b []byte, i int) (end int, ok bool) {
	start, count := i, 0
	i = space(b, i+1)
	if b[i] == ']' {
		return i + 1, a.minItems <= 0
	}
	for {
		if count++; a.maxItems >= 0 && count > a.maxItems {
			return i, false
		}
		if i, ok = a.items.check(b, i); !ok {
			return i, false
		}
		i = space(b, i)
		if b[i] == ']' {
			break
		}
		i = space(b, i+1)
	}
	end = i + 1
	return end, count >= a.minItems && (!a.unique || uniqueItems(b, start))
}

func (s *stringRules) check(q quoted) bool {
	if s.maxLength >= 0 && !atMost(q, s.maxLength) {
		return false
	}
	if s.minLength > 0 && !atLeast(q, s.minLength) {
		return false
	}
	if s.format != "" && !matchesFormat(s.format, q) {
		return false
	}
	return s.match == nil || s.match(q)
}

func (r *numberRules) check(v number) bool {
	if !v.finite {
		return true // not a number to JSON Schema's number keywords, as upstream
	}
	return !(r.hasXMax && v.v >= r.xmax) && !(r.hasXMin && v.v <= r.xmin) &&
		!(r.hasMax && v.v > r.max) && !(r.hasMin && v.v < r.min)
}
