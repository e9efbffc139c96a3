package frames

// Method is the protocol's contract of one method (wire.md appendix A): who may call
// it and what its params must look like. It says nothing about who answers it; that is
// the dispatch stage's table.
type Method struct {
	Name   string
	Family string
	// Scope is what the caller needs; ScopeDynamic asks Dynamic.
	Scope Scope
	// Dynamic decides the scope from the raw params when Scope is ScopeDynamic.
	Dynamic func(params []byte) Scope
	// Node methods are for role node only; every other method is for operators.
	Node bool
	// Advertised methods are listed in hello's features.methods when they are native.
	Advertised bool
	// ControlPlane methods share the write budget of 30 per 60 s (wire.md 3.8).
	ControlPlane bool
	// Express methods skip the queue: connect and health stay fast while every worker
	// is busy (law 9).
	Express bool
	// Turn methods start an agent turn: they take a place in their session's lane.
	Turn bool
	// Effect methods change state and carry an idempotency key when their params do.
	Effect bool
	// Params checks the raw params; nil accepts anything.
	Params *Schema
	// ParamsSchema and ResultSchema name definitions in protocol/schema96.json.
	ParamsSchema string
	ResultSchema string
	// Index is the method's place in Methods(), for counters without a map.
	Index int
}
