package config

import (
	"strings"
	"unicode"
)

// Hint is how a form shows a key (ConfigUiHint of the protocol's schema).
type Hint struct {
	Label     string `json:"label,omitzero"`
	Help      string `json:"help,omitzero"`
	Group     string `json:"group,omitzero"`
	Order     int    `json:"order,omitzero"`
	Advanced  bool   `json:"advanced"`
	Sensitive bool   `json:"sensitive,omitzero"`
}

// SchemaResponse is the payload of config.schema (ConfigSchemaResponse).
type SchemaResponse struct {
	Schema      map[string]any  `json:"schema"`
	UIHints     map[string]Hint `json:"uiHints"`
	Version     string          `json:"version"`
	GeneratedAt string          `json:"generatedAt"` // RFC 3339
}

// Response builds the payload of config.schema. It is the same for the life of the
// process, so the caller may keep it.
func (s *Schema) Response(version, generatedAt string) *SchemaResponse {
	return &SchemaResponse{Schema: s.JSONSchema(), UIHints: s.hints(), Version: version, GeneratedAt: generatedAt}
}

// JSONSchema returns the document's JSON Schema, draft 7, closed objects throughout.
func (s *Schema) JSONSchema() map[string]any {
	m := jsonSchema(s.root)
	m["$schema"] = "http://json-schema.org/draft-07/schema#"
	m["title"] = "SluiceConfig"
	return m
}

func jsonSchema(f *Field) map[string]any {
	m := map[string]any{"type": string(f.Kind)}
	if f.name != "" {
		m["title"] = label(f.name)
	}
	if f.Doc != "" {
		m["description"] = f.Doc
	}
	lower, upper := "minimum", "maximum"
	switch f.Kind {
	case KindObject:
		props := make(map[string]any, len(f.fields))
		for _, c := range f.fields {
			props[c.name] = jsonSchema(c)
		}
		m["properties"], m["additionalProperties"] = props, false
	case KindMap:
		m["type"], m["additionalProperties"] = "object", jsonSchema(f.elem)
		lower, upper = "minProperties", "maxProperties"
	case KindList:
		m["type"], m["items"] = "array", jsonSchema(f.elem)
		lower, upper = "minItems", "maxItems"
	case KindString:
		lower, upper = "minLength", "maxLength"
	}
	if f.Min != nil {
		m[lower] = wholeNumber(*f.Min)
	}
	if f.Max != nil {
		m[upper] = wholeNumber(*f.Max)
	}
	if len(f.Enum) > 0 {
		m["enum"] = f.Enum
	}
	if f.Default != nil && f.Kind != KindObject && !f.Secret {
		m["default"] = f.Default
	}
	return m
}

// hints describes every key for forms.
func (s *Schema) hints() map[string]Hint {
	out := map[string]Hint{}
	order := map[*Section]int{}
	for i, sec := range s.sections {
		order[sec] = (i + 1) * 10
	}
	var walk func(f *Field, group string)
	walk = func(f *Field, group string) {
		if f != s.root {
			if group == "" {
				group = label(f.name)
			}
			h := Hint{Label: label(lastSegment(f)), Help: f.Doc, Sensitive: f.Secret, Advanced: f.section == nil && !f.Secret}
			if f.section != nil {
				h.Group, h.Order = group, order[f.section]
			}
			out[f.Key] = h
		}
		for _, c := range f.fields {
			walk(c, group)
		}
		if f.elem != nil {
			walk(f.elem, group)
		}
	}
	walk(s.root, "")
	return out
}

func lastSegment(f *Field) string {
	if f.name != "" {
		return f.name
	}
	key := strings.TrimSuffix(strings.TrimSuffix(f.Key, ".*"), "[]")
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		key = key[i+1:]
	}
	return key + " entry"
}

// label spells a camelCase key as words: maxPayloadBytes -> Max Payload Bytes.
func label(key string) string {
	var b strings.Builder
	prev := ' '
	for _, r := range key {
		switch {
		case prev == ' ':
			r = unicode.ToUpper(r)
		case unicode.IsUpper(r) && !unicode.IsUpper(prev):
			b.WriteByte(' ')
		}
		b.WriteRune(r)
		prev = r
	}
	return b.String()
}
