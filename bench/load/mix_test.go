package load

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestMix(t *testing.T) {
	m, err := parseMix(Config{Mix: "health=8, system-presence ,chat.inject=1"})
	if err != nil || len(m.order) != 10 || !m.sessions {
		t.Fatalf("%+v, %v", m, err)
	}
	count := map[uint8]int{}
	for _, i := range m.order {
		count[i]++
	}
	if count[0] != 8 || count[1] != 1 || count[2] != 1 {
		t.Errorf("order %v", m.order)
	}
	m.bind("word")
	for i := range m.methods {
		b := m.methods[i].append(nil, 42, 7, 3, "agent:main:s")
		if !jsontext.Value(b).IsValid() {
			t.Errorf("not JSON: %s", b)
		}
	}
	got := string(m.methods[2].append(nil, 42, 7, 3, "agent:main:s"))
	if !strings.HasPrefix(got, `{"type":"req","id":"42","method":"chat.inject","params":{"sessionKey":"agent:main:s","message":"bench word 3 7:`) {
		t.Error(got)
	}
}

func TestMixRefused(t *testing.T) {
	for _, c := range []Config{
		{Mix: ""}, {Mix: "health=0"}, {Mix: "health=x"}, {Mix: "health=1001"}, {Mix: ",health"}, {Mix: "a\xffb"},
		{Mix: "x", Params: map[string]string{"y": "{}"}},
		{Mix: "x", Params: map[string]string{"x": "[]"}},
		{Mix: "x", Params: map[string]string{"x": `{"a":{{what}}}`}},
		{Mix: "x", Params: map[string]string{"x": `{"a":"{{n"}`}},
	} {
		if m, err := parseMix(c); err == nil {
			t.Errorf("%+v gave %+v", c, m)
		}
	}
}

func TestTemplatesAreValid(t *testing.T) {
	for name, text := range Templates() {
		if _, err := compile(name, text); err != nil {
			t.Error(err)
		}
	}
}

func TestTargets(t *testing.T) {
	for url, ok := range map[string]bool{"ws://127.0.0.1:1": true, "ws://localhost:1/x": true, "ws://[::1]:1": true,
		"ws://192.0.2.1:1": false, "ws://example.org": false, "::": false} {
		c := Default()
		c.URL = url
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestSlope(t *testing.T) {
	var f slope
	for i := range 5000 {
		f.add(float64(i), 10+3*float64(i))
	}
	if got := f.perUnit(1000); got < 2.999 || got > 3.001 || len(f.x) > maxPoints {
		t.Errorf("slope %v of %d points", got, len(f.x))
	}
	if (&slope{}).perUnit(0) != 0 {
		t.Error("slope of nothing")
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("chat.send", `{"a":"{{uuid}}","b":{{n}}}`)
	f.Fuzz(func(t *testing.T, name, text string) {
		m, err := compile(name, text)
		if err != nil {
			return
		}
		if b := m.append(nil, 1, 2, 3, "s"); len(b) == 0 {
			t.Fatal("empty frame")
		}
	})
}
