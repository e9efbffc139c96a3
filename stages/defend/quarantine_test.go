package defend

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json"
)

func mustQuarantine(t *testing.T, change func(*QuarantineConfig)) (*quarantine, *Stats) {
	t.Helper()
	cfg := Default().Quarantine
	cfg.Dir = filepath.Join(t.TempDir(), "q")
	if change != nil {
		change(&cfg)
	}
	stats := &Stats{}
	q := newQuarantine(cfg, hidden, slog.New(slog.DiscardHandler), stats)
	if err := q.open(); err != nil {
		t.Fatal(err)
	}
	return q, stats
}

// shapes stand for the secrets that the package secrets knows.
var shapes = regexp.MustCompile(`(?s)-----BEGIN.*?-----END[A-Z ]*-----|sk-\w+|ghp_\w+|AKIA\w+|password=\S+|://[^@]+@|Bearer [^ ']+`)

func hidden(text []byte) []byte { return shapes.ReplaceAllLiteral(text, []byte("[hidden]")) }

func mustAction(t *testing.T, id, params string) *Action {
	t.Helper()
	a, err := ParseAction("chat.send", []byte(params))
	if err != nil {
		t.Fatal(err)
	}
	a.id = id
	return a
}

var blockedDecision = &pipeline.Decision{Action: pipeline.Block, Risk: 90, Reasons: []string{"r"}, Tags: []string{"t"}}

func TestQuarantineFile(t *testing.T) {
	q, stats := mustQuarantine(t, nil)
	name, err := q.write(mustAction(t, "../../etc/passwd", `{"message":"rm","command":"rm -rf /","tool":"exec"}`), blockedDecision)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(name, "blocked-1") || !strings.HasSuffix(name, "-______etc_passwd.json") {
		t.Errorf("file name %q", name)
	}
	for path, mode := range map[string]os.FileMode{q.dir: 0o700 | os.ModeDir, filepath.Join(q.dir, name): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v, want %v", path, info.Mode(), err, mode)
		}
	}
	body, err := os.ReadFile(filepath.Join(q.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	var got evidenceBody
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Request.Command != "rm -rf /" || got.Request.ToolName != "exec" || got.Request.Source != "chat.send" ||
		got.Decision.Action != "block" || got.Decision.RiskScore != 90 || string(got.Request.Raw) == "" {
		t.Errorf("%s", body)
	}
	if !strings.HasPrefix(string(body), "{\n  \"request\": {") {
		t.Errorf("not pretty: %.40s", body)
	}
	if stats.QuarantineWritten.Load() != 1 {
		t.Error("not counted")
	}
	if left, _ := filepath.Glob(filepath.Join(q.dir, ".*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestQuarantineSameName: many writers with one id lose nothing.
func TestQuarantineSameName(t *testing.T) {
	q, _ := mustQuarantine(t, nil)
	const n = 50
	names := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var err error
			if names[i], err = q.write(mustAction(t, "same", fmt.Sprintf(`{"message":"m%d"}`, i)), blockedDecision); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for i, name := range names {
		body, err := os.ReadFile(filepath.Join(q.dir, name))
		if err != nil || seen[name] || !strings.Contains(string(body), fmt.Sprintf(`"m%d"`, i)) {
			t.Errorf("%s: %v, seen before: %v", name, err, seen[name])
		}
		seen[name] = true
	}
}

func TestQuarantineBounds(t *testing.T) {
	q, stats := mustQuarantine(t, func(c *QuarantineConfig) { c.MaxFiles = 3 })
	long := strings.Repeat("x", 10_000)
	var names []string
	for range 5 {
		name, err := q.write(mustAction(t, long, `{"message":"m"}`), blockedDecision)
		if err != nil {
			t.Fatal(err)
		}
		if len(name) > 120 {
			t.Fatalf("file name of %d bytes", len(name))
		}
		names = append(names, name)
	}
	files, _ := os.ReadDir(q.dir)
	if len(files) != 3 || stats.QuarantinePruned.Load() != 2 {
		t.Errorf("%d files, %d pruned", len(files), stats.QuarantinePruned.Load())
	}
	if _, err := os.Stat(filepath.Join(q.dir, names[4])); err != nil {
		t.Error("the newest was removed")
	}
	if _, err := os.Stat(filepath.Join(q.dir, names[0])); err == nil {
		t.Error("the oldest is still there")
	}
	again := newQuarantine(QuarantineConfig{Enabled: true, Dir: q.dir, MaxFiles: 3, MaxBytes: 1 << 20, MaxEntryBytes: 1024}, hidden, q.log, stats)
	if err := os.WriteFile(filepath.Join(q.dir, tempPrefix+"half"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := again.open(); err != nil || len(again.files) != 3 || again.bytes != q.bytes {
		t.Errorf("reopened with %d files, %d bytes (%v)", len(again.files), again.bytes, err)
	}
	if _, err := os.Stat(filepath.Join(q.dir, tempPrefix+"half")); err == nil {
		t.Error("a half-written file stayed")
	}
}

// TestQuarantineFails: a folder that cannot be written shows in health, and heals.
func TestQuarantineFails(t *testing.T) {
	q, stats := mustQuarantine(t, nil)
	dir := q.dir
	q.dir = filepath.Join(dir, "gone")
	if _, err := q.write(mustAction(t, "x", `{"message":"m"}`), blockedDecision); err == nil || q.health() == "" || stats.QuarantineFailed.Load() != 1 {
		t.Errorf("err %v, health %q", err, q.health())
	}
	q.dir = dir
	if _, err := q.write(mustAction(t, "x", `{"message":"m"}`), blockedDecision); err != nil || q.health() != "" {
		t.Errorf("err %v, health %q", err, q.health())
	}
}

func TestQuarantineCuts(t *testing.T) {
	params := `{"message":"` + strings.Repeat("é", 5000) + `"}`
	body, err := redactor(hidden).encodeEvidence(mustAction(t, "x", params), blockedDecision, 1024)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > 2048 || !strings.Contains(string(body), "sha256") || !strings.Contains(string(body), "… [cut]") {
		t.Errorf("%d bytes: %s", len(body), body)
	}
}

func TestRedaction(t *testing.T) {
	key := "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIabc\n-----END RSA " + "PRIVATE KEY-----"
	secrets := []string{"sk-" + "abcdefghijklmnop1234", "ghp_" + "abcdefghijklmnop1234", "MIIabc", "hunter22", "AKIA" + "ABCDEFGHIJKLMNOP", "s3cr3tpw", "plainvalue", "tok-in-header"}
	enc, err := json.Marshal(map[string]any{
		"message": "use sk-" + "abcdefghijklmnop1234 and ghp_" + "abcdefghijklmnop1234 " + key + " password=hunter22 rest",
		"command": "AWS=AKIA" + "ABCDEFGHIJKLMNOP curl https://u:s3cr3tpw@h/ -H 'Authorization: Bearer tok-in-header'",
		"apiKey":  "plainvalue",
		"token":   map[string]any{"text": "kept"},
	}, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	body, err := redactor(hidden).encodeEvidence(mustAction(t, "x", string(enc)), blockedDecision, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if strings.Contains(string(body), s) {
			t.Errorf("%s is in the file:\n%s", s, body)
		}
	}
	if !strings.Contains(string(body), "rest") || !strings.Contains(string(body), "kept") {
		t.Errorf("more than the secrets is gone:\n%s", body)
	}
}

func TestDecisionEvent(t *testing.T) {
	a := mustAction(t, "req-1", `{"sessionKey":"agent:main:telegram:group:g1","message":"m","wasMentioned":"yes","reply_back":0,
		"chat_type":"group","recipient":"@ops","topicId":7,"accountId":"a1","to":""}`)
	payload, err := frames.MarshalPayload(decisionEvent(a, blockedDecision, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"requestId":"req-1","sessionId":"agent:main:telegram:group:g1","source":"chat.send","sessionKind":"group","chatType":"group",` +
		`"wasMentioned":true,"replyBack":false,"deliveryContext":{"channel":"telegram","to":"@ops","accountId":"a1","threadId":"7"},` +
		`"decision":{"action":"block","risk_score":90,"reasons":["r"],"tags":["t"],"source":"sluice"}}`
	if string(payload) != want {
		t.Errorf("got  %s\nwant %s", payload, want)
	}
	payload, _ = frames.MarshalPayload(decisionEvent(mustAction(t, "", `{"message":"m","channel":"slack"}`), clean, nil))
	want = `{"requestId":"unknown","source":"chat.send","channel":"slack","decision":{"action":"allow","risk_score":0,"reasons":[],"tags":[],"source":"sluice"}}`
	if string(payload) != want {
		t.Errorf("got  %s\nwant %s", payload, want)
	}
}
