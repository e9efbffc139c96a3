package badinput_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// TestLargeMessages: a message as large as a frame may be ends no reader's connection,
// and what it causes fits what clients read (hello's policy.maxPayload); histories and
// events show the beginning of a long text, as upstream's do.
func TestLargeMessages(t *testing.T) {
	g := start(t, settings{"pipeline.timeoutsMs.decode": 30_000}) // as in TestLargeFrames
	writer, reader := g.operator(t), g.operator(t)
	writer.call("sessions.create", `{"key":"main"}`)
	reader.call("sessions.messages.subscribe", `{"key":"main"}`)
	for _, n := range []int{100_000, maxFrame - 1000} {
		r := writer.call("chat.inject", `{"sessionKey":"main","message":"`+strings.Repeat("x", n)+`"}`)
		if !r.OK && r.Error.Code != "INVALID_REQUEST" {
			t.Errorf("%d bytes: %s", n, r)
		}
	}
	for _, p := range []*peer{writer, reader} {
		for _, params := range []string{`{"sessionKey":"main"}`, `{"sessionKey":"main","maxChars":100}`} {
			if r := p.call("chat.history", params); !r.OK || strings.Contains(r.raw, strings.Repeat("x", 8001)) {
				t.Errorf("a history of %d bytes: %s", len(r.raw), r)
			}
		}
		if p.largest > 1<<20 {
			t.Errorf("a frame of %d bytes", p.largest)
		}
		p.bye()
	}
}

// TestConfigBodies: what is no configuration is refused in time, and neither the file
// nor what is in force changes.
func TestConfigBodies(t *testing.T) {
	t.Parallel()
	g := start(t, settings{"decode.controlPlaneWrites": 1_000_000})
	p := g.operator(t)
	before := p.call("config.get", "").Payload
	file := filepath.Join(g.state, "sluice.json5")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"nothing": "", "no object": "[]", "two objects": "{}{}", "not closed": "{", "lists": strings.Repeat("[", 1_000_000), "objects": strings.Repeat("{a:", 1_000_000),
		"closed objects": strings.Repeat("{a:", 100_000) + "1" + strings.Repeat("}", 100_000), "a name twice": `{gateway:{},gateway:{}}`,
		"a name twice, escaped": `{gateway:{},"\u0067ateway":{}}`, "a prototype": `{__proto__:{a:1}}`, "a constructor": `{constructor:{prototype:{a:1}}}`,
		"a comment that does not end": "/*" + strings.Repeat("*", 8<<20), "8 MiB of text": `{gateway:{listen:"` + strings.Repeat("x", 8<<20) + `"}}`,
		"8 MiB of name": `{` + strings.Repeat("k", 8<<20) + `:1}`, "a long number": `{gateway:{shutdownMs:` + strings.Repeat("9", 1<<20) + `}}`, "an infinity": `{gateway:{shutdownMs:Infinity}}`,
		"half a million names": `{` + strings.Repeat("a:1,", 500_000) + `}`, "an unknown key": `{gateway:{lissten:"127.0.0.1:1"}}`, "a wrong type": `{gateway:{shutdownMs:"1"}}`,
		"out of bounds": `{gateway:{shutdownMs:-1}}`, "an include": `{"$include":"/etc/passwd"}`,
		"a lone surrogate": `{gateway:{listen:"\ud800"}}`, "a null byte": "{gateway:{listen:\"a\x00b\"}}",
	} {
		var got struct {
			Hash string `json:"hash"`
		}
		if err := json.Unmarshal(p.call("config.get", "").Payload, &got); err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"config.set", "config.patch", "config.apply"} {
			began := time.Now()
			_ = p.SetDeadline(began.Add(patience))
			r := p.call(method, string(mustJSON(t, object{"raw": raw, "baseHash": got.Hash})))
			if r.OK || r.Error.Code != "INVALID_REQUEST" || len(r.raw) > 64<<10 {
				t.Errorf("%s %s: %d bytes: %s", method, name, len(r.raw), r)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("%s %s took %s", method, name, took)
			}
		}
	}
	if after := p.call("config.get", "").Payload; string(after) != string(before) {
		t.Errorf("the configuration changed:\n%s\n%s", before, after)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != string(text) {
		t.Errorf("the file changed: %s %v", now, err)
	}
	p.bye()
}

// TestPresenceIsBounded: what one client says about itself, or reports, must not be what
// all others have to read at length.
func TestPresenceIsBounded(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	loud, other := g.operator(t), g.operator(t)
	long := strings.Repeat("l", 8<<20)
	for _, params := range []object{{"text": long}, {"text": "x", "host": long}, {"text": "y", "tags": []string{long}, "deviceId": "d", "version": long}} {
		if r := loud.call("system-event", string(mustJSON(t, params))); !r.OK && r.Error.Code != "INVALID_REQUEST" {
			t.Error(r)
		}
	}
	loud.call("wake", string(mustJSON(t, object{"mode": "next-heartbeat", "text": long})))
	var chatty []*peer
	for i := range 20 {
		p := g.dial(t)
		c := clientOf("test", "test", "operator.read")
		c.object["client"].(object)["displayName"] = strings.Repeat("n", 50_000)
		c.object["client"].(object)["instanceId"] = fmt.Sprint("i", i)
		p.connect(c)
		chatty = append(chatty, p)
	}
	fresh := g.operator(t)
	if n := len(fresh.hello); n > 256<<10 {
		t.Errorf("hello has %d bytes", n)
	}
	for _, method := range []string{"system-presence", "status", "health"} {
		if r := fresh.call(method, ""); len(r.raw) > 256<<10 {
			t.Errorf("%s has %d bytes", method, len(r.raw))
		}
	}
	other.mustHealth()
	if other.largest > 256<<10 {
		t.Errorf("others got a frame of %d bytes", other.largest)
	}
	for _, p := range append(chatty, loud, other, fresh) {
		_ = p.Close()
	}
}
