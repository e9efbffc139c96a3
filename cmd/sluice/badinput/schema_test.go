package badinput_test

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/dlclark/regexp2"
	"github.com/go-json-experiment/json"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"sluice/frames/framestest"
)

// protocol is schema96.json: what the real gateway accepts, by method.
type protocol struct {
	Definitions map[string]object `json:"definitions"`
	Methods     map[string]struct {
		Params string `json:"params"`
	} `json:"methods"`
}

func readProtocol(t testing.TB) *protocol {
	t.Helper()
	var p protocol
	framestest.ReadSharedJSON(t, &p, "protocol", "schema96.json")
	return &p
}

// params is the schema of a method's params; nil when it has none.
func (p *protocol) params(method string) object { return p.Definitions[p.Methods[method].Params] }

// native are the methods that the gateway answers: those that it lists, and those that
// it knows without listing them.
func (p *protocol) native(t testing.TB, g *gateway) []string {
	t.Helper()
	c := g.operator(t)
	var names []string
	for name := range p.Methods {
		if name == "connect" {
			continue
		}
		// Params of the wrong type: nothing happens.
		r := c.call(name, `"probe"`)
		if r.Error.Message != "unknown method: "+name && !strings.HasPrefix(r.Error.Message, "unauthorized role") {
			names = append(names, name)
		}
		if r.Error.Message == "unauthorized role: operator" {
			c.mustHealth() // not eleven in a row
		}
	}
	c.bye()
	sort.Strings(names)
	if len(names) < 50 {
		t.Fatalf("only %d native methods: %v", len(names), names)
	}
	return names
}

// reference is an independent validator of a schema.
func reference(t testing.TB, name string, schema object) *jsonschema.Schema {
	t.Helper()
	b, err := json.Marshal(schema, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.UseRegexpEngine(func(source string) (jsonschema.Regexp, error) {
		re, err := regexp2.Compile(source, regexp2.ECMAScript|regexp2.Unicode)
		if err != nil {
			return nil, err
		}
		re.MatchTimeout = time.Second
		return pattern{re}, nil
	})
	url := "mem:///" + name + ".json"
	if err := c.AddResource(url, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(url)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

// pattern runs the protocol's JavaScript patterns.
type pattern struct{ *regexp2.Regexp }

// MatchString implements jsonschema.Regexp.
func (p pattern) MatchString(s string) bool {
	ok, err := p.Regexp.MatchString(s)
	return ok && err == nil
}

// refuses reports whether the reference refuses JSON text.
func refuses(t testing.TB, s *jsonschema.Schema, text string) bool {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%.200s: %v", text, err)
	}
	return s.Validate(v) != nil
}

// smallest returns the least value that a schema accepts, as far as this simple reading
// of it goes.
func smallest(s object) any {
	if v, ok := s["const"]; ok {
		return v
	}
	if list, ok := s["enum"].([]any); ok {
		return list[0]
	}
	for _, k := range []string{"anyOf", "oneOf"} {
		if list, ok := s[k].([]any); ok && s["type"] == nil {
			return smallest(list[0].(object))
		}
	}
	switch s["type"] {
	case "string":
		n, _ := s["minLength"].(float64)
		return strings.Repeat("x", int(max(n, 1)))
	case "integer", "number":
		n, _ := s["minimum"].(float64)
		if above, ok := s["exclusiveMinimum"].(float64); ok {
			n = above + 1
		}
		return n
	case "boolean":
		return false
	case "array":
		list := []any{}
		items, _ := s["items"].(object)
		n, _ := s["minItems"].(float64)
		for range int(n) {
			list = append(list, smallest(items))
		}
		return list
	}
	out := object{}
	props, _ := s["properties"].(object)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if p, ok := props[name.(string)].(object); ok {
			out[name.(string)] = smallest(p)
		}
	}
	return out
}

// place is a spot in a value: how to build the whole around what stands there.
type place struct {
	path   string
	schema object
	build  func(any) any
}

// places lists the spots of a value that s describes, down to a depth.
func places(s object, path string, build func(any) any, depth int) []place {
	out := []place{{path, s, build}}
	if depth == 0 {
		return out
	}
	for _, k := range []string{"anyOf", "oneOf", "allOf"} {
		list, _ := s[k].([]any)
		for _, branch := range list {
			out = append(out, places(branch.(object), path, build, depth-1)[1:]...)
		}
	}
	if items, ok := s["items"].(object); ok {
		out = append(out, places(items, path+"/0", func(v any) any { return build([]any{v}) }, depth-1)...)
	}
	props, _ := s["properties"].(object)
	names := make([]string, 0, len(props))
	for name := range props {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		p, ok := props[name].(object)
		if !ok {
			continue
		}
		out = append(out, places(p, path+"/"+name, func(v any) any {
			whole, _ := smallest(s).(object)
			whole[name] = v
			return build(whole)
		}, depth-1)...)
	}
	return out
}

// junk are values, one or more of each JSON type.
var junk = []any{nil, true, 7, 1.5, -1, "", "junk", strings.Repeat("long", 2_000), []any{}, []any{nil}, []any{[]any{}}, object{}, object{"junk": 1}}

// mutants are params of a method that the real gateway refuses: junk at every place,
// members left out, and members too many.
func mutants(t testing.TB, method string, s object) []string {
	t.Helper()
	ref := reference(t, method, s)
	seen := map[string]bool{}
	var out []string
	try := func(v any) {
		b, err := json.Marshal(v, json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		if text := string(b); text != "null" && !seen[text] && refuses(t, ref, text) { // null params are {}
			seen[text] = true
			out = append(out, text)
		}
	}
	for _, p := range places(s, "", func(v any) any { return v }, 4) {
		for _, j := range junk {
			try(p.build(j))
		}
		whole, ok := smallest(p.schema).(object)
		if !ok {
			continue
		}
		for name := range whole {
			less := object{}
			for k, v := range whole {
				if k != name {
					less[k] = v
				}
			}
			try(p.build(less))
		}
		whole["bogus"] = 1
		try(p.build(whole))
	}
	return out
}

// noTarget is what a method that works on a session says before it looks at its other
// params.
const noTarget = "session mutation target is unavailable"

// TestWrongParams: params that the protocol's schema refuses are refused, for every
// native method and every place in its params, with the error that says so; the
// connection goes on, and nothing happens.
func TestWrongParams(t *testing.T) {
	t.Parallel()
	t.Cleanup(regexp2.StopTimeoutClock)
	proto := readProtocol(t)
	g := start(t, settings{"decode.controlPlaneWrites": 1_000_000})
	total := 0
	for _, method := range proto.native(t, g) {
		s := proto.params(method)
		if s == nil {
			continue
		}
		p := g.operator(t)
		list := mutants(t, method, s)
		total += len(list)
		p.burst(method, list, func(i int, r reply) {
			named := strings.Contains(list[i], `essionKey":"x"`) || strings.Contains(list[i], `"key":"x"`) // a session, by sessionKey or key
			right := strings.HasPrefix(r.Error.Message, "invalid "+method+" params: ") || !named && r.Error.Message == noTarget
			if r.OK || r.Error.Code != "INVALID_REQUEST" || !right {
				t.Errorf("%s %.300s: %s", method, list[i], r)
			}
		})
		p.mustHealth()
		p.bye()
	}
	if total < 3000 {
		t.Errorf("only %d mutants", total)
	}
	t.Logf("%d params refused", total)
	if r := g.operator(t).call("sessions.list", ""); !strings.Contains(r.raw, `"sessions":[]`) {
		t.Errorf("something happened: %s", r)
	}
}

// TestWrongConnectParams is the same for connect, which ends the connection.
func TestWrongConnectParams(t *testing.T) {
	t.Parallel()
	t.Cleanup(regexp2.StopTimeoutClock)
	g := start(t, nil)
	list := mutants(t, "connect", readProtocol(t).params("connect"))
	for _, params := range list {
		p := g.dial(t)
		p.send(requestFrame("c", "connect", params))
		r := p.answer("c")
		if r.OK || r.Error.Code != "INVALID_REQUEST" || !strings.HasPrefix(r.Error.Message, "invalid connect params: ") {
			t.Errorf("%.300s: %s", params, r)
		}
		p.wantClose("1008 " + cut(r.Error.Message))
	}
	if len(list) < 100 {
		t.Errorf("only %d mutants", len(list))
	}
}

// TestParamsWithoutSchema: methods whose params the protocol leaves open take anything
// without harm: an answer or a refusal, never an internal error.
func TestParamsWithoutSchema(t *testing.T) {
	t.Parallel()
	proto := readProtocol(t)
	g := start(t, nil)
	p := g.operator(t)
	names := []string{"key", "sessionKey", "agentId", "limit", "cursor", "text", "enabled", "probe", "kind", "offset", "mode", "tags", "deviceId", "roles", "lastInputSeconds"}
	for _, method := range proto.native(t, g) {
		if proto.params(method) != nil {
			continue
		}
		list := []string{`"text"`, `7`, `[]`, `true`, `{"\u0000":1}`}
		for _, j := range junk {
			whole := object{}
			for _, name := range names {
				whole[name] = j
				list = append(list, string(mustJSON(t, object{name: j})))
			}
			list = append(list, string(mustJSON(t, whole)))
		}
		p.burst(method, list, func(i int, r reply) {
			if !r.OK && r.Error.Code != "INVALID_REQUEST" {
				t.Errorf("%s %.300s: %s", method, list[i], r)
			}
		})
		p.mustHealth()
	}
	p.bye()
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// burst sends a method with each of the params, some in flight at a time, and hands each
// first answer to check; the method agent gives a second one when its run has ended.
func (p *peer) burst(method string, params []string, check func(i int, r reply)) {
	p.t.Helper()
	const inFlight = 64
	answered := make([]bool, len(params))
	for from := 0; from < len(params); from += inFlight {
		part := params[from:min(from+inFlight, len(params))]
		var raw []byte
		for i, text := range part {
			raw = append(raw, clientText(requestFrame(fmt.Sprint(from+i), method, text))...)
		}
		_ = p.SetDeadline(time.Now().Add(patience))
		p.write(raw)
		for left := len(part); left > 0; {
			r := p.anyAnswer()
			var i int
			if _, err := fmt.Sscanf(string(r.ID), `"%d"`, &i); err != nil || i >= from+len(part) || answered[i] && method != "agent" {
				p.t.Fatalf("an answer to nothing: %s", r)
			}
			if !answered[i] {
				answered[i] = true
				left--
				check(i, r)
			}
		}
	}
}
