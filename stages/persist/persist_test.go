package persist

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"
	"sluice/storage"
	"sluice/storage/storagetest"
)

func TestConformance(t *testing.T) {
	pipelinetest.Conformance(t, func() pipeline.Stage {
		s, err := New(Default(), storagetest.NewMemory(), func(*pipeline.Envelope, error) {}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestConfig(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"queueEnvelopes": func(c *Config) { c.QueueEnvelopes = 0 },
		"batchEnvelopes": func(c *Config) { c.BatchEnvelopes = -1 },
		"queueUpdates":   func(c *Config) { c.QueueUpdates = 0 },
	} {
		c := Default()
		change(&c)
		if _, err := New(c, nil, nil, nil); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestNothingIsAnsweredBeforeTheCommit(t *testing.T) {
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, Default(), g)
		r.submit(put("k", "v"))
		synctest.Wait()
		if n := len(r.c.Answers); n != 0 {
			t.Fatalf("%d answers before the commit", n)
		}
		if got := value(t, g, "k"); got != "<none>" {
			t.Fatalf("visible before the commit: %q", got)
		}
		g.open <- nil
		if a := r.c.Next(t); !a.OK || string(a.Payload) != `"k"` {
			t.Fatalf("answer: %+v", a)
		}
		if got := value(t, g, "k"); got != "v" {
			t.Fatalf("after the commit: %q", got)
		}
	})
}

func TestAnEnvelopeWithoutEffectsWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, Default(), g)
		r.submit(put("k", "v"))
		r.submit(func(e *pipeline.Envelope) { e.AnswerValue("read") })
		if a := r.c.Next(t); string(a.Payload) != `"read"` {
			t.Fatalf("answer: %+v", a)
		}
		close(g.open)
		r.c.Next(t)
	})
}

func TestWritersShareCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newRig(t, Default(), g)
		r.submit(put("first", ""))
		synctest.Wait() // its commit is under way
		const n = 1000
		for i := range n {
			r.submit(put(fmt.Sprint("k", i), ""))
		}
		synctest.Wait()
		close(g.open)
		for range n + 1 {
			if a := r.c.Next(t); !a.OK {
				t.Fatalf("answer: %+v", a.Error)
			}
		}
		if c, w := r.Stats.Commits.Load(), r.Stats.Written.Load(); c != 5 || w != n+1 { // 1 + 1000/256
			t.Errorf("%d commits for %d writes", c, w)
		}
	})
}

func TestOneEffectThatFailsUndoesOnlyItsOwnWrites(t *testing.T) {
	refuse := func(err error) func(*pipeline.Envelope) {
		return func(e *pipeline.Envelope) {
			e.Effects = append(e.Effects, putEffect("half", "x"), pipeline.EffectFunc(func(tx storage.Tx, _ *pipeline.Envelope) error {
				tx.Delete(storage.Meta, "good")
				if err == nil {
					panic("an effect's own")
				}
				return err
			}))
		}
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"refusal":         {frames.Invalid("session not found: x"), "session not found: x"},
		"wrapped refusal": {fmt.Errorf("effect: %w", frames.Invalid("no")), "no"},
		"another error":   {errors.New("secret: /etc/shadow"), "internal error"},
		"panic":           {nil, "internal error"},
		"an invalid key":  {storage.ErrInvalidKey, "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			bufpooltest.NoLeaks(t)
			synctest.Test(t, func(t *testing.T) {
				g := newGate()
				r := newRig(t, Default(), g)
				r.submit(put("lead", "1"))
				synctest.Wait() // the next three share a commit
				r.submit(put("good", "1"))
				bad := r.submit(refuse(tc.err))
				var seen string
				r.submit(func(e *pipeline.Envelope) {
					e.Effects = append(e.Effects, pipeline.EffectFunc(func(tx storage.Tx, e *pipeline.Envelope) error {
						_, half := tx.Get(storage.Meta, "half")
						_, good := tx.Get(storage.Meta, "good")
						seen = fmt.Sprint(half == nil, good == nil)
						return e.AnswerValue(1)
					}))
				})
				synctest.Wait()
				close(g.open)
				for range 4 {
					a := r.c.Next(t)
					if (a.ID == bad) == a.OK {
						t.Errorf("%s: ok %v", a.ID, a.OK)
					}
					if a.ID == bad && (!strings.Contains(a.Error.Message, tc.want) || strings.Contains(a.Error.Message, "/etc")) {
						t.Errorf("%s: %+v", a.ID, a.Error)
					}
				}
				if seen != "false true" {
					t.Errorf("the one after saw half, good: %s", seen)
				}
				if got := value(t, g, "half") + " " + value(t, g, "good"); got != "<none> 1" {
					t.Errorf("stored: %s", got)
				}
				if c := r.Stats.Commits.Load(); c != 2 {
					t.Errorf("%d commits", c)
				}
			})
		})
	}
}

func TestAStoreThatCannotWriteRefusesAllAndRecovers(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"full":   {fmt.Errorf("/var/lib/x: %w", storage.ErrFull), "the disk is full"},
		"closed": {storage.ErrClosed, "the gateway is stopping"},
		"broken": {errors.New("/var/lib/x: input/output error"), "the gateway's log has the cause"},
	} {
		t.Run(name, func(t *testing.T) {
			bufpooltest.NoLeaks(t)
			g := storagetest.NewMemory()
			var full atomic.Bool
			full.Store(true)
			g.Fail = func() error {
				if full.Load() {
					return tc.err
				}
				return nil
			}
			r := newRig(t, Default(), g)
			for i := range 10 {
				r.submit(put(fmt.Sprint("k", i), "v"))
			}
			for range 10 {
				a := r.c.Next(t)
				if a.OK || a.Error.Code != "UNAVAILABLE" || !a.Error.Retryable || !strings.Contains(a.Error.Message, tc.want) || strings.Contains(a.Error.Message, "/var") {
					t.Fatalf("answer: %+v", a)
				}
			}
			if r.Health() == "" {
				t.Error("health says nothing")
			}
			for i := range 10 {
				if got := value(t, g, fmt.Sprint("k", i)); got != "<none>" {
					t.Fatalf("k%d: %q", i, got)
				}
			}
			full.Store(false)
			r.submit(put("after", "v"))
			if a := r.c.Next(t); !a.OK {
				t.Fatalf("with room again: %+v", a.Error)
			}
			if h := r.Health(); h != "" {
				t.Errorf("with room again health says: %s", h)
			}
		})
	}
}

func TestAFullQueueRefusesExactlyWhatIsTooMuch(t *testing.T) {
	bufpooltest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		cfg := Default()
		cfg.QueueEnvelopes, cfg.BatchEnvelopes = 5, 2
		r := newRig(t, cfg, g)
		const n = 100
		for i := range n {
			r.submit(put(fmt.Sprint("k", i), "v"))
		}
		synctest.Wait()
		if refused := len(r.c.Answers); refused != n-5 {
			t.Fatalf("%d refused with room for 5 of %d", refused, n)
		}
		if e, _ := r.Waiting(); e != 5 {
			t.Fatalf("waiting: %d", e)
		}
		close(g.open)
		ok := 0
		for range n {
			if a := r.c.Next(t); a.OK {
				ok++
			} else if a.Error.Code != "UNAVAILABLE" || !a.Error.Retryable {
				t.Fatalf("refusal: %+v", a.Error)
			}
		}
		if ok != 5 {
			t.Fatalf("%d written", ok)
		}
		synctest.Wait()
		if e, u := r.Waiting(); e != 0 || u != 0 {
			t.Fatalf("waiting at the end: %d, %d", e, u)
		}
	})
}

// claim is a fake pipeline.Claim.
type claim struct{ key string }

func (c claim) Row(answer []byte) storage.IdempotencyRow {
	return storage.IdempotencyRow{Key: c.key, Method: "m", Answer: answer, ExpiresAtMs: 1}
}

func (claim) Replace([]byte) {}

func TestTheIdempotencyRowIsInTheSameTransaction(t *testing.T) {
	row := func(s storage.Store, key string) string {
		var answer string
		s.View(t.Context(), func(r storage.Reader) error {
			row, err := storage.GetIdempotency(r, key)
			if err != nil {
				answer = "<none>"
			} else {
				answer = string(row.Answer)
			}
			return nil
		})
		return answer
	}
	claimed := func(key string, effects ...pipeline.Effect) func(*pipeline.Envelope) {
		return func(e *pipeline.Envelope) { e.Claim, e.Effects = claim{key}, append(e.Effects, effects...) }
	}
	mem := storagetest.NewMemory()
	var full atomic.Bool
	mem.Fail = func() error {
		if full.Load() {
			return storage.ErrFull
		}
		return nil
	}
	r := newRig(t, Default(), mem)

	r.submit(claimed("done", putEffect("k", "v")))
	r.c.Next(t)
	r.submit(claimed("refused", putEffect("k2", "v"), pipeline.EffectFunc(func(storage.Tx, *pipeline.Envelope) error { return frames.Invalid("no") })))
	r.c.Next(t)
	r.submit(claimed("failed", pipeline.EffectFunc(func(_ storage.Tx, e *pipeline.Envelope) error {
		e.AnswerValue("stale")
		e.Fail(frames.Invalid("no"))
		return nil
	})))
	r.c.Next(t)
	full.Store(true)
	r.submit(claimed("lost", putEffect("k3", "v")))
	r.c.Next(t)
	for key, want := range map[string]string{"done": `"k"`, "refused": "<none>", "failed": "<none>", "lost": "<none>"} {
		if got := row(mem, key); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}

func TestARequestThatHasFailedWritesNothing(t *testing.T) {
	mem := storagetest.NewMemory()
	r := newRig(t, Default(), mem)
	r.submit(func(e *pipeline.Envelope) {
		put("k", "v")(e)
		e.Fail(frames.Invalid("refused after all"))
	})
	if a := r.c.Next(t); a.OK || value(t, mem, "k") != "<none>" {
		t.Fatalf("%+v, stored %q", a, value(t, mem, "k"))
	}
}

func TestAnswersComeInTheOrderOfTheWrites(t *testing.T) {
	r := newRig(t, Config{QueueEnvelopes: 1000, BatchEnvelopes: 7, QueueUpdates: 1}, storagetest.NewMemory())
	var ids []string
	for i := range 200 {
		ids = append(ids, r.submit(put(fmt.Sprint("k", i), "v")))
	}
	for _, id := range ids {
		if a := r.c.Next(t); a.ID != id {
			t.Fatalf("%s came before %s", a.ID, id)
		}
	}
}
