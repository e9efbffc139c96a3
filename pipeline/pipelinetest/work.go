package pipelinetest

import (
	"context"
	"sync"

	"sluice/frames"
	"sluice/pipeline"
)

// Work is an agent turn that does what a test tells it: a nil function does nothing and
// says no. It is safe for concurrent use.
type Work struct {
	OnRun   func(ctx context.Context, e *pipeline.Envelope) error
	OnMerge func(other pipeline.Work) bool
	OnSteer func(other pipeline.Work) bool
	OnAbort func(reason string)
	OnDrop  func(err *frames.Error)

	id, agent, key string

	mu    sync.Mutex
	texts []string
	notes []string
}

// NewWork returns a turn of that id, agent and session, with one prompt.
func NewWork(id, agent, key, text string) *Work {
	return &Work{id: id, agent: agent, key: key, texts: []string{text}}
}

// ID, AgentID and SessionKey implement pipeline.Work.
func (w *Work) ID() string         { return w.id }
func (w *Work) AgentID() string    { return w.agent }
func (w *Work) SessionKey() string { return w.key }

// Texts implements pipeline.Work.
func (w *Work) Texts() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.texts...)
}

// Merge implements pipeline.Work.
func (w *Work) Merge(other pipeline.Work) bool {
	if w.OnMerge == nil || !w.OnMerge(other) {
		return false
	}
	w.mu.Lock()
	w.texts = append(w.texts, other.Texts()...)
	w.mu.Unlock()
	return true
}

// Steer implements schedule's Steerer.
func (w *Work) Steer(other pipeline.Work) bool { return w.OnSteer != nil && w.OnSteer(other) }

// Note implements schedule's Noter.
func (w *Work) Note(lines []string) {
	w.mu.Lock()
	w.notes = append(w.notes, lines...)
	w.mu.Unlock()
}

// Notes are what Note was given.
func (w *Work) Notes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.notes...)
}

// Run implements pipeline.Work.
func (w *Work) Run(ctx context.Context, e *pipeline.Envelope) error {
	if w.OnRun == nil {
		return nil
	}
	return w.OnRun(ctx, e)
}

// Abort implements pipeline.Work.
func (w *Work) Abort(reason string) {
	if w.OnAbort != nil {
		w.OnAbort(reason)
	}
}

// Drop implements pipeline.Work.
func (w *Work) Drop(err *frames.Error) {
	if w.OnDrop != nil {
		w.OnDrop(err)
	}
}
