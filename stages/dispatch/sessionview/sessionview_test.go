package sessionview

import (
	"testing"

	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMessage(t *testing.T) {
	for want, m := range map[string]storage.Message{
		`{"role":"user","__openclaw":{"senderIsOwner":true,"id":"m","idempotencyKey":"k","recordTimestampMs":5,"seq":7}}`: {
			ID: "m", Seq: 7, Role: "user", RunID: "r", TimestampMs: 5, IdempotencyKey: "k", Body: jsontext.Value(`{"role":"user"}`)},
		`{"__openclaw":{"runId":"r","id":"m","recordTimestampMs":0,"seq":1}}`:    {ID: "m", Seq: 1, Role: "assistant", RunID: "r", Body: jsontext.Value(`{}`)},
		`{"__openclaw":{"kind":"reset","id":"m","recordTimestampMs":0,"seq":1}}`: {ID: "m", Seq: 1, Role: "system", Body: jsontext.Value(`{}`)},
	} {
		if got := Message(m, DisplayChars); string(got) != want || !got.IsValid() {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestRow(t *testing.T) {
	m := Model{Provider: "fake", ID: "fake-1", ContextTokens: 9}
	for _, tc := range []struct {
		s                          storage.SessionRow
		live                       Live
		kind, class, status, model string
		main, active               bool
		extra                      string
	}{
		{storage.SessionRow{Key: "agent:main:main", AgentID: "main"}, Live{}, "direct", "main", "", "fake-1", true, false, ""},
		{storage.SessionRow{Key: "agent:main:x", AgentID: "main", Status: "done"}, Live{ActiveRunIDs: []string{"r"}}, "direct", "custom", "running", "fake-1", false, true, ""},
		{storage.SessionRow{Key: "agent:main:dashboard:1", AgentID: "main", ModelOverride: "own", ProviderOverride: "fake"}, Live{}, "direct", "dashboard", "", "own", false, false, ""},
		{storage.SessionRow{Key: "agent:main:telegram:group:5", AgentID: "main", LastSeq: 3}, Live{}, "group", "group", "", "fake-1", false, false, ""},
		{storage.SessionRow{Key: "agent:main:y", AgentID: "main", LastSeq: 3, Extra: map[string]jsontext.Value{"icon": jsontext.Value(`"x"`)}}, Live{}, "direct", "direct", "", "fake-1", false, false, `"x"`},
	} {
		row := RowOf(&tc.s, m, tc.live)
		b, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]jsontext.Value
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if row.Kind != tc.kind || row.Classification != tc.class || row.Status != tc.status || row.Model != tc.model || row.IsMain != tc.main ||
			row.HasActiveRun != tc.active || row.ActiveRunIDs == nil || string(got["icon"]) != tc.extra {
			t.Errorf("%s: %s", tc.s.Key, b)
		}
	}
}

func BenchmarkRow(b *testing.B) {
	s := storage.SessionRow{Key: "agent:main:x", AgentID: "main", SessionID: "id", Label: "a label"}
	b.ReportAllocs()
	for b.Loop() {
		row := RowOf(&s, Model{Provider: "fake", ID: "fake-1"}, Live{})
		if _, err := json.Marshal(&row); err != nil {
			b.Fatal(err)
		}
	}
}
