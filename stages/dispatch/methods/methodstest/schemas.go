package methodstest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/frames"

	"github.com/dlclark/regexp2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schemas are the protocol's own descriptions of results and events
// (protocol/schema96.json). Without that file, in a checkout that stands alone, nothing
// is checked.
type Schemas struct {
	definitions map[string]jsontext.Value

	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

var load = sync.OnceValue(func() *Schemas {
	s := &Schemas{compiled: map[string]*jsonschema.Schema{}}
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		raw, rerr := os.ReadFile(filepath.Join(dir, "shared", "protocol", "schema96.json"))
		switch {
		case rerr == nil:
			var file struct {
				Definitions map[string]jsontext.Value `json:"definitions"`
			}
			if json.Unmarshal(raw, &file) == nil {
				s.definitions = file.Definitions
			}
			return s
		case !errors.Is(rerr, fs.ErrNotExist) || dir == filepath.Dir(dir):
			return s
		}
	}
	return s
})

// LoadSchemas returns the schemas; they are read once a process.
func LoadSchemas(tb testing.TB) *Schemas {
	tb.Helper()
	tb.Cleanup(regexp2.StopTimeoutClock)
	return load()
}

// Known reports whether the schemas were found.
func (s *Schemas) Known() bool { return len(s.definitions) > 0 }

// Result checks a method's result, if that has a schema.
func (s *Schemas) Result(tb testing.TB, method string, payload jsontext.Value) {
	tb.Helper()
	if m := frames.LookupMethod([]byte(method)); m != nil && m.ResultSchema != "" {
		s.Check(tb, m.ResultSchema, payload)
	}
}

// Event checks an event's payload, if that has a schema.
func (s *Schemas) Event(tb testing.TB, name string, payload jsontext.Value) {
	tb.Helper()
	switch name {
	case "chat":
		s.Check(tb, "ChatEvent", payload)
	case "agent":
		// The real gateway's own events have members that its schema does not (wire.md 8).
		var members map[string]jsontext.Value
		if err := json.Unmarshal(payload, &members); err != nil {
			tb.Errorf("event %s: %v", name, err)
			return
		}
		for _, extra := range []string{"sessionKey", "agentId", "sessionId", "lane"} {
			delete(members, extra)
		}
		b, err := json.Marshal(members)
		if err != nil {
			tb.Error(err)
		}
		s.Check(tb, "AgentEvent", b)
	}
}

// Check validates a value against a definition.
func (s *Schemas) Check(tb testing.TB, definition string, value jsontext.Value) {
	tb.Helper()
	schema := s.schema(tb, definition)
	if schema == nil {
		return
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err == nil {
		err = schema.Validate(v)
	}
	if err != nil {
		tb.Errorf("%s: %v\nin %.2000s", definition, err, value)
	}
}

func (s *Schemas) schema(tb testing.TB, name string) *jsonschema.Schema {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.compiled[name]; ok || !s.Known() {
		return c
	}
	raw, ok := s.definitions[name]
	if !ok {
		tb.Fatalf("schema96.json has no definition %s", name)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		tb.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // tuples are arrays under items
	compiler.UseRegexpEngine(compileECMA)
	if err := compiler.AddResource("mem:///"+name, doc); err != nil {
		tb.Fatal(err)
	}
	c, err := compiler.Compile("mem:///" + name)
	if err != nil {
		tb.Fatal(err)
	}
	s.compiled[name] = c
	return c
}

// ecmaRegexp runs the protocol's JavaScript patterns.
type ecmaRegexp struct{ *regexp2.Regexp }

func (r ecmaRegexp) MatchString(s string) bool {
	ok, err := r.Regexp.MatchString(s)
	return ok && err == nil
}

func compileECMA(source string) (jsonschema.Regexp, error) {
	re, err := regexp2.Compile(source, regexp2.ECMAScript|regexp2.Unicode)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = time.Second
	return ecmaRegexp{re}, nil
}
