package frames

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestAppend(t *testing.T) {
	id := []byte(`"a"`)
	for want, got := range map[string][]byte{
		`{"type":"res","id":"a","ok":true,"payload":{"x":1}}`:                                                                    AppendResult(nil, id, []byte(`{"x":1}`)),
		`{"type":"res","id":"a","ok":true}`:                                                                                      AppendResult(nil, id, nil),
		`{"type":"res","id":"invalid","ok":true,"payload":null}`:                                                                 AppendResult(nil, nil, []byte(`null`)),
		`{"type":"res","id":"a","ok":false,"error":{"code":"INVALID_REQUEST","message":"no \"x\"\n"}}`:                           AppendError(nil, id, Invalid("no %q\n", "x")),
		`{"type":"res","id":"a","ok":false,"error":{"code":"UNAVAILABLE","message":"busy","retryable":true,"retryAfterMs":500}}`: AppendError(nil, id, Unavailable(500, "busy")),
		`{"type":"res","id":"a","ok":false,"error":{"code":"FORBIDDEN","message":"missing scope: operator.read","details":{"code":"MISSING_SCOPE","missingScope":"operator.read","requiredScopes":["operator.read"]}}}`: AppendError(nil, id, MissingScope(ScopeRead)),
		`{"type":"event","event":"tick","payload":{"ts":1},"seq":7}`:                                        AppendEventTail(AppendEventHead(nil, "tick", []byte(`{"ts":1}`)), 7, nil),
		`{"type":"event","event":"presence","payload":[],"seq":1,"stateVersion":{"presence":2,"health":3}}`: AppendEventTail(AppendEventHead(nil, "presence", []byte(`[]`)), 1, &StateVersion{2, 3}),
		`{"type":"event","event":"x"}`:                          AppendEventTail(AppendEventHead(nil, "x", nil), 0, nil),
		`{"type":"req","id":"1","method":"health","params":{}}`: AppendRequest(nil, "1", "health", []byte(`{}`)),
		`"é\u0001` + "\ufffd" + `"`:                             AppendString(nil, "é\x01\xff"),
	} {
		if string(got) != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
		if !jsontext.Value(got).IsValid() {
			t.Errorf("no JSON: %s", got)
		}
	}
}

func TestAppendErrorWithoutDetails(t *testing.T) {
	got := string(AppendError(nil, []byte(`"a"`), Invalid("x").WithDetails(func() {})))
	if got != `{"type":"res","id":"a","ok":false,"error":{"code":"INVALID_REQUEST","message":"x"}}` {
		t.Error(got)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 1024)
	id, payload, st := []byte(`"a"`), []byte(`{"ok":true}`), &StateVersion{1, 2}
	refusal := Invalid("plain text")
	if n := testing.AllocsPerRun(100, func() {
		_ = AppendResult(buf, id, payload)
		_ = AppendError(buf, id, refusal)
		_ = AppendEventTail(AppendEventHead(buf, "tick", payload), 12345, st)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMarshalPayload(t *testing.T) {
	got, err := MarshalPayload(map[string]any{"b": []string(nil), "a": "x\xff", "c": map[string]int(nil)})
	if err != nil || string(got) != `{"a":"x`+"\ufffd"+`","b":[],"c":{}}` {
		t.Errorf("%s, %v", got, err)
	}
}

func BenchmarkEncode(b *testing.B) {
	buf := make([]byte, 0, 4096)
	payload := sampleParams(b)
	b.Run("result", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = AppendResult(buf, []byte(`"1"`), payload)
		}
	})
	b.Run("event", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = AppendEventTail(AppendEventHead(buf, "chat", payload), 12345, nil)
		}
	})
}
