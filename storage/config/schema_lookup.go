package config

import (
	"regexp"
	"strings"
)

// LookupResult is the payload of config.schema.lookup (ConfigSchemaLookupResult).
type LookupResult struct {
	Path       string         `json:"path"`
	Schema     map[string]any `json:"schema"` // without the schemas of its children
	ReloadKind string         `json:"reloadKind,omitzero"`
	Hint       *Hint          `json:"hint,omitzero"`
	HintPath   string         `json:"hintPath,omitzero"`
	Children   []LookupChild  `json:"children"`
}

// LookupChild is one key below the looked-up one.
type LookupChild struct {
	Key         string `json:"key"`
	Path        string `json:"path"`
	Type        string `json:"type,omitzero"`
	Required    bool   `json:"required"`
	HasChildren bool   `json:"hasChildren"`
	ReloadKind  string `json:"reloadKind,omitzero"`
	Hint        *Hint  `json:"hint,omitzero"`
	HintPath    string `json:"hintPath,omitzero"`
}

var bracketSegment = regexp.MustCompile(`\[(\*|\d*)\]`)

// maxLookupSegments is upstream's bound on a lookup path.
const maxLookupSegments = 32

// Lookup answers config.schema.lookup: path is dotted, "." is the root, "*" and [] stand
// for any entry of a map or list. An unknown path is a *RequestError.
func (s *Schema) Lookup(path string) (*LookupResult, error) {
	notFound := refuse("config schema path not found")
	root := strings.TrimSpace(path) == "."
	keys := lookupKeys(path)
	if !root && len(keys) == 0 || len(keys) > maxLookupSegments {
		return nil, notFound
	}
	f := s.root
	for _, k := range keys {
		switch {
		case blockedKeys[k]:
			return nil, notFound
		case f.Kind == KindList:
			f = f.elem
			if k != "*" && strings.Trim(k, "0123456789") != "" {
				return nil, notFound
			}
		default:
			f = f.descend(k)
		}
		if f == nil {
			return nil, notFound
		}
	}
	hints := s.hints()
	out := &LookupResult{Path: strings.Join(keys, "."), Schema: shallow(f), Children: []LookupChild{}}
	if root {
		out.Path = "."
	} else {
		out.ReloadKind, out.Hint, out.HintPath = reloadOf(f), hintOf(hints, f), f.Key
	}
	prefix := strings.Join(keys, ".")
	for _, c := range f.fields {
		out.Children = append(out.Children, child(hints, prefix, c.name, c))
	}
	if f.elem != nil {
		out.Children = append(out.Children, child(hints, prefix, "*", f.elem))
	}
	return out, nil
}

func child(hints map[string]Hint, prefix, key string, f *Field) LookupChild {
	path := key
	if prefix != "" {
		path = prefix + "." + key
	}
	schema := jsonSchema(f)
	kind, _ := schema["type"].(string)
	return LookupChild{
		Key: key, Path: path, Type: kind, HasChildren: len(f.fields) > 0 || f.elem != nil,
		ReloadKind: reloadOf(f), Hint: hintOf(hints, f), HintPath: f.Key,
	}
}

func hintOf(hints map[string]Hint, f *Field) *Hint {
	if h, ok := hints[f.Key]; ok {
		return &h
	}
	return nil
}

// reloadOf is restart for an object as soon as one key below it needs that.
func reloadOf(f *Field) string {
	if len(f.fields) == 0 {
		return f.Reload
	}
	for _, c := range f.fields {
		if reloadOf(c) != ReloadHot {
			return ReloadRestart
		}
	}
	return ReloadHot
}

// shallow is a field's schema without its properties, as upstream strips it; what an
// entry of a map or list looks like stays.
func shallow(f *Field) map[string]any {
	m := jsonSchema(f)
	delete(m, "properties")
	return m
}

func lookupKeys(path string) []string {
	path = bracketSegment.ReplaceAllStringFunc(strings.TrimSpace(path), func(b string) string {
		if inner := b[1 : len(b)-1]; inner != "" {
			return "." + inner
		}
		return ".*"
	})
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' })
}
