package system_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/frames"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/methods/methodstest"
	"sluice/stages/dispatch/methods/system"
	"sluice/storage"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a small gateway with the system family.
type world struct {
	*methodstest.World
	family   *system.Family
	presence *system.Presence
	health   *system.Health
	stable   *system.Stability
	versions frames.Versions
	warning  atomic.Pointer[string]
	tail     struct {
		cursor          *int64
		limit, maxBytes int
		err             error
	}
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{stable: system.NewStability()}
	cfg := agentConfig()
	w.World = methodstest.New(tb, methodstest.Options{Agent: &cfg}, func(m *methodstest.World) []dispatch.Method {
		w.World = m
		w.build(m.Events)
		return w.family.Methods()
	})
	w.Notices = func(key string) []string { texts, _ := w.family.Notices(key); return texts }
	return w
}

func agentConfig() agent.Config {
	c := methodstest.AgentConfig()
	c.Agents = []agent.AgentConfig{{ID: "ops", Name: "Über-Ops", Model: "big"}}
	return c
}

func (w *world) build(events frames.Broadcaster) {
	cfg := system.Default()
	cfg.PresenceRows, cfg.SystemEvents = 5, 3
	deps := system.Deps{Version: "1.2.3", Port: 18789, BootID: "boot", StateDir: "/", StorePath: "/state/sluice.db",
		Identity: system.Identity{DeviceID: "id", PublicKey: "key"}, Store: w.Store, Runs: w.Runs, Events: events,
		Lanes: func() system.Lanes {
			return system.Lanes{Running: 1, MaxConcurrent: 1, Queued: 2, Sessions: []system.Lane{{SessionKey: "s", Holder: "run"}}}
		},
		AgentIDs: func() []string { return w.Runs.Config().AgentIDs() },
		Channels: func() []system.Channel {
			return []system.Channel{{ID: "webhook", Label: "Webhook", Configured: true, Running: true, Accounts: []string{"out"}}}
		},
		Warnings: func() []string {
			if text := w.warning.Load(); text != nil && *text != "" {
				return []string{*text}
			}
			return nil
		},
		ConfigProblem: func() string { return "" }, Loop: system.NewLoopMeter(), Stability: w.stable,
		Tail: func(cursor *int64, limit, maxBytes int) (any, error) {
			w.tail.cursor, w.tail.limit, w.tail.maxBytes = cursor, limit, maxBytes
			return map[string]any{"file": "f", "cursor": 1, "size": 1, "lines": []string{"l"}, "truncated": false, "reset": false}, w.tail.err
		},
		Waiting: func() (int64, int64) { return 1, 2 }}
	w.presence = system.NewPresence(cfg, "1.2.3", "boot", &w.versions, events)
	w.health = system.NewHealth(cfg, deps, &w.versions)
	w.family = system.New(cfg, deps, w.presence, w.health)
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.Refused([][3]string{
		{"system-event", `{}`, "invalid system-event params: must have required property 'text'"},
		{"system-event", `{"bogus":1}`, "invalid system-event params: must have required property 'text'; at root: unexpected property 'bogus'"},
		{"system-event", `{"text":"x","bogus":1}`, "invalid system-event params: at root: unexpected property 'bogus'"},
		{"system-event", `{"text":"  "}`, "text required"},
		{"system-event", `{"text":"x","sessionKey":"agent:zz:main"}`, `Unknown agent id "zz"`},
		{"system-event", `{"text":"Node: x","wake":true}`, "wake is not supported for node presence events"},
		{"system-event", `{"text":"x","wake":true,"sessionKey":"nosuch"}`, `Unknown or archived session "nosuch"`},
		{"set-heartbeats", `{}`, "invalid set-heartbeats params: enabled (boolean) required"},
		{"set-heartbeats", `{"enabled":"x"}`, "invalid set-heartbeats params: enabled (boolean) required"},
		{"set-heartbeats", `{"enabled":true}`, "heartbeats are not run by this gateway yet; they can only be switched off"},
		{"diagnostics.stability", `{"limit":-1}`, "limit must be a non-negative integer"},
		{"diagnostics.stability", `{"limit":"x"}`, "limit must be a non-negative integer"},
		{"diagnostics.stability", `{"limit":1.5}`, "limit must be a non-negative integer"},
		{"diagnostics.stability", `{"limit":1001}`, "limit must be between 1 and 1000"},
		{"diagnostics.stability", `{"type":""}`, "type must be a non-empty string"},
		{"diagnostics.stability", `{"type":" "}`, "type must be a non-empty string"},
		{"diagnostics.stability", `{"type":5}`, "type must be a non-empty string"},
		{"diagnostics.stability", `{"sinceSeq":-1}`, "sinceSeq must be a non-negative integer"},
		{"system.info", `{"x":1}`, "invalid system.info params: at root: unexpected property 'x'"},
		{"update.status", `{"x":1}`, "invalid update.status params: at root: unexpected property 'x'"},
		{"logs.tail", `{"limit":0}`, "invalid logs.tail params: at /limit: must be >= 1"},
		{"logs.tail", `{"limit":5001}`, "invalid logs.tail params: at /limit: must be <= 5000"},
		{"models.list", `{"agentId":"zz"}`, `unknown agent id "zz"`},
		{"commands.list", `{"agentId":"zz"}`, `unknown agent id "zz"`},
		{"commands.list", `{"sessionKey":"nosuch"}`, "Session not found."},
		{"channels.status", `{"channel":"zz"}`, "unknown channel: zz"},
		{"agent.identity.get", `{"sessionKey":"agent::x"}`, `invalid agent.identity.get params: malformed session key "agent::x"`},
	})
	w.tail.err = fmt.Errorf("no such file")
	w.Refused([][3]string{{"logs.tail", `{}`, "UNAVAILABLE: log read failed: no such file"}})
}

// TestResults calls every method; those with a schema are validated by the way.
func TestResults(t *testing.T) {
	w := newWorld(t)
	for method, want := range map[string]string{
		"last-heartbeat":       "null",
		"gateway.identity.get": `{"deviceId":"id","publicKey":"key"}`,
		"system.info":          `"nodeVersion":"go`,
		"diagnostics.lanes":    `"blockedBy":"maxConcurrent"`,
		"usage.status":         `"providers":[]`,
		"update.status":        `"effectiveChannel":"stable"`,
		"agents.list":          `"identity":{"name":"Über-Ops"}`,
		"models.list":          `"id":"big"`,
		"commands.list":        `"/stop"`,
		"channels.status":      `"channelDefaultAccountId":{"webhook":"out"}`,
		"logs.tail":            `"lines":["l"]`,
		"status":               `"runtimeVersion":"1.2.3"`,
		"system-presence":      `"mode":"gateway"`,
		"health":               `"ok":true`,
	} {
		if raw := w.OK(method, "{}", nil); !strings.Contains(string(raw), want) {
			t.Errorf("%s: no %s in %s", method, want, raw)
		}
	}
	w.OK("set-heartbeats", `{"enabled":false,"extra":1}`, nil)
	w.OK("channels.status", `{"channel":"webhook"}`, nil)
	w.OK("models.list", `{"view":"configured"}`, nil)
	w.OK("logs.tail", `{"cursor":7,"limit":9,"maxBytes":11}`, nil)
	if w.tail.cursor == nil || *w.tail.cursor != 7 || w.tail.limit != 9 || w.tail.maxBytes != 11 {
		t.Errorf("%+v", w.tail)
	}
	var id struct{ AgentID, Name, Avatar, NameSource string }
	if w.OK("agent.identity.get", `{"sessionKey":"agent:ops:main"}`, &id); id.AgentID != "ops" || id.Name != "Über-Ops" || id.Avatar != "Ü" || id.NameSource != "config" {
		t.Errorf("%+v", id)
	}
	if w.OK("agent.identity.get", `{"agentId":"zz"}`, &id); id.AgentID != "zz" || id.Name != "Assistant" || id.Avatar != "A" {
		t.Errorf("%+v", id)
	}
}

// TestStatusIsRedacted for those who are no admins.
func TestStatusIsRedacted(t *testing.T) {
	w := newWorld(t)
	w.addSession("agent:main:secret-name", 1)
	admin := w.As(w.Client(), "status", "{}")
	reader := w.As(w.Client("operator.read"), "status", "{}")
	for _, secret := range []string{"secret-name", "/state/sluice.db", "fake-1"} {
		if !strings.Contains(string(admin.Payload), secret) {
			t.Errorf("admins do not see %s", secret)
		}
		if strings.Contains(string(reader.Payload), secret) {
			t.Errorf("readers see %s: %s", secret, reader.Payload)
		}
	}
	if !strings.Contains(string(reader.Payload), `"count":1`) {
		t.Errorf("%s", reader.Payload)
	}
}

func (w *world) addSession(key string, at int64) {
	err := w.Store.Update(context.Background(), func(tx storage.Tx) error {
		row := agent.NewSession(key, "main")
		row.UpdatedAtMs = at
		return storage.PutSession(tx, &row)
	})
	if err != nil {
		panic(err)
	}
}

// TestSystemEvent: the text waits for its session's next turn, bounded, and presence is
// refreshed.
func TestSystemEvent(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.OK("system-event", fmt.Sprintf(`{"text":"event %d","host":"h","tags":["t"],"lastInputSeconds":3.5}`, i), nil)
	}
	w.OK("system-event", `{"text":"Node: a phone","sessionKey":"other"}`, nil)
	var s struct{ QueuedSystemEvents []string }
	if w.OK("status", `{}`, &s); !slices.Equal(s.QueuedSystemEvents, []string{"event 2", "event 3", "event 4"}) {
		t.Errorf("%q", s.QueuedSystemEvents)
	}
	if got, _ := w.family.Notices("agent:main:other"); len(got) != 0 {
		t.Errorf("%q", got)
	}
	if got, _ := w.family.Notices("agent:main:main"); len(got) != 3 {
		t.Errorf("%q", got)
	}
	if got, _ := w.family.Notices("agent:main:main"); len(got) != 0 {
		t.Errorf("told twice: %q", got)
	}
	if !strings.Contains(string(w.presence.JSON()), `"lastInputSeconds":3`) || !strings.Contains(string(w.presence.JSON()), "Node: a phone") {
		t.Errorf("%s", w.presence.JSON())
	}
}

func TestStability(t *testing.T) {
	w := newWorld(t)
	for i := range 1100 {
		w.stable.Add([]string{"a", "b"}[i%2], fmt.Sprint(i))
	}
	var s struct {
		Capacity, Count, Dropped, FirstSeq, LastSeq int
		Events                                      []struct{ Seq int }
		Summary                                     struct{ ByType map[string]int }
	}
	w.OK("diagnostics.stability", `{}`, &s)
	if s.Capacity != 1000 || s.Count != 1000 || s.Dropped != 100 || s.FirstSeq != 101 || s.LastSeq != 1100 || len(s.Events) != 50 || s.Events[49].Seq != 1100 || s.Summary.ByType["a"] != 500 {
		t.Errorf("%+v", s)
	}
	w.OK("diagnostics.stability", `{"limit":"2","type":"b","sinceSeq":"1096","extra":1}`, &s)
	if s.Count != 2 || s.Events[0].Seq != 1098 || s.Events[1].Seq != 1100 {
		t.Errorf("%+v", s)
	}
	s.FirstSeq = 0
	if w.OK("diagnostics.stability", `{"type":"nosuch","limit":null,"sinceSeq":""}`, &s); s.Count != 0 || s.FirstSeq != 0 {
		t.Errorf("%+v", s)
	}
}

func TestConfig(t *testing.T) {
	for field, change := range map[string]func(*system.Config){
		"healthRefreshMs": func(c *system.Config) { c.HealthRefreshMs = 1 },
		"presenceRows":    func(c *system.Config) { c.PresenceRows = 0 },
		"presenceTtlMs":   func(c *system.Config) { c.PresenceTTLMs = 1 },
		"systemEvents":    func(c *system.Config) { c.SystemEvents = 0 },
	} {
		c := system.Default()
		if c.Validate() != nil {
			t.Fatal("the default is not valid")
		}
		if change(&c); c.Validate() == nil || !strings.Contains(c.Validate().Error(), field) {
			t.Errorf("%s: %v", field, c.Validate())
		}
	}
}
