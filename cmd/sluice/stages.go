package main

import (
	"sluice/pipeline"
	"sluice/stages/adapter"
	"sluice/stages/decode"
	"sluice/stages/dedupe"
	"sluice/stages/defend"
	"sluice/stages/dispatch"
	"sluice/stages/persist"
	"sluice/stages/schedule"
)

// stages are the seven stages that every frame passes.
type stages struct {
	decode   *decode.Stage   // bytes -> a request that is well formed and permitted
	dedupe   *dedupe.Stage   // one idempotency key, one effect
	schedule *schedule.Stage // a place in the session's lane
	defend   *defend.Stage   // allow, review or block
	dispatch *dispatch.Stage // the method's handler, or the agent turn
	adapter  *adapter.Stage  // what leaves through a channel
	persist  *persist.Stage  // effects on disk, then the answer
}

// list is the architecture on one screen.
func (s *stages) list() []pipeline.Stage {
	return []pipeline.Stage{s.decode, s.dedupe, s.schedule, s.defend, s.dispatch, s.adapter, s.persist}
}
