package frames

import (
	"sync"
	"sync/atomic"
)

// Handshake is what the edge knows about a connection before it said who it is. It is
// immutable; all of it was seen on the socket or made by the server.
type Handshake struct {
	// Nonce and TsMs are what connect.challenge carried.
	Nonce string
	TsMs  int64
	// Origin, Host and UserAgent are the upgrade request's headers, verbatim.
	Origin    string
	Host      string
	UserAgent string
	// RemoteIP is the client's address: the peer's, or the one that a trusted proxy
	// forwarded.
	RemoteIP string
	// PeerLoopback: the socket's peer is loopback. Local: it is, and no forwarding
	// header was sent (wire.md 3.1).
	PeerLoopback bool
	Local        bool
	// ConnectedAtMs is when the socket was accepted.
	ConnectedAtMs int64
}

// Conn is one client connection as the pipeline sees it. Its methods never block on
// the client and may be called from any goroutine.
type Conn interface {
	// ID is unique in this process.
	ID() string
	// Peer is the granted identity; nil before hello.
	Peer() *Peer
	// Send queues one encoded frame. It takes over the caller's hold on the buffer and
	// reports false when the connection is gone or over its outbox bound (it then
	// closes 1008 "slow consumer"); the buffer is released in every case.
	Send(b Buffer) bool
	// Close ends the connection after what is queued was flushed (grace 1 s).
	Close(c Close)
}

// Client is a Conn as the handshake and the subscription methods see it.
type Client interface {
	Conn
	// Handshake is what was seen before hello; never nil.
	Handshake() *Handshake
	// Accept grants peer to the connection after hello-ok was queued: the read limit
	// rises, queued frames are submitted and events may be delivered.
	Accept(peer *Peer)
	// Subscriptions is the connection's own set; never nil.
	Subscriptions() *Subscriptions
}

// MaxSubscribedSessions bounds the sessions that one connection subscribes to.
const MaxSubscribedSessions = 1000

// Subscriptions is what a connection asked to be told. It is safe for concurrent use;
// the zero value is empty and ready.
type Subscriptions struct {
	mu       sync.RWMutex
	sessions bool
	keys     map[string]SubscriptionOptions
	count    *SubscriptionCount
	ended    bool
}

// SubscriptionCount counts the connections that subscribe to anything, over all
// connections of an edge, so that it can say at no cost that nobody does. The zero value
// is ready.
type SubscriptionCount struct {
	sessions atomic.Int64 // connections that called sessions.subscribe
	keyed    atomic.Int64 // connections that subscribe to single sessions
}

// Sessions and Keyed are the numbers of connections that subscribe to all sessions, and
// to single ones.
func (n *SubscriptionCount) Sessions() int64 { return n.sessions.Load() }

// Keyed: see Sessions.
func (n *SubscriptionCount) Keyed() int64 { return n.keyed.Load() }

// CountIn makes s count in n. The edge calls it before the connection can subscribe.
func (s *Subscriptions) CountIn(n *SubscriptionCount) { s.count = n }

// Ended reports whether the connection has ended.
func (s *Subscriptions) Ended() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ended
}

// End takes s out of the count: its connection has ended. Later changes do nothing.
func (s *Subscriptions) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.set(false, nil)
	s.ended = true
}

// set replaces what is subscribed to and counts the difference. s.mu is held.
func (s *Subscriptions) set(sessions bool, keys map[string]SubscriptionOptions) {
	if s.count != nil {
		s.count.sessions.Add(btoi(sessions) - btoi(s.sessions))
		s.count.keyed.Add(btoi(len(keys) > 0) - btoi(len(s.keys) > 0))
	}
	s.sessions, s.keys = sessions, keys
}

func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// SubscriptionOptions are the options of sessions.messages.subscribe.
type SubscriptionOptions struct {
	IncludeApprovals bool
}

// SetSessions records sessions.subscribe.
func (s *Subscriptions) SetSessions(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.set(on, s.keys)
	}
}

// Add records sessions.messages.subscribe; false means that MaxSubscribedSessions is
// reached and nothing was added.
func (s *Subscriptions) Add(key string, opt SubscriptionOptions) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return true
	}
	if _, ok := s.keys[key]; !ok && len(s.keys) >= MaxSubscribedSessions {
		return false
	}
	if s.keys == nil {
		s.set(s.sessions, map[string]SubscriptionOptions{key: opt})
	}
	s.keys[key] = opt
	return true
}

// Remove undoes Add.
func (s *Subscriptions) Remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.keys[key]; !ok {
		return
	}
	if len(s.keys) == 1 {
		s.set(s.sessions, nil)
		return
	}
	delete(s.keys, key)
}

// Sessions reports whether sessions.subscribe was called.
func (s *Subscriptions) Sessions() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sessions
}

// Has reports whether the session's messages were subscribed to, by its key.
func (s *Subscriptions) Has(key string) (SubscriptionOptions, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.keys[key]
	return o, ok
}
