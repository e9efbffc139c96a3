package client

import (
	"fmt"
	"net"
	"net/url"
	"runtime"
	"time"
)

// Info says which program connects; ids and modes are enumerations of the protocol
// (wire.md 3.3) and a gateway refuses others.
type Info struct {
	ID           string `json:"id"`
	DisplayName  string `json:"displayName,omitzero"`
	Version      string `json:"version"`
	Platform     string `json:"platform"`
	DeviceFamily string `json:"deviceFamily,omitzero"`
	Mode         string `json:"mode"`
	InstanceID   string `json:"instanceId,omitzero"`
}

// Auth holds the credentials; a gateway tries them in the order of wire.md 3.4.
type Auth struct {
	Token          string `json:"token,omitzero"`
	BootstrapToken string `json:"bootstrapToken,omitzero"`
	DeviceToken    string `json:"deviceToken,omitzero"`
	Password       string `json:"password,omitzero"`
}

// signed is the credential that a device proof covers (wire.md 3.4).
func (a Auth) signed() string {
	switch {
	case a.Token != "":
		return a.Token
	case a.DeviceToken != "":
		return a.DeviceToken
	}
	return a.BootstrapToken
}

// Options configure a Client. Start from Default: a zero limit is refused, not
// replaced, so that nothing is unbounded by accident.
type Options struct {
	// URL of the gateway, ws:// or wss://. No default.
	URL string `json:"url"`
	// Origin is sent as the Origin header; empty sends none, as programs do.
	Origin string `json:"origin,omitzero"`
	// MinProtocol and MaxProtocol are the versions that are offered. Default 4 and 4.
	MinProtocol int `json:"minProtocol"`
	MaxProtocol int `json:"maxProtocol"`
	// Client defaults to gateway-client/backend, which a gateway on the same machine
	// admits with a shared secret and without a device.
	Client Info `json:"client"`
	// Role is "operator" (default) or "node".
	Role string `json:"role"`
	// Scopes that are asked for; the gateway grants. Default: all operator scopes.
	Scopes []string `json:"scopes"`
	// Caps, Commands and UserAgent are passed on as they are.
	Caps      []string `json:"caps,omitzero"`
	Commands  []string `json:"commands,omitzero"`
	UserAgent string   `json:"userAgent,omitzero"`
	// Auth holds the credentials.
	Auth Auth `json:"auth,omitzero"`
	// Identity, if set, adds a device block with a v3 proof. See LoadIdentity.
	Identity *Identity `json:"-"`

	// WrapConn, if set, wraps the socket before the upgrade; tools throttle and count
	// with it.
	WrapConn func(net.Conn) net.Conn `json:"-"`

	// DialTimeoutMs bounds connect and upgrade together. Default 10 000.
	DialTimeoutMs int `json:"dialTimeoutMs"`
	// HandshakeTimeoutMs bounds the wait for the challenge and for hello-ok, each.
	// Default 15 000, as upstream's client.
	HandshakeTimeoutMs int `json:"handshakeTimeoutMs"`
	// WriteTimeoutMs bounds one write to the socket. Default 10 000.
	WriteTimeoutMs int `json:"writeTimeoutMs"`
	// CloseGraceMs is how long Close waits for the gateway's close frame. Default 1000.
	CloseGraceMs int `json:"closeGraceMs"`
	// TickFactor times the gateway's tick interval without any byte from it closes the
	// connection with 4000 "tick timeout". Default 2; 0 turns the watchdog off.
	TickFactor int `json:"tickFactor"`
	// EventBuffer is how many events wait for the reader of Events; further ones are
	// dropped and counted. Default 256.
	EventBuffer int `json:"eventBuffer"`
	// MaxPending bounds the calls in flight. Default 1024.
	MaxPending int `json:"maxPending"`
	// MaxMessageBytes bounds one message from the gateway. Default 25 MiB.
	MaxMessageBytes int `json:"maxMessageBytes"`
	// ReadBufferBytes is the read buffer's first size; it grows as bytes arrive and
	// shrinks when it is empty. Default 4096.
	ReadBufferBytes int `json:"readBufferBytes"`
	// ReceiveWindowBytes sets the socket's SO_RCVBUF; 0 leaves the system's choice.
	ReceiveWindowBytes int `json:"receiveWindowBytes,omitzero"`
}

// OperatorScopes are the scopes that upstream's own client asks for.
func OperatorScopes() []string {
	return []string{"operator.admin", "operator.read", "operator.write",
		"operator.approvals", "operator.pairing", "operator.questions"}
}

// Default returns Options with every limit set; only URL and Auth are missing.
func Default() Options {
	return Options{
		MinProtocol: 4, MaxProtocol: 4,
		Client: Info{ID: "gateway-client", Version: "1.0.0", Platform: runtime.GOOS, Mode: "backend"},
		Role:   "operator", Scopes: OperatorScopes(),
		DialTimeoutMs: 10_000, HandshakeTimeoutMs: 15_000, WriteTimeoutMs: 10_000, CloseGraceMs: 1000,
		TickFactor: 2, EventBuffer: 256, MaxPending: 1024, MaxMessageBytes: 25 << 20, ReadBufferBytes: 4096,
	}
}

// Validate names the first field that cannot work, and what would.
func (o Options) Validate() error {
	u, err := url.ParseRequestURI(o.URL)
	if err != nil || (u.Scheme != "ws" && u.Scheme != "wss") || u.Host == "" {
		return fmt.Errorf("client: url %q is not a WebSocket address; write ws://host:port or wss://host:port", o.URL)
	}
	if o.MinProtocol < 1 || o.MaxProtocol < o.MinProtocol {
		return fmt.Errorf("client: minProtocol %d and maxProtocol %d are not a range; the default is 4 to 4", o.MinProtocol, o.MaxProtocol)
	}
	if o.Role != "operator" && o.Role != "node" {
		return fmt.Errorf("client: role %q is unknown; use operator or node", o.Role)
	}
	for _, f := range []struct {
		name string
		v    string
	}{{"client.id", o.Client.ID}, {"client.version", o.Client.Version}, {"client.platform", o.Client.Platform}, {"client.mode", o.Client.Mode}} {
		if f.v == "" {
			return fmt.Errorf("client: %s is empty, the protocol requires it; start from Default()", f.name)
		}
	}
	for _, f := range []struct {
		name     string
		v, least int
	}{
		{"dialTimeoutMs", o.DialTimeoutMs, 1}, {"handshakeTimeoutMs", o.HandshakeTimeoutMs, 1},
		{"writeTimeoutMs", o.WriteTimeoutMs, 1}, {"closeGraceMs", o.CloseGraceMs, 1}, {"tickFactor", o.TickFactor, 0},
		{"eventBuffer", o.EventBuffer, 1}, {"maxPending", o.MaxPending, 1},
		{"maxMessageBytes", o.MaxMessageBytes, 1 << 10}, {"readBufferBytes", o.ReadBufferBytes, 128},
		{"receiveWindowBytes", o.ReceiveWindowBytes, 0},
	} {
		if f.v < f.least {
			return fmt.Errorf("client: %s is %d, must be at least %d; start from Default()", f.name, f.v, f.least)
		}
	}
	return nil
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }
