package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/pipeline/pipelinetest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a schedule stage in a pipeline whose other stages do what a gateway's do: a
// request gets its Work and is stored, a turn runs beside the workers.
type rig struct {
	*Stage
	t    testing.TB
	pipe *pipeline.Pipeline
	c    *pipelinetest.Client

	policy Policy
	agents []string

	mu      sync.Mutex
	jobs    map[string]*job
	hold    map[string]bool               // requests that stay on the way to the disk
	stuck   map[string]*pipeline.Envelope // those that do now
	refuse  map[string]bool               // requests that are refused after schedule
	block   map[string]func() error       // what defend says of a turn
	order   []string                      // runs, as they started
	active  map[string]string             // session -> run
	running int
	most    int // the highest that running was
}

// job is a turn of the rig's. Its fates are the ends that it was given: one, if all is
// well.
type job struct {
	*pipelinetest.Work
	r     *rig
	gate  chan struct{} // closed: the turn ends
	once  sync.Once
	fates []string
	// What it says when it runs and another message comes, and while it waits.
	steerable, mergeable bool
	aborted              string
	auto                 bool // ends by itself at once
}

func newRig(t testing.TB, cfg Config) *rig {
	t.Helper()
	r := &rig{t: t, c: pipelinetest.NewClient(), agents: []string{"main", "other"}, jobs: map[string]*job{}, hold: map[string]bool{},
		stuck: map[string]*pipeline.Envelope{}, refuse: map[string]bool{}, block: map[string]func() error{}, active: map[string]string{}}
	var err error
	r.Stage, err = New(cfg, Deps{
		Inject: func(ctx context.Context, e *pipeline.Envelope, stage string) bool {
			return r.pipe.Inject(ctx, e, stage)
		},
		Policy:      func(context.Context, string) Policy { return r.policy },
		AgentExists: func(id string) bool { return slices.Contains(r.agents, id) },
		Log:         slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	pc := pipeline.Default()
	pc.Workers, pc.QueueFrames = 4, 8192
	r.pipe = pipelinetest.Start(t, pc, r.Stage,
		pipelinetest.Stage{StageName: "defend", Fn: r.defend},
		pipelinetest.Stage{StageName: "dispatch", Fn: r.dispatch},
		pipelinetest.Stage{StageName: "persist", Fn: r.persist})
	return r
}

func (r *rig) defend(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if e.Source != pipeline.SourceTurn {
		return pipeline.Next, nil
	}
	r.mu.Lock()
	fn := r.block[e.Work.ID()]
	r.mu.Unlock()
	if fn == nil {
		return pipeline.Next, nil
	}
	return pipeline.Done, fn()
}

func (r *rig) dispatch(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if e.Source == pipeline.SourceTurn {
		w := e.Work.(*job)
		return e.Park(func() { go func() { r.pipe.Resume(e, w.Run(context.Background(), e)) }() }), nil
	}
	var p turnParams
	frames.UnmarshalParams(e.Frame.Params, &p)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse[p.RunID] {
		return pipeline.Done, frames.Invalid("refused")
	}
	if w := r.jobs[p.RunID]; w != nil {
		w.Work = r.work(p.RunID, e.SessionKey, p.Message)
		e.Work = w
	}
	return pipeline.Next, e.AnswerValue(p.RunID)
}

func (r *rig) persist(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if e.Source == pipeline.SourceTurn || e.Work == nil {
		return pipeline.Next, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if id := e.Work.ID(); r.hold[id] {
		return e.Park(func() { r.stuck[id] = e }), nil
	}
	return pipeline.Next, nil
}

// job prepares what becomes of the request that will name it.
func (r *rig) job(id string) *job {
	j := &job{r: r, gate: make(chan struct{}), steerable: true, mergeable: true}
	r.mu.Lock()
	r.jobs[id] = j
	r.mu.Unlock()
	return j
}

func (r *rig) work(id, key, text string) *pipelinetest.Work {
	agent := "main"
	if k, err := frames.ParseSessionKey(key); err == nil {
		agent = k.AgentOr("main")
	}
	return pipelinetest.NewWork(id, agent, key, text)
}

func (j *job) fate(format string, args ...any) {
	j.r.mu.Lock()
	j.fates = append(j.fates, fmt.Sprintf(format, args...))
	j.r.mu.Unlock()
}

// Run implements pipeline.Work.
func (j *job) Run(context.Context, *pipeline.Envelope) error {
	r := j.r
	r.mu.Lock()
	if other := r.active[j.SessionKey()]; other != "" {
		r.t.Errorf("%s and %s run at the same time in %s", other, j.ID(), j.SessionKey())
	}
	r.active[j.SessionKey()] = j.ID()
	r.order = append(r.order, j.ID())
	r.running++
	r.most = max(r.most, r.running)
	r.mu.Unlock()
	if !j.auto {
		<-j.gate
	}
	r.mu.Lock()
	delete(r.active, j.SessionKey())
	r.running--
	r.mu.Unlock()
	j.fate("finished")
	return nil
}

func (j *job) end() { j.once.Do(func() { close(j.gate) }) }

// Abort implements pipeline.Work.
func (j *job) Abort(reason string) {
	j.r.mu.Lock()
	j.aborted = reason
	j.r.mu.Unlock()
	j.end()
}

// Drop implements pipeline.Work.
func (j *job) Drop(err *frames.Error) { j.fate("dropped: %s", err.Message) }

// Steer implements Steerer.
func (j *job) Steer(other pipeline.Work) bool {
	if !j.steerable {
		return false
	}
	other.(*job).fate("steered into %s", j.ID())
	return true
}

// Merge implements pipeline.Work.
func (j *job) Merge(other pipeline.Work) bool {
	if !j.mergeable {
		return false
	}
	other.(*job).fate("merged into %s", j.ID())
	return true
}

// request makes a chat.send that starts the turn of that id.
func (r *rig) request(session, id string, mode Mode) *pipeline.Envelope {
	r.t.Helper()
	m := ""
	if mode != "" {
		m = fmt.Sprintf(`"queueMode":%q,`, mode)
	}
	return pipelinetest.RequestID(r.t, r.c, id, "chat.send", fmt.Sprintf(`{%s"sessionKey":%q,"message":"text of %s","idempotencyKey":%q}`, m, session, id, id))
}

// send sends such a request with a new job.
func (r *rig) send(session, id string, mode Mode) *job {
	r.t.Helper()
	j := r.job(id)
	r.submit(r.request(session, id, mode))
	return j
}

func (r *rig) submit(e *pipeline.Envelope) {
	r.t.Helper()
	if err := r.pipe.Submit(e); err != nil {
		r.t.Fatal(err)
	}
}

// stored lets a request that was held on its way to the disk go on.
func (r *rig) stored(id string) {
	r.t.Helper()
	r.mu.Lock()
	e := r.stuck[id]
	delete(r.stuck, id)
	delete(r.hold, id)
	r.mu.Unlock()
	if e == nil {
		r.t.Fatalf("%s is not on its way to the disk", id)
	}
	r.pipe.Resume(e, nil)
}

func (r *rig) started() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.order, " ")
}

// fates returns each job's end: "id: fate" lines that are not a plain finish.
func (r *rig) fates() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for id, j := range r.jobs {
		if f := strings.Join(j.fates, " AND "); f != "finished" {
			out = append(out, id+" "+f)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

// wantEmpty checks that nothing is left of any lane.
func (r *rig) wantEmpty() {
	r.t.Helper()
	r.Stage.mu.Lock()
	defer r.Stage.mu.Unlock()
	s := r.Stage
	if len(s.lanes) != 0 || len(s.agents) != 0 || s.running != 0 || len(s.starts) != 0 || len(s.after) != 0 {
		r.t.Errorf("left: %d lanes, %d agents, %d running, %d starts, %d after", len(s.lanes), len(s.agents), s.running, len(s.starts), len(s.after))
	}
	for _, a := range s.ring {
		for _, l := range a.ready {
			if s.lanes[l.key] == l {
				r.t.Errorf("%s is still ready", l.key)
			}
		}
	}
}
