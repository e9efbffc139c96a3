// Package adapter is the sixth stage: it takes an envelope's deliveries out through
// their channels and comes back with a receipt or an error for each, never with a
// receipt for what was not delivered.
//
//	Process ─ reserve ─ Park ─► lane of a channel ─► one goroutine a recipient ─► Channel.Send
//	            │                                      (in order; tries share the
//	            └ at the bound: UNAVAILABLE             channel's slots)
//	Resume ◄─ OnDelivered ◄─ all have Receipt or Err
//
// A slow recipient delays itself, a slow channel its own recipients; waiting for the
// next try holds no slot. Before the first try a row in storage.Outbox says that it
// began; it goes with the envelope's effects. What the row of a killed process or a cut
// connection leaves open is reported, not repeated: the same key is refused with
// OUTBOUND_DELIVERY_UNKNOWN unless the receiver recognises repetitions (Idempotent).
//
// Channels are a list that cmd gives. What comes in through a channel is another
// package's job (hooks) and enters the pipeline at its first stage.
//
// Lifecycle: New, Start (reads the outbox), Process from any worker, Stop.
package adapter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"

	"github.com/google/uuid"
	"github.com/sourcegraph/conc"
)

// Deps are what the stage needs from outside.
type Deps struct {
	// Store holds the outbox.
	Store storage.Store
	// Resume continues a parked envelope: the pipeline's Resume.
	Resume func(*pipeline.Envelope, error)
	// Guard looks at every message that is about to leave: it may change its text, and an
	// error refuses it. nil lets all pass.
	Guard func(d *pipeline.Delivery) *frames.Error
	// Log may be nil.
	Log *slog.Logger
	// Random is the source of the jitter, in [0,1); nil means math/rand.
	Random func() float64
}

// Stage implements pipeline.Stage. It is safe for concurrent use.
type Stage struct {
	cfg   Config
	deps  Deps
	lanes map[string]*lane // by channel; fixed
	names []string         // of the lanes, sorted

	ctx     context.Context
	cancel  context.CancelFunc
	senders conc.WaitGroup
	mu      sync.Mutex // guards queued and stopped of all lanes, and senders.Go against Stop
	stopped bool

	outbox outbox
	stats  Stats
}

var (
	_ pipeline.Stage   = (*Stage)(nil)
	_ pipeline.Starter = (*Stage)(nil)
	_ pipeline.Stopper = (*Stage)(nil)
)

// New returns the stage with its channels. The error names the configuration key, or
// the channel that is given twice.
func New(cfg Config, channels []Channel, deps Deps) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Store == nil || deps.Resume == nil {
		return nil, errors.New("adapter: Deps.Store and Deps.Resume are needed: the store of the outbox, the pipeline's Resume")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Random == nil {
		deps.Random = rand.Float64
	}
	s := &Stage{cfg: cfg, deps: deps, lanes: make(map[string]*lane)}
	for _, ch := range channels {
		name := ch.Name()
		if s.lanes[name] != nil {
			return nil, fmt.Errorf("adapter: channel %q is given twice", name)
		}
		s.lanes[name] = newLane(ch, cfg.Concurrency)
		s.names = append(s.names, name)
	}
	sort.Strings(s.names)
	s.outbox = outbox{store: deps.Store, log: deps.Log, cfg: cfg, open: make(map[string]Unconfirmed)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "adapter" }

// Start implements pipeline.Starter: it reads and reports what an earlier process left.
func (s *Stage) Start(ctx context.Context) error { return s.outbox.load(ctx) }

// Stop implements pipeline.Stopper: tries under way are cut and their envelopes resumed
// with an error.
func (s *Stage) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
	done := make(chan struct{})
	go func() { defer close(done); s.senders.WaitAndRecover() }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("adapter: a channel is still sending: %w", ctx.Err())
	}
}

// ChannelView is one channel of this build, for channels.status and metrics.
type ChannelView struct {
	Name         string
	Capabilities Capabilities
	Queued       int // deliveries that wait or run
	Stats        *ChannelStats
}

// Channels lists the channels that this build can send through, by name.
func (s *Stage) Channels() []ChannelView {
	views := make([]ChannelView, 0, len(s.names))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.names {
		l := s.lanes[name]
		views = append(views, ChannelView{Name: name, Capabilities: l.caps, Queued: l.queued, Stats: &l.stats})
	}
	return views
}

// Unavailable returns the error for a channel that this build cannot send through, nil
// when it can.
func (s *Stage) Unavailable(channel string) *frames.Error {
	name := NormalizeChannel(channel)
	if s.lanes[name] != nil {
		return nil
	}
	have := "none is configured"
	if len(s.names) > 0 {
		have = "available: " + strings.Join(s.names, ", ")
	}
	return &frames.Error{Code: frames.CodeInvalidRequest,
		Message: fmt.Sprintf("channel %q is not available in this build; %s", name, have),
		Details: map[string]any{"code": CodeChannelUnavailable, "channel": name, "available": append([]string{}, s.names...)}}
}

// Details codes of the errors of this stage.
const (
	CodeChannelUnavailable = "CHANNEL_NOT_AVAILABLE"
	CodeDeliveryFailed     = "OUTBOUND_DELIVERY_FAILED"
	CodeDeliveryUnknown    = "OUTBOUND_DELIVERY_UNKNOWN"
)

// Unconfirmed lists the deliveries whose outcome is unknown, oldest first.
func (s *Stage) Unconfirmed() []Unconfirmed { return s.outbox.list() }

// Dismiss forgets a delivery of unknown outcome: an operator has looked. Its key may be
// used again.
func (s *Stage) Dismiss(ctx context.Context, key string) error { return s.outbox.dismiss(ctx, key) }

// Stats returns the stage's counters.
func (s *Stage) Stats() *Stats { return &s.stats }

// Process implements pipeline.Stage.
func (s *Stage) Process(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if len(e.Deliveries) == 0 {
		return pipeline.Next, nil
	}
	jobs, err := s.prepare(e)
	if err != nil {
		return pipeline.Done, err
	}
	if len(jobs) == 0 {
		if err := s.finish(e, nil); err != nil {
			return pipeline.Done, err
		}
		return pipeline.Next, nil
	}
	if !e.Detach() {
		s.giveBack(jobs)
		return pipeline.Done, frames.Unavailable(1000, "too many deliveries are under way; try again")
	}
	given := false
	v := e.Park(func() {
		given = true
		s.give(jobs)
	})
	if !given { // the stage's timeout has answered; nothing may be sent any more
		s.giveBack(jobs)
	}
	return v, nil
}

// prepare checks the deliveries and reserves a place for each that can be sent.
func (s *Stage) prepare(e *pipeline.Envelope) ([]*job, error) {
	b := &batch{s: s, e: e}
	until := time.Now().Add(time.Duration(s.cfg.Retry.TotalMs) * time.Millisecond)
	keys := make(map[string]bool, len(e.Deliveries))
	var jobs []*job
	for i, d := range e.Deliveries {
		if d.Receipt != nil || d.Err != nil {
			continue
		}
		if d.Err = s.Unavailable(d.Channel); d.Err != nil {
			continue
		}
		if s.deps.Guard != nil {
			if d.Err = s.deps.Guard(d); d.Err != nil {
				continue
			}
		}
		if d.Key == "" {
			d.Key = uuid.NewString()
		}
		if keys[d.Key] {
			d.Key = fmt.Sprintf("%s/%d", d.Key, i)
		}
		keys[d.Key] = true
		l := s.lanes[NormalizeChannel(d.Channel)]
		chunks := Chunk(d.Text, l.caps.TextLimit, l.caps.ChunkMode)
		switch {
		case len(chunks) == 0:
			d.Err = frames.Invalid("nothing to send through channel %q: the text is empty", l.name)
			continue
		case len(chunks) > s.cfg.MaxChunks:
			d.Err = frames.Invalid("the text is too long for channel %q: %d messages of %d characters; at most %d (adapter.maxChunks)",
				l.name, len(chunks), l.caps.TextLimit, s.cfg.MaxChunks)
			continue
		}
		jobs = append(jobs, &job{batch: b, lane: l, d: d, chunks: chunks, until: until, values: e.Ctx})
	}
	b.pending.Store(int32(len(jobs)))
	return jobs, s.reserve(jobs)
}

var (
	errBusy     = frames.Unavailable(2000, "too many deliveries wait for this channel. Please try again in a moment.")
	errStopping = frames.Unavailable(1000, "gateway restart in progress")
)

// reserve takes a place for every job, or for none.
func (s *Stage) reserve(jobs []*job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errStopping
	}
	for i, j := range jobs {
		if j.lane.queued >= s.cfg.Queue {
			for _, k := range jobs[:i] {
				k.lane.queued--
			}
			s.stats.Refused.Add(1)
			return errBusy
		}
		j.lane.queued++
	}
	return nil
}

func (s *Stage) giveBack(jobs []*job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range jobs {
		j.lane.queued--
	}
}
