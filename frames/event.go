package frames

import "sync/atomic"

// StateVersion counts changes of the two snapshots that clients cache (wire.md 3.7).
type StateVersion struct {
	Presence uint64
	Health   uint64
}

// Reach says which connections an event is for, before scopes are checked.
type Reach uint8

// The reaches.
const (
	// ReachAll: every connection whose scopes allow the event (EventScope).
	ReachAll Reach = iota
	// ReachSessions: those that called sessions.subscribe.
	ReachSessions
	// ReachSession: those that called sessions.messages.subscribe for Event.SessionKey,
	// or sessions.subscribe.
	ReachSession
	// ReachApprovals: those that called sessions.messages.subscribe for Event.SessionKey with
	// includeApprovals.
	ReachApprovals
	// ReachConn: only the connection Event.ConnID.
	ReachConn
	// ReachRun: connections with cap tool-events that own the run (Event.ConnID).
	ReachRun
	// ReachReaders: like ReachAll, except that a connection with cap
	// session-scoped-events only gets sessions that it subscribed to (chat, agent).
	ReachReaders
)

// Event is one outbound event, encoded once however many receive it (law 11).
type Event struct {
	Name string
	// Payload is the encoded JSON payload. It must not change after Broadcast.
	Payload    []byte
	Reach      Reach
	SessionKey string
	ConnID     string
	// DropIfSlow lets a connection whose outbox is over its bound miss this event; its
	// sequence number is still used up, so that the client sees the gap.
	DropIfSlow bool
	// Unsequenced events carry no seq (connect.challenge, models.snapshot, node-directed).
	Unsequenced bool
	// State, when not nil, is sent as stateVersion (presence and health only).
	State *StateVersion
	// Scope overrides EventScope(Name) when not ScopeNone.
	Scope Scope
	// ToNodes also sends the event to nodes (tick, shutdown).
	ToNodes bool
}

// Broadcaster delivers events to connections. Broadcast never blocks on a client.
type Broadcaster interface {
	Broadcast(ev Event)
}

// Audience is a Broadcaster that knows when nobody would get an event: its payload need
// then not be made. Wanted may say yes for an event that nobody gets, never no for one
// that somebody does. It looks at Reach and SessionKey only.
type Audience interface {
	Wanted(ev *Event) bool
}

// Wanted asks b, if it is an Audience.
func Wanted(b Broadcaster, ev *Event) bool {
	a, ok := b.(Audience)
	return !ok || a.Wanted(ev)
}

// Versions holds the two state counters. The zero value is ready.
type Versions struct {
	presence, health atomic.Uint64
}

// Snapshot returns both counters.
func (v *Versions) Snapshot() StateVersion {
	return StateVersion{Presence: v.presence.Load(), Health: v.health.Load()}
}

// Restore sets both counters at start, to where a former process left them: they never
// go back, so a client that kept one across a restart sees that it is behind.
func (v *Versions) Restore(s StateVersion) {
	v.presence.Store(s.Presence)
	v.health.Store(s.Health)
}

// BumpPresence and BumpHealth count one change and return the new state.
func (v *Versions) BumpPresence() StateVersion {
	v.presence.Add(1)
	return v.Snapshot()
}

// BumpHealth counts a change of the health snapshot.
func (v *Versions) BumpHealth() StateVersion {
	v.health.Add(1)
	return v.Snapshot()
}

// Buffer is encoded bytes with one hold on their memory; bufpool.Lease implements it.
type Buffer interface {
	Bytes() []byte
	Release()
}
