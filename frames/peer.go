package frames

import "strings"

// Role is what a connection acts as (wire.md 3.3).
type Role uint8

// The roles. RoleNone is a connection before hello; RoleSystem is Sluice itself (a
// turn, a hook, a channel message) and is never granted to a socket.
const (
	RoleNone Role = iota
	RoleOperator
	RoleNode
	RoleSystem
)

// String returns the role's name on the wire.
func (r Role) String() string {
	switch r {
	case RoleOperator:
		return "operator"
	case RoleNode:
		return "node"
	case RoleSystem:
		return "system"
	}
	return "none"
}

// Scope is one permission, as a bit.
type Scope uint16

// The operator scopes. ScopeNone needs nothing; ScopeNode marks node-only methods;
// ScopeDynamic is decided from the params (Method.DynamicScope).
const (
	ScopeNone Scope = 0
	ScopeRead Scope = 1 << (iota - 1)
	ScopeWrite
	ScopeAdmin
	ScopeApprovals
	ScopeQuestions
	ScopePairing
	ScopeTalk
	ScopeTalkSecrets
	ScopeSessionsRead
	ScopeSessionsWrite
	ScopeNode
	ScopeDynamic
)

var scopeNames = []struct {
	s    Scope
	name string
}{
	{ScopeRead, "operator.read"}, {ScopeWrite, "operator.write"}, {ScopeAdmin, "operator.admin"},
	{ScopeApprovals, "operator.approvals"}, {ScopeQuestions, "operator.questions"},
	{ScopePairing, "operator.pairing"}, {ScopeTalk, "operator.talk"},
	{ScopeTalkSecrets, "operator.talk.secrets"},
	{ScopeSessionsRead, "operator.sessions.read"}, {ScopeSessionsWrite, "operator.sessions.write"},
	{ScopeNode, "node"}, {ScopeDynamic, "dynamic"},
}

// String returns the scope's name on the wire; a set gives its first member's.
func (s Scope) String() string {
	for _, n := range scopeNames {
		if s&n.s != 0 {
			return n.name
		}
	}
	return "none"
}

// ScopeByName returns the scope of that wire name.
func ScopeByName(name string) (Scope, bool) {
	for _, n := range scopeNames {
		if n.name == name && n.s != ScopeNode && n.s != ScopeDynamic {
			return n.s, true
		}
	}
	return 0, false
}

// Scopes is a set of granted scopes.
type Scopes Scope

// ParseScopes returns the known names as a set; unknown names grant nothing.
func ParseScopes(names []string) Scopes {
	var set Scopes
	for _, n := range names {
		if s, ok := ScopeByName(n); ok {
			set |= Scopes(s)
		}
	}
	return set
}

// Names lists the set in a fixed order.
func (g Scopes) Names() []string {
	names := []string{}
	for _, n := range scopeNames {
		if Scope(g)&n.s != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// Allows reports whether the set grants need, by the implications of wire.md 3.6:
// admin implies all; write implies read, talk, sessions.read and sessions.write; read
// and sessions.write imply sessions.read.
func (g Scopes) Allows(need Scope) bool {
	if need == ScopeNone {
		return true
	}
	return Scope(g.closure())&need == need
}

func (g Scopes) closure() Scopes {
	s := Scope(g)
	if s&ScopeAdmin != 0 {
		return Scopes(^(ScopeNode | ScopeDynamic))
	}
	if s&ScopeWrite != 0 {
		s |= ScopeRead | ScopeTalk | ScopeSessionsRead | ScopeSessionsWrite
	}
	if s&(ScopeRead|ScopeSessionsWrite) != 0 {
		s |= ScopeSessionsRead
	}
	return Scopes(s)
}

// ClientInfo is what a client says about itself in connect. It is a claim: shown to
// people, never used to authorise.
type ClientInfo struct {
	ID              string
	Version         string
	Platform        string
	Mode            string
	DisplayName     string
	DeviceFamily    string
	ModelIdentifier string
	InstanceID      string
	TimeZone        string
	UserAgent       string
	Locale          string
}

// Peer is the authenticated identity of a connection: what the server granted, never
// what params claim (law 5). It is immutable; a change of grants makes a new Peer.
type Peer struct {
	ConnID   string
	Role     Role
	Scopes   Scopes
	Protocol int
	Client   ClientInfo
	// Identity is the stable key of who this is across reconnects: "device:<id>" for a
	// paired device, "shared" for the holder of the gateway's secret, "open" in auth
	// mode none, "system:<what>" for work that Sluice starts itself.
	Identity string
	DeviceID string
	// AuthMethod is hello's auth.method: none, token, password, device-token, bootstrap-token.
	AuthMethod string
	// Local: the socket's peer is loopback and no forwarding header was sent.
	Local    bool
	RemoteIP string
	// Caps are the client's capabilities ("tool-events", "session-scoped-events", …).
	Caps []string
	// AuthGeneration is the generation of the shared secret that authenticated this
	// connection; a rotation closes older ones.
	AuthGeneration uint64
}

// HasCap reports whether the client announced the capability.
func (p *Peer) HasCap(name string) bool {
	for _, c := range p.Caps {
		if c == name {
			return true
		}
	}
	return false
}

// Listed reports whether the connection appears in presence: cli, backend and probe
// clients do not (wire.md 3.7).
func (p *Peer) Listed() bool {
	switch strings.ToLower(p.Client.Mode) {
	case "cli", "backend", "probe":
		return false
	}
	return true
}
