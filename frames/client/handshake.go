package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// handshakeID is the connect request's id.
const handshakeID = "connect"

// Challenge is the payload of connect.challenge (wire.md 3.3).
type Challenge struct {
	Nonce        string   `json:"nonce"`
	TS           int64    `json:"ts"`
	Capabilities []string `json:"capabilities,omitzero"`
}

// Hello is hello-ok (wire.md 3.5): the parts that a program acts on, and Raw for the
// rest.
type Hello struct {
	Protocol int `json:"protocol"`
	Server   struct {
		Version string `json:"version"`
		ConnID  string `json:"connId"`
		BootID  string `json:"bootId,omitzero"`
	} `json:"server"`
	Features struct {
		Methods      []string `json:"methods"`
		Events       []string `json:"events"`
		Capabilities []string `json:"capabilities,omitzero"`
	} `json:"features"`
	Auth struct {
		Method      string   `json:"method,omitzero"`
		Role        string   `json:"role"`
		Scopes      []string `json:"scopes"`
		DeviceToken string   `json:"deviceToken,omitzero"`
		IssuedAtMs  int64    `json:"issuedAtMs,omitzero"`
	} `json:"auth"`
	Policy struct {
		MaxPayload       int64 `json:"maxPayload"`
		MaxBufferedBytes int64 `json:"maxBufferedBytes"`
		TickIntervalMs   int64 `json:"tickIntervalMs"`
	} `json:"policy"`
	// Snapshot is presence, health and the state's versions, as they came.
	Snapshot jsontext.Value `json:"snapshot,omitzero"`
	// Raw is the whole payload.
	Raw jsontext.Value `json:"-"`
}

// connectParams is the closed object of wire.md 3.3.
type connectParams struct {
	MinProtocol int          `json:"minProtocol"`
	MaxProtocol int          `json:"maxProtocol"`
	Client      Info         `json:"client"`
	Role        string       `json:"role"`
	Scopes      []string     `json:"scopes"`
	Caps        []string     `json:"caps"`
	Commands    []string     `json:"commands,omitempty"`
	Auth        *Auth        `json:"auth,omitzero"`
	Device      *deviceBlock `json:"device,omitzero"`
	UserAgent   string       `json:"userAgent,omitzero"`
}

// inbound is any frame from the gateway. Unknown members are allowed: newer gateways
// add some.
type inbound struct {
	Type         string         `json:"type"`
	ID           string         `json:"id"`
	OK           bool           `json:"ok"`
	Payload      jsontext.Value `json:"payload,omitzero"`
	Error        *RemoteError   `json:"error,omitzero"`
	Event        string         `json:"event"`
	Seq          int64          `json:"seq"`
	StateVersion jsontext.Value `json:"stateVersion,omitzero"`
}

// Handshake waits for the challenge, sends connect and returns hello-ok. A refusal is a
// *RemoteError; a gateway that closes instead gives a *CloseError.
func (c *Conn) Handshake(ctx context.Context, o Options) (*Hello, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.nc.SetDeadline(past()) })
	hello, err := c.handshake(ctx, o)
	if !stop() || (err != nil && ctx.Err() != nil) { // ctx ended, and may have spoilt the deadlines
		return nil, fmt.Errorf("client: handshake: %w", context.Cause(ctx))
	}
	return hello, err
}

func (c *Conn) handshake(ctx context.Context, o Options) (*Hello, error) {
	var ch Challenge
	f, err := c.await(ctx, o, "connect.challenge", func(f *inbound) bool { return f.Type == "event" && f.Event == "connect.challenge" })
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(f.Payload, &ch); err != nil || ch.Nonce == "" {
		return nil, fmt.Errorf("%w: connect.challenge without nonce and integer ts: %s", ErrProtocol, clip(f.Payload))
	}
	if err := c.sendConnect(o, ch); err != nil {
		return nil, err
	}
	f, err = c.await(ctx, o, "the answer to connect", func(f *inbound) bool { return f.Type == "res" && f.ID == handshakeID })
	if err != nil {
		return nil, err
	}
	if !f.OK {
		if f.Error == nil {
			return nil, fmt.Errorf("%w: connect refused without an error object", ErrProtocol)
		}
		return nil, f.Error
	}
	h := &Hello{Raw: f.Payload}
	if err := json.Unmarshal(f.Payload, h); err != nil {
		return nil, fmt.Errorf("%w: hello-ok cannot be read: %w", ErrProtocol, err)
	}
	return h, c.nc.SetDeadline(time.Time{})
}

func (c *Conn) sendConnect(o Options, ch Challenge) error {
	p := connectParams{MinProtocol: o.MinProtocol, MaxProtocol: o.MaxProtocol, Client: o.Client, Role: o.Role,
		Scopes: o.Scopes, Caps: o.Caps, Commands: o.Commands, UserAgent: o.UserAgent}
	if p.Scopes == nil {
		p.Scopes = []string{}
	}
	if p.Caps == nil {
		p.Caps = []string{}
	}
	if o.Auth != (Auth{}) {
		p.Auth = &o.Auth
	}
	if o.Identity != nil {
		d := o.Identity.proof(&o, ch)
		p.Device = &d
	}
	params, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("client: connect params: %w", err)
	}
	c.End(appendRequest(c.Begin(), handshakeID, "connect", params, ""))
	if err := c.nc.SetWriteDeadline(time.Now().Add(ms(o.WriteTimeoutMs))); err != nil {
		return fmt.Errorf("client: sending connect: %w", err)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("client: sending connect: %w", err)
	}
	return nil
}

// await reads until want says yes. Events before hello-ok are skipped: upstream sends
// none, but a client loses nothing by tolerating them.
func (c *Conn) await(ctx context.Context, o Options, what string, want func(*inbound) bool) (*inbound, error) {
	if err := c.nc.SetReadDeadline(time.Now().Add(ms(o.HandshakeTimeoutMs))); err != nil {
		return nil, fmt.Errorf("client: waiting for %s: %w", what, err)
	}
	if ctx.Err() != nil { // AfterFunc may have run before the line above
		return nil, context.Cause(ctx)
	}
	for {
		b, err := c.Read()
		if err != nil {
			var closed *CloseError
			if errors.As(err, &closed) {
				return nil, err
			}
			return nil, fmt.Errorf("client: waiting for %s: %w", what, err)
		}
		f := new(inbound)
		if err := json.Unmarshal(b, f); err != nil {
			return nil, fmt.Errorf("%w: not a frame: %s", ErrProtocol, clip(b))
		}
		if want(f) {
			return f, nil
		}
	}
}

// appendRequest appends one req frame; params may be nil.
func appendRequest(dst []byte, id, method string, params jsontext.Value, traceparent string) []byte {
	dst = append(dst, `{"type":"req","id":`...)
	dst = appendString(dst, id)
	dst = append(dst, `,"method":`...)
	dst = appendString(dst, method)
	if params != nil {
		dst = append(append(dst, `,"params":`...), params...)
	}
	if traceparent != "" {
		dst = appendString(append(dst, `,"traceparent":`...), traceparent)
	}
	return append(dst, '}')
}

// appendString quotes s; invalid UTF-8 becomes U+FFFD (AppendQuote writes that and says
// so in its error), since the gateway would refuse the frame otherwise.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// clip shortens foreign bytes for an error text.
func clip(b []byte) string {
	const most = 120
	if len(b) <= most {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q… (%d bytes)", b[:most], len(b))
}
