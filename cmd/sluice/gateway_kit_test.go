package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/bufpool/bufpooltest"
	"sluice/frames/client"
	"sluice/stages/defend"
	"sluice/storage"

	"github.com/go-json-experiment/json"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// world is one machine: a state folder and a model endpoint, on which gateways run one
// after the other.
type world struct {
	tb    testing.TB
	state string
	model *fakeModel
	conf  map[string]any // dotted key -> value
	logs  lockedBuffer

	wrapStore func(storage.Store) storage.Store
	defenders func([]defend.Defender) []defend.Defender
}

// lockedBuffer collects a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newWorld makes one with a configured model and short waits.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	bufpooltest.NoLeaks(tb)
	w := &world{tb: tb, state: filepath.Join(tb.TempDir(), "state"), model: newFakeModel(tb), conf: map[string]any{}}
	for k, v := range map[string]any{
		"agent.model.baseUrl": w.model.URL + "/v1", "agent.model.name": "fake-1", "agent.model.provider": "fake",
		"agent.retries": 2, "agent.retryDelayMs": 5, "agent.deltaPaceMs": 5, "schedule.debounceMs": 20,
		"pipeline.drainMs": 5000, "telemetry.logs.level": "warn",
		// What a model thinks of a test's words, or the guard of a test's edits, is for the
		// tests of the defence.
		"defend.review": "allow", "defend.host.enabled": false,
	} {
		w.conf[k] = v
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of the gateway:\n%s", w.logs.String())
		}
	})
	return w
}

func (w *world) configPath() string { return filepath.Join(w.state, "sluice.json5") }

// writeConfig writes the file as a user's editor would: whole, by rename.
func (w *world) writeConfig() {
	w.tb.Helper()
	tree := map[string]any{}
	for key, v := range w.conf {
		at := tree
		parts := strings.Split(key, ".")
		for _, p := range parts[:len(parts)-1] {
			if at[p] == nil {
				at[p] = map[string]any{}
			}
			at = at[p].(map[string]any)
		}
		at[parts[len(parts)-1]] = v
	}
	b, err := json.Marshal(tree)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.writeConfigText(string(b))
}

func (w *world) writeConfigText(text string) {
	w.tb.Helper()
	if err := os.MkdirAll(w.state, 0o700); err != nil {
		w.tb.Fatal(err)
	}
	tmp := w.configPath() + ".new"
	if err := errors.Join(os.WriteFile(tmp, []byte(text), 0o600), os.Rename(tmp, w.configPath())); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) options() gatewayOptions {
	return gatewayOptions{location: location{state: w.state, config: w.configPath()},
		flags: map[string]string{"gateway.listen": "127.0.0.1:0"}, stderr: &w.logs,
		wrapStore: w.wrapStore, defenders: w.defenders}
}

// start runs a gateway until the test ends or stops it.
func (w *world) start() *running {
	w.tb.Helper()
	w.writeConfig()
	g, err := newGateway(w.tb.Context(), w.options())
	if err != nil {
		w.tb.Fatal(err)
	}
	r := &running{Gateway: g, w: w}
	w.tb.Cleanup(func() { r.stop() })
	if err := g.Start(w.tb.Context()); err != nil {
		w.tb.Fatal(err)
	}
	return r
}

// running is a gateway of a world.
type running struct {
	*Gateway
	w    *world
	once sync.Once
}

// stop ends the gateway in order.
func (r *running) stop() {
	r.w.tb.Helper()
	r.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			r.w.tb.Errorf("stop: %v", err)
		}
	})
}

// kill ends the gateway as kill -9 would as far as the state can tell: from now on
// nothing more reaches the disk.
func (r *running) kill() {
	r.w.tb.Helper()
	r.once.Do(func() {
		r.store.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		r.stages.schedule.Hold()
		r.stages.schedule.AbortAll("killed")
		r.stages.dispatch.Cancel()
		r.Stop(ctx) // complains about the closed store, rightly
	})
}

// dial connects a client.
func (r *running) dial(change ...func(*client.Options)) *conn {
	tb := r.w.tb
	tb.Helper()
	o := client.Default()
	o.URL = "ws://" + r.Addr().String()
	o.Auth.Token = r.auth(r.conf.Current()).Secret
	o.EventBuffer = 4096
	for _, fn := range change {
		fn(&o)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	cl, err := client.Dial(ctx, o)
	if err != nil {
		tb.Fatal(err)
	}
	c := &conn{Client: cl, tb: tb, more: make(chan struct{}, 1), ended: make(chan struct{})}
	go c.collect()
	tb.Cleanup(func() {
		cl.Close()
		<-c.ended
		if n := cl.Stats().DroppedEvents; n > 0 {
			tb.Errorf("the test's client was too slow for %d events", n)
		}
	})
	return c
}

// readOnly asks for operator.read only.
func readOnly(o *client.Options) { o.Scopes = []string{"operator.read"} }

// eventually polls for what no event announces.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); time.Now().Before(limit); <-tick.C {
		if ok() {
			return
		}
	}
	tb.Fatalf("not within %s: %s", patience, what)
}
