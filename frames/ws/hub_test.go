package ws_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/frames/ws"
)

// granting accepts each connection with the peer that its first frame describes.
func granting() handler {
	type spec struct {
		Role, ID string
		Scopes   []string
		Caps     []string
		Sub      []string
		Sessions bool
	}
	return handler{frame: func(c *ws.Conn, l *bufpool.Lease) {
		if c.Peer() != nil {
			l.Release()
			return
		}
		var s spec
		if err := json.Unmarshal(l.B, &s); err != nil {
			panic(err)
		}
		l.B = append(l.B[:0], c.ID()...)
		c.Send(l)
		p := &frames.Peer{ConnID: c.ID(), Role: frames.RoleOperator, Scopes: frames.ParseScopes(s.Scopes), Caps: s.Caps}
		if s.Role == "node" {
			p.Role = frames.RoleNode
		}
		for _, k := range s.Sub {
			c.Subscriptions().Add(k, frames.SubscriptionOptions{})
		}
		c.Subscriptions().SetSessions(s.Sessions)
		c.Accept(p)
	}}
}

type event struct {
	Event   string         `json:"event"`
	Payload map[string]any `json:"payload"`
	Seq     uint64         `json:"seq"`
}

func (p *peer) mustEvent() (e event, raw string) {
	p.t.Helper()
	_, b := p.mustRead()
	if err := json.Unmarshal(b, &e); err != nil {
		p.t.Fatalf("%s: %v", b, err)
	}
	return e, string(b)
}

func (e edge) mustGrant(t testing.TB, spec string) (*peer, string) {
	t.Helper()
	p := e.mustDial(t)
	p.send(text(spec))
	_, id := p.mustRead()
	eventually(t, "accepted", func() bool { return e.Find(string(id)) != nil })
	return p, string(id)
}

// TestReach checks who gets what: each event is broadcast, then a marker to everyone.
func TestReach(t *testing.T) {
	e := mustServe(t, fast(), granting())
	type conn struct {
		*peer
		id string
	}
	who := map[string]*conn{}
	for name, spec := range map[string]string{
		"reader":   `{"Scopes":["operator.read"]}`,
		"admin":    `{"Scopes":["operator.admin"]}`,
		"none":     `{}`,
		"pairing":  `{"Scopes":["operator.pairing"]}`,
		"sessions": `{"Scopes":["operator.read"],"Sessions":true}`,
		"subbed":   `{"Scopes":["operator.read"],"Sub":["s1"]}`,
		"scoped":   `{"Scopes":["operator.read"],"Caps":["session-scoped-events"],"Sub":["s1"]}`,
		"tools":    `{"Scopes":["operator.read"],"Caps":["tool-events"]}`,
		"node":     `{"Role":"node"}`,
	} {
		p, id := e.mustGrant(t, spec)
		who[name] = &conn{p, id}
	}
	for _, tc := range []struct {
		ev   frames.Event
		want string
	}{
		{frames.Event{Name: "presence"}, "admin reader scoped sessions subbed tools"},
		{frames.Event{Name: "health"}, "admin none pairing reader scoped sessions subbed tools"},
		{frames.Event{Name: "health", ToNodes: true}, "admin node none pairing reader scoped sessions subbed tools"},
		{frames.Event{Name: "device.pair.requested"}, "admin pairing"},
		{frames.Event{Name: "exec.approval.requested"}, "admin"},
		{frames.Event{Name: "no.such.event"}, ""},
		{frames.Event{Name: "no.such.event", Scope: frames.ScopePairing}, "admin pairing"},
		{frames.Event{Name: "sessions.changed", Reach: frames.ReachSessions}, "sessions"},
		{frames.Event{Name: "session.message", Reach: frames.ReachSession, SessionKey: "s1"}, "scoped sessions subbed"},
		{frames.Event{Name: "session.message", Reach: frames.ReachSession, SessionKey: "s2"}, "sessions"},
		{frames.Event{Name: "chat", Reach: frames.ReachReaders, SessionKey: "s1"}, "admin reader scoped sessions subbed tools"},
		{frames.Event{Name: "chat", Reach: frames.ReachReaders, SessionKey: "s2"}, "admin reader sessions subbed tools"},
		{frames.Event{Name: "agent", Reach: frames.ReachRun, ConnID: "tools"}, "tools"},
		{frames.Event{Name: "agent", Reach: frames.ReachRun, ConnID: "reader"}, ""},
		{frames.Event{Name: "agent", Reach: frames.ReachConn, ConnID: "reader"}, "reader"},
		{frames.Event{Name: "agent", Reach: frames.ReachConn, ConnID: "none"}, ""},
		{frames.Event{Name: "agent", Reach: frames.ReachConn, ConnID: "nobody"}, ""},
		{frames.Event{Name: "node.invoke.request", Reach: frames.ReachConn, ConnID: "node", Unsequenced: true}, "node"},
	} {
		ev := tc.ev
		if c := who[ev.ConnID]; c != nil {
			ev.ConnID = c.id
		}
		ev.Payload = []byte(`{"real":true}`)
		e.Broadcast(ev)
		e.Broadcast(frames.Event{Name: "tick", Payload: []byte(`{"ts":1}`), ToNodes: true})
		var got []string
		for _, name := range []string{"admin", "node", "none", "pairing", "reader", "scoped", "sessions", "subbed", "tools"} {
			first, _ := who[name].mustEvent()
			if first.Event == ev.Name {
				got = append(got, name)
				who[name].mustEvent() // the marker
			}
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s reach %d key %q: %s, want %s", ev.Name, ev.Reach, ev.SessionKey, s, tc.want)
		}
	}
}

func TestEventBytes(t *testing.T) {
	e := mustServe(t, fast(), granting())
	p, id := e.mustGrant(t, `{"Scopes":["operator.read"]}`)
	big := `{"x":"` + strings.Repeat("y", 50_000) + `"}`
	for _, tc := range []struct {
		ev   frames.Event
		want string
	}{
		{frames.Event{Name: "presence", Payload: []byte(`{"a":1}`), State: &frames.StateVersion{Presence: 4, Health: 7}},
			`{"type":"event","event":"presence","payload":{"a":1},"seq":1,"stateVersion":{"presence":4,"health":7}}`},
		{frames.Event{Name: "chat", Unsequenced: true, Reach: frames.ReachConn, ConnID: id, Payload: []byte(`{}`)},
			`{"type":"event","event":"chat","payload":{}}`},
		{frames.Event{Name: "chat"}, `{"type":"event","event":"chat","seq":2}`},
		{frames.Event{Name: "chat", Payload: []byte(big)}, `{"type":"event","event":"chat","payload":` + big + `,"seq":3}`},
		{frames.Event{Name: "chat", Payload: []byte(big), Unsequenced: true}, `{"type":"event","event":"chat","payload":` + big + `}`},
		{frames.Event{Name: "chat"}, `{"type":"event","event":"chat","seq":4}`},
	} {
		e.Broadcast(tc.ev)
		if _, b := p.mustRead(); string(b) != tc.want {
			t.Errorf("%.200s, want %.200s", b, tc.want)
		}
	}
	e.Tick()
	if ev, raw := p.mustEvent(); ev.Event != "tick" || ev.Payload["ts"].(float64) < 1.7e12 || ev.Seq != 5 {
		t.Errorf("tick: %s", raw)
	}
}

// TestSeqUnderConcurrency: however many broadcast at once, each socket sees 1, 2, 3 …
// without a gap, and each sender's events in its order.
func TestSeqUnderConcurrency(t *testing.T) {
	e := mustServe(t, fast(), granting())
	const clients, senders, events = 6, 8, 160
	var peers []*peer
	for range clients {
		p, _ := e.mustGrant(t, `{"Scopes":["operator.read"]}`)
		_ = p.SetDeadline(time.Now().Add(6 * patience)) // 80 MB through the race detector
		peers = append(peers, p)
	}
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range events {
				payload := fmt.Sprintf(`{"s":%d,"i":%d,"pad":"%s"}`, s, i, strings.Repeat("p", i*i%30_000))
				e.Broadcast(frames.Event{Name: "chat", Payload: []byte(payload)})
			}
		})
	}
	for _, p := range peers {
		wg.Go(func() {
			next := map[float64]float64{}
			for n := uint64(1); n <= senders*events; n++ {
				_, b, err := p.read()
				var ev event
				if err != nil || json.Unmarshal(b, &ev) != nil {
					t.Errorf("event %d: %v %.80s", n, err, b)
					return
				}
				s, i := ev.Payload["s"].(float64), ev.Payload["i"].(float64)
				if ev.Seq != n || next[s] != i {
					t.Errorf("seq %d sender %v event %v, want seq %d event %v", ev.Seq, s, i, n, next[s])
					return
				}
				next[s]++
			}
		})
	}
	wg.Wait()
}

// TestDropIfSlow: a skipped event uses up its number.
func TestDropIfSlow(t *testing.T) {
	cfg := fast()
	cfg.MaxBufferedBytes = 1 << 20
	e := mustServe(t, cfg, granting())
	p, id := e.mustGrant(t, `{"Scopes":["operator.read"]}`)
	c := e.Find(id)
	payload := []byte(`{"x":"` + strings.Repeat("y", 100_000) + `"}`)
	var sent uint64
	for e.Stats().Dropped["chat"] < 5 {
		e.Broadcast(frames.Event{Name: "chat", Payload: payload, DropIfSlow: true})
		sent++
	}
	var last, gaps uint64
	for e.Stats().OutboxBytes > 0 { // the client reads again
		ev, _ := p.mustEvent()
		gaps += ev.Seq - last - 1
		last = ev.Seq
	}
	e.Broadcast(frames.Event{Name: "health", Payload: []byte(`{}`)})
	for {
		ev, _ := p.mustEvent()
		gaps += ev.Seq - last - 1
		last = ev.Seq
		if ev.Event == "health" {
			break
		}
	}
	if last != sent+1 || gaps != e.Stats().Dropped["chat"] {
		t.Errorf("last seq %d of %d, %d gaps, %d dropped", last, sent+1, gaps, e.Stats().Dropped["chat"])
	}
	if c.Peer() == nil {
		t.Error("the connection ended although only droppable events were sent")
	}
}

func TestCloseWhere(t *testing.T) {
	e := mustServe(t, fast(), granting())
	node, _ := e.mustGrant(t, `{"Role":"node"}`)
	op, _ := e.mustGrant(t, `{"Scopes":["operator.read"]}`)
	if n := len(e.Conns()); n != 2 {
		t.Errorf("%d connections", n)
	}
	n := e.CloseWhere(func(p *frames.Peer) bool { return p.Role == frames.RoleNode }, frames.Close{Code: 4001, Reason: "device removed"})
	if n != 1 {
		t.Errorf("%d closed", n)
	}
	node.wantClose(4001, "device removed")
	e.Broadcast(frames.Event{Name: "tick", Payload: []byte(`{"ts":1}`)})
	op.mustEvent()
}

// TestTicksByItself: the edge's own timer sends ticks.
func TestTicksByItself(t *testing.T) {
	cfg := fast()
	cfg.TickIntervalMs = 100
	e := mustServe(t, cfg, granting())
	p, _ := e.mustGrant(t, `{"Role":"node"}`)
	for i := uint64(1); i <= 3; i++ {
		if ev, raw := p.mustEvent(); ev.Event != "tick" || ev.Seq != i {
			t.Errorf("%s", raw)
		}
	}
}
