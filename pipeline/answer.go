package pipeline

import (
	"log/slog"
	"runtime/debug"

	"sluice/bufpool"
	"sluice/frames"
)

// answer sends the envelope's one final answer, if it has someone to send it to. A
// request that no stage answered is a defect of ours: it is told so rather than left
// waiting (law 1).
func (p *Pipeline) answer(e *Envelope) {
	if e.Client == nil {
		return
	}
	if !e.answered && e.Frame.Kind == frames.KindRequest {
		p.log.Error("request passed every stage without an answer", "method", e.Frame.Method)
		e.Fail(errInternal)
	}
	if !e.answered {
		return
	}
	if e.err == nil || !e.err.Silent {
		e.Client.Send(EncodeAnswer(e.Frame.ID, e.payload, e.err))
	}
	if e.err != nil && e.err.Close != nil {
		e.Client.Close(*e.err.Close)
	}
}

// EncodeAnswer encodes a response frame into a pooled buffer that the caller owns.
func EncodeAnswer(id, payload []byte, err *frames.Error) *bufpool.Lease {
	if err != nil {
		l := bufpool.Get(len(id) + len(err.Message) + 256)
		l.B = frames.AppendError(l.B, id, err)
		return l
	}
	l := bufpool.Get(len(id) + len(payload) + 64)
	l.B = frames.AppendResult(l.B, id, payload)
	return l
}

// guard runs a hook that belongs to a stage or handler: its panic is logged and ends
// only the hook.
func (p *Pipeline) guard(what string, fn func()) {
	defer func() {
		if r := recover(); r != nil {
			p.stats.Panics.Add(1)
			p.log.LogAttrs(p.ctx, slog.LevelError, "panic", slog.String("in", what),
				slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
		}
	}()
	fn()
}

// settleOne tells one settler; its panic must not keep the others from being told.
func (p *Pipeline) settleOne(s Settler, e *Envelope) {
	defer func() {
		if r := recover(); r != nil {
			p.stats.Panics.Add(1)
			p.log.LogAttrs(p.ctx, slog.LevelError, "panic", slog.String("in", "settler"),
				slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
		}
	}()
	s.Settle(e)
}
