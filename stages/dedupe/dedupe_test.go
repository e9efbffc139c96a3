package dedupe

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/storage"
	"sluice/storage/bolt"
	"sluice/storage/storagetest"
)

func TestConformance(t *testing.T) {
	pipelinetest.Conformance(t, func() pipeline.Stage {
		s, err := New(Default(), storagetest.NewMemory(), func(*pipeline.Envelope) {})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestConfig(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"ttlMs":      func(c *Config) { c.TTLMs = 999 },
		"runTtlMs":   func(c *Config) { c.RunTTLMs = c.TTLMs - 1 },
		"maxEntries": func(c *Config) { c.MaxEntries = 15 },
		"maxBytes":   func(c *Config) { c.MaxBytes = 1 },
		"maxWaiters": func(c *Config) { c.MaxWaiters = 0 },
	} {
		c := Default()
		change(&c)
		if _, err := New(c, nil, nil); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestTheProtocolsTable is wire.md 3.10, row by row: a duplicate in flight, one after
// the end, and the same key with other content.
func TestTheProtocolsTable(t *testing.T) {
	with := func(format string) func(key, x string) string {
		return func(key, x string) string { return fmt.Sprintf(format, x, key) }
	}
	for method, tc := range map[string]struct {
		params   func(key, x string) string
		run      bool // starts a run: in flight until that ends
		conflict bool
	}{
		"chat.send":      {with(`{"sessionKey":"main","message":%q,"idempotencyKey":%q}`), true, true},
		"sessions.send":  {with(`{"key":"main","message":%q,"idempotencyKey":%q}`), true, true},
		"agent":          {with(`{"message":%q,"idempotencyKey":%q}`), true, false},
		"send":           {with(`{"to":"x","message":%q,"idempotencyKey":%q}`), false, false},
		"poll":           {with(`{"to":"x","question":%q,"options":["a","b"],"idempotencyKey":%q}`), false, false},
		"message.action": {with(`{"channel":"c","action":%q,"params":{},"idempotencyKey":%q}`), false, false},
	} {
		t.Run(method, func(t *testing.T) {
			bufpooltest.NoLeaks(t)
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Default(), storagetest.NewMemory())
				var claim pipeline.Claim
				gate := make(chan struct{})
				r.handle = func(e *pipeline.Envelope) error {
					<-gate
					claim = e.Claim
					if tc.run {
						claim.Replace([]byte(`"in_flight"`))
					}
					return r.count(e)
				}
				a, b := as("shared"), as("shared") // another connection of the same identity
				r.submit(a, method, tc.params("k", "x"))
				r.submit(b, method, tc.params("k", "x"))
				r.submit(b, method, tc.params("k", "other"))
				synctest.Wait()
				if tc.conflict {
					if got := text(b.Next(t)); got != conflict {
						t.Fatalf("other content in flight: %s", got)
					}
				}
				if len(a.Answers)+len(b.Answers) != 0 {
					t.Fatal("answered before the first has ended")
				}
				close(gate)
				first, replay := `"shared/k #1"`, `"shared/k #1"`
				if tc.run {
					replay = `"in_flight"`
				}
				if got := text(a.Next(t)); got != first {
					t.Fatalf("the first: %s", got)
				}
				if got := text(b.Next(t)); got != replay {
					t.Fatalf("the duplicate in flight: %s", got)
				}
				if !tc.conflict {
					if got := text(b.Next(t)); got != replay {
						t.Fatalf("other content in flight: %s", got)
					}
				}
				if tc.run {
					if got := r.call(b, method, tc.params("k", "x")); got != replay {
						t.Fatalf("while it runs: %s", got)
					}
					claim.Replace([]byte(`"ok"`))
					replay = `"ok"`
				}
				if got := r.call(a, method, tc.params("k", "x")); got != replay {
					t.Fatalf("after the end: %s", got)
				}
				want := replay
				if tc.conflict {
					want = conflict
				}
				if got := r.call(a, method, tc.params("k", "other")); got != want {
					t.Fatalf("other content after the end: %s", got)
				}
				if got := r.call(as("device:1"), method, tc.params("k", "x")); got != `"device:1/k #1"` {
					t.Fatalf("another identity: %s", got)
				}
				if n := r.effects("shared/k"); n != 1 {
					t.Fatalf("%d effects", n)
				}
			})
		})
	}
	t.Run("node.invoke has no key: it is executed again", func(t *testing.T) {
		r := newRig(t, Default(), storagetest.NewMemory())
		for n := 1; n <= 2; n++ {
			if got, want := r.call(as("a"), "node.invoke", `{"nodeId":"n","command":"c","idempotencyKey":"k"}`), fmt.Sprintf(`"a/k #%d"`, n); got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
	})
	t.Run("chat.send and sessions.send name the same run", func(t *testing.T) {
		r := newRig(t, Default(), storagetest.NewMemory())
		r.call(as("a"), "chat.send", params("k", "x"))
		if got := r.call(as("a"), "sessions.send", `{"key":"main","message":"x","idempotencyKey":"k"}`); got != conflict {
			t.Fatal(got)
		}
	})
}

func TestAnErrorIsNotKept(t *testing.T) {
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Default(), storagetest.NewMemory())
		gate := make(chan struct{})
		r.handle = func(e *pipeline.Envelope) error {
			<-gate
			e.Claim.Replace([]byte(`"in_flight"`))
			return frames.Invalid("no model")
		}
		c := as("a")
		for range 3 {
			r.submit(c, "chat.send", params("k", "x"))
		}
		synctest.Wait()
		close(gate)
		for range 3 {
			if got := text(c.Next(t)); got != "INVALID_REQUEST no model" {
				t.Fatal(got)
			}
		}
		synctest.Wait()
		if r.Size() != 0 || r.Bytes() != 0 {
			t.Fatalf("%d keys, %d bytes are kept", r.Size(), r.Bytes())
		}
		r.handle = nil
		if got := r.call(c, "chat.send", params("k", "other")); got != `"a/k #1"` {
			t.Fatalf("the next try: %s", got)
		}
	})
}

func TestAStoreThatCannotWriteKeepsNothing(t *testing.T) {
	mem := storagetest.NewMemory()
	r := newRig(t, Default(), mem)
	mem.Fail = func() error { return storage.ErrFull }
	if got := r.call(as("a"), "chat.send", params("k", "x")); !strings.HasPrefix(got, "UNAVAILABLE state could not be saved") {
		t.Fatal(got)
	}
	mem.Fail = nil
	if got := r.call(as("a"), "chat.send", params("k", "x")); got != `"a/k #2"` {
		t.Fatal(got)
	}
}

func TestAStoreThatCannotReadRefuses(t *testing.T) {
	mem := storagetest.NewMemory()
	r := newRig(t, Default(), mem)
	mem.Close()
	if got := r.call(as("a"), "chat.send", params("k", "x")); !strings.HasPrefix(got, "UNAVAILABLE") || r.Size() != 0 {
		t.Fatalf("%s; %d keys", got, r.Size())
	}
}

func TestKeysAreForgottenWhenTheirTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Default(), storagetest.NewMemory())
		c := as("a")
		r.call(c, "chat.send", params("k", "x"))
		time.Sleep(5*time.Minute - time.Millisecond) // synctest's clock
		if got := r.call(c, "chat.send", params("k", "x")); got != `"a/k #1"` {
			t.Fatalf("a millisecond before: %s", got)
		}
		time.Sleep(2 * time.Millisecond)
		if got := r.call(c, "chat.send", params("k", "other")); got != `"a/k #2"` {
			t.Fatalf("afterwards: %s", got)
		}
	})
}

// A run may wait and run longer than its request's key lives: as long as it has not
// ended its duplicates are told that it is in flight, also by the next process, and
// nobody starts it a second time.
func TestARunsKeyLivesAsLongAsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := storagetest.NewMemory()
		r := newRig(t, Default(), mem)
		var claim pipeline.Claim
		start := func(r *rig) {
			r.handle = func(e *pipeline.Envelope) error {
				claim = e.Claim
				claim.Replace([]byte(`"in_flight"`))
				return r.count(e)
			}
		}
		start(r)
		c := as("a")
		if got := r.call(c, "chat.send", params("k", "x")); got != `"a/k #1"` {
			t.Fatal(got)
		}
		time.Sleep(2 * time.Hour) // synctest's clock
		again := newRig(t, Default(), mem)
		start(again)
		for name, x := range map[string]*rig{"this process": r, "the next": again} {
			if got := x.call(c, "chat.send", params("k", "x")); got != `"in_flight"` {
				t.Fatalf("%s, two hours later: %s", name, got)
			}
			if got := x.call(c, "chat.send", params("k", "other")); got != conflict {
				t.Fatalf("%s, other content: %s", name, got)
			}
		}
		// The run ends: package agent stores its end with the claim's row, then tells.
		err := r.persist.Update(t.Context(), func(tx storage.Tx) error {
			row := claim.Row(nil)
			row.Answer = []byte(`"ok"`)
			return storage.PutIdempotency(tx, &row)
		})
		if err != nil {
			t.Fatal(err)
		}
		claim.Replace([]byte(`"ok"`))
		time.Sleep(5*time.Minute - time.Millisecond)
		for name, x := range map[string]*rig{"this process": r, "the next": again} {
			if got := x.call(c, "chat.send", params("k", "x")); got != `"ok"` {
				t.Fatalf("%s, after the end: %s", name, got)
			}
		}
		time.Sleep(2 * time.Millisecond)
		for name, x := range map[string]*rig{"this process": r, "the next": again} {
			if got := x.call(as("a"), "chat.send", params("k", "x")); got != `"a/k #2"` && got != `"a/k #1"` {
				t.Fatalf("%s, when its time is over: %s", name, got)
			}
			break // the first of them starts it anew, and the other would find that
		}
	})
}

func TestARunThatNeverEndsDoesNotStayForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.RunTTLMs = 600_000
		r := newRig(t, cfg, storagetest.NewMemory())
		r.handle = func(e *pipeline.Envelope) error {
			e.Claim.Replace([]byte(`"in_flight"`))
			return r.count(e)
		}
		r.call(as("a"), "chat.send", params("k", "x"))
		time.Sleep(10*time.Minute + time.Millisecond) // synctest's clock
		r.call(as("a"), "chat.send", params("k2", "x"))
		if r.Size() != 1 {
			t.Fatalf("%d keys", r.Size())
		}
	})
}

// A late end of a run must not disturb whoever holds its key by then.
func TestReplaceOfAForgottenKeyChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.RunTTLMs = 600_000
		r := newRig(t, cfg, storagetest.NewMemory())
		var claims []pipeline.Claim
		r.handle = func(e *pipeline.Envelope) error {
			claims = append(claims, e.Claim)
			e.Claim.Replace([]byte(`"in_flight"`))
			return r.count(e)
		}
		c := as("a")
		r.call(c, "chat.send", params("k", "x"))
		time.Sleep(11 * time.Minute) // synctest's clock
		r.call(c, "chat.send", params("k", "y"))
		claims[0].Replace([]byte(`"the old one's end"`))
		if got := r.call(c, "chat.send", params("k", "y")); got != `"in_flight"` {
			t.Fatal(got)
		}
		claims[1].Replace([]byte(`"ok"`))
		claims[1].Replace([]byte(`"ok again"`))
		if got := r.call(c, "chat.send", params("k", "y")); got != `"ok again"` {
			t.Fatal(got)
		}
		if r.Size() != 1 {
			t.Fatalf("%d keys", r.Size())
		}
	})
}

func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	open := func() *bolt.Store {
		s, err := bolt.Open(path, bolt.Default())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Run("before", func(t *testing.T) {
		s := open()
		t.Cleanup(func() { s.Close() })
		r := newRig(t, Default(), s)
		r.call(as("a"), "chat.send", params("k", "x"))
		r.call(as("a"), "send", `{"to":"t","message":"m","idempotencyKey":"k"}`)
	})
	t.Run("after", func(t *testing.T) {
		s := open()
		t.Cleanup(func() { s.Close() })
		r := newRig(t, Default(), s)
		var late atomic.Int64
		r.now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
		for _, tc := range []struct{ identity, method, params, want string }{
			{"a", "chat.send", params("k", "x"), `"a/k #1"`},
			{"a", "chat.send", params("k", "other"), conflict},
			{"a", "chat.send", ` { "idempotencyKey" : "\u006b" , "message":"x","sessionKey":"main"} `, `"a/k #1"`},
			{"a", "send", `{"to":"t","message":"other","idempotencyKey":"k"}`, `"a/k #2"`},
			{"b", "chat.send", params("k", "x"), `"b/k #1"`},
		} {
			if got := r.call(as(tc.identity), tc.method, tc.params); got != tc.want {
				t.Errorf("%+v: %s", tc, got)
			}
		}
		if n := r.effects("a/k"); n != 0 {
			t.Errorf("%d effects again", n)
		}
		late.Store(int64(6 * time.Minute))
		if got := r.call(as("a"), "chat.send", params("k", "x")); got != `"a/k #1"` || r.effects("a/k") != 1 {
			t.Errorf("when its time is over: %s", got)
		}
	})
}

func TestWhatHasNoKeyPasses(t *testing.T) {
	s, err := New(Default(), storagetest.NewMemory(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*pipeline.Envelope{
		"no params":      direct(t, "a", "chat.send", `null`),
		"no key":         direct(t, "a", "sessions.create", `{}`),
		"an empty key":   direct(t, "a", "sessions.create", `{"idempotencyKey":""}`),
		"not a string":   direct(t, "a", "sessions.create", `{"idempotencyKey":5}`),
		"a deeper key":   direct(t, "a", "sessions.create", `{"x":{"idempotencyKey":"k"}}`),
		"not an effect":  direct(t, "a", "health", `{"idempotencyKey":"k"}`),
		"another effect": direct(t, "a", "config.patch", `{"idempotencyKey":"k"}`),
		"a turn":         {Source: pipeline.SourceTurn, Frame: direct(t, "a", "chat.send", params("k", "x")).Frame},
		"unknown method": direct(t, "a", "nope", `{"idempotencyKey":"k"}`),
	} {
		if v, err := s.Process(t.Context(), e); v != pipeline.Next || err != nil || e.Claim != nil || s.Size() != 0 {
			t.Errorf("%s: %v, %v, claim %v", name, v, err, e.Claim)
		}
	}
}
