package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/frames"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/methods/chat"
	"sluice/stages/dispatch/methods/methodstest"
	"sluice/storage"
	"sluice/storage/storagetest"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "agent:main:t"

func newWorld(tb testing.TB, change func(*agent.Config), store storage.Store) *methodstest.World {
	cfg := methodstest.AgentConfig()
	if change != nil {
		change(&cfg)
	}
	return methodstest.New(tb, methodstest.Options{Agent: &cfg, Store: store}, func(w *methodstest.World) []dispatch.Method {
		return chat.New(chat.Deps{Store: w.Store, Runs: w.Runs, Active: w.Schedule.Active, Live: w.Live, Events: w.Events,
			Channels: func() []string { return nil }}).Methods()
	})
}

func send(w *methodstest.World, id, text string) {
	w.OK("chat.send", fmt.Sprintf(`{"sessionKey":%q,"message":%q,"idempotencyKey":%q,"queueMode":"followup"}`, key, text, id), nil)
}

// ends returns how runs ended, by their terminal chat events.
func ends(events []frames.Event) map[string]string {
	out := map[string]string{}
	for _, ev := range events {
		var p struct{ RunID, State, ErrorMessage string }
		json.Unmarshal(ev.Payload, &p, json.MatchCaseInsensitiveNames(true))
		if ev.Name == "chat" && slices.Contains([]string{"final", "aborted", "error"}, p.State) {
			out[p.RunID] += p.State + p.ErrorMessage
		}
	}
	return out
}

// TestHistoryForTheModel is bounded by messages and by bytes, the newest count, and the
// agent's own prompt stands first.
func TestHistoryForTheModel(t *testing.T) {
	w := newWorld(t, func(c *agent.Config) {
		c.HistoryMessages = 4
		c.HistoryBytes = 1024
		c.Agents = []agent.AgentConfig{{ID: "main", SystemPrompt: "you are a test", Model: "own"}}
	}, nil)
	for i := range 4 {
		send(w, fmt.Sprint("r", i), fmt.Sprint("message ", i))
		w.Idle()
	}
	send(w, "long", strings.Repeat("x", 2000))
	w.Idle()
	send(w, "after", "after")
	w.Idle()
	calls := w.Model.Calls()
	roles := func(i int) (out []string) {
		for _, m := range calls[i].Messages {
			out = append(out, m.Role)
		}
		return out
	}
	if got := roles(3); !slices.Equal(got, []string{"system", "assistant", "user", "assistant", "user"}) || calls[3].Messages[0].Content != "you are a test" || calls[3].Model != "own" {
		t.Errorf("by number: %q %+v", got, calls[3])
	}
	if got := roles(4); !slices.Equal(got, []string{"system", "user"}) {
		t.Errorf("one message larger than the bound is still asked: %q", got)
	}
	if got := roles(5); !slices.Equal(got, []string{"system", "user"}) || calls[5].Last() != "after" {
		t.Errorf("by bytes: %q", got)
	}
}

// TestAnswerTooLong: what was said up to the bound is kept, and the error names it.
func TestAnswerTooLong(t *testing.T) {
	w := newWorld(t, func(c *agent.Config) { c.AnswerBytes = 1024 }, nil)
	send(w, "r", strings.Repeat("x", 2000))
	w.Idle()
	if got := ends(w.Check())["r"]; !strings.HasPrefix(got, "error") || !strings.Contains(got, "agent.answerBytes") {
		t.Errorf("%q", got)
	}
	if calls := w.Model.Calls(); len(calls) != 1 {
		t.Errorf("asked %d times", len(calls))
	}
}

// flaky is a store whose disk can be full.
type flaky struct {
	*storagetest.Memory
	full atomic.Bool
}

func newFlaky() *flaky {
	f := &flaky{Memory: storagetest.NewMemory()}
	f.Fail = func() error {
		if f.full.Load() {
			return fmt.Errorf("write: %w", storage.ErrFull)
		}
		return nil
	}
	return f
}

// TestEndReachesTheDisk: a run whose end could not be stored was told as failed; when
// there is room again its end is stored, so that no restart starts it.
func TestEndReachesTheDisk(t *testing.T) {
	store := newFlaky()
	w := newWorld(t, nil, store)
	send(w, "r", "HOLD")
	<-w.Model.Held()
	store.full.Store(true)
	w.Model.Release()
	w.Idle()
	if got := ends(w.Check())["r"]; !strings.Contains(got, "the disk is full") {
		t.Errorf("%q", got)
	}
	status := func() (s storage.RunStatus) {
		store.View(t.Context(), func(r storage.Reader) error {
			row, err := storage.GetRun(r, "r")
			s = row.Status
			return err
		})
		return s
	}
	if s := status(); s != storage.RunRunning {
		t.Errorf("stored as %s", s)
	}
	store.full.Store(false)
	w.Eventually("the end is stored", func() bool { return status() == storage.RunError })
}

// TestNothingIsAskedThatIsNotStored: a run that cannot be marked as running does not
// reach the model.
func TestNothingIsAskedThatIsNotStored(t *testing.T) {
	store := newFlaky()
	w := newWorld(t, nil, store)
	send(w, "first", "HOLD")
	<-w.Model.Held()
	send(w, "second", "and this")
	store.full.Store(true)
	w.Model.Release()
	w.Idle()
	got := ends(w.Check())
	if !strings.HasPrefix(got["first"], "error") || !strings.HasPrefix(got["second"], "error") {
		t.Errorf("%q", got)
	}
	if n := len(w.Model.Calls()); n != 1 {
		t.Errorf("the model was asked %d times", n)
	}
	store.full.Store(false)
	w.Eventually("both ends are stored", func() bool {
		open := -1
		store.View(t.Context(), func(r storage.Reader) error {
			rows, err := storage.OpenRuns(r, 0)
			open = len(rows)
			return err
		})
		return open == 0
	})
}

// keep is a store that outlives a world.
type keep struct{ storage.Store }

func (keep) Close() error { return nil }

// TestRecover: what waited is brought back in its order, what ran is interrupted and
// says so in the transcript, and a broken record is no reason not to start.
func TestRecover(t *testing.T) {
	store := storagetest.NewMemory()
	t.Cleanup(func() { store.Close() })
	err := store.Update(t.Context(), func(tx storage.Tx) error {
		row := agent.NewSession(key, "main")
		if err := storage.PutSession(tx, &row); err != nil {
			return err
		}
		for i, id := range []string{"c", "a", "b"} {
			prompt := fmt.Sprintf(`{"kind":0,"acceptedNs":%d,"inputs":[{"runId":%q,"text":"text %s","messageId":"m-%s","atMs":5}]}`, 5_000_000_000+i, id, id, id)
			if err := storage.PutRun(tx, &storage.RunRow{RunID: id, SessionKey: key, SessionID: row.SessionID, AgentID: "main",
				Status: storage.RunQueued, CreatedAtMs: 5000, Prompt: []byte(prompt)}); err != nil {
				return err
			}
		}
		running := storage.RunRow{RunID: "ran", SessionKey: key, SessionID: row.SessionID, AgentID: "main", Status: storage.RunRunning,
			CreatedAtMs: 4000, StartedAtMs: 4500, Prompt: []byte(`{"kind":0,"inputs":[{"runId":"ran","text":"was asked","messageId":"m-ran","atMs":4}]}`)}
		broken := storage.RunRow{RunID: "broken", SessionKey: "agent:main:gone", AgentID: "main", Status: storage.RunQueued, CreatedAtMs: 1, Prompt: []byte(`[]`)}
		if err := storage.PutRun(tx, &running); err != nil {
			return err
		}
		return storage.PutRun(tx, &broken)
	})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, nil, keep{store})
	waiting, interrupted, err := w.Runs.Recover(t.Context())
	if err != nil || interrupted != 2 || len(waiting) != 3 {
		t.Fatalf("%d waiting, %d interrupted, %v", len(waiting), interrupted, err)
	}
	for _, r := range waiting {
		w.Schedule.Restore(r)
	}
	w.Idle()
	var asked []string
	for _, c := range w.Model.Calls() {
		asked = append(asked, c.Last())
	}
	if !slices.Equal(asked, []string{"text c", "text a", "text b"}) {
		t.Errorf("asked %q", asked)
	}
	var h struct {
		Messages []struct {
			Role    string
			Content any
		}
	}
	w.OK("chat.history", `{"sessionKey":"t"}`, &h)
	if len(h.Messages) != 8 || h.Messages[0].Content != "was asked" || !strings.Contains(fmt.Sprint(h.Messages[1].Content), "restarted") {
		t.Errorf("%+v", h)
	}
	waiting, interrupted, err = w.Runs.Recover(t.Context())
	if len(waiting)+interrupted != 0 || err != nil {
		t.Errorf("again: %d waiting, %d interrupted, %v", len(waiting), interrupted, err)
	}
}

// TestFinishedRunsAreForgotten within their bound; the store still knows them.
func TestFinishedRunsAreForgotten(t *testing.T) {
	w := newWorld(t, func(c *agent.Config) { c.FinishedRuns = 2 }, nil)
	for i := range 5 {
		send(w, fmt.Sprint("r", i), "x")
		w.Idle()
	}
	if n := w.Runs.Count(); n != 2 {
		t.Errorf("%d runs in memory", n)
	}
	var s struct {
		Status  string
		EndedAt int64
	}
	if w.OK("agent.wait", `{"runId":"r0"}`, &s); s.Status != "ok" || s.EndedAt == 0 {
		t.Errorf("%+v", s)
	}
}

func TestComplete(t *testing.T) {
	w := newWorld(t, func(c *agent.Config) { c.AnswerBytes = 1024 }, nil)
	if got, err := w.Runs.Complete(t.Context(), "main", "sum up", "text"); err != nil || got != "echo: text" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := w.Runs.Complete(t.Context(), "main", "sum up", strings.Repeat("x", 2000)); err == nil || !strings.Contains(err.Error(), "agent.answerBytes") {
		t.Errorf("%v", err)
	}
	if _, err := w.Runs.Complete(t.Context(), "main", "sum up", "FAIL"); err == nil || !strings.Contains(err.Error(), "no such model") {
		t.Errorf("%v", err)
	}
	cfg := agent.Default()
	if err := w.Runs.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Runs.Complete(t.Context(), "main", "sum up", "text"); err == nil || !strings.Contains(err.Error(), "agent.model.baseUrl") {
		t.Errorf("%v", err)
	}
}

// TestReloadKeepsTheOldOne when the new one is not valid.
func TestReload(t *testing.T) {
	w := newWorld(t, nil, nil)
	cfg := methodstest.AgentConfig()
	cfg.TurnTimeoutMs = 1
	if err := w.Runs.Reload(cfg); err == nil || w.Runs.Config().TurnTimeoutMs == 1 {
		t.Errorf("%v", err)
	}
	cfg = methodstest.AgentConfig()
	cfg.Model.BaseURL = "http://%zz"
	if err := w.Runs.Reload(cfg); err == nil || w.Runs.Config().Model.BaseURL == cfg.Model.BaseURL {
		t.Errorf("%v", err)
	}
}

// TestPace: deltas are collected for the configured time, and nothing is lost.
func TestPace(t *testing.T) {
	w := newWorld(t, func(c *agent.Config) { c.DeltaPaceMs = 10_000 }, nil)
	send(w, "r", "a b c")
	w.Idle()
	text, deltas := "", 0
	for _, ev := range w.Check() {
		var p struct{ State, DeltaText string }
		json.Unmarshal(ev.Payload, &p, json.MatchCaseInsensitiveNames(true))
		if ev.Name == "chat" && p.State == "delta" {
			deltas++
			text += p.DeltaText
		}
	}
	if text != "echo: a b c" || deltas > 2 {
		t.Errorf("%d deltas: %q", deltas, text)
	}
}

func TestConfig(t *testing.T) {
	for field, change := range map[string]func(*agent.Config){
		"agents[0].id":    func(c *agent.Config) { c.Agents = []agent.AgentConfig{{ID: "No Id"}} },
		"model.baseUrl":   func(c *agent.Config) { c.Model.BaseURL = "ftp://x" },
		"turnTimeoutMs":   func(c *agent.Config) { c.TurnTimeoutMs = 1 },
		"retries":         func(c *agent.Config) { c.Retries = -1 },
		"historyMessages": func(c *agent.Config) { c.HistoryMessages = 0 },
		"answerBytes":     func(c *agent.Config) { c.AnswerBytes = 0 },
		"finishedRuns":    func(c *agent.Config) { c.FinishedRuns = 0 },
	} {
		c := agent.Default()
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		if change(&c); c.Validate() == nil || !strings.HasPrefix(c.Validate().Error(), field) {
			t.Errorf("%s: %v", field, c.Validate())
		}
	}
	for want, m := range map[string]agent.ModelConfig{
		"agent.model.baseUrl and agent.model.name": {}, "SLUICE_AGENT_MODEL_BASE_URL": {Name: "x"}, "SLUICE_AGENT_MODEL_NAME": {BaseURL: "http://x"}} {
		if got := m.Missing(); !strings.Contains(got, want) {
			t.Errorf("%+v: %q", m, got)
		}
	}
	c := agent.Default()
	c.Agents = []agent.AgentConfig{{ID: "b"}, {ID: "main"}, {ID: "a"}}
	if got := c.AgentIDs(); !slices.Equal(got, []string{"main", "b", "a"}) {
		t.Errorf("%q", got)
	}
}

func TestTextOf(t *testing.T) {
	for body, want := range map[string]string{
		`{"content":"plain"}`: "plain",
		`{"content":[{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}]}`: "ab",
		`{"content":5}`: "", `{}`: "", `[]`: "", `{"content":["x"]}`: "",
	} {
		if got := agent.TextOf([]byte(body)); got != want {
			t.Errorf("%s: %q", body, got)
		}
	}
}
