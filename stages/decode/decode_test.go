package decode

import (
	"fmt"
	"strings"
	"testing"

	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
)

func TestConformance(t *testing.T) {
	pipelinetest.Conformance(t, func() pipeline.Stage { return newStage(t, Default(), all) })
}

// TestWireRows is wire.md 3.6, row by row, with its exact words.
func TestWireRows(t *testing.T) {
	bufpooltest.NoLeaks(t)
	before := frames.RoleNone
	op, node := frames.RoleOperator, frames.RoleNode
	const passed = "passed"
	for _, tc := range []struct {
		name    string
		role    frames.Role
		scopes  string
		raw     string
		want    string // "": no answer; passed; else "CODE message"
		id      string // when not "1"
		details string
		close   string
	}{
		{name: "bad JSON before connect", role: before, raw: `{bad`, close: "1000 "},
		{name: "nothing before connect", role: before, raw: ``, close: "1000 "},
		{name: "bad JSON after connect", role: op, raw: `{"type":"req","id":"1"`},
		{name: "text after connect", role: op, raw: `hello`},
		{name: "two values after connect", role: op, raw: req("1", "health", "") + `{}`},
		{name: "first request is not connect", role: before, raw: req("1", "health", ""),
			want: "INVALID_REQUEST invalid handshake: first request must be connect", close: "1008 invalid handshake: first request must be connect"},
		{name: "first request is unknown", role: before, raw: req("1", "nope", ""),
			want: "INVALID_REQUEST invalid handshake: first request must be connect", close: "1008 invalid handshake: first request must be connect"},
		{name: "first frame is an event", role: before, raw: `{"type":"event","event":"x"}`, close: "1008 invalid request frame"},
		{name: "first frame is a response", role: before, raw: `{"type":"res","id":"1","ok":true}`, close: "1008 invalid request frame"},
		{name: "first frame is no object", role: before, raw: `[1]`, close: "1008 invalid request frame"},
		{name: "first frame has no id", role: before, raw: `{"type":"req","method":"connect"}`, close: "1008 invalid request frame"},
		{name: "first frame is a tower", role: before, raw: strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), close: "1008 invalid request frame"},
		{name: "connect", role: before, raw: req("1", "connect", `{"bad":1}`), want: passed}, // its handler checks the params

		{name: "no frame", role: op, raw: `{"foo":1}`, id: "invalid",
			want: "INVALID_REQUEST invalid request frame: must have required property 'type'; at root: unexpected property 'foo'"},
		{name: "no frame with an id", role: op, raw: `{"id":"7","foo":1}`, id: "7",
			want: "INVALID_REQUEST invalid request frame: must have required property 'type'; at root: unexpected property 'foo'"},
		{name: "id is empty", role: op, raw: req("", "health", ""), id: "-",
			want: "INVALID_REQUEST invalid request frame: at /id: must not have fewer than 1 characters"},
		{name: "an event", role: op, raw: `{"type":"event","event":"x"}`, id: "invalid", want: "INVALID_REQUEST invalid request frame: *"},
		{name: "a response", role: op, raw: `{"type":"res","id":"9","ok":true}`, id: "9", want: "INVALID_REQUEST invalid request frame: *"},
		{name: "a response of the first runtime", role: op, raw: `{"type":"resp","id":"9","ok":true,"result":1}`, id: "9", want: "INVALID_REQUEST invalid request frame: *"},
		{name: "an array", role: op, raw: `[]`, id: "invalid", want: "INVALID_REQUEST invalid request frame: *"},
		{name: "too deep", role: op, raw: req("1", "health", strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)), want: "INVALID_REQUEST invalid request frame: nested deeper than 128 levels"},
		{name: "a member twice", role: op, raw: `{"type":"req","id":"1","method":"health","method":"status"}`, want: "INVALID_REQUEST invalid request frame: at root: duplicate property 'method'"},

		{name: "connect again", role: op, scopes: "operator.admin", raw: req("1", "connect", "{}"), want: "INVALID_REQUEST connect is only valid as the first request"},
		{name: "params omitted", role: op, scopes: "operator.read", raw: req("1", "status", ""), want: passed},
		{name: "params null", role: op, scopes: "operator.read", raw: req("1", "status", "null"), want: passed},
		{name: "a required param is missing", role: op, scopes: "operator.write", raw: req("1", "chat.send", `{"sessionKey":"main","idempotencyKey":"k"}`),
			want: "INVALID_REQUEST invalid chat.send params: must have required property 'message'"},
		{name: "params omitted where some are required", role: op, scopes: "operator.write", raw: req("1", "chat.send", ""),
			want: "INVALID_REQUEST session mutation target is unavailable", details: `{"code":"SESSION_MUTATION_TARGET_REQUIRED","method":"chat.send"}`},
		{name: "a param of the wrong type", role: op, scopes: "operator.read", raw: req("1", "sessions.list", `{"limit":"x"}`), want: "INVALID_REQUEST invalid sessions.list params: at /limit: must be integer"},
		{name: "an unknown param", role: op, scopes: "operator.read", raw: req("1", "sessions.list", `{"bogus":1}`), want: "INVALID_REQUEST invalid sessions.list params: at root: unexpected property 'bogus'"},
		{name: "a param twice", role: op, scopes: "operator.read", raw: req("1", "sessions.list", `{"limit":1,"limit":2}`), want: "INVALID_REQUEST invalid sessions.list params: *"},

		{name: "node's method as operator", role: op, scopes: "operator.admin", raw: req("1", "node.event", "{}"), want: "INVALID_REQUEST unauthorized role: operator"},
		{name: "operator's method as node", role: node, raw: req("1", "chat.send", "{}"), want: "INVALID_REQUEST unauthorized role: node"},
		{name: "unknown method as node", role: node, raw: req("1", "nope", "{}"), want: "INVALID_REQUEST unauthorized role: node"},
		{name: "missing scope", role: op, scopes: "operator.read", raw: req("1", "chat.send", "{}"), want: "FORBIDDEN missing scope: operator.write",
			details: `{"code":"MISSING_SCOPE","missingScope":"operator.write","requiredScopes":["operator.write"]}`},
		{name: "unknown method", role: op, scopes: "operator.admin", raw: req("1", "nope", "{}"), want: "INVALID_REQUEST unknown method: nope"},
		{name: "unknown method, not an admin", role: op, scopes: "operator.write", raw: req("1", "nope", "{}"), want: "FORBIDDEN missing scope: operator.admin",
			details: `{"code":"MISSING_SCOPE","missingScope":"operator.admin","requiredScopes":["operator.admin"]}`},
		{name: "health needs no scope", role: op, raw: req("1", "health", ""), want: passed},
		{name: "nor a role", role: node, raw: req("1", "health", ""), want: passed},

		{name: "another profile", role: op, scopes: "operator.read", raw: `{"type":"req","id":"1","method":"status","expectedProfileId":"p"}`,
			want:    "INVALID_REQUEST Selected account changed or is unavailable. Select the account again before retrying.",
			details: `{"execution":"not_started","reason":"EXPECTED_PROFILE_MISMATCH"}`},
		{name: "another profile comes after the scope", role: op, scopes: "operator.read", raw: `{"type":"req","id":"1","method":"nope","expectedProfileId":"p"}`,
			want: "FORBIDDEN missing scope: operator.admin", details: "*"},
		{name: "and before existence", role: op, scopes: "operator.admin", raw: `{"type":"req","id":"1","method":"nope","expectedProfileId":"p"}`,
			want: "INVALID_REQUEST Selected account changed*", details: "*"},
		{name: "an empty profile", role: op, scopes: "operator.read", raw: `{"type":"req","id":"1","method":"status","expectedProfileId":""}`,
			want: "INVALID_REQUEST invalid request frame: at /expectedProfileId: *"},
		{name: "a method with escapes is that method", role: op, raw: `{"type":"req","id":"1","method":"\u0068ealth"}`, want: passed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, newStage(t, Default(), all))
			o := r.send(t, client(tc.role, strings.Fields(tc.scopes)...), tc.raw)
			got, details, closed := "", "", ""
			if a := o.answer; a != nil {
				got = strings.Trim(string(a.Payload), `"`)
				if !a.OK {
					got, details = a.Error.Code+" "+a.Error.Message, string(a.Error.Details)
				}
				id := tc.id
				if id == "" {
					id = "1"
				}
				if a.ID != id && !(id == "-" && a.ID == "") {
					t.Errorf("answered to id %q", a.ID)
				}
			}
			if o.close != nil {
				closed = fmt.Sprint(o.close.Code, " ", o.close.Reason)
			}
			if !like(got, tc.want) || !like(details, tc.details) || closed != tc.close {
				t.Errorf("got  %q %s close %q\nwant %q %s close %q", got, details, closed, tc.want, tc.details, tc.close)
			}
		})
	}
}

// like compares got to a want that may end in "*".
func like(got, want string) bool {
	head, open := strings.CutSuffix(want, "*")
	return got == want || open && strings.HasPrefix(got, head)
}

func TestTheEleventhUnauthorizedCallEndsTheConnection(t *testing.T) {
	r := newRig(t, newStage(t, Default(), all))
	c := client(frames.RoleOperator, "operator.admin")
	call := func(method string) outcome { t.Helper(); return r.send(t, c, req("1", method, "")) }
	for range 10 {
		if o := call("node.event"); o.answer.OK || o.close != nil {
			t.Fatalf("%+v", o)
		}
	}
	call("health") // anything else ends the row
	call("nope")
	for i := range 10 {
		if o := call("node.event"); o.close != nil {
			t.Fatalf("closed at call %d of a new row", i+1)
		}
	}
	o := call("node.event")
	if o.answer == nil || o.answer.Error.Message != "unauthorized role: operator" || o.close == nil ||
		o.close.Code != 1008 || o.close.Reason != "repeated unauthorized calls" {
		t.Fatalf("the eleventh: %+v %+v", o.answer, o.close)
	}
	t.Run("others do not count with it", func(t *testing.T) {
		other := client(frames.RoleOperator, "operator.admin")
		other.PeerInfo.ConnID = "other"
		if o := r.send(t, other, req("1", "node.event", "")); o.close != nil {
			t.Fatal("closed")
		}
	})
	t.Run("Forget ends the row", func(t *testing.T) {
		r.Forget("test")
		if o := call("node.event"); o.close != nil {
			t.Fatal("closed")
		}
	})
}

func TestStrikesAreBounded(t *testing.T) {
	s := newStrikes(16)
	for i := range 1000 {
		if n := s.strike(fmt.Sprint("conn", i)); n != 1 {
			t.Fatalf("conn %d: %d", i, n)
		}
		s.strike("steady") // the one that goes on is not the one that leaves
	}
	if n := s.strike("steady"); n != 1001 {
		t.Errorf("steady: %d", n)
	}
	if len(s.conns) != 16 || s.order.Len() != 16 || s.count.Load() != 16 {
		t.Errorf("%d, %d, %d entries", len(s.conns), s.order.Len(), s.count.Load())
	}
	for i := range 1000 {
		s.forgive(fmt.Sprint("conn", i))
	}
	s.forgive("steady")
	if len(s.conns) != 0 || s.order.Len() != 0 || s.count.Load() != 0 {
		t.Errorf("%d, %d, %d left", len(s.conns), s.order.Len(), s.count.Load())
	}
}

func TestOnlyNativeMethodsExist(t *testing.T) {
	r := newRig(t, newStage(t, Default(), func(m *frames.Method) bool { return m != nil && m.Name == "health" }))
	admin := client(frames.RoleOperator, "operator.admin")
	if o := r.send(t, admin, req("1", "status", `{"bogus":1}`)); o.answer.OK || o.answer.Error.Message != "unknown method: status" {
		t.Fatalf("%+v", o.answer)
	}
	if o := r.send(t, client(frames.RoleOperator), req("1", "status", "")); o.answer.Error.Message != "missing scope: operator.read" {
		t.Fatalf("%+v", o.answer.Error)
	}
	if o := r.send(t, admin, req("1", "health", "")); !o.answer.OK {
		t.Fatalf("%+v", o.answer)
	}
	if n := r.Requests(frames.LookupMethod([]byte("status")).Index); n != 2 {
		t.Errorf("status was counted %d times", n)
	}
	r.send(t, admin, req("1", "nope", ""))
	if n := r.Requests(-1); n != 1 {
		t.Errorf("unknown methods: %d", n)
	}
}

// Sluice's own requests (hooks, channels) are decoded by who makes them; the rest holds
// for them too, except grants and budget.
func TestRequestsOfSluicesOwn(t *testing.T) {
	r := newRig(t, newStage(t, Default(), all))
	c := client(frames.RoleSystem)
	for raw, want := range map[string]string{
		req("r1", "chat.send", `{"sessionKey":"main","message":"m","idempotencyKey":"k"}`): "",
		req("r1", "chat.send", `{"sessionKey":"main","idempotencyKey":"k"}`):               "invalid chat.send params: must have required property 'message'",
		req("r1", "nope", ``): "unknown method: nope",
	} {
		e := pipelinetest.Raw(c, raw)
		e.Source = pipeline.SourceHook
		if err := frames.Decode(e.Bytes(), &e.Frame); err != nil {
			t.Fatal(err)
		}
		if err := r.pipe.Submit(e); err != nil {
			t.Fatal(err)
		}
		if a := c.Next(t); a.OK != (want == "") || !a.OK && a.Error.Message != want {
			t.Errorf("%s: %+v %+v", raw, a, a.Error)
		}
	}
}
