package frames

import (
	_ "embed" // the params schemas
	"strings"
	"sync"
)

// Schema is one JSON Schema of the protocol (schema96.json), compiled when it is first
// used: most processes see a few dozen of the 395, and an idle one keeps none in memory.
// It is safe for concurrent use.
//
// It accepts, refuses and words its refusals as the real gateway's validator does
// (TypeBox 1.3 and openclaw's formatValidationErrors), with two differences: a name that
// comes twice in an object is refused, anywhere in the value, and a value nested deeper
// than MaxDepth is refused (docs/adr/0001-frame-codec.md).
type Schema struct {
	name string
	once sync.Once
	root *node
}

// Name is the definition's name in schema96.json.
func (s *Schema) Name() string { return s.name }

// Validate checks the raw params of method; nil params count as {}. It returns nil, or
// INVALID_REQUEST "invalid <method> params: …" listing every fault in upstream's order
// and words. It walks the bytes in place: valid params cost no allocation, time is
// linear in their length, and nothing is built.
//
// A nil Schema accepts any value that is JSON without a name given twice.
func (s *Schema) Validate(method string, params []byte) *Error {
	if len(params) == 0 {
		params = emptyObject
	}
	if why := s.refuse(params); why != "" {
		return Invalid("invalid %s params: %s", method, why)
	}
	return nil
}

var emptyObject = []byte("{}")

// refuse says why b is refused, "" when it is not.
func (s *Schema) refuse(b []byte) string {
	if fault := checkNames(b); fault.kind != nameOK {
		return fault.text()
	}
	if s == nil {
		return ""
	}
	root := s.compiled()
	i := space(b, 0)
	if _, ok := root.check(b, i); ok {
		return ""
	}
	return root.explain(b, i)
}

// compiled returns the schema's root. A definition that is missing or that uses a
// keyword this package does not know is a fault of the build, found by a test that
// compiles them all; at run time it refuses everything rather than letting it pass.
func (s *Schema) compiled() *node {
	s.once.Do(func() {
		text, ok := schemaText(s.name)
		if ok {
			if root, err := compileSchema(text); err == nil {
				s.root = root
				return
			}
		}
		s.root = &node{never: true}
	})
	return s.root
}

// The params schemas as written by frames/gen: one definition a line, its name, a tab
// and its JSON, in the member order of schema96.json (the order of error messages). It
// is a string in the binary's read-only data, so schemas that nobody uses cost no heap.
//
//go:embed params_gen.txt
var paramSchemas string

// schemaText returns the definition's JSON.
func schemaText(name string) (string, bool) {
	head := "\n" + name + "\t"
	start := strings.Index(paramSchemas, head)
	if start < 0 {
		return "", false
	}
	rest := paramSchemas[start+len(head):]
	end := strings.IndexByte(rest, '\n')
	if end < 0 {
		return rest, true
	}
	return rest[:end], true
}

// schemaNamed returns the params schema of that definition, nil for none.
func schemaNamed(name string) *Schema {
	for i := range schemaTable {
		if schemaTable[i].name == name {
			return &schemaTable[i]
		}
	}
	return nil
}

// requestFrameSchema words the refusal of a frame that is no request.
var requestFrameSchema = schemaNamed("RequestFrame")
