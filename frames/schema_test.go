package frames

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// TestEverySchemaCompiles: a keyword, pattern or format that this package does not know
// is found here and not by a client.
func TestEverySchemaCompiles(t *testing.T) {
	for i := range schemaTable {
		text, ok := schemaText(schemaTable[i].name)
		if !ok {
			t.Fatalf("%s is not in params_gen.txt", schemaTable[i].name)
		}
		if !jsontext.Value(text).IsValid() {
			t.Errorf("%s is no JSON", schemaTable[i].name)
		}
		if _, err := compileSchema(text); err != nil {
			t.Errorf("%s: %v", schemaTable[i].name, err)
		}
	}
}

// oracleCase is one line of testdata/validation.jsonl.gz: params and what the real
// validator of openclaw 2026.9.6 says about them, nil when it accepts them.
type oracleCase struct {
	Schema string  `json:"schema"`
	Params string  `json:"params"`
	Want   *string `json:"want"`
}

const oraclePath = "testdata/validation.jsonl.gz"

// TestValidateLikeUpstream compares verdicts and texts with those of the real
// validator, recorded for generated params of every schema. With -update and
// SLUICE_OPENCLAW set to an installed openclaw package the record is made anew.
func TestValidateLikeUpstream(t *testing.T) {
	if *update {
		recordOracle(t)
	}
	f, err := os.Open(oraclePath)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	checkOracle(t, unzip)
}

func checkOracle(t *testing.T, r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	total, valid, wrong := 0, 0, 0
	for lines.Scan() {
		var c oracleCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		total++
		got := schemaNamed(c.Schema).refuse([]byte(c.Params))
		if c.Want == nil {
			valid++
		}
		if got != orEmpty(c.Want) {
			if wrong++; wrong <= 20 {
				t.Errorf("%s %.400s\n got %s\nwant %s", c.Schema, c.Params, got, orEmpty(c.Want))
			}
		}
	}
	t.Logf("%d cases, %d of them valid, %d wrong", total, valid, wrong)
	if total < 1000 || wrong > 0 {
		t.Errorf("%d of %d cases differ", wrong, total)
	}
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// recordOracle generates params and asks the real validator about them.
func recordOracle(t *testing.T) {
	openclaw := os.Getenv("SLUICE_OPENCLAW")
	if openclaw == "" {
		t.Fatal("-update needs SLUICE_OPENCLAW, the folder of an installed openclaw package")
	}
	node := os.Getenv("SLUICE_NODE")
	if node == "" {
		node = "node"
	}
	perSchema := 12
	var in bytes.Buffer
	g := &generator{rnd: rand.New(rand.NewPCG(1, 2))}
	for i := range schemaTable {
		root := schemaTable[i].compiled()
		for k := range perSchema {
			g.faults = []float64{0, 0.02, 0.08, 0.2}[k%4]
			if err := json.MarshalWrite(&in, oracleCase{Schema: schemaTable[i].name, Params: g.value(root)}, json.OmitZeroStructFields(true)); err != nil {
				t.Fatal(err)
			}
			in.WriteByte('\n')
		}
	}
	cmd := exec.Command(node, filepath.Join("testdata", "oracle.mjs"), openclaw)
	cmd.Stdin = &in
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	w, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if _, err := w.Write(out); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(oraclePath, zipped.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestValidateTexts has the texts that the notes of openclaw's validation list, among
// them those of the collector's bound of eight.
func TestValidateTexts(t *testing.T) {
	for _, c := range []struct{ method, params, want string }{
		{"chat.send", `{}`, "must have required property 'sessionKey'"},
		{"chat.send", ``, "must have required property 'sessionKey'"},
		{"chat.send", `{"sessionKey":"a","message":"x","idempotencyKey":"k","bogus":1}`, "at root: unexpected property 'bogus'"},
		{"chat.send", `[]`, "must be object"},
		{"chat.history", `{"sessionKey":"a","limit":"5"}`, "at /limit: must be integer"},
		{"logs.tail", `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"limit":"x"}`, "at root: unexpected property 'a'"},
		{"logs.tail", `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}`, "at /a: schema is false; at /b: schema is false; at /c: schema is false; at /d: schema is false; at /e: schema is false; at /f: schema is false; at /g: schema is false; at /h: schema is false"},
		{"sessions.patch", `{"key":"a","sendPolicy":"x"}`, "at /sendPolicy: must be equal to constant; at /sendPolicy: must be null; at /sendPolicy: must match a schema in anyOf"},
		{"logs.tail", `{"limit":1,"limit":2}`, "duplicate property 'limit'"},
		{"logs.tail", `{"limit":1,"l\u0069mit":2}`, "duplicate property 'limit'"},
		{"config.patch", `{"raw":"{}","x":{"y":[{"a":1,"a":2}]}}`, "duplicate property 'a'"},
		{"logs.tail", `{"limit":`, "not JSON"},
		{"logs.tail", `{} {}`, "not JSON"},
		{"logs.tail", strings.Repeat("[", 200) + strings.Repeat("]", 200), "nested too deep"},
	} {
		err := LookupMethod([]byte(c.method)).Params.Validate(c.method, []byte(c.params))
		if want := "invalid " + c.method + " params: " + c.want; err == nil || err.Message != want {
			t.Errorf("%s %.60s\n got %v\nwant %s", c.method, c.params, err, want)
		}
	}
	if err := (*Schema)(nil).Validate("x", []byte(`{"a":1,"a":2}`)); err == nil {
		t.Error("a method without a schema takes a name given twice")
	}
	if err := (*Schema)(nil).Validate("x", nil); err != nil {
		t.Error(err)
	}
}

// TestCharactersAreCountedLikeUpstream: 512 is the bound of sessionKey.
func TestCharactersAreCountedLikeUpstream(t *testing.T) {
	s := LookupMethod([]byte("chat.send")).Params
	for text, fits := range map[string]bool{
		strings.Repeat("👨‍👩‍👧‍👦", 512): true, strings.Repeat("👨‍👩‍👧‍👦", 513): false,
		strings.Repeat("e\u0301", 512): true, strings.Repeat("e\u0301", 513): false,
		strings.Repeat(`\u0065\u0301`, 512): true, strings.Repeat(`\ud83d\ude00`, 512): true,
		strings.Repeat(`\ud83d\ude00`, 513): false, strings.Repeat(`\ud83d`, 512): true,
		strings.Repeat("🇩🇪", 512): true, strings.Repeat("🇩🇪", 513): false,
		strings.Repeat(`a\r\n`, 256): false, strings.Repeat("a", 512) + "\u200d": false,
	} {
		err := s.Validate("chat.send", []byte(`{"message":"m","idempotencyKey":"k","sessionKey":"`+text+`"}`))
		if (err == nil) != fits {
			t.Errorf("%.24s… of %d bytes: %v", text, len(text), err)
		}
	}
}

func sampleParams(tb testing.TB) []byte {
	var f Frame
	if err := Decode(sampleFrame(), &f); err != nil {
		tb.Fatal(err)
	}
	return f.Params
}

func TestValidateDoesNotAllocate(t *testing.T) {
	params := sampleParams(t)
	m := LookupMethod([]byte("chat.send"))
	if err := m.Params.Validate("chat.send", params); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = m.Params.Validate("chat.send", params) }); n != 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}

// TestValidateHugeInput: what is long, deep or full of names is refused or accepted in
// time that grows with its length.
func TestValidateHugeInput(t *testing.T) {
	many := []byte(`{"raw":"{}"`)
	for i := range 50_000 {
		many = append(many, `,"k`...)
		many = append(many, []byte(strings.Repeat("x", i%7))...)
		many = append(many, []byte(string(rune('a'+i%26)))...)
		many = jsontextAppendInt(many, i)
		many = append(many, `":0`...)
	}
	many = append(many, '}')
	m := LookupMethod([]byte("config.patch"))
	if err := m.Params.Validate("config.patch", many); err == nil || !strings.Contains(err.Message, "schema is false") {
		t.Errorf("50 000 unknown names: %.80v", err)
	}
	over := append([]byte(`{`), bytes.Repeat([]byte(`"a":{},`), 1)...)
	for i := range MaxMembers + 1 {
		over = append(over, '"')
		over = jsontextAppendInt(over, i)
		over = append(over, `":0,`...)
	}
	over = append(over, `"z":0}`...)
	if err := m.Params.Validate("config.patch", over); err == nil || !strings.HasSuffix(err.Message, "too many properties") {
		t.Errorf("more than MaxMembers: %.80v", err)
	}
	list := append([]byte(`{"keys":[`), bytes.Repeat([]byte(`0,`), 5<<20)...)
	list = append(list, `0]}`...)
	if err := LookupMethod([]byte("sessions.preview")).Params.Validate("sessions.preview", list); err == nil {
		t.Error("five million numbers are no keys")
	}
}

func jsontextAppendInt(b []byte, i int) []byte {
	out, _ := json.Marshal(i)
	return append(b, out...)
}

func FuzzValidate(f *testing.F) {
	g := &generator{rnd: rand.New(rand.NewPCG(3, 4)), faults: 0.1}
	for i := range schemaTable {
		f.Add(uint16(i), []byte(g.value(schemaTable[i].compiled())))
	}
	f.Fuzz(func(t *testing.T, place uint16, params []byte) {
		s := &schemaTable[int(place)%len(schemaTable)]
		err := s.Validate("m", params)
		if err != nil {
			if len(err.Message) <= len("invalid m params: ") {
				t.Fatal("refused without a reason")
			}
			return
		}
		// What passes must decode: no duplicate names, no broken JSON.
		if len(params) > 0 {
			var v any
			if e := UnmarshalParams(params, &v); e != nil && !strings.Contains(e.Message, "must be") {
				t.Fatalf("%s: %q passes and cannot be decoded: %v", s.name, params, e)
			}
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	params := sampleParams(b)
	m := LookupMethod([]byte("chat.send"))
	_ = m.Params.Validate("chat.send", params)
	b.Run("valid", func(b *testing.B) {
		b.SetBytes(int64(len(params)))
		b.ReportAllocs()
		for b.Loop() {
			if err := m.Params.Validate("chat.send", params); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("names", func(b *testing.B) {
		b.SetBytes(int64(len(params)))
		b.ReportAllocs()
		for b.Loop() {
			if err := CheckNames(params); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("invalid", func(b *testing.B) {
		bad := []byte(`{"sessionKey":"","message":1,"bogus":1}`)
		b.ReportAllocs()
		for b.Loop() {
			_ = m.Params.Validate("chat.send", bad)
		}
	})
	b.Run("compile", func(b *testing.B) {
		text, _ := schemaText("ChatSendParams")
		b.ReportAllocs()
		for b.Loop() {
			_, _ = compileSchema(text)
		}
	})
}
