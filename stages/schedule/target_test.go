package schedule

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"sluice/frames"
	"sluice/frames/framestest"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
)

func TestWhereARequestsTurnGoes(t *testing.T) {
	long := strings.Repeat("x", 600)
	for _, tc := range []struct {
		method, params string
		key, agent     string // "" key: an error that contains agent
		noTurn         bool
	}{
		{method: "chat.send", params: `{"sessionKey":"main"}`, key: "agent:main:main", agent: "main"},
		{method: "chat.send", params: `{"sessionKey":" MAIN "}`, key: "agent:main:main", agent: "main"},
		{method: "chat.send", params: `{"sessionKey":"main","agentId":"ops"}`, key: "agent:ops:main", agent: "ops"},
		{method: "chat.send", params: `{"sessionKey":"main","agentId":" Ops "}`, key: "agent:ops:main", agent: "ops"},
		{method: "chat.send", params: `{"sessionKey":"agent:ops:discord:group:g1"}`, key: "agent:ops:discord:group:g1", agent: "ops"},
		{method: "chat.send", params: `{"sessionKey":"agent:Ops:Discord:group:G1","agentId":"OPS"}`, key: "agent:ops:discord:group:g1", agent: "ops"},
		{method: "chat.send", params: `{"sessionKey":"agent:ops:x","agentId":"main"}`, agent: "does not match agentId"},
		{method: "chat.send", params: `{"sessionKey":"global"}`, key: "global", agent: "main"},
		{method: "chat.send", params: `{"sessionKey":"../../etc/passwd"}`, key: "agent:main:../../etc/passwd", agent: "main"},
		{method: "chat.send", params: `{"sessionKey":"agent:../x:main"}`, agent: "does not name an agent"},
		{method: "chat.send", params: `{"sessionKey":"agent::main"}`, agent: "does not name an agent"},
		{method: "chat.send", params: `{"sessionKey":"main","agentId":"../../x"}`, agent: `Unknown agent id "../../x"`},
		{method: "chat.send", params: `{"sessionKey":"main","agentId":"main:evil"}`, agent: `Unknown agent id "main:evil"`},
		{method: "chat.send", params: `{"sessionKey":"a\u0000b"}`, agent: "control characters"},
		{method: "chat.send", params: `{"sessionKey":"a\nb"}`, agent: "control characters"},
		{method: "chat.send", params: `{"sessionKey":"` + long + `"}`, agent: "longer than 512 bytes"},
		{method: "chat.send", params: `{"sessionKey":7}`, agent: "must be string"},
		{method: "chat.send", params: `{"sessionKey":"a","sessionKey":"b"}`, agent: "duplicate"},
		{method: "sessions.send", params: `{"key":"dev"}`, key: "agent:main:dev", agent: "main"},
		{method: "sessions.send", params: `{"key":"dev","sessionKey":"other"}`, key: "agent:main:dev", agent: "main"},
		{method: "sessions.steer", params: `{"key":"dev"}`, key: "agent:main:dev", agent: "main"},
		{method: "agent", params: `{"message":"m"}`, key: "agent:main:main", agent: "main"},
		{method: "agent", params: `{"agentId":"ops"}`, key: "agent:ops:main", agent: "ops"},
		{method: "agent", params: `{"sessionId":"s-1"}`, key: "agent:main:explicit:s-1", agent: "main"},
		{method: "agent", params: `{"sessionId":"../../etc"}`, key: "agent:main:explicit:../../etc", agent: "main"},
		{method: "agent", params: `{"sessionId":"x","agentId":"ops"}`, key: "agent:ops:explicit:x", agent: "ops"},
		{method: "agent", params: `{"sessionId":"x","sessionKey":"k"}`, key: "agent:main:k", agent: "main"},
		{method: "agent", params: `{"sessionId":"` + long + `"}`, agent: "longer than 512 bytes"},
		{method: "agent", params: `{"agentId":"a/b"}`, agent: `invalid agent params: unknown agent id "a/b"`},
		{method: "sessions.create", params: `{"key":"dev"}`, key: "agent:main:dev", agent: "main", noTurn: true},
		{method: "sessions.create", params: `{"key":"dev","message":" \n"}`, key: "agent:main:dev", agent: "main", noTurn: true},
		{method: "sessions.create", params: `{"key":"dev","message":"hi"}`, key: "agent:main:dev", agent: "main"},
		{method: "sessions.create", params: `{"key":"dev","task":"hi"}`, key: "agent:main:dev", agent: "main"},
		{method: "sessions.create", params: `{"agentId":"ops"}`, key: "agent:ops:dashboard:*", agent: "ops", noTurn: true},
		{method: "sessions.create", params: ``, key: "agent:main:dashboard:*", agent: "main", noTurn: true},
		{method: "wake", params: `{"mode":"now","text":"t"}`, key: "agent:main:main", agent: "main"},
		{method: "wake", params: `{"mode":"next-heartbeat","text":"t"}`, key: "agent:main:main", agent: "main", noTurn: true},
	} {
		tg, err := targetOf(tc.method, []byte(tc.params))
		if tc.key == "" {
			if err == nil || err.Code != frames.CodeInvalidRequest || !strings.Contains(err.Message, tc.agent) {
				t.Errorf("%s %.60s: %v, want %q", tc.method, tc.params, err, tc.agent)
			}
			continue
		}
		head, open := strings.CutSuffix(tc.key, "*")
		if err != nil || tg.key != tc.key && !(open && strings.HasPrefix(tg.key, head)) || tg.agent != tc.agent || tg.turn == tc.noTurn {
			t.Errorf("%s %.60s: %+v %v", tc.method, tc.params, tg, err)
		}
	}
}

func TestTwoNewSessionsAreTwo(t *testing.T) {
	a, _ := targetOf("sessions.create", nil)
	b, _ := targetOf("sessions.create", nil)
	if a.key == b.key {
		t.Error(a.key)
	}
}

func TestUnknownAgents(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		for _, tc := range []struct{ method, params, want string }{
			{"chat.send", `{"sessionKey":"agent:gone:main","message":"m","idempotencyKey":"k"}`, `Agent "gone" no longer exists in configuration`},
			{"sessions.send", `{"key":"agent:gone:main","message":"m"}`, `Agent "gone" no longer exists in configuration`},
			{"agent", `{"sessionKey":"agent:gone:main","message":"m","idempotencyKey":"k"}`, `Agent "gone" no longer exists in configuration`},
			{"agent", `{"agentId":"Gone","message":"m","idempotencyKey":"k"}`, `invalid agent params: unknown agent id "Gone"`},
			{"chat.send", `{"sessionKey":"main","agentId":"gone","message":"m","idempotencyKey":"k"}`, `Unknown agent id "gone"`},
			{"sessions.create", `{"key":"agent:gone:main"}`, `Unknown agent id "gone"`},
		} {
			r.submit(pipelinetest.Request(r.t, r.c, tc.method, tc.params))
			if a := r.c.Next(r.t); a.OK || a.Error.Code != "INVALID_REQUEST" || a.Error.Message != tc.want {
				r.t.Errorf("%s %s: %+v", tc.method, tc.params, a.Error)
			}
		}
	})
}

func TestRequestsThatTakeNoPlace(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		for _, m := range []string{"health", "sessions.list", "no.such.method"} {
			r.submit(pipelinetest.Request(r.t, r.c, m, "{}"))
			r.c.Next(r.t)
		}
		r.submit(pipelinetest.Request(r.t, r.c, "sessions.create", `{"key":"dev"}`))
		if a := r.c.Next(r.t); !a.OK {
			r.t.Errorf("%+v", a.Error)
		}
		if n := r.Stats.Reserved.Load(); n != 0 {
			r.t.Errorf("%d places taken", n)
		}
	})
}

// corpusCase is a case of parity/session-routing-corpus.json.
type corpusCase struct {
	Name                string
	MaxQueue            int
	QueueMode           string
	GroupActivationMode string
	Requests            []struct {
		ID           string
		SessionKey   string
		Prompt       string
		Command      string
		ChatType     string
		WasMentioned *bool
	}
	ExpectRequestIDs []string
}

// superseded are the corpus' cases that record a behaviour of the first runtime which
// the real gateway, and so Sluice, does not have.
var superseded = map[string]string{
	// There, steer kept only the newest of the messages that waited and told nobody. The
	// real gateway puts each into the running turn, or lets each wait (openclaw.md 3.2).
	"steer_mode_keeps_latest_followup": "req-1 req-2 req-3",
}

// TestSessionRoutingCorpus: its max_queue counts at least 16 there (first-runtime.md
// section 3), and at the bound the newest are refused: our drop policy "new".
func TestSessionRoutingCorpus(t *testing.T) {
	var corpus struct{ Cases []corpusCase }
	framestest.ReadSharedJSON(t, &corpus, "parity", "session-routing-corpus.json")
	if len(corpus.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, tc := range corpus.Cases {
		t.Run(tc.Name, func(t *testing.T) {
			bubble(t, func(c *Config) {
				c.QueueMode, c.QueueDrop, c.GroupActivation = Mode(tc.QueueMode), DropNew, tc.GroupActivationMode
				c.QueueCap = max(16, tc.MaxQueue)
			}, func(r *rig) {
				for _, q := range tc.Requests {
					r.job(q.ID).steerable = false // else steer would end them with the first
					e := pipelinetest.RequestID(r.t, r.c, q.ID, "agent", fmt.Sprintf(
						`{"sessionKey":%q,"message":%q,"idempotencyKey":%q,"chatType":%q,"wasMentioned":%v}`, q.SessionKey, q.Prompt+q.Command, q.ID, q.ChatType, *q.WasMentioned))
					e.Source = pipeline.SourceChannel
					r.submit(e)
					synctest.Wait()
				}
				r.finishAll()
				want := strings.Join(tc.ExpectRequestIDs, " ")
				if now, ok := superseded[tc.Name]; ok {
					want = now
				}
				if got := r.started(); got != want {
					r.t.Errorf("started %s, want %s", got, want)
				}
				for range tc.Requests { // and everybody was told
					if a := r.c.Next(r.t); !a.OK && (a.Error.Code != "UNAVAILABLE" || !a.Error.Retryable) {
						r.t.Errorf("%+v", a.Error)
					}
				}
				clear(r.jobs)
			})
		})
	}
}

func TestGroupActivation(t *testing.T) {
	const group, direct = "agent:main:discord:group:g1", "agent:main:discord:dm:u1"
	for _, tc := range []struct {
		name              string
		config, session   string
		source            pipeline.Source
		key, extra, words string
		ignored           bool
	}{
		{"no mention", "mention", "", pipeline.SourceChannel, group, `"wasMentioned":false`, "hi", true},
		{"a mention", "mention", "", pipeline.SourceChannel, group, `"wasMentioned":true`, "hi", false},
		{"the channel cannot tell", "mention", "", pipeline.SourceChannel, group, `"chatType":"group"`, "hi", false},
		{"always", "always", "", pipeline.SourceChannel, group, `"wasMentioned":false`, "hi", false},
		{"the session says always", "mention", "always", pipeline.SourceChannel, group, `"wasMentioned":false`, "hi", false},
		{"the session says mention", "always", "mention", pipeline.SourceChannel, group, `"wasMentioned":false`, "hi", true},
		{"the session says nonsense", "mention", "x", pipeline.SourceChannel, group, `"wasMentioned":false`, "hi", true},
		{"a direct message", "mention", "", pipeline.SourceChannel, direct, `"wasMentioned":false`, "hi", false},
		{"a group by its type", "mention", "", pipeline.SourceChannel, "agent:main:x", `"wasMentioned":false,"chatType":"room"`, "hi", true},
		{"a channel", "mention", "", pipeline.SourceChannel, "agent:main:discord:channel:c", `"wasMentioned":false`, "hi", true},
		{"a control command", "mention", "", pipeline.SourceChannel, group, `"wasMentioned":false`, " /Stop now", false},
		{"a control command alone on its line", "mention", "", pipeline.SourceChannel, group, `"wasMentioned":false`, "/reset\nnow", false},
		{"a control command for somebody else", "mention", "", pipeline.SourceChannel, group, `"wasMentioned":false,"hasAnyMention":true`, "/stop", true},
		{"another command", "mention", "", pipeline.SourceChannel, group, `"wasMentioned":false`, "/stopp", true},
		{"a slash", "mention", "", pipeline.SourceChannel, group, `"wasMentioned":false`, "/", true},
		{"an operator", "mention", "", pipeline.SourceWire, group, `"wasMentioned":false`, "hi", false},
		{"a hook", "mention", "", pipeline.SourceHook, group, `"wasMentioned":false`, "hi", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(c *Config) { c.GroupActivation = tc.config }, func(r *rig) {
				r.policy = Policy{GroupActivation: tc.session}
				r.job("k")
				e := pipelinetest.Request(r.t, r.c, "agent", fmt.Sprintf(`{"sessionKey":%q,"message":%q,"idempotencyKey":"k",%s}`, tc.key, tc.words, tc.extra))
				e.Source = tc.source
				r.submit(e)
				a := r.c.Next(r.t)
				synctest.Wait()
				if got := strings.Contains(string(a.Payload), `"ignored"`); got != tc.ignored || !a.OK || (r.started() == "") != tc.ignored {
					r.t.Errorf("answer %s, started %q", a.Payload, r.started())
				}
				if tc.ignored {
					delete(r.jobs, "k")
				}
			})
		})
	}
}
