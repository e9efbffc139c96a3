package approval

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"

	"sluice/frames"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memStore is a Store in memory that can fail.
type memStore struct {
	mu   sync.Mutex
	rows map[string][]byte
	fail error
	n    int
}

func newMemStore() *memStore { return &memStore{rows: map[string][]byte{}} }

func (m *memStore) Load(_ context.Context, fn func(string, []byte) error) error {
	m.mu.Lock()
	rows := maps.Clone(m.rows)
	m.mu.Unlock()
	for k, v := range rows {
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}

func (m *memStore) Write(_ context.Context, changes ...Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.n++
	for _, c := range changes {
		if c.Value == nil {
			delete(m.rows, c.Key)
		} else {
			m.rows[c.Key] = c.Value
		}
	}
	return nil
}

func (m *memStore) setFail(err error) {
	m.mu.Lock()
	m.fail = err
	m.mu.Unlock()
}

var errDisk = errors.New("disk full")

// world is a broker with everything around it recorded.
type world struct {
	tb testing.TB
	*Broker
	store *memStore

	mu     sync.Mutex
	events []frames.Event
	notes  []Note
}

func newWorld(tb testing.TB, change func(*Config, *Deps)) *world {
	tb.Helper()
	return newWorldOver(tb, newMemStore(), change)
}

func newWorldOver(tb testing.TB, store *memStore, change func(*Config, *Deps)) *world {
	tb.Helper()
	w := &world{tb: tb, store: store}
	cfg, deps := Default(), Deps{Store: store, Events: w, Journal: func(n Note) {
		w.mu.Lock()
		w.notes = append(w.notes, n)
		w.mu.Unlock()
	}}
	if change != nil {
		change(&cfg, &deps)
	}
	b, err := New(cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	w.Broker = b
	if err := b.Start(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return w
}

// Broadcast implements frames.Broadcaster.
func (w *world) Broadcast(ev frames.Event) {
	w.mu.Lock()
	w.events = append(w.events, ev)
	w.mu.Unlock()
}

func (w *world) close() {
	w.tb.Helper()
	if err := w.Close(context.Background()); err != nil {
		w.tb.Error(err)
	}
}

// told returns the names of the events so far.
func (w *world) told() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, ev := range w.events {
		names = append(names, ev.Name)
	}
	return strings.Join(names, " ")
}

func (w *world) actions() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for _, n := range w.notes {
		names = append(names, n.Action)
	}
	return strings.Join(names, " ")
}

// payload decodes the last event of that name.
func (w *world) payload(name string) map[string]any {
	w.tb.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.events) - 1; i >= 0; i-- {
		if w.events[i].Name == name {
			var m map[string]any
			if err := json.Unmarshal(w.events[i].Payload, &m); err != nil {
				w.tb.Fatal(err)
			}
			return m
		}
	}
	w.tb.Fatalf("no event %s", name)
	return nil
}

func (w *world) ask(a Ask) Approval {
	w.tb.Helper()
	v, err := w.Ask(context.Background(), a)
	if err != nil {
		w.tb.Fatal(err)
	}
	return v
}

func (w *world) resolve(r Resolution) (Approval, string) {
	w.tb.Helper()
	if r.By == nil {
		r.By = operator("c2")
	}
	if r.Kind == "" {
		r.Kind = KindExec
	}
	v, result, err := w.Resolve(context.Background(), r)
	if err != nil {
		w.tb.Fatal(err)
	}
	return v, result
}

func (w *world) wantResolve(want string, r Resolution) {
	w.tb.Helper()
	if _, got := w.resolve(r); got != want {
		w.tb.Fatalf("resolve %s %s: %s, want %s", r.ID, r.Decision, got, want)
	}
}

// operator is a connection that may approve.
func operator(conn string) *frames.Peer {
	return &frames.Peer{ConnID: conn, Role: frames.RoleOperator, Scopes: frames.ParseScopes([]string{"operator.approvals"}),
		Identity: "shared", Client: frames.ClientInfo{ID: "cli-" + conn}}
}

// echo is a command's request.
func echo(id string) Ask {
	return Ask{Kind: KindExec, ID: id, By: operator("c1"), Command: "echo hi", Argv: []string{"echo", "hi"}, Cwd: "/tmp",
		Host: "gateway", AgentID: "main", SessionKey: "agent:main:main"}
}

func wireCode(tb testing.TB, err error) *frames.Error {
	tb.Helper()
	var w *frames.Error
	if !errors.As(err, &w) {
		tb.Fatalf("%v is no error of the protocol", err)
	}
	return w
}
