package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"

	"github.com/go-json-experiment/json"
)

// What of a run is stored, and when:
//
//	its request is accepted   the run, queued, with its messages      (start.go)
//	it begins                 the run, running; its messages enter the transcript
//	it reads steered messages the answer before them, and they
//	it ends                   the rest, the run's end, and what duplicates get
//
// A crash before the second leaves a run that starts again, later one that is reported
// as interrupted.

// promptRecord is what a restart needs of a run; of one that has ended only Claim is
// kept, to know its request again.
type promptRecord struct {
	Kind      Kind    `json:"kind"`
	Model     string  `json:"model,omitzero"`
	System    string  `json:"system,omitzero"`
	TimeoutMs int64   `json:"timeoutMs,omitzero"`
	Inputs    []Input `json:"inputs,omitempty"`
	// AcceptedNs orders the runs of one millisecond.
	AcceptedNs int64 `json:"acceptedNs,omitzero"`
	// Claim lets a restarted run tell duplicates of its request how it ended.
	Claim *storage.IdempotencyRow `json:"claim,omitzero"`
}

// claimed is the row of the run's idempotency key; nil when its request had none.
func (r *Run) claimed() *storage.IdempotencyRow {
	if r.claim != nil {
		row := r.claim.Row([]byte("null"))
		return &row
	}
	return r.claimRow
}

// row is the record of the run in a status.
func (r *Run) row(status Status) storage.RunRow {
	r.mu.Lock()
	rec := promptRecord{Kind: r.kind, Model: r.model, System: r.system, TimeoutMs: r.timeout.Milliseconds(),
		Inputs: append([]Input(nil), r.inputs...), AcceptedNs: r.createdAt.UnixNano()}
	row := storage.RunRow{RunID: r.id, SessionKey: r.sessionKey, SessionID: r.sessionID, AgentID: r.agentID,
		Status: storage.RunStatus(status), CreatedAtMs: r.createdAt.UnixMilli()}
	if !r.startedAt.IsZero() {
		row.StartedAtMs = r.startedAt.UnixMilli()
	}
	r.mu.Unlock()
	rec.Claim = r.claimed()
	if !status.open() {
		rec = promptRecord{Kind: rec.Kind, Claim: rec.Claim}
	}
	row.Prompt = mustJSON(rec)
	return row
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil { // what this package encodes is strings, numbers and valid JSON
		panic(err)
	}
	return b
}

// errStale: the session was reset, or the run aborted, before the run could begin.
var errStale = errors.New("the run may not begin")

// open stores that the run begins: from here on a crash leaves an interrupted run, not
// one that is asked twice. It returns the messages that entered the transcript.
func (t *turn) open(ctx context.Context) (added []storage.Message, err error) {
	r := t.run
	err = r.reg.deps.Update(ctx, func(tx storage.Tx) error {
		added = added[:0]
		if r.wasAborted() { // a reset may stand between the abort and this
			return errStale
		}
		s, _, err := EnsureSession(tx, r.sessionKey, r.agentID, false, r.sessionKey)
		if err != nil {
			return err
		}
		if added, err = r.addInputs(tx, &s, r.texts()); err != nil {
			return err
		}
		s.Status, s.StartedAtMs, s.EndedAtMs, s.LastRunID = "running", r.startedAt.UnixMilli(), 0, r.id
		if err := storage.PutSession(tx, &s); err != nil {
			return err
		}
		r.bind(&s)
		row := r.row(Running)
		return storage.PutRun(tx, &row)
	})
	return added, err
}

// bind remembers which session, and which state of it, the run has read.
func (r *Run) bind(s *storage.SessionRow) {
	r.mu.Lock()
	r.sessionID, r.revision, r.override = s.SessionID, s.LifecycleRevision, s.ModelOverride
	r.mu.Unlock()
}

// texts are the run's messages as they enter the transcript.
func (r *Run) texts() []Input {
	r.mu.Lock()
	defer r.mu.Unlock()
	return collected(r.inputs)
}

// addInputs appends messages of users to the session's transcript.
func (r *Run) addInputs(tx storage.Tx, s *storage.SessionRow, inputs []Input) (added []storage.Message, err error) {
	for _, in := range inputs {
		m := userRecord(in)
		if m.Seq, err = storage.AppendMessage(tx, s, m); err != nil {
			return nil, err
		}
		added = append(added, m)
	}
	return added, nil
}

// progress stores the answers so far and the messages that the turn reads next.
func (t *turn) progress(ctx context.Context, answers []answer, more []Input) error {
	r := t.run
	var added []storage.Message
	err := r.reg.deps.Update(ctx, func(tx storage.Tx) error {
		added = added[:0]
		s, live, err := r.session(tx)
		if err != nil || !live {
			return err
		}
		if added, err = r.addAnswers(tx, &s, answers, t.stored); err != nil {
			return err
		}
		users, err := r.addInputs(tx, &s, more)
		added = append(added, users...)
		return err
	})
	if err == nil {
		t.stored = len(answers)
		r.announce(added)
	}
	return err
}

// session returns the run's session; live is false when it was deleted, or reset to an
// empty transcript, since the run began: what the run says then has no place.
func (r *Run) session(tx storage.Tx) (s storage.SessionRow, live bool, err error) {
	s, found, err := FindSession(tx, r.sessionKey)
	r.mu.Lock()
	defer r.mu.Unlock()
	return s, found && s.SessionID == r.sessionID && (r.revision == "" || s.LifecycleRevision == r.revision), err
}

// addAnswers appends the answers from the first-th on.
func (r *Run) addAnswers(tx storage.Tx, s *storage.SessionRow, answers []answer, first int) (added []storage.Message, err error) {
	for i := first; i < len(answers); i++ {
		m := r.assistantRecord(answers[i], i)
		if m.Seq, err = storage.AppendMessage(tx, s, m); err != nil {
			return nil, err
		}
		added = append(added, m)
	}
	return added, nil
}

// settle leaves the turn's end on e and tells everyone once that is durable. A store
// that cannot write turns success into failure: an answer that a restart would lose
// must not be called final.
func (r *Run) settle(e *pipeline.Envelope, end End, answers []answer, first int) {
	var added []storage.Message
	e.Effects = append(e.Effects, pipeline.EffectFunc(func(tx storage.Tx, _ *pipeline.Envelope) (err error) {
		added, err = r.applyEnd(tx, end, answers, first)
		return err
	}))
	e.AfterAnswer(func(ok bool) {
		if !ok {
			_, err, _ := e.Result()
			end = End{Status: Failed, StopReason: "error", Err: err, Text: end.Text, StartedAt: end.StartedAt, EndedAt: time.Now()}
			added = nil
			late := end
			r.reg.wg.Go(func() { r.reg.storeEnd(r, late) })
		}
		r.announce(added)
		r.lifecycleEnd(end)
		r.reg.finish(r, end)
		r.reg.SessionChanged(r.sessionKey, Change{Reason: "agent.input.settled"})
		r.reg.SessionChanged(r.sessionKey, Change{Phase: "end", RunID: r.id, TS: end.EndedAt.UnixMilli()})
	})
}

// announce tells the session's readers of new messages.
func (r *Run) announce(added []storage.Message) {
	for _, m := range added {
		r.reg.MessageAdded(r.sessionKey, m, m.FromOwner())
	}
}

// applyEnd writes what the turn has said and not stored yet, the session's new state,
// the end of the run and of those that joined it, and what duplicates of their requests
// get from now on.
func (r *Run) applyEnd(tx storage.Tx, end End, answers []answer, first int) (added []storage.Message, err error) {
	s, live, err := r.session(tx)
	if err != nil {
		return nil, err
	}
	if live {
		if added, err = r.addEnd(tx, &s, end, answers, first); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	joined := append([]*Run(nil), r.joined...)
	r.mu.Unlock()
	for _, o := range joined {
		if err := o.putEnd(tx, end.joined()); err != nil {
			return nil, err
		}
	}
	return added, r.putEnd(tx, end)
}

func (r *Run) addEnd(tx storage.Tx, s *storage.SessionRow, end End, answers []answer, first int) (added []storage.Message, err error) {
	// A run that never began has left its messages out; taken back ones stay out.
	if !r.began() && end.Status != Aborted {
		if added, err = r.addInputs(tx, s, r.texts()); err != nil {
			return nil, err
		}
	}
	said, err := r.addAnswers(tx, s, answers, first)
	if err != nil {
		return nil, err
	}
	added = append(added, said...)
	if end.Err != nil && len(answers) == 0 {
		m := r.errorRecord(end)
		if m.Seq, err = storage.AppendMessage(tx, s, m); err != nil {
			return nil, err
		}
		added = append(added, m)
	}
	applyToSession(s, r.id, end)
	return added, storage.PutSession(tx, s)
}

// began reports whether the run's messages are in the transcript.
func (r *Run) began() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revision != ""
}

func applyToSession(row *storage.SessionRow, runID string, end End) {
	row.Status = map[Status]string{OK: "done", Aborted: "killed"}[end.Status]
	if row.Status == "" {
		row.Status = "failed"
	}
	row.StartedAtMs, row.EndedAtMs = end.StartedAt.UnixMilli(), end.EndedAt.UnixMilli()
	row.LastRunID, row.AbortedLastRun = runID, end.Status == Aborted
	row.UpdatedAtMs = max(row.UpdatedAtMs, end.EndedAt.UnixMilli())
	row.Unread = true
	if end.Input > 0 {
		row.InputTokens, row.OutputTokens, row.TotalTokens = end.Input, end.Output, end.Input
	}
}

func (r *Run) putEnd(tx storage.Tx, end End) error {
	row := r.row(end.Status)
	row.StartedAtMs, row.EndedAtMs = end.StartedAt.UnixMilli(), end.EndedAt.UnixMilli()
	row.StopReason, row.Error, row.Result = end.StopReason, errText(end), r.finalPayload(end)
	if err := storage.PutRun(tx, &row); err != nil {
		return err
	}
	claim := r.claimed()
	if claim == nil {
		return nil
	}
	kept := *claim
	if r.claim == nil { // of a former process: the key is remembered anew from the end on
		kept.ExpiresAtMs = end.EndedAt.UnixMilli() + max(0, kept.ExpiresAtMs-r.createdAt.UnixMilli())
	}
	kept.Answer = row.Result
	return storage.PutIdempotency(tx, &kept)
}

func errText(end End) string {
	if end.Err == nil {
		return ""
	}
	return end.Err.Message
}

// Waits between the tries to store an end beside its envelope.
const (
	endRetryFirst = 200 * time.Millisecond
	endRetryMost  = 30 * time.Second
)

// storeEnd stores the end of a run that has no envelope of its own, and tries again
// while the store cannot write: a run whose end is lost would start again after a
// restart. What is left when the gateway stops does.
func (g *Registry) storeEnd(r *Run, end End) {
	for wait := endRetryFirst; ; wait = min(2*wait, endRetryMost) {
		var added []storage.Message
		err := g.deps.Update(g.ctx, func(tx storage.Tx) (err error) {
			added, err = r.applyEnd(tx, end, nil, 0)
			return err
		})
		if err == nil {
			r.announce(added)
			return
		}
		g.deps.Log.Error("a run's end could not be stored; it is tried again", "run", r.id, "err", err)
		if errors.Is(err, storage.ErrClosed) || sleep(g.ctx, wait) != nil {
			return
		}
	}
}

// Recover reads the runs that a former process left: those that waited are returned, in
// the order in which they came, to be put back into their lanes; those that were running
// are ended as interrupted.
func (g *Registry) Recover(ctx context.Context) (waiting []*Run, interrupted int, err error) {
	var open []storage.RunRow
	err = g.deps.Store.View(ctx, func(tx storage.Reader) (err error) {
		open, err = storage.OpenRuns(tx, 0)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	for _, row := range open {
		var p promptRecord
		broken := json.Unmarshal(row.Prompt, &p) != nil
		r := g.New(Spec{ID: row.RunID, Kind: p.Kind, SessionKey: row.SessionKey, AgentID: row.AgentID,
			Model: p.Model, System: p.System, Timeout: time.Duration(p.TimeoutMs) * time.Millisecond})
		if r == nil {
			continue
		}
		r.sessionID, r.inputs, r.createdAt, r.claimRow = row.SessionID, p.Inputs, time.Unix(0, p.AcceptedNs), p.Claim
		if p.AcceptedNs == 0 {
			r.createdAt = time.UnixMilli(row.CreatedAtMs)
		}
		if row.Status == storage.RunQueued && !broken {
			waiting = append(waiting, r)
			continue
		}
		interrupted++
		end := End{Status: Interrupted, StopReason: "restart", StartedAt: time.UnixMilli(max(row.StartedAtMs, row.CreatedAtMs)), EndedAt: time.Now(),
			Err: frames.Unavailable(0, "the gateway was restarted while this message was being answered; send it again")}
		if err := g.deps.Update(ctx, func(tx storage.Tx) error { _, err := r.applyEnd(tx, end, nil, 0); return err }); err != nil {
			return waiting, interrupted, err
		}
		g.finish(r, end)
	}
	// Keys are random; a session's messages are answered in their order.
	slices.SortStableFunc(waiting, func(a, b *Run) int { return a.createdAt.Compare(b.createdAt) })
	return waiting, interrupted, nil
}
