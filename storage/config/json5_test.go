package config

import (
	"errors"
	"strings"
	"testing"
)

// The expectations were taken from npm json5 2.2.3, the parser of the real gateway,
// except those marked "ours".
func TestJSON5(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                              `{}`,
		" \t\v\f\u00a0\ufeff\u2003[1,]\r": `[1]`,
		`{a:1,'b':2,"c":3,$d:4,_e:5,}`:    `{"$d":4,"_e":5,"a":1,"b":2,"c":3}`,
		`{ümläut:1, \u0061b:2, 名前:3, a‌b:4}`: "{\"ab\":2,\"a‌b\":4,\"ümläut\":1,\"名前\":3}",
		`{null:1,true:2,Infinity:3,NaN:4}`:   `{"Infinity":3,"NaN":4,"null":1,"true":2}`,
		`[0x1F,0XfF,-0x10,+1,.5,5.,1e3,-0]`:  `[31,255,-16,1,0.5,5,1000,0]`,
		`[1.0,1e0,10e-1]`:                    `[1,1,1]`,
		`['\x41\u0042\'\"\/\0\v\b\q']`:       `["AB'\"/\u0000\u000b\bq"]`,
		"'a\\\nb\\\r\nc\\\u2028d'":           `"abcd"`,
		`"\uD83D\uDE00"`:                     `"😀"`,
		"'\t'":                               `"\t"`,
		"// c\n/* * / ** */ 1 // end":        `1`,
		`{"__proto__":1}`:                    `{"__proto__":1}`,
		`9007199254740993`:                   `9007199254740993`,
		"\"a\u2028b\"":                       "\"a\u2028b\"",
	} {
		n, err := parseJSON5([]byte(in))
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := inline(n.plain()); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		``:                            "invalid end of input at 1:1",
		`{`:                           "invalid end of input at 1:2",
		"{\n  a b":                    "invalid character 'b' at 2:5",
		`[1,,2]`:                      "invalid character ',' at 1:4",
		`{,}`:                         "invalid character ',' at 1:2",
		`01`:                          "invalid character '1' at 1:2",
		`1a`:                          "invalid character 'a' at 1:2",
		`truex`:                       "invalid character 'x' at 1:5",
		`1 2`:                         "invalid character '2' at 1:3",
		`"a`:                          "string without an end at 1:1",
		"'a\nb'":                      `invalid character '\n' at 1:3`,
		`'\1'`:                        "invalid character '1' at 1:3",
		`'\01'`:                       "invalid character '1' at 1:4",
		`'\xg1'`:                      "invalid character 'g' at 1:4",
		`/* a`:                        "comment without an end at 1:1",
		`{a\u0020b:1}`:                "invalid identifier character at 1:3",
		`0x`:                          "invalid end of input at 1:3",
		`.`:                           "invalid end of input at 1:2",
		`1e`:                          "invalid end of input at 1:3",
		`{a:1,a:2}`:                   `duplicate key "a" at 1:6`,         // ours
		`[Infinity]`:                  "Infinity and NaN are not allowed", // ours
		`-NaN`:                        "Infinity and NaN are not allowed", // ours
		`1e999`:                       "number 1e999 is out of range",     // ours
		`0xfffffffffffffffff`:         "is out of range",                  // ours
		`"\ud800"`:                    "half of a surrogate pair",         // ours
		`"\ud800\u0041"`:              "half of a surrogate pair",         // ours
		"\"\xff\"":                    "not valid UTF-8 at 1:2",           // ours
		strings.Repeat("[", 100_000):  "more than 64 levels of nesting",   // ours
		strings.Repeat("{a:", 10_000): "more than 64 levels of nesting",   // ours
		"{a:1} // ok\n x":             "invalid character 'x' at 2:2",
	} {
		_, err := parseJSON5([]byte(in))
		var at *SyntaxError
		if !errors.As(err, &at) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %s", in, err, want)
		}
	}
}

// Whatever is accepted can be printed as JSON and read back as the same value; nothing
// panics or runs long.
func FuzzJSON5(f *testing.F) {
	for _, s := range []string{`{a:1}`, `[0x1,.5,'\x41\u{1}']`, "{ü:'a\\\nb',/*x*/b:[{}]}", `{"a":"\ud83d\ude00",}`, `-Infinity`, `[[[[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<16 {
			return
		}
		n, err := parseJSON5(in)
		if err != nil {
			return
		}
		v := n.plain()
		back, err := parseJSON5([]byte(pretty(v, "")))
		if err != nil {
			t.Fatalf("%q does not read back: %v", in, err)
		}
		if !equal(back.plain(), v) {
			t.Fatalf("%q: %s, then %s", in, inline(v), inline(back.plain()))
		}
		if m, ok := v.(map[string]any); ok {
			out, ok := edit(in, n, m)
			if !ok || string(out) != string(in) {
				t.Fatalf("an edit that changes nothing turned %q into %q", in, out)
			}
		}
	})
}

// edit either gives a text that reads as the wanted tree or says that it cannot.
func FuzzEdit(f *testing.F) {
	f.Add([]byte("{\n  a: 1, // x\n  b: {c: [1,2]},\n}"), []byte(`{a:2,d:{e:1}}`))
	f.Add([]byte("{a:1}"), []byte(`{b:1,c:2}`))
	f.Add([]byte("{/*x*/}"), []byte(`{b:[{id:1}]}`))
	f.Fuzz(func(t *testing.T, from, to []byte) {
		if len(from)+len(to) > 1<<14 {
			return
		}
		a, err := parseJSON5(from)
		if err != nil || !a.object {
			return
		}
		b, err := parseJSON5(to)
		if err != nil || !b.object {
			return
		}
		want := b.plain().(map[string]any)
		out, ok := edit(from, a, want)
		if !ok {
			return
		}
		back, err := parseJSON5(out)
		if err != nil || !equal(back.plain(), any(want)) {
			t.Fatalf("%q -> %q gave %q", from, to, out)
		}
	})
}

func FuzzEnv(f *testing.F) {
	schema := mustSchema(f)
	for _, s := range []string{`a,"b ",c`, `a=1,b=2`, `["a"]`, `{a:{baseUrl:'x'}}`, `,`, `"`, `1e3`, `{a:{models:[{id:'x',context:1}]}}`} {
		f.Add("GATEWAY_WS_ORIGINS", s)
		f.Add("MODELS_PROVIDERS", s)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		if len(value) > 1<<14 {
			return
		}
		tree, _, issues := schema.readEnv([]string{"SLUICE_" + name + "=" + value}, nil)
		if len(issues) > 0 {
			return
		}
		l := &layers{doc: missingDocument("x"), defaults: schema.defaults(), env: tree, flags: map[string]any{}}
		merged := l.merged()
		_, issues = schema.decode(merged, l)
		if _, bad := parseJSON5([]byte(inline(merged))); bad != nil && len(issues) == 0 {
			t.Fatalf("%q gives %s, which is not JSON", value, inline(merged))
		}
	})
}

func TestSplitCSV(t *testing.T) {
	for in, want := range map[string]string{
		``: "", ` `: "", `a`: "a", ` a , b `: "a|b", `"git ",ls`: "git |ls", `"a,b","c""d"`: `a,b|c"d`, `"",x`: "|x",
	} {
		got, err := splitCSV(in)
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	for _, in := range []string{",", "a,", "a,,b", `"a`, `"a"b`} {
		if got, err := splitCSV(in); err == nil {
			t.Errorf("%q: accepted as %q", in, got)
		}
	}
}
