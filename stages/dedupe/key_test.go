package dedupe

import (
	"fmt"
	"strings"
	"testing"

	"sluice/frames"
	"sluice/storage"
	"sluice/storage/storagetest"

	"github.com/go-json-experiment/json/jsontext"
)

func TestUnusualKeys(t *testing.T) {
	long := strings.Repeat("k", 257)
	for name, tc := range map[string]struct{ key, same, other string }{
		"256 bytes":       {`"` + long[:256] + `"`, ` "` + long[:256] + `" `, `"` + long[:255] + `"`},
		"257 bytes":       {`"` + long + `"`, `"\u006b` + long[1:] + `"`, `"` + long + `k"`},
		"25 KB":           {`"` + strings.Repeat("é", 12_500) + `"`, `"\u00E9` + strings.Repeat("é", 12_499) + `"`, `"` + strings.Repeat("é", 12_499) + `"`},
		"unicode":         {`"ключ-🔑"`, `"\u043a\u043b\u044e\u0447-\ud83d\udd11"`, `"ключ-🔒"`},
		"not normalised":  {`"é"`, `"\u00e9"`, `"e\u0301"`},
		"control bytes":   {`"a\u0000b\u001f"`, `"\u0061\u0000b\u001F"`, `"a\u0000b"`},
		"separators":      {`"x\u0000chat\u0000y"`, `"x\u0000chat\u0000y"`, `"y"`},
		"spaces count":    {`" k"`, `"\u0020k"`, `"k"`},
		"path":            {`"../../etc/passwd"`, `"..\/..\/etc\/passwd"`, `"../etc/passwd"`},
		"case counts":     {`"K"`, `"\u004b"`, `"k"`},
		"a long one hash": {`"` + long + `"`, `"` + long + `"`, `"` + storageKey(long) + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			mem := storagetest.NewMemory()
			r := newRig(t, Default(), mem)
			send := func(key string) string {
				return r.call(as("a"), "chat.send", `{"sessionKey":"main","message":"m","idempotencyKey":`+key+`}`)
			}
			first := send(tc.key)
			if !strings.HasSuffix(first, ` #1"`) {
				t.Fatalf("first: %s", first)
			}
			if got := send(tc.same); got != first {
				t.Errorf("the same key: %.80s", got)
			}
			if got := send(tc.other); got == first || !strings.HasSuffix(got, ` #1"`) {
				t.Errorf("another key: %.80s", got)
			}
			again := newRig(t, Default(), mem) // and from the store
			if got := again.call(as("a"), "chat.send", `{"sessionKey":"main","message":"m","idempotencyKey":`+tc.same+`}`); got != first {
				t.Errorf("after a restart: %.80s", got)
			}
			for i := range r.table.entries {
				if len(i) > 400 {
					t.Errorf("a key of %d bytes is in the table", len(i))
				}
			}
		})
	}
}

// An identity and a key must not be able to spell another identity's key.
func TestIdentitiesCannotBeSpelled(t *testing.T) {
	r := newRig(t, Default(), storagetest.NewMemory())
	r.call(as("a"), "chat.send", params("k", "x"))
	if got := r.call(as("a\x00chat\x00k"), "chat.send", params("", "x")); strings.HasPrefix(got, `"a/k`) {
		t.Error(got)
	}
	if got := r.call(as("a\x00chat"), "chat.send", params("k", "x")); got == `"a/k #1"` {
		t.Error(got)
	}
}

func TestContentHash(t *testing.T) {
	base := `{"sessionKey":"main","message":"hi","idempotencyKey":"k","attachments":[{"a":1,"b":[1.5,"x"]}]}`
	hash := func(params string) [32]byte { return contentHash("chat.send", []byte(params), chatVolatile) }
	for name, same := range map[string]string{
		"order":      `{"attachments":[{"b":[1.5,"x"],"a":1}],"idempotencyKey":"k","message":"hi","sessionKey":"main"}`,
		"whitespace": " {\n\t\"sessionKey\" : \"main\" , \"message\":\"hi\",\"idempotencyKey\":\"k\",\"attachments\":[ {\"a\":1,\"b\":[1.5,\"x\"]} ] }\r\n",
		"escapes":    `{"\u0073essionKey":"\u006dain","message":"\u0068i","idempotencyKey":"k","attachments":[{"a":1,"b":[1.5,"x"]}]}`,
		"numbers":    `{"sessionKey":"main","message":"hi","idempotencyKey":"k","attachments":[{"a":1.0,"b":[15e-1,"x"]}]}`,
		"key":        strings.Replace(base, `"k"`, `"another"`, 1),
		"volatile":   strings.Replace(base, `{"`, `{"timeoutMs":5,"expectedLeafEntryId":"e","`, 1),
	} {
		if hash(same) != hash(base) {
			t.Errorf("%s makes other content", name)
		}
	}
	for name, other := range map[string]string{
		"message":        strings.Replace(base, `hi`, `ho`, 1),
		"case":           strings.Replace(base, `hi`, `Hi`, 1),
		"array order":    strings.Replace(base, `1.5,"x"`, `"x",1.5`, 1),
		"nested key":     strings.Replace(base, `"a":1`, `"a":1,"idempotencyKey":"z"`, 1),
		"nested timeout": strings.Replace(base, `"a":1`, `"a":1,"timeoutMs":1`, 1),
		"null member":    strings.Replace(base, `{"`, `{"thinking":null,"`, 1),
		"type":           strings.Replace(base, `"a":1`, `"a":"1"`, 1),
	} {
		if hash(other) == hash(base) {
			t.Errorf("%s makes no difference", name)
		}
	}
	if contentHash("chat.send", []byte(base), nil) == contentHash("sessions.send", []byte(base), nil) {
		t.Error("the method makes no difference")
	}
}

func TestDuplicateNamesAreAsTheyCame(t *testing.T) {
	a, b := `{"message":"x","message":"y","idempotencyKey":"k"}`, `{"message":"y","message":"x","idempotencyKey":"k"}`
	hash := func(p string) [32]byte { return contentHash("chat.send", []byte(p), nil) }
	if hash(a) == hash(b) || hash(a) != hash(a) {
		t.Error("two readers could take them for the same content")
	}
	if k, ok := idempotencyKey([]byte(`{"idempotencyKey":"a","idempotencyKey":"b"}`)); !ok || k != "a" {
		t.Errorf("%q %v", k, ok)
	}
}

func FuzzKeyAndHash(f *testing.F) {
	for _, s := range []string{`{}`, `{"idempotencyKey":"k"}`, `{"idempotencyKey":"\ud800"}`, `{"a":{"b":[1,2,{"c":null}]},"idempotencyKey":"é"}`,
		`{"idempotencyKey":"k","idempotencyKey":"l"}`, `[]`, `{`, ``, `{"x":1e999}`, `{"x":123456789012345678901234567890}`, `{"":""}`, "{\"a\":\"\x00\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, params []byte) {
		before := string(params)
		key, ok := idempotencyKey(params)
		hash := contentHash("chat.send", params, chatVolatile)
		if string(params) != before {
			t.Fatal("the params were changed")
		}
		if ok && (key == "" || len(key) > maxKeyBytes) {
			t.Errorf("a key of %d bytes", len(key))
		}
		if hash != contentHash("chat.send", params, chatVolatile) {
			t.Error("the hash is not a function of the content")
		}
		// What the handler reads is what the key is.
		var p struct {
			Key string `json:"idempotencyKey"`
		}
		if frames.UnmarshalParams(params, &p) == nil && len(p.Key) <= maxKeyBytes && (p.Key != "") != ok && len(params) > 0 {
			t.Errorf("the handler reads %q, dedupe %q %v", p.Key, key, ok)
		} else if ok && len(key) < 65 && p.Key != "" && frames.UnmarshalParams(params, &p) == nil && len(p.Key) <= maxKeyBytes && p.Key != key {
			t.Errorf("the handler reads %q, dedupe %q", p.Key, key)
		}
		// Formatting is no content.
		v := jsontext.Value(strings.Clone(before))
		if v.Indent() == nil && frames.UnmarshalParams(params, &p) == nil && contentHash("chat.send", v, chatVolatile) != hash {
			t.Errorf("white space is content: %s", before)
		}
		if sk := storageKey(key); storage.CheckKey(storage.Idempotency, "key/"+sk) != nil {
			t.Errorf("not a key of the store: %q", sk)
		}
	})
}

func BenchmarkNotAnEffect(b *testing.B) {
	s, _ := New(Default(), storagetest.NewMemory(), nil)
	for _, method := range []string{"health", "config.patch"} {
		e := direct(b, "a", method, `{"x":1}`)
		b.Run(method, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Process(b.Context(), e)
			}
		})
	}
}

func BenchmarkKeyAndHash(b *testing.B) {
	p := []byte(params("0b9d1f5e-6a55-4b35-9b44-1a2b3c4d5e6f", strings.Repeat("How is the weather? ", 45)))
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		idempotencyKey(p)
		contentHash("chat.send", p, chatVolatile)
	}
}

func BenchmarkFirst(b *testing.B) {
	s, _ := New(Default(), storagetest.NewMemory(), nil)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		e := direct(b, "a", "chat.send", params(fmt.Sprint(i), "x"))
		s.Process(b.Context(), e)
		e.Answer([]byte(`1`))
		e.Claim.(*entry).Settle(e)
	}
}

func BenchmarkReplay(b *testing.B) {
	s, _ := New(Default(), storagetest.NewMemory(), nil)
	e := direct(b, "a", "chat.send", params("k", "x"))
	s.Process(b.Context(), e)
	e.Answer([]byte(`1`))
	e.Claim.(*entry).Settle(e)
	dup := direct(b, "a", "chat.send", params("k", "x"))
	b.ReportAllocs()
	for b.Loop() {
		s.Process(b.Context(), dup)
	}
}

func TestOtherRequestsDoNotAllocate(t *testing.T) {
	s, _ := New(Default(), storagetest.NewMemory(), nil)
	for _, method := range []string{"health", "config.patch", "nope"} {
		e := direct(t, "a", method, `{"idempotencyKey":"k"}`)
		if n := testing.AllocsPerRun(100, func() { s.Process(t.Context(), e) }); n != 0 {
			t.Errorf("%s: %v allocations", method, n)
		}
	}
}
