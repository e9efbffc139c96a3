package badinput_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/frames"
)

// maxFrame is the largest frame after hello.
const maxFrame = 25 << 20

// TestDepth: nesting costs an error, not a stack. Frames are refused from some depth on
// whatever holds the nesting, and the request that carried it is answered by its id.
func TestDepth(t *testing.T) {
	g := start(t, nil)
	p := g.operator(t)
	nest := func(open, shut string, n int) string { return strings.Repeat(open, n) + "1" + strings.Repeat(shut, n) }
	deep := fmt.Sprintf("invalid request frame: nested deeper than %d levels", frames.MaxDepth)
	fits := frames.MaxDepth - 2 // the frame and its params are two
	for _, c := range []struct{ name, frame, id, message string }{
		{"lists in params", requestFrame("d", "chat.send", nest("[", "]", 10_000)), `"d"`, deep},
		{"objects in params", requestFrame("d", "chat.send", nest(`{"a":`, "}", 10_000)), `"d"`, deep},
		{"lists in a param that may be anything", requestFrame("d", "health", `{"x":`+nest("[", "]", 10_000)+`}`), `"d"`, deep},
		{"both in turn", requestFrame("d", "health", nest(`[{"a":`, "}]", 5_000)), `"d"`, deep},
		{"the frame itself", nest("[", "]", 10_000), `"invalid"`, deep},
		{"the id", `{"type":"req","id":` + nest("[", "]", 10_000) + `,"method":"health"}`, `"invalid"`, deep},
		{"the method", `{"type":"req","id":"d","method":` + nest("[", "]", 10_000) + `}`, `"d"`, deep},
		{"a stray member, id behind it", `{"foo":` + nest("[", "]", 10_000) + `,"type":"req","id":"d","method":"health"}`, `"d"`, deep},
		{"one level too many", requestFrame("d", "health", `{"x":`+nest("[", "]", fits+1)+`}`), `"d"`, deep},
		{"as many as may be", requestFrame("d", "health", `{"x":`+nest("[", "]", fits)+`}`), `"d"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.send(c.frame)
			r := p.anyAnswer()
			if string(r.ID) != c.id || r.OK != (c.message == "") || r.Error.Message != c.message {
				t.Errorf("got %s\nwant %s %q", r, c.id, c.message)
			}
			p.mustHealth()
		})
	}
	p.t = t
	t.Run("unclosed, as ignored as any broken JSON", func(t *testing.T) {
		p.t = t
		p.send(strings.Repeat("[", fits))
		p.mustHealth()
	})
	p.t = t
	p.bye()
	t.Run("before hello", func(t *testing.T) {
		p := g.dial(t)
		p.send(requestFrame("c", "connect", nest("[", "]", 10_000)))
		f, ok := p.frame()
		if ok && f.OK {
			t.Error(f)
		}
		if ok {
			f, ok = p.frame()
		}
		if ok || f.raw != "close 1008 invalid request frame" {
			t.Error(f.raw)
		}
	})
}

// TestLargeFrames: 25 MiB less 100 bytes are answered (wire.md 3.6), 25 MiB of nothing
// but brackets are refused in no time, and one byte more ends the connection. No memory
// stays with the gateway: settled looks at the buffers.
func TestLargeFrames(t *testing.T) {
	// 25 MiB of JSON take longer than two seconds on a machine that is busy.
	g := start(t, settings{"pipeline.timeoutsMs.decode": 30_000})
	p := g.operator(t)
	t.Run("25 MiB of brackets", func(t *testing.T) {
		p.t = t
		began := time.Now()
		p.send(strings.Repeat("[", maxFrame))
		p.send(`{"type":"req","id":"h","method":"health","params":` + strings.Repeat(`{"a":`, 4_000_000))
		for range 2 { // refused as too deep: whether they are JSON nobody looks any more
			if r := p.anyAnswer(); r.OK || !strings.Contains(r.Error.Message, "nested deeper") {
				t.Error(r)
			}
		}
		p.mustHealth()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	t.Run("25 MiB of commas, quotes and digits", func(t *testing.T) {
		p.t = t
		for _, s := range []string{"[1" + strings.Repeat(",1", maxFrame/2-2) + "]", `"` + strings.Repeat("a", maxFrame-2) + `"`,
			strings.Repeat("7", maxFrame), `{"` + strings.Repeat(`\n`, maxFrame/2-10) + `":1}`} {
			p.send(s)
			if r := p.anyAnswer(); r.OK || !strings.HasPrefix(r.Error.Message, "invalid request frame: ") || len(r.raw) > 1<<16 {
				t.Errorf("%d bytes: %s", len(r.raw), r)
			}
		}
		p.mustHealth()
	})
	t.Run("25 MiB less 100 bytes", func(t *testing.T) {
		p.t = t
		for _, n := range []int{maxFrame - 100, maxFrame} {
			head, tail := `{"type":"req","id":"big","method":"health","params":{"pad":"`, `"}}`
			p.send(head + strings.Repeat("x", n-len(head)-len(tail)) + tail)
			if r := p.answer("big"); !r.OK {
				t.Error(r)
			}
		}
		p.mustHealth()
	})
	p.t = t
	t.Run("one byte more", func(t *testing.T) {
		p.t = t
		go func() { // the gateway does not read to its end
			_, _ = p.Write(clientText(strings.Repeat(" ", maxFrame+1)))
		}()
		p.wantClose("1009 ")
	})
}

// TestDuplicateNames: a name given twice is refused, wherever it stands and however it
// is written, or one reader would see another value than the next (design.md, law 11).
func TestDuplicateNames(t *testing.T) {
	g := start(t, nil)
	p := g.operator(t)
	if r := p.call("sessions.create", `{"key":"main"}`); !r.OK {
		t.Fatal(r)
	}
	const inFrame, inParams = "invalid request frame: at root: duplicate property ", "invalid chat.inject params: "
	inject := func(params string) string { return requestFrame("x", "chat.inject", params) }
	for _, c := range []struct{ name, frame, message string }{
		{"method", `{"type":"req","id":"x","method":"health","method":"config.get"}`, inFrame + "'method'"},
		{"method, escaped", `{"type":"req","id":"x","method":"health","\u006dethod":"config.get"}`, inFrame},
		{"id", `{"type":"req","id":"x","id":"y","method":"health"}`, inFrame + "'id'"},
		{"type", `{"type":"req","type":"res","id":"x","method":"health"}`, inFrame + "'type'"},
		{"params", `{"type":"req","id":"x","method":"health","params":{},"params":{}}`, inFrame + "'params'"},
		{"traceparent", `{"type":"req","id":"x","method":"health","traceparent":"a","traceparent":"b"}`, inFrame + "'traceparent'"},
		{"a param", inject(`{"sessionKey":"main","message":"a","message":"b"}`), inParams},
		{"a param, escaped", inject(`{"sessionKey":"main","message":"a","m\u0065ssage":"b"}`), inParams},
		{"a param, escaped in capitals", inject(`{"sessionKey":"main","message":"a","\u006D\u0065ssage":"b"}`), inParams},
		{"deep in a method without a schema", requestFrame("x", "health", `{"a":[{"b":1,"b":2}]}`), "invalid health params: "},
		{"deep in params", requestFrame("x", "config.patch", `{"raw":"{}","deliveryContext":{"to":"a","to":"b"}}`), "invalid config.patch params: "},
		{"lone surrogates that read alike", inject(`{"sessionKey":"main","message":"a","\ud800":1,"\ufffd":2}`), inParams},
		{"in connect again", requestFrame("x", "connect", `{"a":1,"a":2}`), "connect is only valid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.send(c.frame)
			if r := p.anyAnswer(); r.OK || r.Error.Code != "INVALID_REQUEST" || !strings.HasPrefix(r.Error.Message, c.message) {
				t.Errorf("got %s\nwant %q", r, c.message)
			}
		})
	}
	p.t = t
	if r := p.call("chat.history", `{"sessionKey":"main"}`); !r.OK || strings.Contains(r.raw, `"role"`) {
		t.Errorf("a refused message was stored: %s", r)
	}
	p.bye()
	t.Run("in connect", func(t *testing.T) {
		p := g.dial(t)
		good := backend("operator.read").encode(p)
		p.send(requestFrame("c", "connect", strings.Replace(good, `{`, `{"role":"node",`, 1)))
		if r := p.anyAnswer(); r.OK || !strings.HasPrefix(r.Error.Message, "invalid connect params: ") {
			t.Error(r)
		}
		p.wantGone()
	})
}

// TestSurrogates: half a surrogate pair in an escape is no character. It is taken as
// U+FFFD everywhere, so it reaches neither the disk nor another client as broken UTF-8.
func TestSurrogates(t *testing.T) {
	g := start(t, nil)
	p := g.operator(t)
	for i, s := range []string{`\ud800`, `\udfff`, `a\ud83d`, `\ude00\ud83d`, `\ud83d\ud83d\ude00`, `\ud83dx`} {
		key := fmt.Sprintf("agent:main:s%d", i)
		if r := p.call("sessions.create", fmt.Sprintf(`{"key":%q}`, key)); !r.OK {
			t.Fatal(r)
		}
		if r := p.call("chat.inject", fmt.Sprintf(`{"sessionKey":%q,"message":"%s"}`, key, s)); !r.OK {
			t.Errorf("%s: %s", s, r)
		}
		r := p.call("chat.history", fmt.Sprintf(`{"sessionKey":%q}`, key))
		if !r.OK || !strings.Contains(r.raw, "\ufffd") || strings.Contains(strings.ToLower(r.raw), `\ud`) {
			t.Errorf("%s: %s", s, r)
		}
		// In a key, an id and a name.
		if r := p.call("chat.history", `{"sessionKey":"`+s+`"}`); r.Error.Code != "" && r.Error.Code != "INVALID_REQUEST" {
			t.Errorf("%s as a key: %s", s, r)
		}
		p.send(`{"type":"req","id":"` + s + `","method":"health"}`)
		if r := p.anyAnswer(); !r.OK || string(r.ID) != `"`+s+`"` {
			t.Errorf("%s as an id: %s", s, r)
		}
		p.send(`{"type":"req","id":"m","method":"` + s + `"}`)
		p.answer("m").refused(t, "INVALID_REQUEST", "unknown method: "+replaced(s))
	}
	p.bye()
}

// replaced is what JSON's readers make of the escapes above.
func replaced(s string) string {
	s = strings.ReplaceAll(s, `\ud83d\ude00`, "😀")
	for _, half := range []string{`\ud800`, `\udfff`, `\ud83d`, `\ude00`} {
		s = strings.ReplaceAll(s, half, "\ufffd")
	}
	return s
}

// TestNumbers: numbers that no machine type holds are refused where a number is wanted,
// and cost no more time than their bytes.
func TestNumbers(t *testing.T) {
	g := start(t, nil)
	p := g.operator(t)
	digits := strings.Repeat("9", 1_000)
	for _, n := range []string{"1e400", "-1e400", "1e-400", "1" + digits, digits + "." + digits, "-" + digits, "1e99999999999999999999", "1E-99999999999999999999",
		"1.5", "-1", "-0", "9007199254740993", "9223372036854775808", "-9223372036854775809", "18446744073709551616"} {
		short := n[:min(len(n), 24)]
		r := p.call("chat.history", `{"sessionKey":"main","limit":`+n+`}`)
		if r.Error.Code != "" && r.Error.Code != "INVALID_REQUEST" {
			t.Errorf("limit %s: %s", short, r)
		}
		if r.OK {
			t.Errorf("limit %s was accepted: %s", short, r)
		}
		for method, params := range map[string]string{
			"logs.tail":  `{"cursor":` + n + `}`,
			"agent.wait": `{"runId":"none","timeoutMs":` + n + `}`,
			"health":     `{"probe":` + n + `}`,
			"status":     `{"x":[` + n + `]}`,
		} {
			if method == "agent.wait" && !strings.HasPrefix(n, "-") && !strings.Contains(n, ".") && !strings.Contains(n, "E-") && !strings.Contains(n, "e-") {
				continue // a wait that long may be legal
			}
			if r := p.call(method, params); r.Error.Code != "" && r.Error.Code != "INVALID_REQUEST" {
				t.Errorf("%s %s: %s", method, short, r)
			}
		}
	}
	for _, bad := range []string{"01", "1.", ".5", "+1", "0x10", "NaN", "Infinity", "1e", "--1"} {
		p.send(requestFrame("n", "health", `{"x":`+bad+`}`)) // no JSON: ignored
	}
	p.mustHealth()
	huge := strings.Repeat("9", 20<<20)
	began := time.Now()
	if r := p.call("chat.history", `{"sessionKey":"main","limit":`+huge+`}`); r.OK || r.Error.Code != "INVALID_REQUEST" {
		t.Errorf("a number of 20 MiB: %s", r)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a number of 20 MiB took %s", took)
	}
	p.bye()
}
