package badinput_test

import (
	"regexp"
	"strings"
	"testing"
)

// TestBeforeHello is the first half of wire.md 3.6: what comes before a connect.
func TestBeforeHello(t *testing.T) {
	g := start(t, nil)
	for _, c := range beforeHello() {
		t.Run(c.name, func(t *testing.T) {
			p := g.dial(t)
			p.send(c.frame)
			if c.message == "*" { // refused, in whatever words
				if r := p.anyAnswer(); r.OK || r.Error.Code != "INVALID_REQUEST" {
					t.Errorf("%s", r)
				}
				p.wantGone()
				return
			}
			if c.message != "" {
				r := p.anyAnswer()
				r.refused(t, "INVALID_REQUEST", c.message)
				if strings.HasPrefix(c.message, "protocol") && !strings.Contains(r.raw, `"code":"PROTOCOL_MISMATCH"`) {
					t.Errorf("%s", r)
				}
			}
			p.wantClose(c.close)
		})
	}
	t.Run("64 KiB and one byte", func(t *testing.T) {
		p := g.dial(t)
		p.send(pad(`{"type":"req","id":"c","method":"connect","params":{}}`, 65537))
		p.wantClose("1009 ")
	})
	t.Run("64 KiB", func(t *testing.T) {
		p := g.dial(t)
		p.send(pad(requestFrame("c", "connect", backend().encode(p)), 65536))
		if r := p.answer("c"); !r.OK {
			t.Errorf("%s", r)
		}
		p.bye()
	})
}

// beforeHelloCase is a first frame, the message of its answer if it has one, and the close.
type beforeHelloCase struct{ name, frame, message, close string }

func beforeHello() []beforeHelloCase {
	const reqConnect = `{"type":"req","id":"c","method":"connect","params":`
	good := `{"minProtocol":4,"maxProtocol":4,"client":{"id":"cli","version":"1","platform":"linux","mode":"cli"}}`
	return []beforeHelloCase{
		{"broken JSON", `{"type":"req",`, "", "1000 "},
		{"no JSON at all", `hello`, "", "1000 "},
		{"an empty frame", ``, "", "1000 "},
		{"two values", `{} {}`, "", "1000 "},
		{"a number", `7`, "", "1008 invalid request frame"},
		{"an empty object", `{}`, "", "1008 invalid request frame"},
		{"an event", `{"type":"event","event":"tick"}`, "", "1008 invalid request frame"},
		{"a response", `{"type":"res","id":"x","ok":true}`, "", "1008 invalid request frame"},
		{"a request without a method", `{"type":"req","id":"x"}`, "", "1008 invalid request frame"},
		{"a request with a stray member", `{"type":"req","id":"x","method":"health","foo":1}`, "", "1008 invalid request frame"},
		{"another request", `{"type":"req","id":"x","method":"health"}`, "invalid handshake: first request must be connect",
			"1008 invalid handshake: first request must be connect"},
		{"an unknown request", `{"type":"req","id":"x","method":"no.such"}`, "invalid handshake: first request must be connect",
			"1008 invalid handshake: first request must be connect"},
		{"no params", `{"type":"req","id":"c","method":"connect"}`, "invalid connect params: must be object", "1008 invalid connect params: must be object"},
		{"params without maxProtocol", reqConnect + strings.Replace(good, `"maxProtocol":4,`, "", 1) + `}`,
			"invalid connect params: must have required property 'maxProtocol'", "1008 invalid connect params: must have required property 'maxProtocol'"},
		{"params of the wrong type", reqConnect + strings.Replace(good, `4`, `"4"`, 1) + `}`,
			"invalid connect params: at /minProtocol: must be integer", "1008 invalid connect params: at /minProtocol: must be integer"},
		{"a stray param", reqConnect + strings.Replace(good, `{`, `{"bogus":1,`, 1) + `}`,
			"invalid connect params: at root: unexpected property 'bogus'", "1008 invalid connect params: at root: unexpected property 'bogus'"},
		{"another role", reqConnect + strings.Replace(good, `{`, `{"role":"admin",`, 1) + `}`, "invalid role", "1008 invalid role"},
		{"a role of the system's", reqConnect + strings.Replace(good, `{`, `{"role":"system",`, 1) + `}`, "invalid role", "1008 invalid role"},
		{"protocol 5", reqConnect + strings.ReplaceAll(good, `4`, `5`) + `}`, "protocol mismatch", "1002 protocol mismatch"},
		{"protocol 1 to 2", reqConnect + strings.NewReplacer(`"minProtocol":4`, `"minProtocol":1`, `"maxProtocol":4`, `"maxProtocol":2`).Replace(good) + `}`,
			"protocol mismatch", "1002 protocol mismatch"},
		{"protocol 10^400", reqConnect + strings.Replace(good, `4`, `1e400`, 1) + `}`, "*", "*"},
	}
}

// pad fills a message up with white space.
func pad(s string, n int) string { return s + strings.Repeat(" ", n-len(s)) }

// TestAfterHello is the second half: what a connected client may do wrong. Every case
// but the last of its kind leaves the connection open.
func TestAfterHello(t *testing.T) {
	g := start(t, nil)
	p := g.operator(t)
	for _, c := range afterHello(backend().encode(p)) {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.send(c.frame)
			r := p.anyAnswer()
			if string(r.ID) != c.id || r.OK || r.Error.Code != "INVALID_REQUEST" || c.message != "*" && r.Error.Message != c.message {
				t.Errorf("got %s\nwant %s %q", r, c.id, c.message)
			}
			p.mustHealth()
		})
	}
	p.t = t
	t.Run("broken JSON is ignored", func(t *testing.T) {
		p.t = t
		for _, s := range []string{``, `{`, `nul`, `{"type":"req","id":"x","method":"health"`, `{'type':'req'}`, "\x00", `{"a":01}`, `{"a":"\x"}`} {
			p.send(s)
		}
		p.mustHealth()
	})
	p.t = t
	t.Run("params left out are {}", func(t *testing.T) {
		p.t = t
		for _, params := range []string{"", "null", "{}"} {
			if r := p.call("sessions.list", params); !r.OK {
				t.Errorf("%s: %s", params, r)
			}
		}
	})
	p.t = t
	t.Run("an id twice", func(t *testing.T) {
		p.t = t
		p.send(requestFrame("twin", "health", ""))
		p.send(requestFrame("twin", "health", ""))
		p.answer("twin")
		p.answer("twin")
	})
	p.t = t
	p.bye()
}

// afterHelloCase is a frame of a connected client, and id and message of its answer; the
// message "*" is any.
type afterHelloCase struct{ name, frame, id, message string }

func afterHello(connect string) []afterHelloCase {
	const frame = "invalid request frame: "
	return []afterHelloCase{
		{"a response", `{"type":"res","id":"x","ok":true}`, `"x"`, "*"},
		{"an event of a client", `{"type":"event","event":"chat","payload":{"state":"final"}}`, `"invalid"`, "*"},
		{"an unknown event", `{"type":"event","event":"no.such.event"}`, `"invalid"`, "*"},
		{"no frame", `{"foo":1}`, `"invalid"`, frame + "must have required property 'type'; at root: unexpected property 'foo'"},
		{"no frame with an id", `{"id":"mine","foo":1}`, `"mine"`, "*"},
		{"a string", `"x"`, `"invalid"`, frame + "must be object"},
		{"a number", `1e400`, `"invalid"`, frame + "must be object"},
		{"null", `null`, `"invalid"`, frame + "must be object"},
		{"a list", `[{"type":"req","id":"a","method":"health"}]`, `"invalid"`, frame + "must be object"},
		{"an empty id", `{"type":"req","id":"","method":"health"}`, `""`, frame + "at /id: must not have fewer than 1 characters"},
		{"a number as id", `{"type":"req","id":7,"method":"health"}`, `7`, frame + "at /id: must be string"},
		{"an object as id", `{"type":"req","id":{"a":[1]},"method":"health"}`, `{"a":[1]}`, frame + "at /id: must be string"},
		{"no id", `{"type":"req","method":"health"}`, `"invalid"`, "*"},
		{"an empty method", `{"type":"req","id":"x","method":""}`, `"x"`, frame + "at /method: must not have fewer than 1 characters"},
		{"a stray member", `{"type":"req","id":"x","method":"health","foo":1}`, `"x"`, frame + "at root: unexpected property 'foo'"},
		{"a traceparent of 129", `{"type":"req","id":"x","method":"health","traceparent":"` + strings.Repeat("a", 129) + `"}`, `"x"`, "*"},
		{"another's profile", `{"type":"req","id":"x","method":"health","expectedProfileId":"p"}`, `"x"`,
			"Selected account changed or is unavailable. Select the account again before retrying."},
		{"connect again", requestFrame("x", "connect", connect), `"x"`, "connect is only valid as the first request"},
		{"connect again, broken", requestFrame("x", "connect", `[]`), `"x"`, "connect is only valid as the first request"},
		{"an unknown method", requestFrame("x", "no.such", ""), `"x"`, "unknown method: no.such"},
		{"a method that is not native", requestFrame("x", "cron.list", "{}"), `"x"`, "unknown method: cron.list"},
		{"a missing param", requestFrame("x", "chat.send", `{"sessionKey":"main","idempotencyKey":"k"}`), `"x"`,
			"invalid chat.send params: must have required property 'message'"},
		{"a param of the wrong type", requestFrame("x", "chat.history", `{"sessionKey":"main","limit":"5"}`), `"x"`,
			"invalid chat.history params: at /limit: must be integer"},
		{"a stray param", requestFrame("x", "sessions.list", `{"bogus":1}`), `"x"`, "invalid sessions.list params: at root: unexpected property 'bogus'"},
		{"params that are no object", requestFrame("x", "sessions.list", `[]`), `"x"`, "invalid sessions.list params: must be object"},
		{"a node's method", requestFrame("x", "node.event", `{}`), `"x"`, "unauthorized role: operator"},
	}
}

// TestScopes: what a client may not do is said to it, and to a client without admin an
// unknown method looks like one that it may not call.
func TestScopes(t *testing.T) {
	g := start(t, nil)
	p := g.dial(t)
	p.mustConnect(backend("operator.read"))
	missing := func(method, params, scope string) {
		t.Helper()
		r := p.call(method, params)
		r.refused(t, "FORBIDDEN", "missing scope: "+scope)
		r.details(t, `{"code":"MISSING_SCOPE","missingScope":"`+scope+`","requiredScopes":["`+scope+`"]}`)
	}
	missing("chat.send", `{"sessionKey":"main","message":"x","idempotencyKey":"k"}`, "operator.write")
	missing("chat.send", `{"broken":1}`, "operator.write") // scope before params
	missing("no.such", "", "operator.admin")
	missing("config.patch", `{"raw":"{}"}`, "operator.admin")
	missing("device.pair.list", "", "operator.pairing")
	p.mustHealth()
	p.bye()

	none := g.dial(t)
	none.mustConnect(clientOf("cli", "probe", allScopes...)) // wire.md 3.4: a probe gets no scopes
	none.mustHealth()
	if r := none.call("status", ""); r.Error.Message != "missing scope: operator.read" {
		t.Errorf("%s", r)
	}
	none.bye()
}

// TestRepeatedUnauthorized: the eleventh call of the other role's methods in a row ends
// the connection; a call of its own starts the count anew.
func TestRepeatedUnauthorized(t *testing.T) {
	g := start(t, nil)
	p := g.operator(t)
	for range 2 {
		for range 10 {
			p.call("node.event", `{}`).refused(t, "INVALID_REQUEST", "unauthorized role: operator")
		}
		p.mustHealth()
	}
	for range 11 {
		p.call("node.event", `{}`).refused(t, "INVALID_REQUEST", "unauthorized role: operator")
	}
	p.wantClose("1008 repeated unauthorized calls")
	// A node: health is everyone's, anything else of an operator's is not its.
	n := g.dial(t)
	n.mustConnect(clientOf("node-host", "node").with("role", "node").as(newDevice(t)))
	n.mustHealth()
	for range 11 {
		n.call("sessions.list", "").refused(t, "INVALID_REQUEST", "unauthorized role: node")
	}
	n.wantClose("1008 repeated unauthorized calls")
}

// TestWriteBudget: 30 control-plane writes a minute for a method and a client, good or
// bad ones; then a retryable refusal, and other methods are free (wire.md 3.8).
func TestWriteBudget(t *testing.T) {
	g := start(t, nil)
	p := g.operator(t)
	for range 30 {
		p.call("config.patch", `{}`).refused(t, "INVALID_REQUEST", "invalid config.patch params: must have required property 'raw'")
	}
	for range 3 {
		r := p.call("config.patch", `{"raw":"{}"}`)
		if r.Error.Code != "UNAVAILABLE" || !regexp.MustCompile(`^rate limit exceeded for config\.patch; retry after (60|5\d)s$`).MatchString(r.Error.Message) ||
			!r.Error.Retryable || r.Error.RetryAfterMs < 50_000 || r.Error.RetryAfterMs > 60_000 {
			t.Error(r)
		}
		r.details(t, `{"method":"config.patch","limit":"30 per 60s"}`)
	}
	if r := p.call("config.get", ""); !r.OK {
		t.Error(r)
	}
	q := g.operator(t) // the same client on another connection
	if r := q.call("config.patch", `{"raw":"{}"}`); r.Error.Code != "UNAVAILABLE" {
		t.Error(r)
	}
	q.bye()
	p.bye()
}
