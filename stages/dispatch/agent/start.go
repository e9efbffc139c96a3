package agent

import (
	"errors"
	"strings"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// Start describes a request that starts a turn.
type Start struct {
	Kind    Kind
	RunID   string // the idempotency key
	AgentID string
	Text    string
	Model   string
	System  string        // text for the model beside the agent's own
	Timeout time.Duration // 0 takes agent.turnTimeoutMs, which also bounds it
	// Collect: the message waits for a running turn in queue mode collect.
	Collect bool
	// MustExist refuses a session that does not exist (sessions.send); otherwise it is
	// created.
	MustExist bool
	// GivenKey is the session key as the client wrote it, for messages.
	GivenKey string
	// Answer builds the payload of the acknowledgement once the session is known.
	Answer func(row *storage.SessionRow) any
	// Prepare changes the session in the same transaction before the message is added
	// (sessions.create sets a label, /reset empties it).
	Prepare func(tx storage.Tx, row *storage.SessionRow, created bool) error
	// Reason is what sessions.changed says; "send" when empty.
	Reason string
}

// errReused is the answer to a run id that stands for another request.
var errReused = frames.Invalid("This message ID was already used for different input. Check the conversation history and use a new message ID to send again.").
	WithDetails(map[string]any{"reason": "chat-request-conflict"})

// Start makes the request on e begin a turn: it stores the message and the run in one
// transaction, and puts the run on e for the lane to take when that is durable. Without
// a configured model it refuses at once and says what to set.
func (g *Registry) Start(e *pipeline.Envelope, s Start) error {
	if err := g.Ready(); err != nil {
		return err
	}
	if strings.ContainsRune(s.Text, 0) {
		return frames.Invalid("message must not contain null bytes")
	}
	in := Input{RunID: s.RunID, Text: s.Text, MessageID: uuid.NewString(), AtMs: time.Now().UnixMilli(), Foreign: e.Foreign}
	if s.Collect && e.Peer != nil {
		in.From = orElse(e.Peer.Client.ID, "operator")
	}
	run := g.New(Spec{ID: s.RunID, Kind: s.Kind, SessionKey: e.SessionKey, AgentID: s.AgentID, Model: s.Model,
		System: s.System, Timeout: s.Timeout, Input: in, Claim: e.Claim, Ctx: e.Ctx})
	if run == nil {
		return g.again(e, s)
	}
	if e.Claim != nil {
		e.Claim.Replace(run.inFlightPayload())
	}
	st := &starting{run: run, start: s}
	e.Work = run
	e.Effects = append(e.Effects, st)
	e.AfterAnswer(st.told)
	return nil
}

// starting is a request on its way to the disk.
type starting struct {
	run     *Run
	start   Start
	created bool // the session
	known   bool // the run is an earlier one
}

// Apply implements pipeline.Effect.
func (st *starting) Apply(tx storage.Tx, e *pipeline.Envelope) error {
	run, s := st.run, st.start
	switch old, err := storage.GetRun(tx, run.id); {
	case err == nil:
		st.known = true
		return run.repeated(e, &old)
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	row, created, err := EnsureSession(tx, run.sessionKey, run.agentID, s.MustExist, s.GivenKey)
	if err != nil {
		return err
	}
	st.created = created
	if row.SendPolicy == "deny" {
		return frames.Invalid("send blocked by session policy")
	}
	if s.Prepare != nil {
		if err := s.Prepare(tx, &row, created); err != nil {
			return err
		}
	}
	row.UpdatedAtMs = max(row.UpdatedAtMs, run.inputs[0].AtMs)
	row.LastInteractionAtMs = row.UpdatedAtMs
	if err := storage.PutSession(tx, &row); err != nil {
		return err
	}
	run.mu.Lock()
	run.sessionID = row.SessionID
	run.mu.Unlock()
	queued := run.row(Queued)
	if err := storage.PutRun(tx, &queued); err != nil {
		return err
	}
	return e.AnswerValue(s.Answer(&row))
}

// told runs after the acknowledgement.
func (st *starting) told(ok bool) {
	g, run := st.run.reg, st.run
	if !ok || st.known {
		g.Forget(run)
		return
	}
	if st.created {
		g.SessionChanged(run.sessionKey, Change{Reason: "create"})
	}
	g.SessionChanged(run.sessionKey, Change{Reason: orElse(st.start.Reason, "send")})
}

// again answers a request whose run this process has, although the dedupe stage has
// forgotten the key: the same request gets what its run has come to.
func (g *Registry) again(e *pipeline.Envelope, s Start) error {
	old := g.Get(s.RunID)
	if old == nil || e.Claim == nil || old.sessionKey != e.SessionKey {
		return errReused
	}
	now := e.Claim.Row(nil)
	was := old.claimed()
	if was == nil || was.Key != now.Key || was.ContentHash != now.ContentHash {
		return errReused
	}
	payload := old.inFlightPayload()
	if status, end := old.Snapshot(); !status.open() {
		payload = old.finalPayload(end)
	}
	e.Claim.Replace(payload)
	e.Answer(payload)
	return nil
}

// repeated answers a request whose run is only known to the store. The same request gets
// its result; it starts nothing.
func (r *Run) repeated(e *pipeline.Envelope, old *storage.RunRow) error {
	var p promptRecord
	if e.Claim == nil || !old.Status.Ended() || json.Unmarshal(old.Prompt, &p) != nil || p.Claim == nil {
		return errReused
	}
	if now := e.Claim.Row(nil); p.Claim.Key != now.Key || p.Claim.ContentHash != now.ContentHash {
		return errReused
	}
	payload := append([]byte(nil), old.Result...)
	e.Work = nil
	e.Claim.Replace(payload)
	e.Answer(payload)
	return nil
}

// EnsureSession returns the session of key, and makes it if it may.
func EnsureSession(tx storage.Tx, key, agentID string, mustExist bool, given string) (row storage.SessionRow, created bool, err error) {
	row, found, err := FindSession(tx, key)
	if err != nil || found {
		return row, false, err
	}
	if mustExist && key != "agent:"+agentID+":main" {
		return row, false, frames.Invalid("session not found: %s", given)
	}
	row = NewSession(key, agentID)
	return row, true, nil
}

// FindSession returns the session of key; found is false when there is none.
func FindSession(r storage.Reader, key string) (row storage.SessionRow, found bool, err error) {
	row, err = storage.GetSession(r, key)
	if errors.Is(err, storage.ErrNotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// FindByShortID returns the one session whose id begins with short; found is false when
// there is none, or more than one.
func FindByShortID(r storage.Reader, short, agentID string) (row storage.SessionRow, found bool, err error) {
	rows, err := storage.ListSessions(r, storage.SessionFilter{AgentID: agentID, Limit: 2,
		Match: func(row *storage.SessionRow) bool { return strings.HasPrefix(row.SessionID, short) }})
	if err != nil || len(rows) != 1 {
		return storage.SessionRow{}, false, err
	}
	return rows[0], true, nil
}

// NewSession is a session that did not exist before; the caller stores it.
func NewSession(key, agentID string) storage.SessionRow {
	now := time.Now().UnixMilli()
	return storage.SessionRow{Key: key, SessionID: uuid.NewString(), AgentID: agentID, CreatedAtMs: now,
		UpdatedAtMs: now, LifecycleRevision: uuid.NewString()}
}

// ResetSession empties a session: its transcript goes, its settings stay. The session
// id stays too, as in the real gateway; only lifecycleRevision is new, and one message
// says what happened.
func ResetSession(tx storage.Tx, row *storage.SessionRow) error {
	if err := ClearTranscript(tx, row.SessionID); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	row.LifecycleRevision = uuid.NewString()
	row.UpdatedAtMs, row.StartedAtMs, row.EndedAtMs = now, 0, 0
	row.InputTokens, row.OutputTokens, row.TotalTokens = 0, 0, 0
	row.AbortedLastRun, row.Status, row.LastRunID = false, "", ""
	body := mustJSON(systemBody{Role: "system", Content: []textBlock{{"text", "Reset"}}, Timestamp: now})
	_, err := storage.AppendMessage(tx, row, storage.Message{ID: uuid.NewString(), Role: "system", Body: body, TimestampMs: now})
	return err
}

// ClearTranscript removes a session's messages within the caller's transaction.
func ClearTranscript(tx storage.Tx, sessionID string) error {
	const step = 2000
	for more := true; more; {
		var err error
		if _, more, err = storage.DeleteTranscript(tx, sessionID, step); err != nil {
			return err
		}
	}
	return nil
}

// inFlightPayload is what a duplicate gets while the run waits or runs.
func (r *Run) inFlightPayload() []byte {
	v := map[string]any{"runId": r.id, "status": "in_flight"}
	if r.kind == Direct {
		v["sessionKey"], v["agentId"] = r.sessionKey, r.agentID
	}
	return mustJSON(v)
}
