package frames

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/frames/framestest"
)

func TestDecodeRequest(t *testing.T) {
	in := ` { "type" : "req", "id":"a\"1","method":"chat.send","params":{"x":[1,{"y":null}]} , "traceparent":"00-ab","expectedProfileId":"p" } `
	var f Frame
	if err := Decode([]byte(in), &f); err != nil {
		t.Fatal(err)
	}
	if f.Kind != KindRequest || f.Method != "chat.send" || f.Spec == nil || f.Spec.Name != "chat.send" ||
		string(f.ID) != `"a\"1"` || string(f.Params) != `{"x":[1,{"y":null}]}` ||
		string(f.Traceparent) != "00-ab" || string(f.ExpectedProfile) != "p" {
		t.Errorf("%+v", f)
	}
}

func TestDecodeSpellings(t *testing.T) {
	for _, in := range []string{
		`{"type":"\u0072eq","id":"1","method":"\u0068ealth"}`,
		`{"\u0074ype":"req","\u0069d":"1","m\u0065thod":"health"}`,
	} {
		var f Frame
		if err := Decode([]byte(in), &f); err != nil || f.Method != "health" || f.Spec == nil || string(f.ID) != `"1"` {
			t.Errorf("%s: %v, %+v", in, err, f)
		}
	}
}

func TestDecodeNullParams(t *testing.T) {
	var f Frame
	if err := Decode([]byte(`{"type":"req","id":"1","method":"health","params":null}`), &f); err != nil || f.Params != nil {
		t.Errorf("%v, %s", err, f.Params)
	}
}

func TestDecodeOtherKinds(t *testing.T) {
	var f Frame
	for in, want := range map[string]string{
		`{"type":"res","id":"1","ok":true,"payload":{"a":1}}`:                     `{"a":1}`,
		`{"type":"resp","id":"1","ok":true,"result":[2]}`:                         `[2]`,
		`{"type":"res","id":"1","ok":false,"error":{"code":"X","message":"m"}}`:   ``,
		`{"type":"resp","id":"1","ok":false,"error":{"code":401,"message":"no"}}`: ``,
	} {
		if err := Decode([]byte(in), &f); err != nil || f.Kind != KindResponse || string(f.Payload) != want {
			t.Errorf("%s: %v, %+v", in, err, f)
		}
	}
	in := `{"type":"event","event":"tick","payload":{"ts":1},"seq":4,"stateVersion":{"presence":1,"health":2}}`
	if err := Decode([]byte(in), &f); err != nil || f.Kind != KindEvent || f.Event != "tick" || string(f.Payload) != `{"ts":1}` {
		t.Errorf("%v, %+v", err, f)
	}
}

// TestDecodeRefusals has upstream's texts (wire.md 3.6 and RequestFrame's validator) and
// the id that the answer echoes.
func TestDecodeRefusals(t *testing.T) {
	long := strings.Repeat("x", 129)
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	for _, c := range []struct{ in, id, text string }{
		{`{"foo":1}`, `"invalid"`, "must have required property 'type'; at root: unexpected property 'foo'"},
		{`{}`, `"invalid"`, "must have required property 'type'"},
		{`[1,2]`, `"invalid"`, "must be object"},
		{`null`, `"invalid"`, "must be object"},
		{`5`, `"invalid"`, "must be object"},
		{`"req"`, `"invalid"`, "must be object"},
		{`{"type":"req","id":"","method":"x"}`, `""`, "at /id: must not have fewer than 1 characters"},
		{`{"type":"req","id":"","method":""}`, `""`, "at /id: must not have fewer than 1 characters; at /method: must not have fewer than 1 characters"},
		{`{"type":"req","id":5,"method":"x"}`, `5`, "at /id: must be string"},
		{`{"type":"req","id":null,"method":"x"}`, `"invalid"`, "at /id: must be string"},
		{`{"type":"req","id":"1"}`, `"1"`, "must have required property 'method'"},
		{`{"type":"req","id":"1","method":5}`, `"1"`, "at /method: must be string"},
		{`{"type":"req","id":"1","method":"x","extra":true}`, `"1"`, "at root: unexpected property 'extra'"},
		{`{"type":"req","id":"1","method":"x","payload":1}`, `"1"`, "at root: unexpected property 'payload'"},
		{`{"type":"zzz","id":"1","method":"x"}`, `"1"`, "at /type: must be equal to constant"},
		{`{"type":7,"id":"1","method":"x"}`, `"1"`, "at /type: must be string; at /type: must be equal to constant"},
		{`{"type":"req","id":"1","method":"x","traceparent":"` + long + `"}`, `"1"`, "at /traceparent: must not have more than 128 characters"},
		{`{"type":"req","id":"1","method":"x","traceparent":1}`, `"1"`, "at /traceparent: must be string"},
		{`{"type":"req","id":"1","method":"x","expectedProfileId":""}`, `"1"`, "at /expectedProfileId: must not have fewer than 1 characters"},
		{`{"type":"req","id":"1","method":"x","expectedProfileId":"` + long + `"}`, `"1"`, "at /expectedProfileId: must not have more than 128 characters"},
		{`{"type":"req","id":"1","id":"2","method":"x"}`, `"1"`, "at root: duplicate property 'id'"},
		{`{"type":"req","id":"1","method":"x","params":{},"p\u0061rams":{}}`, `"1"`, "at root: duplicate property 'params'"},
		{`{"type":"req","id":"7","method":"x","params":` + deep + `}`, `"7"`, "nested deeper than 128 levels"},
		{`{"type":"req","method":"x","params":` + deep + `,"id":"8"}`, `"8"`, "nested deeper than 128 levels"},
	} {
		var f Frame
		err := Decode([]byte(c.in), &f)
		if err == nil || err.Silent || err.Code != CodeInvalidRequest || err.Message != "invalid request frame: "+c.text {
			t.Errorf("%.80s\n got %v\nwant %s", c.in, err, c.text)
		}
		if string(f.ID) != c.id {
			t.Errorf("%.80s: id %s, want %s", c.in, f.ID, c.id)
		}
	}
}

var brokenJSON = []string{
	``, ` `, `{`, `}`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{'a':1}`, `[1,]`, `[,1]`,
	`{"type":"req"}x`, `{"type":"req"}{}`, `tru`, `nul`, `True`, `01`, `-`, `1.`, `.5`, `1e`, `1e+`, `+1`, `0x1`,
	`"\x41"`, `"\u12"`, `"\u12g4"`, `"a`, "\"a\nb\"", "\"\x01\"", "{\"a\":\"\t\"}", `{"a":NaN}`, `Infinity`,
	`{"a":1 "b":2}`, `{"a" 1}`, `{"a"::1}`, `[1 2]`, `{]`, `[}`, `{"type":"req","id":"1","method":"x","params":{"a":[1,2}}}`,
	`// c`, `{/**/}`, "\ufeff{}", strings.Repeat("[", 100), strings.Repeat(`{"a":`, 100),
}

func TestDecodeBrokenJSONIsSilent(t *testing.T) {
	for _, in := range brokenJSON {
		var f Frame
		if err := Decode([]byte(in), &f); err == nil || !err.Silent {
			t.Errorf("%q: %v", in, err)
		}
		if Valid([]byte(in)) {
			t.Errorf("Valid accepts %q", in)
		}
	}
}

// TestDecodeHugeInput: the nesting a peer chooses costs neither stack nor time.
func TestDecodeHugeInput(t *testing.T) {
	var f Frame
	for _, in := range [][]byte{
		bytes.Repeat([]byte("["), MaxFrameBytes),
		bytes.Repeat([]byte(`{"a":`), MaxFrameBytes/5),
		[]byte(`{"type":"req","id":"1","method":"x","params":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`),
	} {
		if err := Decode(in, &f); err == nil {
			t.Errorf("%.20s…: accepted", in)
		}
	}
	if err := Decode([]byte(`{"type":"req","id":"1","method":"x","params":[1e400,-0.0,`+strings.Repeat("9", 10_000)+`]}`), &f); err != nil {
		t.Errorf("huge numbers are JSON: %v", err)
	}
}

func TestDecodeDepth(t *testing.T) {
	var f Frame
	nest := func(n int) string {
		return `{"type":"req","id":"1","method":"health","params":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	if err := Decode([]byte(nest(MaxDepth-1)), &f); err != nil {
		t.Errorf("depth %d: %v", MaxDepth, err)
	}
	if err := Decode([]byte(nest(MaxDepth)), &f); err == nil || err.Silent {
		t.Errorf("depth %d: %v", MaxDepth+1, err)
	}
}

// sampleFrame is a chat.send of about 1.1 KB, the size of libraries.md section 3.
func sampleFrame() []byte {
	return []byte(`{"type":"req","id":"3f2b8e0a-7a59-4d0f-9a55-0e5a3a7c1b11","method":"chat.send","params":{"sessionKey":"agent:main:main","message":"` +
		strings.Repeat("Please look at the build log, find the first failing step and say why. ", 9) +
		`","thinking":"low","deliver":false,"timeoutMs":120000,"idempotencyKey":"0b7f6a0e-64f2-4a41-8b3e-7f9f6a2f5a10","attachments":[{"type":"image","mimeType":"image/png","fileName":"log.png","content":"aGVsbG8gd29ybGQ="}]},"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`)
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	b := sampleFrame()
	var f Frame
	if n := testing.AllocsPerRun(100, func() {
		if err := Decode(b, &f); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sampleFrame())
	f.Add([]byte(`{"type":"event","event":"x","payload":[1,2,{"a":"\ud800\\"}]}`))
	for _, s := range brokenJSON {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var fr Frame
		err := Decode(b, &fr)
		if len(fr.ID) == 0 {
			t.Fatal("no id to echo")
		}
		if !jsontext.Value(AppendResult(nil, fr.ID, nil)).IsValid(lenient) {
			t.Fatalf("id %q makes an answer that is no JSON", fr.ID)
		}
		valid := jsontext.Value(b).IsValid(lenient)
		switch {
		case err == nil && (!valid || fr.Kind == KindInvalid):
			t.Fatalf("accepted %q", b)
		case err != nil && err.Silent == valid && err != errDeep:
			t.Fatalf("%q: silent %v, JSON %v", b, err.Silent, valid)
		}
		if err == nil && fr.Kind == KindRequest && fr.Params != nil && !jsontext.Value(fr.Params).IsValid(lenient) {
			t.Fatalf("params %q", fr.Params)
		}
		_ = CheckNames(b)
	})
}

// lenient is what decode takes: JSON.parse's grammar.
var lenient = jsontextOptions()

func BenchmarkDecode(b *testing.B) {
	in := sampleFrame()
	b.Run("scanner", func(b *testing.B) {
		var f Frame
		b.SetBytes(int64(len(in)))
		b.ReportAllocs()
		for b.Loop() {
			if err := Decode(in, &f); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jsontext", func(b *testing.B) {
		var buf bytes.Buffer
		dec := jsontext.NewDecoder(&buf, lenient)
		b.SetBytes(int64(len(in)))
		b.ReportAllocs()
		for b.Loop() {
			buf = *bytes.NewBuffer(in)
			dec.Reset(&buf, lenient)
			if !walkWithDecoder(dec) {
				b.Fatal("walk failed")
			}
		}
	})
	health := []byte(`{"type":"req","id":"12","method":"health"}`)
	b.Run("health", func(b *testing.B) {
		var f Frame
		b.ReportAllocs()
		for b.Loop() {
			_ = Decode(health, &f)
		}
	})
}

// walkWithDecoder is the alternative that docs/adr/0001 measures: the same walk by
// jsontext.Decoder.
func walkWithDecoder(dec *jsontext.Decoder) bool {
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	seen := 0
	for dec.PeekKind() == '"' {
		name, err := dec.ReadValue()
		if err != nil {
			return false
		}
		idx := member(name[1 : len(name)-1])
		if idx < 0 || seen>>idx&1 != 0 {
			return false
		}
		seen |= 1 << idx
		if _, err := dec.ReadValue(); err != nil {
			return false
		}
	}
	_, err := dec.ReadToken()
	return err == nil && seen&(1<<idxMethod) != 0
}

func jsontextOptions() jsontext.Options {
	return joinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

func TestDecodeFrameCorpus(t *testing.T) {
	var corpus struct {
		Cases []struct {
			Name   string
			Frame  jsontext.Value
			Expect struct {
				Kind         string
				MethodFamily string `json:"method_family"`
				RequestID    string `json:"request_id"`
				Method       string
				HasError     *bool `json:"response_has_error"`
			}
		}
	}
	framestest.ReadSharedJSON(t, &corpus, "parity", "protocol", "frame-corpus.json")
	if len(corpus.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range corpus.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var f Frame
			if err := Decode(c.Frame, &f); err != nil {
				t.Fatal(err)
			}
			kind := f.Kind.String()
			if kind == "res" && bytes.Contains(c.Frame, []byte(`"resp"`)) {
				kind = "resp" // the first runtime's spelling of it
			}
			if kind != c.Expect.Kind || f.Method != c.Expect.Method {
				t.Errorf("kind %s, method %q", kind, f.Method)
			}
			if c.Expect.MethodFamily != "" && MethodFamily(f.Method) != c.Expect.MethodFamily {
				t.Errorf("family %s", MethodFamily(f.Method))
			}
			if want := c.Expect.RequestID; want != "" && string(Unquote(nil, f.ID)) != want {
				t.Errorf("id %s", f.ID)
			}
			if c.Expect.HasError != nil && (f.Payload == nil) != *c.Expect.HasError {
				t.Errorf("payload %s", f.Payload)
			}
		})
	}
}
