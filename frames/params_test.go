package frames

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

type sampleTarget struct {
	Key   string   `json:"key"`
	Limit *int     `json:"limit"`
	Big   int64    `json:"big"`
	List  []string `json:"list"`
	On    bool     `json:"on"`
}

func TestUnmarshalParams(t *testing.T) {
	var v sampleTarget
	if err := UnmarshalParams([]byte(`{"key":"a\ud800b","limit":1e3,"big":9007199254740993,"x":{"y":1},"KEY":"no"}`), &v); err != nil {
		t.Fatal(err)
	}
	if v.Key != "a\ufffdb" || *v.Limit != 1000 || v.Big != 9007199254740993 {
		t.Errorf("%+v", v)
	}
	if err := UnmarshalParams(nil, &sampleTarget{}); err != nil {
		t.Error(err)
	}
	if err := UnmarshalParams([]byte(`{"big":5.0,"limit":-0}`), &v); err != nil || v.Big != 5 || *v.Limit != 0 {
		t.Errorf("%+v, %v", v, err)
	}
	for in, want := range map[string]string{
		`{"key":5}`:                   "at /key: must be string",
		`{"limit":1.5}`:               "at /limit: must be integer",
		`{"limit":1e99}`:              "at /limit: must be integer",
		`{"list":{}}`:                 "at /list: must be array",
		`{"on":"x"}`:                  "at /on: must be boolean",
		`[]`:                          "must be object",
		`{"key":"a","key":"b"}`:       "duplicate property 'key'",
		`{"key":"a","k\u0065y":"b"}`:  "duplicate property 'key'",
		`{"x":{"y":[{"a":1,"a":2}]}}`: "duplicate property 'a'",
		`{"key":`:                     "not JSON",
		`{"key":"a"} x`:               "not JSON",
	} {
		if err := UnmarshalParams([]byte(in), &sampleTarget{}); errText(err) != "invalid params: "+want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

// TestNamesAgree: the name check of the validator and the decoder of the handlers refuse
// the same params, so that no text is one thing to one and another to the other.
func TestNamesAgree(t *testing.T) {
	for _, in := range []string{
		`{}`, `[]`, `{"a":1,"b":{"a":1}}`, `{"a":1,"A":1}`, `{"a":[{"a":1},{"a":1}]}`, `{"a":1,"a":1}`, `{"a":1,"\u0061":1}`,
		`{"\ud800":1,"\ufffd":2}`, `{"\ud800":1,"\udfff":2}`, `{"":1,"":2}`, `{"x":[[[{"q":1,"q":1}]]]}`, `{"a":{"b":1},"a":{"c":1}}`,
		`{"a1":0,"a2":0,"a3":0,"a4":0,"a5":0,"a6":0,"a7":0,"a8":0,"a9":0,"a10":0,"a11":0,"a12":0,"a13":0,"a\u0031":0}`,
		`{"abcdefgh1":0,"abcdefgh2":0}`,
	} {
		var v any
		handlers := UnmarshalParams([]byte(in), &v)
		validator := CheckNames([]byte(in))
		if (handlers == nil) != (validator == nil) {
			t.Errorf("%s: handlers say %v, the validator %v", in, handlers, validator)
		}
	}
}

func FuzzNamesAgree(f *testing.F) {
	f.Add([]byte(`{"a":{"\ud800":1,"\ufffd":2}}`))
	f.Add([]byte(`[{"a":1,"b":2,"a":3}]`))
	f.Add([]byte(`[1e999]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || !utf8.Valid(b) { // the edge refuses what is not UTF-8
			return
		}
		var v any
		handlers, validator := UnmarshalParams(b, &v), CheckNames(b)
		if validator == nil && handlers != nil && !strings.HasSuffix(handlers.Message, "must be number") { // 1e999 is JSON and no float64
			t.Fatalf("%q passes the validator, handlers say %v", b, handlers)
		}
		if validator != nil && handlers == nil && Valid(b) {
			t.Fatalf("%q: %v, and handlers take it", b, validator)
		}
	})
}

func TestUnquoteAgreesWithJsontext(t *testing.T) {
	for _, raw := range []string{`""`, `"a"`, `"\"\\\/\b\f\n\r\t"`, `"\u0041\u00e9\u20ac"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00x"`, `"\ud83d\ud83d\ude00"`, `"é\ud83dé"`, "\"a\xffb\""} {
		want, _ := jsontext.AppendUnquote(nil, raw)
		if got := Unquote(nil, []byte(raw)); string(bytes.ToValidUTF8(got, []byte("\ufffd"))) != string(want) {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
		if q := (quoted{[]byte(raw), true}); !bytes.Contains([]byte(raw), []byte("\xff")) && !q.is(string(want)) {
			t.Errorf("%s is not %q", raw, want)
		}
	}
}

func BenchmarkUnmarshalParams(b *testing.B) {
	in := []byte(`{"key":"agent:main:main","limit":50,"list":["a","b"]}`)
	b.ReportAllocs()
	for b.Loop() {
		var v sampleTarget
		if err := UnmarshalParams(in, &v); err != nil {
			b.Fatal(err)
		}
	}
}
