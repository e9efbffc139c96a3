package approvals_test

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/decode"
	"sluice/stages/defend/approval"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/methods/approvals"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is decode and dispatch around the family, the real broker, and clients.
type world struct {
	tb      testing.TB
	broker  *approval.Broker
	pipe    *pipeline.Pipeline
	mu      sync.Mutex
	clients []*client
}

// newWorld runs inside a synctest bubble.
func newWorld(tb testing.TB, change func(*approval.Config, *approval.Deps)) *world {
	tb.Helper()
	w := &world{tb: tb}
	cfg, deps := approval.Default(), approval.Deps{Events: w, Approvers: w.approvers,
		Analyze: func(string) *approval.Analysis {
			return &approval.Analysis{CommandCount: 1, RiskKinds: []string{}, WarningLines: []string{}}
		}}
	if change != nil {
		change(&cfg, &deps)
	}
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	var err error
	w.broker, err = approval.New(cfg, deps)
	must(err)
	must(w.broker.Start(context.Background()))
	log := slog.New(slog.DiscardHandler)
	d, err := dispatch.New(dispatch.Default(), approvals.New(broker{w.broker}).Methods(), func(e *pipeline.Envelope, err error) { w.pipe.Resume(e, err) }, log)
	must(err)
	dec, err := decode.New(decode.Default(), d.Native, log)
	must(err)
	w.pipe, err = pipeline.New(pipeline.Default(), []pipeline.Stage{dec, d}, log, nil)
	must(err)
	must(w.pipe.Start(context.Background()))
	return w
}

func (w *world) close() {
	w.tb.Helper()
	if err := w.broker.Close(context.Background()); err != nil {
		w.tb.Error(err)
	}
	if left := w.pipe.Drain(context.Background()); left > 0 {
		w.tb.Errorf("%d requests are still open", left)
	}
	if err := w.pipe.Stop(context.Background()); err != nil {
		w.tb.Error(err)
	}
}

func (w *world) approvers(exclude string) (conns []string) {
	for _, c := range w.clients {
		if c.peer.ConnID != exclude && c.peer.Scopes.Allows(frames.ScopeApprovals) {
			conns = append(conns, c.peer.ConnID)
		}
	}
	return conns
}

// Broadcast implements frames.Broadcaster as the hub does, without numbers.
func (w *world) Broadcast(ev frames.Event) {
	for _, c := range w.clients {
		switch {
		case !c.peer.Scopes.Allows(ev.Scope), ev.Reach == frames.ReachConn && c.peer.ConnID != ev.ConnID:
		case ev.Reach == frames.ReachApprovals && c.session != ev.SessionKey:
		default:
			c.add(frames.AppendEventTail(frames.AppendEventHead(nil, ev.Name, ev.Payload), 0, nil))
		}
	}
}

// client is a connection that keeps what it is sent.
type client struct {
	frames.Client
	w       *world
	peer    *frames.Peer
	session string // whose approvals it follows

	mu  sync.Mutex
	got []string
}

func (w *world) connect(id string, scopes ...string) *client {
	c := &client{w: w, peer: &frames.Peer{ConnID: id, Role: frames.RoleOperator, Scopes: frames.ParseScopes(scopes), Protocol: 4,
		Identity: "shared", Client: frames.ClientInfo{ID: "gateway-client"}}}
	w.clients = append(w.clients, c)
	return c
}

func (c *client) Peer() *frames.Peer { return c.peer }
func (c *client) Close(frames.Close) {}
func (c *client) Send(b frames.Buffer) bool {
	c.add(b.Bytes())
	b.Release()
	return true
}

func (c *client) add(frame []byte) {
	c.mu.Lock()
	c.got = append(c.got, string(frame))
	c.mu.Unlock()
}

// send submits one frame and lets everything happen that does not need time.
func (c *client) send(frame []byte) {
	c.w.tb.Helper()
	lease := bufpool.Get(len(frame))
	lease.B = append(lease.B[:0], frame...)
	e := pipeline.NewEnvelope(pipeline.SourceWire, lease)
	e.Client, e.Peer = c, c.peer
	if err := c.w.pipe.Submit(e); err != nil {
		c.w.tb.Fatal(err)
	}
	synctest.Wait()
}

type answer struct {
	ID      string         `json:"id"`
	OK      bool           `json:"ok"`
	Payload jsontext.Value `json:"payload"`
	Error   *struct {
		Code    string         `json:"code"`
		Message string         `json:"message"`
		Details map[string]any `json:"details"`
	} `json:"error"`
}

// call sends a request and returns what came under its id so far.
func (c *client) call(method, params string) []answer {
	c.w.tb.Helper()
	c.mu.Lock()
	c.got = nil
	c.mu.Unlock()
	c.send(frames.AppendRequest(nil, "1", method, []byte(params)))
	return c.answers()
}

func (c *client) answers() (out []answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, frame := range c.got {
		var a answer
		if err := json.Unmarshal([]byte(frame), &a); err != nil {
			c.w.tb.Fatal(err)
		}
		if a.ID == "1" {
			out = append(out, a)
		}
	}
	return out
}

// one is call for a method that answers at once.
func (c *client) one(method, params string) answer {
	c.w.tb.Helper()
	list := c.call(method, params)
	if len(list) != 1 {
		c.w.tb.Fatalf("%s %s: %d answers", method, params, len(list))
	}
	return list[0]
}

func (c *client) wantError(message, method, params string) answer {
	c.w.tb.Helper()
	a := c.one(method, params)
	if a.OK || a.Error.Message != message {
		c.w.tb.Errorf("%s %s: %s %+v, want %s", method, params, a.Payload, a.Error, message)
	}
	return a
}

func (c *client) wantOK(method, params, want string) {
	c.w.tb.Helper()
	a := c.one(method, params)
	if !a.OK || normal(string(a.Payload)) != want {
		c.w.tb.Errorf("%s %s: %s %+v, want %s", method, params, a.Payload, a.Error, want)
	}
}

var (
	times = regexp.MustCompile(`"(createdAtMs|expiresAtMs|resolvedAtMs|updatedAtMs|ts)":\d+`)
	seq   = regexp.MustCompile(`,"seq":\d+`)
	ids   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

// normal takes out of a frame what differs from run to run.
func normal(frame string) string {
	return seq.ReplaceAllString(times.ReplaceAllString(frame, `"$1":0`), "")
}

func normalAll(list []string) []string {
	out := make([]string, len(list))
	for i, f := range list {
		out[i] = normal(f)
	}
	slices.Sort(out)
	return out
}

func diff(t *testing.T, who string, got, want []string) {
	t.Helper()
	got, want = normalAll(got), normalAll(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s got\n%s\nwant\n%s", who, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func methodNames() (names []string) {
	for _, m := range approvals.New(nil).Methods() {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}
