// Package pipeline moves envelopes through stages. It owns every channel, worker,
// timeout, panic and span, so that the author of a stage writes no concurrency; it
// knows no stage.
//
//	                 Submit                                     settle: answer once,
//	wire ──► [link] decode ──► [link] dedupe ──► … ──► persist ──► run hooks, free
//	                 ▲ Inject (a turn enters in the middle)
//
// Lifecycle: New, Start, then Submit from any goroutine; Drain stops intake and waits
// for what is in flight; Stop ends the workers.
package pipeline

import "context"

// Verdict is what a stage says about an envelope that it has processed.
type Verdict uint8

// The verdicts.
const (
	// Next passes the envelope on; after the last stage it is settled.
	Next Verdict = iota
	// Done settles it now: the stage has set the answer, or there is none to give.
	Done
	// Parked: Envelope.Park has handed it to someone who will call Resume.
	Parked
)

// A Stage does one thing to one Envelope.
//
// Process runs on one of the stage's workers, with ctx limited to the stage's timeout.
// It says Next to pass e on, Done when it has answered e, or the verdict of e.Park when
// something else will wake it. A *frames.Error is sent to the client as it is; any
// other error is logged and sent as an internal error without its text. Process must
// not keep ctx, e, or bytes of e after it returns, unless it parked e or retained the
// lease.
type Stage interface {
	Name() string
	Process(ctx context.Context, e *Envelope) (Verdict, error)
}

// Starter is a Stage that must be started before the first envelope; an error stops
// the start of the gateway.
type Starter interface {
	Start(ctx context.Context) error
}

// Stopper is a Stage that has something to end after the last envelope.
type Stopper interface {
	Stop(ctx context.Context) error
}

// Healther is a Stage that can be unwell: an empty string means healthy, anything else
// is shown in health and /readyz.
type Healther interface {
	Health() string
}

// Tracer makes spans of envelopes. Begin is called once, as soon as the trace that e
// continues is known, and sets e.Ctx only if the frame is sampled; End once, after the
// answer.
type Tracer interface {
	Begin(e *Envelope)
	End(e *Envelope)
}
