package frames

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// generator writes params for a schema: mostly valid ones, with single faults sprinkled
// in. What it writes is always JSON without duplicate names.
type generator struct {
	rnd    *rand.Rand
	faults float64 // how often a value is made wrong on purpose
	depth  int
}

func (g *generator) chance(p float64) bool { return g.rnd.Float64() < p }

// anything are values of every type, the odd ones included.
var anything = []string{
	`null`, `true`, `false`, `0`, `-0`, `1`, `-1`, `1.5`, `5.0`, `1e3`, `1e400`, `9007199254740993`, `""`, `" "`,
	`"x"`, `"a\u0301"`, `"\ud83d"`, `"\ud83d\ude00"`, `"👨‍👩‍👧"`, `"🇩🇪🇫🇷"`, `"."`, `".."`, `"a--b"`, `"\u2028"`, `"é"`, `[]`, `[1,"a"]`, `{}`, `{"a":1}`,
	`{"3":1,"b":2,"1":3}`, `[[]]`, `"2026-02-29T10:00:00Z"`, `"2024-02-29T23:59:60Z"`, `"00000000-0000-0000-0000-000000000000"`,
}

func (g *generator) value(n *node) string {
	if g.depth++; g.depth > 12 {
		g.depth--
		return `null`
	}
	defer func() { g.depth-- }()
	if n == nil || n.never || g.chance(g.faults) {
		return anything[g.rnd.IntN(len(anything))]
	}
	switch {
	case n.constv != nil:
		return n.constv.json()
	case n.enum != nil:
		return n.enum[g.rnd.IntN(len(n.enum))].json()
	case n.anyOf != nil && n.object == nil:
		return g.value(n.anyOf[g.rnd.IntN(len(n.anyOf))])
	case n.oneOf != nil && n.object == nil:
		return g.value(n.oneOf[g.rnd.IntN(len(n.oneOf))])
	}
	k := n.types
	if k == 0 {
		switch {
		case n.object != nil:
			k = kindObject
		case n.array != nil:
			k = kindArray
		case n.str != nil:
			k = kindString
		default:
			return anything[g.rnd.IntN(len(anything))]
		}
	}
	switch {
	case k&kindNull != 0 && (k == kindNull || g.chance(0.4)):
		return `null`
	case k&kindObject != 0:
		return g.object(n)
	case k&kindArray != 0:
		return g.list(n.array)
	case k&kindString != 0:
		return strconv.Quote(g.text(n.str))
	case k&kindBoolean != 0:
		return []string{`true`, `false`}[g.rnd.IntN(2)]
	}
	return g.num(n.number, k&kindInteger != 0)
}

func (l *literal) json() string {
	switch l.kind {
	case kindString:
		return strconv.Quote(l.text)
	case kindNumber:
		return strconv.FormatFloat(l.num, 'f', -1, 64)
	case kindBoolean:
		return strconv.FormatBool(l.yes)
	}
	return `null`
}

func (g *generator) object(n *node) string {
	var parts []string
	taken := map[string]bool{}
	put := func(name, value string) {
		if !taken[name] {
			taken[name] = true
			parts = append(parts, strconv.Quote(name)+":"+value)
		}
	}
	if o := n.object; o != nil {
		for i := range o.props {
			p := &o.props[i]
			if p.required && !g.chance(g.faults) || !p.required && g.chance(0.35) {
				put(p.name, g.value(p.node))
			}
		}
		for i := range o.patterns {
			for range g.rnd.IntN(3) {
				put("k"+strconv.Itoa(g.rnd.IntN(9)), g.value(o.patterns[i].node))
			}
		}
	}
	if g.chance(g.faults) {
		for range 1 + g.rnd.IntN(9) {
			name := []string{"bogus", "zz", "7", "10", "2", " ", "a/b~c", "é"}[g.rnd.IntN(8)] + strconv.Itoa(g.rnd.IntN(12))
			if g.chance(0.5) {
				name = strconv.Itoa(g.rnd.IntN(20))
			}
			put(name, anything[g.rnd.IntN(len(anything))])
		}
	}
	for _, sub := range append(append([]*node{}, n.anyOf...), n.allOf...) {
		if sub != nil && sub.object != nil && g.chance(0.6) {
			for i := range sub.object.props {
				if p := &sub.object.props[i]; p.required || g.chance(0.2) {
					put(p.name, g.value(p.node))
				}
			}
		}
	}
	g.rnd.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	return "{" + strings.Join(parts, ",") + "}"
}

func (g *generator) list(a *arrayRules) string {
	n := g.rnd.IntN(4)
	var item *node
	if a != nil {
		item = a.items
		if n < a.minItems {
			n = a.minItems
		}
		if a.maxItems >= 0 && a.maxItems < 40 && g.chance(g.faults) {
			n = a.maxItems + 1
		}
	}
	parts := make([]string, n)
	for i := range parts {
		if i > 0 && g.chance(0.15) {
			parts[i] = parts[0]
		} else {
			parts[i] = g.value(item)
		}
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// samples are texts that match the protocol's patterns, or nearly.
var samples = []string{
	"a", "main", "agent:main:main", "A1_b", "https://example.org/x", "2026-11-23", "UTC+1", "UTC-05:30", "/tmp/x", "session:abc",
	"data:image/png;base64,AAAA", "provider-auto:x", "saved-auth:x", "x.y-z", "owner/repo", "a\nb", " a ", "hello world",
	strings.Repeat("a", 36), strings.Repeat("0f", 32), strings.Repeat("A", 40), "github-setup-" + strings.Repeat("a", 32),
	"conv_" + strings.Repeat("0", 32), "5f0c8a7e-64f2-4a41-8b3e-7f9f6a2f5a10", "github-device-" + strings.Repeat("b", 32), "aa", "ABC_D",
	"a:b", "..", "a--b", "é", "日本", "\ufeff", "\u00a0", "e\u0301", "👩‍🚀", "2026-01-01T00:00:00Z", "2026-13-01T00:00:00Z",
}

func (g *generator) text(s *stringRules) string {
	if s == nil {
		return samples[g.rnd.IntN(len(samples))]
	}
	if s.match != nil && !g.chance(0.15) {
		for range 60 {
			if v := samples[g.rnd.IntN(len(samples))]; s.match(quoted{[]byte(strconv.Quote(v)), true}) {
				return v
			}
		}
	}
	if s.maxLength >= 0 && s.maxLength <= 4096 && g.chance(0.12) {
		unit := []string{"a", "é", "e\u0301", "👩‍🚀", "🇩🇪"}[g.rnd.IntN(5)]
		return strings.Repeat(unit, s.maxLength+g.rnd.IntN(2))
	}
	v := samples[g.rnd.IntN(len(samples))]
	for s.minLength > 1 && len(v) < s.minLength && !g.chance(g.faults) {
		v += "0123456789abcdef"
	}
	return v
}

func (g *generator) num(r *numberRules, integer bool) string {
	v := float64(g.rnd.IntN(100))
	if r != nil && g.chance(0.6) {
		switch {
		case r.hasMax && g.chance(0.5):
			v = r.max + float64(g.rnd.IntN(3)-1)
		case r.hasMin:
			v = r.min + float64(g.rnd.IntN(3)-1)
		}
	}
	if !integer && g.chance(0.3) {
		return fmt.Sprint(v + 0.5)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
