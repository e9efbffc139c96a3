package defend

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// leaf is a place for a string in a method's params: the names that lead to it, "[]" for
// a list, "*" for any name. free says that anything may stand there.
type leaf struct {
	path []string
	free bool
}

// leaves walks a schema.
func (d described) leaves(raw jsontext.Value, path []string, seen map[string]bool, out func(leaf)) {
	var s struct {
		Ref        string                    `json:"$ref"`
		Type       any                       `json:"type"`
		Enum       []any                     `json:"enum"`
		Const      any                       `json:"const"`
		Properties map[string]jsontext.Value `json:"properties"`
		Patterns   map[string]jsontext.Value `json:"patternProperties"`
		Additional jsontext.Value            `json:"additionalProperties"`
		Items      jsontext.Value            `json:"items"`
		AnyOf      []jsontext.Value          `json:"anyOf"`
		OneOf      []jsontext.Value          `json:"oneOf"`
		AllOf      []jsontext.Value          `json:"allOf"`
	}
	if raw.Kind() != '{' || json.Unmarshal(raw, &s) != nil {
		out(leaf{path, true})
		return
	}
	at := func(more string) []string { return append(path[:len(path):len(path)], more) }
	switch {
	case s.Ref != "":
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		if seen[name] {
			return
		}
		inner := map[string]bool{name: true}
		for k := range seen {
			inner[k] = true
		}
		d.leaves(d.raw[name], path, inner, out)
		return
	case s.Enum != nil || s.Const != nil:
		return // a word of the protocol's own
	case s.Type == "string":
		out(leaf{path, false})
		return
	}
	some := false
	for _, list := range [][]jsontext.Value{s.AnyOf, s.OneOf, s.AllOf} {
		for _, sub := range list {
			some = true
			d.leaves(sub, path, seen, out)
		}
	}
	for name, sub := range s.Properties {
		some = true
		d.leaves(sub, at(name), seen, out)
	}
	for _, sub := range s.Patterns {
		some = true
		d.leaves(sub, at("*"), seen, out)
	}
	if len(s.Items) > 0 {
		some = true
		d.leaves(s.Items, at("[]"), seen, out)
	}
	if s.Type == "object" && len(s.Patterns) == 0 && string(s.Additional) != "false" {
		some = true
		if len(s.Additional) == 0 || s.Additional.Kind() != '{' {
			out(leaf{at("*"), true})
		} else {
			d.leaves(s.Additional, at("*"), seen, out)
		}
	}
	if !some && s.Type == nil {
		out(leaf{path, true})
	}
}

// place puts value at the leaf's path.
func (l leaf) place(value string) []byte {
	for i := len(l.path) - 1; i >= 0; i-- {
		switch name := l.path[i]; name {
		case "[]":
			value = "[" + value + "]"
		case "*":
			value = `{"anything":` + value + `}`
		default:
			quoted, _ := jsontext.AppendQuote(nil, name)
			value = "{" + string(quoted) + ":" + value + "}"
		}
	}
	return []byte(value)
}

func (l leaf) name() string {
	for i := len(l.path) - 1; i >= 0; i-- {
		if l.path[i] != "[]" && l.path[i] != "*" {
			return l.path[i]
		}
	}
	return ""
}

// marker is a text that shows where it goes, and freeForms the forms that it takes where
// anything may stand.
const marker = "zq marker qz"

var freeForms = []string{`"` + marker + `"`, `["` + marker + `"]`, `[["` + marker + `"]]`, `{"x":"` + marker + `"}`,
	`{"x":[{"y":["a",{"z":"` + marker + `"}]}]}`, `[{"type":"text","text":"` + marker + `"}]`,
	`"{\"x\":\"` + marker + `\"}"`, `{"x":"[{\"y\":\"zq m\\u0061rker qz\"}]"}`, `{"\u0078":"zq mark\u0065r qz"}`}

func holds(a *Action) bool {
	for _, list := range [][][]byte{a.Prompts, a.Commands, a.Tools, a.Channels, a.URLs, a.Files} {
		for _, text := range list {
			if bytes.Contains(text, []byte(marker)) {
				return true
			}
		}
	}
	return false
}

// TestEveryTextIsExtracted puts a marker at every place of every judged method where the
// protocol allows a string: it must be extracted, unless the name is an identifier.
func TestEveryTextIsExtracted(t *testing.T) {
	d := readSchema(t)
	places := 0
	for _, method := range judged {
		if administrative[method] {
			continue
		}
		def, ok := d.raw[d.Methods[method].Params]
		if !ok {
			def = jsontext.Value(`{"type":"object"}`)
		}
		d.leaves(def, nil, map[string]bool{}, func(l leaf) {
			forms := freeForms
			if !l.free {
				forms = freeForms[:1]
				if identifier(l.name()) {
					return
				}
			}
			for _, form := range forms {
				if l.path[0] == "attachments" && strings.Contains(form, `m\\u0061rker`) {
					continue // JSON in an attached document is a text, escapes and all: the prompt's to decode
				}
				params := l.place(form)
				a, err := ParseAction(method, params)
				places++
				if err != nil || !holds(a) && a.claimed != marker && a.claimedAgent != marker {
					t.Errorf("%s: %s is not extracted (%v)", method, params, err)
				}
			}
		})
	}
	if places < 500 {
		t.Errorf("only %d places: the schema was not walked", places)
	}
}

// readSchema reads the protocol's schema, or skips the test where it is not.
func readSchema(t *testing.T) described {
	t.Helper()
	raw, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Skipf("the protocol's schema is not here: %v", err)
	}
	d := described{}
	var whole struct {
		Definitions map[string]jsontext.Value `json:"definitions"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	d.raw = whole.Definitions
	return d
}

// texts are the places of a method's params at which a text of somebody's own may stand.
func (d described) texts(method string) (names []string) {
	def, ok := d.raw[d.Methods[method].Params]
	if !ok {
		return nil
	}
	d.leaves(def, nil, map[string]bool{d.Methods[method].Params: true}, func(l leaf) {
		if !identifier(l.name()) {
			names = append(names, strings.Join(l.path, "."))
		}
	})
	return names
}

// TestMethodsWithTexts: a method that changes something and takes a text of any name is
// judged, or the reason why not stands in exempt.
func TestMethodsWithTexts(t *testing.T) {
	d := readSchema(t)
	in := map[string]bool{}
	for _, name := range judged {
		in[name] = true
	}
	for name, m := range d.Methods {
		if texts := d.texts(name); m.Scope != "operator.read" && len(texts) > 0 && !in[name] && exempt[name] == "" {
			t.Errorf("%s (%s) takes texts and is neither judged nor exempt: %s", name, m.Scope, strings.Join(texts, " "))
		}
	}
}
