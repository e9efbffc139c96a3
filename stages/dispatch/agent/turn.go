package agent

import (
	"context"
	"errors"
	"fmt"
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
	g := r.reg
	cfg := g.Config()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, time.Duration(cfg.TurnTimeoutMs)*time.Millisecond, errTurnTimeout)
	defer stop()
	started := time.Now()
	if !r.begin(cancel, started) {
		return r.settle(e, End{Status: Aborted, StopReason: "rpc", StartedAt: started, EndedAt: started}, nil)
	}
	g.Stats.Started.Add(1)
	t := &turn{run: r, cfg: cfg, out: newStreamer(r, time.Duration(cfg.DeltaPaceMs)*time.Millisecond)}
	end, answers := t.do(ctx, started)
	return r.settle(e, end, answers)
}

var errTurnTimeout = errors.New("the turn took longer than agent.turnTimeoutMs")

// turn is one execution of a run.
type turn struct {
	run    *Run
	cfg    *Config
	out    *streamer
	agent  AgentConfig
	result provider.Result
}

// answer is one finished message of the assistant.
type answer struct {
	text    string
	result  provider.Result
	at      time.Time
	aborted bool
}

// do asks the model until nothing more was steered in.
func (t *turn) do(ctx context.Context, started time.Time) (End, []answer) {
	r := t.run
	r.status1("preparing_workspace")
	if err := r.reg.Ready(); err != nil {
		return failed(started, err), nil
	}
	t.agent, _ = t.cfg.Agent(r.agentID)
	if r.model != "" {
		t.agent.Model = r.model
	}
	r.status1("preparing_context")
	history, err := t.history(ctx)
	if err != nil {
		return failed(started, frames.Unavailable(1000, "the session could not be read; try again")), nil
	}
	if err := t.markRunning(ctx, started); err != nil {
		return failed(started, frames.Unavailable(1000, "the run could not be stored; nothing was sent to the model; try again")), nil
	}
	r.lifecycleStart(started)
	r.status1("starting_model")
	r.lifecycleModel(r.reg.Config().Model.Provider, t.agent.Model)

	var answers []answer
	for {
		a, err := t.ask(ctx, history)
		if err != nil {
			return t.ended(ctx, started, a, err), keep(answers, a)
		}
		answers = append(answers, a)
		more := r.nextInputs()
		if len(more) == 0 {
			return End{Status: OK, StopReason: a.result.StopReason, Text: a.text, Model: a.result.Model,
				ResponseID: a.result.ResponseID, Input: a.result.Usage.Input, Output: a.result.Usage.Output,
				StartedAt: started, EndedAt: time.Now()}, answers
		}
		history = append(history, provider.Message{Role: "assistant", Content: a.text})
		for _, in := range more {
			history = append(history, provider.Message{Role: "user", Content: in.Text})
		}
		t.out.reset()
	}
}

// keep adds what was streamed before an abort: readers have seen it.
func keep(answers []answer, partial answer) []answer {
	if partial.text == "" {
		return answers
	}
	partial.aborted = true
	return append(answers, partial)
}

// ended says how a turn ended that did not end well.
func (t *turn) ended(ctx context.Context, started time.Time, a answer, err error) End {
	end := End{Status: Failed, StopReason: "error", Text: a.text, StartedAt: started, EndedAt: time.Now()}
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errTurnTimeout):
		end.StopReason = "timeout"
		end.Err = frames.Unavailable(0, "%s", errTurnTimeout)
	case cause != nil:
		end.Status, end.StopReason = Aborted, "rpc"
		if !errors.Is(cause, errAborted) {
			end.StopReason = "restart"
		}
	default:
		end.Err = modelError(err)
	}
	return end
}

func failed(started time.Time, err *frames.Error) End {
	return End{Status: Failed, StopReason: "error", Err: err, StartedAt: started, EndedAt: time.Now()}
}

func modelError(err error) *frames.Error {
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
			t.run.usage(res.Usage)
			return a, nil
		}
		var pe *provider.Error
		if ctx.Err() != nil || text != "" || attempt > t.cfg.Retries || !errors.As(err, &pe) || !pe.Temporary() {
			return a, err
		}
		wait := max(delay, pe.RetryAfter)
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
	finish(res, err)
	t.out.flush()
	return t.out.text(), res, err
}

// history reads the session's messages for the model: the newest that fit, ending with
// the run's own inputs.
func (t *turn) history(ctx context.Context) ([]provider.Message, error) {
	r := t.run
	var out []provider.Message
	size := 0
	err := r.reg.deps.Store.View(ctx, func(tx storage.Reader) error {
		return storage.ScanTranscript(tx, r.sessionID, 0, true, func(m *storage.Message) error {
			text := TextOf(m.Body)
			if text == "" || (m.Role != "user" && m.Role != "assistant") {
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
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	if p := t.systemPrompt(); p != "" {
		out = append([]provider.Message{{Role: "system", Content: p}}, out...)
	}
	return out, nil
}

func (t *turn) systemPrompt() string {
	t.run.mu.Lock()
	notes := t.run.notes
	t.run.mu.Unlock()
	parts := []string{}
	if t.agent.SystemPrompt != "" {
		parts = append(parts, t.agent.SystemPrompt)
	}
	if len(notes) > 0 {
		lines := []string{fmt.Sprintf("%d earlier messages of this conversation were dropped because too many were waiting; they began:", len(notes))}
		for _, n := range notes {
			lines = append(lines, "- "+clip(n, 160))
		}
		parts = append(parts, strings.Join(lines, "\n"))
	}
	if t.run.reg.deps.Notices != nil {
		for _, n := range t.run.reg.deps.Notices(t.run.sessionKey) {
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
	_, err := g.prov.Load().provider.Stream(ctx, provider.Request{Model: a.Model, MaxOutputTokens: cfg.Model.MaxOutputTokens,
		Messages: []provider.Message{{Role: "system", Content: instruction}, {Role: "user", Content: text}}},
		func(piece string) {
			if b.Len() < cfg.AnswerBytes {
				b.WriteString(piece)
			}
		})
	return b.String(), err
}
