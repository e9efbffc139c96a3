package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/stages/defend"
	"sluice/storage"

	"github.com/go-json-experiment/json"
)

// recorder is a defender that keeps what it was asked about, and blocks it when told to.
type recorder struct {
	mu    sync.Mutex
	seen  []string
	block bool
}

func (*recorder) Name() string { return "recorder" }

func (r *recorder) Assess(_ context.Context, a *defend.Action, f *defend.Findings) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range [][][]byte{a.Prompts, a.Commands, a.URLs, a.Files} {
		for _, text := range list {
			r.seen = append(r.seen, string(text))
		}
	}
	if r.block {
		f.Hit(100, "test", "the recorder blocks everything")
	}
	return nil
}

func (r *recorder) saw(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seen {
		if strings.Contains(s, text) {
			return true
		}
	}
	return false
}

// outlets are all places that a text can reach: a model, a channel, and what later
// turns read.
type outlets struct {
	w    *world
	mu   sync.Mutex
	sent []string
}

func (o *outlets) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	o.mu.Lock()
	o.sent = append(o.sent, string(b))
	o.mu.Unlock()
}

// reached says where a text has got to; "" is nowhere.
func (o *outlets) reached(g *Gateway, text string) string {
	for _, call := range o.w.model.requests() {
		for _, m := range call.Messages {
			if strings.Contains(m.Content, text) {
				return "the model"
			}
		}
	}
	o.mu.Lock()
	sent := strings.Join(o.sent, "\n")
	o.mu.Unlock()
	if strings.Contains(sent, text) {
		return "a channel"
	}
	where := ""
	g.store.View(context.Background(), func(r storage.Reader) error {
		for _, c := range []storage.Collection{storage.Transcripts, storage.Runs, storage.Outbox} {
			r.Scan(c, storage.Range{}, func(key string, value []byte) error {
				if strings.Contains(string(value), text) {
					where = "the store, " + string(c) + " " + key
				}
				return nil
			})
		}
		return nil
	})
	for _, key := range []string{"agent:main:main", key} {
		notices, _ := g.system.Notices(key)
		for _, notice := range notices {
			if strings.Contains(notice, text) {
				where = "the next turn's system events"
			}
		}
	}
	return where
}

// routes are params for every native method: what a client can write into it, with %s
// for the text whose way is followed. Methods without a place for free text have none.
var routes = map[string]string{
	"chat.send":       `{"sessionKey":"agent:main:t","message":"%s","idempotencyKey":"%s"}`,
	"chat.inject":     `{"sessionKey":"agent:main:t","message":"%s","label":"%s"}`,
	"agent":           `{"sessionKey":"agent:main:t","message":"%s","extraSystemPrompt":"%s","idempotencyKey":"%s"}`,
	"sessions.send":   `{"key":"agent:main:t","message":"%s","idempotencyKey":"%s"}`,
	"sessions.create": `{"key":"agent:main:%s","message":"%s"}`,
	"send":            `{"to":"out","channel":"webhook","message":"%s","idempotencyKey":"%s"}`,
	"wake":            `{"mode":"now","text":"%s"}`,
	"system-event":    `{"text":"%s"}`,

	// Texts that name things.
	"sessions.patch": `{"key":"agent:main:t","label":"%s","icon":"%s"}`, "device.pair.rename": `{"deviceId":"%s","displayName":"%s"}`,
	"sessions.list": `{"search":"%s"}`, "sessions.resolve": `{"label":"%s"}`, "sessions.describe": `{"key":"%s"}`,
	"sessions.get": `{"key":"%s"}`, "sessions.preview": `{"keys":["%s"]}`, "sessions.reset": `{"key":"agent:main:%s"}`,
	"sessions.delete": `{"key":"agent:main:%s"}`, "sessions.compact": `{"key":"agent:main:%s"}`, "sessions.abort": `{"key":"%s","runId":"%s"}`,
	"sessions.subscribe": `{"search":"%s"}`, "sessions.messages.subscribe": `{"key":"%s"}`, "sessions.messages.unsubscribe": `{"key":"%s"}`,
	"chat.history": `{"sessionKey":"%s"}`, "chat.startup": `{"sessionKey":"%s"}`, "chat.metadata": `{"sessionKey":"%s"}`,
	"chat.message.get": `{"sessionKey":"%s","messageId":"%s"}`, "chat.abort": `{"sessionKey":"%s","runId":"%s"}`,
	"agent.wait": `{"runId":"%s","timeoutMs":1}`, "agent.identity.get": `{"agentId":"%s"}`,
	"config.set": `{"raw":"{agent:{agents:[{id:'x',systemPrompt:'%s'}]}}"}`, "config.apply": `{"raw":"%s"}`, "config.patch": `{"raw":"%s"}`,
	"config.schema.lookup": `{"path":"%s"}`, "commands.list": `{"agentId":"%s"}`, "models.list": `{"agentId":"%s"}`,
	"channels.status": `{"channel":"%s"}`, "device.pair.approve": `{"requestId":"%s"}`, "device.pair.reject": `{"requestId":"%s"}`,
	"device.pair.remove": `{"deviceId":"%s"}`, "device.token.rotate": `{"deviceId":"%s","role":"%s"}`,
	"device.token.revoke": `{"deviceId":"%s","role":"%s"}`, "device.pair.setupStatus": `{"setupId":"%s"}`,

	// Approvals: what is asked for is shown to operators, and decides whether others work.
	"exec.approval.request":   `{"command":"%s","cwd":"/tmp","timeoutMs":1}`,
	"plugin.approval.request": `{"title":"%s","description":"%s","timeoutMs":1}`,
	"exec.approval.get":       `{"id":"%s"}`, "exec.approval.waitDecision": `{"id":"%s"}`, "exec.approval.resolve": `{"id":"%s","decision":"deny"}`,
	"plugin.approval.waitDecision": `{"id":"%s"}`, "plugin.approval.resolve": `{"id":"%s","decision":"deny"}`,
	"approval.get": `{"id":"%s","kind":"exec"}`, "approval.resolve": `{"id":"%s","kind":"exec","decision":"deny"}`, "approval.history": `{"cursor":"%s"}`,
	"exec.approval.grants.revoke": `{"grantId":"%s"}`, "exec.approval.list": "", "plugin.approval.list": "", "openclaw.approval.list": "",
	"exec.approval.grants.list": "",

	// Sluice's own: numbers and a flag.
	"sluice.ledger.release": "", "sluice.integrity.status": "", "sluice.integrity.accept": "",

	// No free text.
	"connect": "", "health": "", "status": "", "diagnostics.stability": "", "diagnostics.lanes": "", "logs.tail": "",
	"usage.status": "", "config.get": "", "config.schema": "", "agents.list": "", "update.status": "", "last-heartbeat": "",
	"set-heartbeats": "", "device.pair.list": "", "device.pair.setupCode": "", "gateway.identity.get": "",
	"system-presence": "", "system.info": "",
}

// routeWorld is a gateway with every outlet configured and a recorder among its defenders.
func routeWorld(t *testing.T, block bool) (*running, *outlets, *recorder) {
	w := newWorld(t)
	o := &outlets{w: w}
	target := httptest.NewServer(o)
	t.Cleanup(target.Close)
	rec := &recorder{block: block}
	w.defenders = func([]defend.Defender) []defend.Defender { return []defend.Defender{rec} }
	w.conf["channels.webhook.targets"] = obj{"out": obj{"url": target.URL, "secret": "a-secret-for-signatures", "allowPrivate": true}}
	w.conf["hooks.enabled"], w.conf["hooks.token"] = true, "the-token-of-the-hooks"
	w.conf["schedule.debounceMs"] = 0
	return w.start(), o, rec
}

// ingress is one way for a request to enter.
type ingress struct {
	name string
	send func(t *testing.T, g *running, method, params string)
}

var ingresses = []ingress{
	{"wire", func(t *testing.T, g *running, method, params string) {
		c := g.dial()
		c.CallFinal(t.Context(), method, jsonValue(params), nil) // refusals are fine
	}},
	{"replay", func(t *testing.T, g *running, method, params string) {
		c := pipelinetest.NewClient()
		l := bufpool.Get(len(params) + 128)
		l.B = frames.AppendRequest(l.B, "1", method, []byte(params))
		e := pipeline.NewEnvelope(pipeline.SourceReplay, l)
		e.Client, e.Peer = c, c.Peer()
		if err := g.Submit(e); err != nil {
			t.Fatal(err)
		}
		c.Next(t)
	}},
	{"hook", func(t *testing.T, g *running, method, params string) {
		path, body := "/hooks/wake", params
		switch method {
		case "agent":
			var p struct{ Message string }
			json.Unmarshal([]byte(params), &p, json.MatchCaseInsensitiveNames(true))
			b, _ := json.Marshal(obj{"message": p.Message, "name": p.Message})
			path, body = "/hooks/agent", string(b)
		case "wake":
		default:
			return // hooks have no other methods
		}
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+g.Addr().String()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer the-token-of-the-hooks")
		r.Header.Set("Content-Type", "application/json")
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode >= 500 && resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s %s: %s", path, body, resp.Status)
		}
	}},
}

// TestRoutes walks every way into the gateway: a text that reaches a model, a channel or
// the store was judged; and what is blocked reaches none of them (law 4).
func TestRoutes(t *testing.T) {
	for _, block := range []bool{false, true} {
		for _, in := range ingresses {
			t.Run(fmt.Sprintf("%s, blocking %v", in.name, block), func(t *testing.T) {
				g, o, rec := routeWorld(t, block)
				g.dial().call("sessions.create", obj{"key": key}, nil)
				reached := map[string]string{}
				for _, m := range frames.Methods() {
					template, known := routes[m.Name]
					if !g.stages.dispatch.Native(m) {
						continue
					}
					if !known {
						t.Errorf("%s is native and has no line in routes: can a client's text start work by it, or leave?", m.Name)
					}
					if template == "" {
						continue
					}
					text := "marker-" + strings.ReplaceAll(m.Name, ".", "-")
					in.send(t, g, m.Name, strings.ReplaceAll(template, "%s", text))
					waitIdle(t, g)
					where := o.reached(g.Gateway, text)
					if where != "" {
						reached[m.Name] = where
					}
					switch {
					case where == "":
					case block:
						t.Errorf("%s: a blocked text reached %s", m.Name, where)
					case !rec.saw(text):
						t.Errorf("%s: a text that nobody judged reached %s", m.Name, where)
					}
				}
				if !block && in.name == "wire" {
					for _, name := range []string{"chat.send", "chat.inject", "agent", "sessions.send", "sessions.create", "send", "wake", "system-event"} {
						if reached[name] == "" {
							t.Errorf("%s reached nothing: the test proves nothing about it", name)
						}
					}
				}
				if !block && in.name == "hook" && (reached["agent"] == "" || reached["wake"] == "") {
					t.Errorf("hooks reached only %v", reached)
				}
			})
		}
	}
}

// waitIdle waits until no turn runs.
func waitIdle(t *testing.T, g *running) {
	t.Helper()
	eventually(t, "no turn runs", func() bool {
		v := g.stages.schedule.View()
		n, _ := g.pipe.InFlight()
		return v.Running == 0 && v.Queued == 0 && n == 0
	})
}
