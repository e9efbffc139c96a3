package defend

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"

	"sluice/frames"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite testdata from the protocol's schema")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// schemaFile is the protocol's description as recorded from the real gateway. It is 2 MB
// and lies outside of the repository, so what the test needs of it is kept in carriers.
const (
	schemaFile = "../../../shared/protocol/schema96.json"
	carriers   = "testdata/carriers.txt"
)

// schema is what the walk needs of a JSON Schema.
type schema struct {
	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
	Patterns   map[string]schema `json:"patternProperties"`
	Additional any               `json:"additionalProperties"`
	Items      any               `json:"items"`
	AnyOf      []schema          `json:"anyOf"`
	OneOf      []schema          `json:"oneOf"`
	AllOf      []schema          `json:"allOf"`
}

type described struct {
	Definitions map[string]schema `json:"definitions"`
	Methods     map[string]struct {
		Params string `json:"params"`
		Scope  string `json:"scope"`
	} `json:"methods"`

	raw map[string]jsontext.Value
}

// carried lists, for each method, the parameters whose name the extraction reads, or "?"
// when the schema does not describe its parameters.
func carried(t *testing.T) string {
	raw, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Skipf("the protocol's schema is not here: %v", err)
	}
	var d described
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for name, m := range d.Methods {
		def, ok := d.Definitions[m.Params]
		if !ok {
			lines = append(lines, name+" ?")
			continue
		}
		found := map[string]bool{}
		d.walk(def, "", found, map[string]bool{m.Params: true})
		if len(found) > 0 {
			paths := make([]string, 0, len(found))
			for p := range found {
				paths = append(paths, p)
			}
			sort.Strings(paths)
			lines = append(lines, name+" "+strings.Join(paths, " "))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n"
}

func (d described) walk(s schema, path string, found, seen map[string]bool) {
	if s.Ref != "" {
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		if !seen[name] {
			inner := map[string]bool{name: true}
			for k := range seen {
				inner[k] = true
			}
			d.walk(d.Definitions[name], path, found, inner)
		}
		return
	}
	for name, sub := range s.Properties {
		switch fieldOf([]byte(name)) {
		case fieldPrompt, fieldCommand, fieldURL, fieldFile, fieldJSON:
			found[path+"."+name] = true
		}
		d.walk(sub, path+"."+name, found, seen)
	}
	for _, sub := range s.Patterns {
		d.walk(sub, path+".*", found, seen)
	}
	for _, list := range [][]schema{s.AnyOf, s.OneOf, s.AllOf} {
		for _, sub := range list {
			d.walk(sub, path, found, seen)
		}
	}
	for _, sub := range []any{s.Items, s.Additional} {
		if m, ok := sub.(map[string]any); ok {
			var inner schema
			if raw, err := json.Marshal(m); err == nil && json.Unmarshal(raw, &inner) == nil {
				d.walk(inner, path+"[]", found, seen)
			}
		}
	}
}

// TestEveryMethodIsClassified walks the method table: no method whose parameters could
// hold a prompt, command, address or file, or are not described, may be forgotten.
func TestEveryMethodIsClassified(t *testing.T) {
	golden, err := os.ReadFile(carriers)
	if _, missing := os.Stat(schemaFile); missing == nil {
		now := carried(t)
		if *update {
			if err := os.WriteFile(carriers, []byte(now), 0o644); err != nil {
				t.Fatal(err)
			}
			golden = []byte(now)
		} else if now != string(golden) {
			t.Errorf("%s is out of date (%v): run go test ./stages/defend -update and look at the difference", carriers, err)
		}
	} else if err != nil {
		t.Fatal(err)
	}
	carries := map[string]string{}
	for line := range strings.Lines(string(golden)) {
		name, paths, _ := strings.Cut(strings.TrimSpace(line), " ")
		carries[name] = paths
	}
	in := map[string]bool{}
	for _, name := range judged {
		if in[name] {
			t.Errorf("%s is listed twice", name)
		}
		in[name] = true
		if exempt[name] != "" {
			t.Errorf("%s is judged and exempt", name)
		}
		if frames.LookupMethod([]byte(name)) == nil {
			t.Errorf("%s is judged and not in the method table", name)
		}
	}
	for _, list := range []map[string]bool{acting, administrative, outbound, asking, fromTools, namesTool} {
		for name := range list {
			if !in[name] {
				t.Errorf("%s is listed as special and not judged", name)
			}
		}
	}
	for _, m := range frames.Methods() {
		paths, known := carries[m.Name]
		if known && !in[m.Name] && exempt[m.Name] == "" {
			t.Errorf("%s (%s) is neither judged nor exempt: add it to methods.go", m.Name, paths)
		}
		if !known && m.ParamsSchema == "" && !in[m.Name] && exempt[m.Name] == "" {
			t.Errorf("%s has parameters that nothing describes and is neither judged nor exempt", m.Name)
		}
		if m.Turn && !in[m.Name] {
			t.Errorf("%s starts turns and is not judged", m.Name)
		}
	}
	if len(carries) < 50 {
		t.Error(fmt.Errorf("%s holds %d methods: it is not whole", carriers, len(carries)))
	}
}
