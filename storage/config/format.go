package config

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/pelletier/go-toml/v2"
)

// marshal writes a plain tree as JSON with sorted keys. Plain trees hold nothing that
// JSON cannot say, so an error here is a defect of ours and ends up as null.
func marshal(v any, opts ...json.Options) []byte {
	b, err := json.Marshal(v, append(opts, json.Deterministic(true))...)
	if err != nil {
		return []byte("null")
	}
	return b
}

// inline is a value on one line.
func inline(v any) string { return string(marshal(v)) }

// pretty is a value over several lines, two blanks a level.
func pretty(v any, prefix string) string {
	return string(marshal(v, jsontext.WithIndent("  "), jsontext.WithIndentPrefix(prefix)))
}

// render writes a whole document in the file's format. Comments are not in a tree and
// therefore lost: edit is tried first for JSON5.
func render(tree map[string]any, asTOML bool) ([]byte, error) {
	if !asTOML {
		return []byte(pretty(tree, "") + "\n"), nil
	}
	var b bytes.Buffer
	enc := toml.NewEncoder(&b)
	enc.SetIndentTables(false)
	if err := enc.Encode(dropNull(tree)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// dropNull removes nulls, which TOML cannot say.
func dropNull(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			if e != nil {
				out[k] = dropNull(e)
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(x))
		for _, e := range x {
			if e != nil {
				out = append(out, dropNull(e))
			}
		}
		return out
	}
	return v
}

// edit changes only the parts of a JSON5 text that differ from the wanted tree, so that
// comments, order and spelling of everything else survive. Comments inside a removed or
// replaced value go with it. ok is false when the result does not read back as wanted;
// the caller then renders the whole document anew.
func edit(raw []byte, root *node, want map[string]any) (out []byte, ok bool) {
	e := &editor{src: raw}
	e.object(root, want)
	out = e.apply()
	back, err := parseJSON5(out)
	return out, err == nil && equal(back.plain(), any(want))
}

// editor collects replacements in the order of the text.
type editor struct {
	src     []byte
	changes []change
}

type change struct {
	from, to int
	text     string
}

func (e *editor) apply() []byte {
	slices.SortStableFunc(e.changes, func(a, b change) int { return a.from - b.from })
	var b bytes.Buffer
	at := 0
	for _, c := range e.changes {
		if c.from < at { // overlapping: give up, the read-back check refuses the result
			return nil
		}
		b.Write(e.src[at:c.from])
		b.WriteString(c.text)
		at = c.to
	}
	b.Write(e.src[at:])
	return b.Bytes()
}

func (e *editor) value(n *node, want any) {
	if equal(n.plain(), want) {
		return
	}
	if m, ok := want.(map[string]any); ok && n.object {
		e.object(n, m)
		return
	}
	if l, ok := want.([]any); ok && n.list && len(l) == len(n.items) {
		for i := range l {
			e.value(n.items[i], l[i])
		}
		return
	}
	e.changes = append(e.changes, change{n.start, n.end, pretty(want, e.indentAt(n.start))})
}

func (e *editor) object(n *node, want map[string]any) {
	have := make(map[string]bool, len(n.members))
	lastKept := -1
	for i := range n.members {
		m := &n.members[i]
		have[m.key] = true
		v, keep := want[m.key]
		if !keep {
			e.remove(m)
			continue
		}
		lastKept = i
		e.value(m.val, v)
	}
	var added []string
	for _, k := range sortedKeys(want) {
		if !have[k] {
			added = append(added, k)
		}
	}
	if len(added) > 0 {
		e.insert(n, lastKept, added, want)
	}
}

// remove takes a member out, with its line when nothing else is on it.
func (e *editor) remove(m *member) {
	from, to := m.keyStart, m.val.end
	if m.comma >= 0 {
		to = m.comma + 1
	}
	lineStart := bytes.LastIndexByte(e.src[:from], '\n') + 1
	lineEnd := bytes.IndexByte(e.src[to:], '\n')
	if len(bytes.TrimSpace(e.src[lineStart:from])) == 0 && lineEnd >= 0 && len(bytes.TrimSpace(e.src[to:to+lineEnd])) == 0 {
		from, to = lineStart, to+lineEnd+1
	}
	e.changes = append(e.changes, change{from, to, ""})
}

// insert adds members before the closing brace.
func (e *editor) insert(n *node, lastKept int, keys []string, want map[string]any) {
	closing := n.end - 1
	if lastKept >= 0 && e.insertInline(n, lastKept, keys, want) {
		return
	}
	if lastKept >= 0 {
		last := &n.members[lastKept]
		if last.comma < 0 {
			at := last.val.end
			// The member's own value may have changed just now, up to its end.
			e.changes = append(e.changes, change{at, at, ","})
		}
	}
	at := len(bytes.TrimRight(e.src[:closing], " \t\r\n"))
	lineIndent := e.indentAt(n.start)
	inner := lineIndent + "  "
	if len(n.members) > 0 {
		if ind := e.indentAt(n.members[0].keyStart); ind != lineIndent {
			inner = ind
		}
	}
	if at < n.start+1 {
		at = n.start + 1
	}
	// Removed trailing members may reach beyond at; insert after them.
	if k := len(e.changes); k > 0 && e.changes[k-1].to > at {
		at = e.changes[k-1].to
	}
	var b strings.Builder
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		if i > 0 || e.src[at-1] != '\n' {
			b.WriteByte('\n')
		}
		b.WriteString(inner + e.key(n, k) + ": " + pretty(want[k], inner))
	}
	tail := e.src[at:closing]
	if !bytes.ContainsAny(tail, "\n") {
		b.WriteString("\n" + lineIndent)
	}
	e.changes = append(e.changes, change{at, at, b.String()})
}

// insertInline adds single values to an object that stands on one line.
func (e *editor) insertInline(n *node, lastKept int, keys []string, want map[string]any) bool {
	if bytes.ContainsAny(e.src[n.start:n.end], "\n\r") {
		return false
	}
	var b strings.Builder
	for _, k := range keys {
		switch want[k].(type) {
		case map[string]any, []any:
			return false
		}
		b.WriteString(", " + e.key(n, k) + ": " + inline(want[k]))
	}
	at := n.members[lastKept].val.end
	e.changes = append(e.changes, change{at, at, b.String()})
	return true
}

// key spells a key as the object's first one is spelled.
func (e *editor) key(n *node, key string) string {
	if len(n.members) == 0 {
		return inline(key)
	}
	if c := e.src[n.members[0].keyStart]; c == '"' || c == '\'' {
		return inline(key)
	}
	for i, r := range key {
		if r > 127 || i == 0 && !isIdentStart(r) || !isIdentPart(r) {
			return inline(key)
		}
	}
	return key
}

// indentAt is the white space at the start of the line that pos is on.
func (e *editor) indentAt(pos int) string {
	start := bytes.LastIndexByte(e.src[:pos], '\n') + 1
	end := start
	for end < len(e.src) && (e.src[end] == ' ' || e.src[end] == '\t') {
		end++
	}
	return string(e.src[start:end])
}
