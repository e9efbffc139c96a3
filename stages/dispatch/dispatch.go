// Package dispatch is the fifth stage: it finds the handler of a method and runs it, or
// runs the agent turn that an envelope carries.
//
// A handler reads the request's params and the stores it was built with, and says what
// should happen: an answer, effects for persist, deliveries for adapter, events for
// after the answer. It does not write state itself. Handlers live in
// dispatch/methods, one package a family; cmd/sluice/methods.go lists them.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/panics"
)

// Handler answers one request. It sets the answer on e (or leaves it to an effect or
// to OnDelivered) and returns a *frames.Error to refuse. ctx ends with the stage's
// timeout, for a Long method with Config.LongTimeoutMs.
type Handler func(ctx context.Context, e *pipeline.Envelope) error

// Method binds a handler to a method of the protocol.
type Method struct {
	// Name is the method's wire name; it must be in frames.Methods.
	Name   string
	Handle Handler
	// Long handlers may wait (for a run, an approval, a node): they run on their own
	// goroutine and leave the stage's workers free.
	Long bool
	// Wait handlers are Long and only wait for something: they end with their client's
	// connection. Other requests outlive it (openclaw.md 3.1).
	Wait bool
}

// Config bounds handlers that wait.
type Config struct {
	LongHandlers  int `json:"longHandlers" doc:"requests that may wait in a handler at the same time (agent.wait, approvals); more are refused with UNAVAILABLE" min:"1"`
	LongTimeoutMs int `json:"longTimeoutMs" doc:"longest time that such a request may wait" unit:"ms" min:"1000"`
}

// Default returns the embedded defaults.
func Default() Config { return Config{LongHandlers: 1024, LongTimeoutMs: 600_000} }

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	if c.LongHandlers < 1 {
		return fmt.Errorf("longHandlers: %d; at least 1", c.LongHandlers)
	}
	if c.LongTimeoutMs < 1000 {
		return fmt.Errorf("longTimeoutMs: %d; at least 1000", c.LongTimeoutMs)
	}
	return nil
}

// Stage implements pipeline.Stage.
type Stage struct {
	cfg    Config
	log    *slog.Logger
	table  []*Method // by frames.Method.Index; nil = not native
	native int
	resume func(*pipeline.Envelope, error)

	ctx    context.Context
	cancel context.CancelFunc
	long   conc.WaitGroup
	active atomic.Int64 // long handlers
	turns  atomic.Int64 // agent turns

	mu      sync.Mutex
	waiting map[string]map[*context.CancelFunc]struct{} // by connection
}

var (
	_ pipeline.Stage   = (*Stage)(nil)
	_ pipeline.Stopper = (*Stage)(nil)
)

// New returns the stage over the listed methods. A name that the protocol does not
// have, or that is listed twice, is a mistake of ours and refused. resume is the
// pipeline's Resume.
func New(cfg Config, methods []Method, resume func(*pipeline.Envelope, error), log *slog.Logger) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Stage{cfg: cfg, log: log, resume: resume, table: make([]*Method, len(frames.Methods())),
		waiting: make(map[string]map[*context.CancelFunc]struct{})}
	for i := range methods {
		m := &methods[i]
		spec := frames.LookupMethod([]byte(m.Name))
		if spec == nil {
			return nil, fmt.Errorf("dispatch: %q is no method of the protocol", m.Name)
		}
		if s.table[spec.Index] != nil {
			return nil, fmt.Errorf("dispatch: %q is listed twice", m.Name)
		}
		s.table[spec.Index] = m
		s.native++
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "dispatch" }

// Native reports whether the method is answered here.
func (s *Stage) Native(m *frames.Method) bool { return m != nil && s.table[m.Index] != nil }

// Process implements pipeline.Stage.
func (s *Stage) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if e.Source == pipeline.SourceTurn {
		s.turns.Add(1)
		return s.park(e, 0, &s.turns, false, e.Work.Run), nil
	}
	spec := e.Frame.Spec
	if !s.Native(spec) {
		return pipeline.Done, frames.Invalid("unknown method: %s", e.Frame.Method)
	}
	m := s.table[spec.Index]
	if !m.Long && !m.Wait {
		return pipeline.Next, m.Handle(ctx, e)
	}
	if s.active.Add(1) > int64(s.cfg.LongHandlers) || !e.Detach() {
		s.active.Add(-1)
		return pipeline.Done, frames.Unavailable(1000, "too many requests are waiting already; try again")
	}
	return s.park(e, time.Duration(s.cfg.LongTimeoutMs)*time.Millisecond, &s.active, m.Wait, m.Handle), nil
}

// park runs fn on its own goroutine and resumes e with its result. count holds e's
// place already. timeout 0 means that fn keeps its own time (a turn).
func (s *Stage) park(e *pipeline.Envelope, timeout time.Duration, count *atomic.Int64, wait bool, fn Handler) pipeline.Verdict {
	given := false
	v := e.Park(func() {
		given = true
		s.long.Go(func() {
			err := s.run(e, timeout, wait, fn)
			count.Add(-1)
			s.resume(e, err)
		})
	})
	if !given { // the stage's timeout has answered e; fn does not run
		count.Add(-1)
	}
	return v
}

// run gives fn a context that lives as long as the stage, or as timeout says, and words
// the ends that are the context's.
func (s *Stage) run(e *pipeline.Envelope, timeout time.Duration, wait bool, fn Handler) error {
	ctx, cancel := s.ctx, context.CancelFunc(func() {})
	if e.Ctx != nil {
		ctx = valuesOf{s.ctx, e.Ctx}
	}
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	if wait && e.Client != nil {
		defer s.withClient(e.Client.ID(), cancel)()
		if e.Client.Subscriptions().Ended() { // before it was listed
			cancel()
		}
	}
	err := s.try(func() error { return fn(ctx, e) })
	switch {
	case errors.Is(err, context.Canceled) && (wait || s.ctx.Err() != nil): // or the client is gone and reads nothing
		return errStopping
	case errors.Is(err, context.DeadlineExceeded) && timeout > 0 && ctx.Err() != nil:
		return frames.Unavailable(1000, "%s waited longer than %s; try again", e.Frame.Method, timeout)
	}
	return err
}

// withClient ends a wait when its connection does; the result undoes it.
func (s *Stage) withClient(conn string, cancel context.CancelFunc) (undo func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.waiting[conn]
	if set == nil {
		set = make(map[*context.CancelFunc]struct{})
		s.waiting[conn] = set
	}
	set[&cancel] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(set, &cancel)
		if len(set) == 0 {
			delete(s.waiting, conn)
		}
	}
}

// ClientGone ends the waits of a connection that has ended; nobody would read them.
func (s *Stage) ClientGone(conn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cancel := range s.waiting[conn] {
		(*cancel)()
	}
}

// ReleaseWaits ends every wait: the gateway is stopping, and their clients are told so.
func (s *Stage) ReleaseWaits() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.waiting {
		for cancel := range set {
			(*cancel)()
		}
	}
}

var errStopping = frames.Unavailable(1000, "gateway restart in progress")

// try runs fn; a panic becomes an error at once instead of at the pool's Wait.
func (s *Stage) try(fn func() error) (err error) {
	if r := panics.Try(func() { err = fn() }); r != nil {
		s.log.LogAttrs(s.ctx, slog.LevelError, "handler panicked", slog.Any("panic", r.Value), slog.String("stack", string(r.Stack)))
		return errors.New("handler panicked")
	}
	return err
}

// valuesOf takes cancellation from one context and values (the trace) from another.
type valuesOf struct {
	context.Context
	values context.Context
}

// Value implements context.Context.
func (v valuesOf) Value(key any) any { return v.values.Value(key) }

// Stop implements pipeline.Stopper: it ends the handlers and turns that still wait.
func (s *Stage) Stop(ctx context.Context) error {
	s.cancel()
	done := make(chan struct{})
	go func() { s.long.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("dispatch: %d handlers and %d turns did not end: %w", s.active.Load(), s.turns.Load(), ctx.Err())
	}
}

// Cancel ends the context of turns and waiting handlers; a drain that has run out of
// time calls it so that they can still record how they ended.
func (s *Stage) Cancel() { s.cancel() }

// Waiting returns how many handlers and turns are running.
func (s *Stage) Waiting() (handlers, turns int64) { return s.active.Load(), s.turns.Load() }

// View is one line of `sluice methods`.
type View struct {
	Name   string `json:"name"`
	Family string `json:"family"`
	Scope  string `json:"scope"`
	State  string `json:"state"` // native or refused
}

// Methods lists every method of the protocol and whether it is answered here.
func (s *Stage) Methods() []View {
	views := make([]View, 0, len(s.table))
	for i, m := range frames.Methods() {
		v := View{Name: m.Name, Family: m.Family, Scope: m.Scope.String(), State: "refused"}
		if s.table[i] != nil {
			v.State = "native"
		}
		views = append(views, v)
	}
	return views
}

// Advertised lists the native methods that hello's features.methods names.
func (s *Stage) Advertised() []string {
	names := make([]string, 0, s.native)
	for i, m := range frames.Methods() {
		if s.table[i] != nil && m.Advertised {
			names = append(names, m.Name)
		}
	}
	return names
}
