package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent/provider"
	"sluice/storage"
)

// Run implements pipeline.Work: it does the turn on dispatch's goroutine. What must
// survive is left on e as effects; readers are told of the end only after those are
// durable.
func (r *Run) Run(ctx context.Context, e *pipeline.Envelope) error {
	cfg := r.reg.Config()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.Duration(cfg.TurnTimeoutMs) * time.Millisecond
	why := errors.New("the turn took longer than agent.turnTimeoutMs")
	if r.timeout > 0 && r.timeout < limit {
		limit, why = r.timeout, fmt.Errorf("the turn took longer than the %s that its request allows", r.timeout)
	}
	ctx, stop := context.WithTimeoutCause(ctx, limit, timeout{why})
	defer stop()
	t := &turn{run: r, cfg: cfg, out: newStreamer(r, time.Duration(cfg.DeltaPaceMs)*time.Millisecond)}
	started := time.Now()
	var end End
	if r.begin(cancel, t.out, started) {
		r.reg.Stats.Started.Add(1)
		end = t.do(ctx)
	} else {
		end = End{Status: Aborted, StopReason: r.stopReason()}
	}
	end.StartedAt, end.EndedAt = started, time.Now()
	r.settle(e, end, t.answers, t.stored)
	return nil
}

// timeout is the cause of a turn that took too long.
type timeout struct{ error }

// turn is one execution of a run.
type turn struct {
	run     *Run
	cfg     *Config
	out     *streamer
	agent   AgentConfig
	answers []answer
	stored  int // of answers
}

// answer is one message of the assistant.
type answer struct {
	text   string
	result provider.Result
	at     time.Time
	// cut is empty for a whole answer; Aborted and Failed mark what was said before.
	cut Status
}

// do asks the model until nothing more was steered in.
func (t *turn) do(ctx context.Context) End {
	r := t.run
	if err := r.reg.Ready(); err != nil {
		return failed(err)
	}
	added, err := t.open(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil || errors.Is(err, errStale) {
			return t.ended(errAborted, err)
		}
		return failed(frames.Unavailable(1000, "the run could not be stored; nothing was sent to the model; try again"))
	}
	r.announce(added)
	r.status1("preparing_workspace")
	r.status1("preparing_context")
	t.chooseModel()
	history, err := t.history(ctx)
	if err != nil {
		return failed(frames.Unavailable(1000, "the session could not be read; try again"))
	}
	r.lifecycleStart()
	r.status1("starting_model")
	r.lifecycleModel(t.cfg.Model.Provider, t.agent.Model)
	return t.converse(ctx, history)
}

// chooseModel takes the request's model, the session's, or the agent's.
func (t *turn) chooseModel() {
	r := t.run
	t.agent, _ = t.cfg.Agent(r.agentID)
	r.mu.Lock()
	defer r.mu.Unlock()
	if model := orElse(r.model, r.override); model != "" {
		t.agent.Model = strings.TrimPrefix(model, t.cfg.Model.Provider+"/")
	}
}

func (t *turn) converse(ctx context.Context, history []provider.Message) End {
	r := t.run
	for {
		a, err := t.ask(ctx, history)
		if err != nil {
			end := t.ended(context.Cause(ctx), err)
			if a.text != "" { // readers have seen it: it is kept
				a.cut = end.Status
				t.answers = append(t.answers, a)
			}
			end.Text = a.text
			return end
		}
		t.answers = append(t.answers, a)
		runs, more := r.next()
		if len(runs) == 0 {
			return End{Status: OK, StopReason: orElse(a.result.StopReason, "stop"), Text: a.text, Model: a.result.Model,
				ResponseID: a.result.ResponseID, Input: a.result.Usage.Input, Output: a.result.Usage.Output}
		}
		if err := t.progress(ctx, t.answers, more); err != nil {
			r.unread(runs)
			return t.ended(context.Cause(ctx), frames.Unavailable(1000, "the answer could not be stored"))
		}
		history = append(history, provider.Message{Role: "assistant", Content: a.text})
		for _, in := range more {
			if in.Foreign != "" && r.reg.deps.Foreign != nil { // it may have come before the turn did
				r.reg.deps.Foreign(r.sessionKey, in.Foreign)
			}
			history = append(history, provider.Message{Role: "user", Content: in.Text})
		}
		t.out.reset()
	}
}

// ended says how a turn ended that did not end well: by cause, the reason why its
// context ended, or by err.
func (t *turn) ended(cause, err error) End {
	var late timeout
	switch {
	case errors.As(cause, &late):
		return End{Status: Failed, StopReason: "timeout", Err: &frames.Error{Code: frames.CodeUnavailable, Message: late.Error()}}
	case errors.Is(cause, errAborted):
		return End{Status: Aborted, StopReason: t.run.stopReason()}
	case cause != nil: // the gateway stops
		return End{Status: Aborted, StopReason: "restart"}
	}
	return failed(modelError(err))
}

func failed(err *frames.Error) End {
	return End{Status: Failed, StopReason: "error", Err: err}
}

func modelError(err error) *frames.Error {
	var wire *frames.Error
	if errors.As(err, &wire) {
		return wire
	}
	e := &frames.Error{Code: frames.CodeUnavailable, Message: err.Error()}
	var pe *provider.Error
	if errors.As(err, &pe) {
		e.Retryable = pe.Temporary()
		e.Details = map[string]any{"provider": pe.Provider, "failoverReason": pe.Reason()}
	}
	return e
}

// ask makes one model call and repeats it after temporary failures, as long as nothing
// was streamed: readers must not see an answer begin twice.
func (t *turn) ask(ctx context.Context, history []provider.Message) (answer, error) {
	g := t.run.reg
	delay := time.Duration(t.cfg.RetryDelayMs) * time.Millisecond
	for attempt := 1; ; attempt++ {
		text, res, err := t.call(ctx, history)
		a := answer{text: text, result: res, at: time.Now()}
		if err == nil {
			g.Stats.TokensIn.Add(uint64(max(0, res.Usage.Input)))
			g.Stats.TokensOut.Add(uint64(max(0, res.Usage.Output)))
			t.run.usage(res.Usage)
			return a, nil
		}
		var pe *provider.Error
		if ctx.Err() != nil || text != "" || attempt > t.cfg.Retries || !errors.As(err, &pe) || !pe.Temporary() {
			return a, err
		}
		wait := max(delay, pe.RetryAfter)
		if end, ok := ctx.Deadline(); ok && time.Until(end) < wait {
			return a, err // it would be waited for in vain
		}
		g.Stats.Retried.Add(1)
		t.run.retrying(err, attempt, t.cfg.Retries, wait)
		if sleep(ctx, wait) != nil {
			return a, err
		}
		delay = min(2*delay, time.Minute)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errTooLong: the model went on past agent.answerBytes.
var errTooLong = errors.New("the model's answer is longer than agent.answerBytes")

// whole is err, or errTooLong for an answer that was cut although its stream ended well:
// the end may be read before the cut is noticed.
func whole(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errTooLong) {
		return errTooLong
	}
	return err
}

func (t *turn) call(ctx context.Context, history []provider.Message) (string, provider.Result, error) {
	g := t.run.reg
	p := g.prov.Load().provider
	if p == nil {
		return "", provider.Result{}, errors.New(g.prov.Load().missing)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	finish := func(provider.Result, error) {}
	if g.deps.Span != nil {
		ctx, finish = g.deps.Span(ctx, p.Name(), t.agent.Model, t.cfg.Model.BaseURL)
	}
	res, err := p.Stream(ctx, provider.Request{Model: t.agent.Model, Messages: history,
		MaxOutputTokens: t.cfg.Model.MaxOutputTokens}, func(piece string) {
		if !t.out.add(piece, t.cfg.AnswerBytes) {
			cancel(errTooLong)
		}
	})
	err = whole(ctx, err)
	finish(res, err)
	t.out.flush()
	return t.out.text(), res, err
}

// history reads the session's messages for the model: the newest that fit. The run's
// own stand last, as they have just entered the transcript.
func (t *turn) history(ctx context.Context) ([]provider.Message, error) {
	r := t.run
	var out []provider.Message
	size := 0
	err := r.reg.deps.Store.View(ctx, func(tx storage.Reader) error {
		return storage.ScanTranscript(tx, r.SessionID(), 0, true, func(m *storage.Message) error {
			if m.Role != "user" && m.Role != "assistant" {
				return nil
			}
			text := forModel(m.Body)
			if text == "" {
				return nil
			}
			if size += len(text); (size > t.cfg.HistoryBytes || len(out) == t.cfg.HistoryMessages) && len(out) > 0 {
				return storage.ErrStop
			}
			out = append(out, provider.Message{Role: m.Role, Content: text})
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	if p := t.systemPrompt(); p != "" {
		out = append(out, provider.Message{Role: "system", Content: p})
	}
	slices.Reverse(out)
	return out, nil
}

func (t *turn) systemPrompt() string {
	r := t.run
	r.mu.Lock()
	notes := r.notes
	r.mu.Unlock()
	parts := []string{}
	for _, p := range []string{t.agent.SystemPrompt, r.system} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if len(notes) > 0 {
		lines := []string{fmt.Sprintf("%d earlier messages of this conversation were dropped because too many were waiting; they began:", len(notes))}
		for _, n := range notes {
			lines = append(lines, "- "+clip(n, 160))
		}
		parts = append(parts, strings.Join(lines, "\n"))
	}
	if r.reg.deps.Notices != nil {
		for _, n := range r.reg.deps.Notices(r.sessionKey) {
			parts = append(parts, "System event: "+n)
		}
	}
	return strings.Join(parts, "\n\n")
}

func clip(s string, n int) string {
	s = strings.ReplaceAll(s, "\n", " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// Complete asks an agent's model one question outside of any session and returns the
// whole answer, or an error in words for the user. ctx bounds it.
func (g *Registry) Complete(ctx context.Context, agentID, instruction, text string) (string, error) {
	if err := g.Ready(); err != nil {
		return "", errors.New(err.Message)
	}
	cfg := g.Config()
	a, _ := cfg.Agent(agentID)
	var b strings.Builder
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res, err := g.prov.Load().provider.Stream(ctx, provider.Request{Model: a.Model, MaxOutputTokens: cfg.Model.MaxOutputTokens,
		Messages: []provider.Message{{Role: "system", Content: instruction}, {Role: "user", Content: text}}},
		func(piece string) {
			if b.Len()+len(piece) > cfg.AnswerBytes {
				cancel(errTooLong)
				return
			}
			b.WriteString(piece)
		})
	g.Stats.TokensIn.Add(uint64(max(0, res.Usage.Input)))
	g.Stats.TokensOut.Add(uint64(max(0, res.Usage.Output)))
	return b.String(), whole(ctx, err)
}
