package connect

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// client is a connection of a test; it implements frames.Client.
type client struct {
	w    *world
	id   string
	hs   frames.Handshake
	subs frames.Subscriptions
	// onSend runs after the first frame was sent.
	onSend func()

	mu      sync.Mutex
	peer    *frames.Peer
	frames  [][]byte
	closed  *frames.Close
	settled chan struct{} // closed when the envelope is through, hooks included
}

// Settle implements pipeline.Settler.
func (c *client) Settle(*pipeline.Envelope) { close(c.settled) }

func (c *client) ID() string                           { return c.id }
func (c *client) Handshake() *frames.Handshake         { return &c.hs }
func (c *client) Subscriptions() *frames.Subscriptions { return &c.subs }

func (c *client) Peer() *frames.Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

func (c *client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed != nil
}

func (c *client) Send(b frames.Buffer) bool {
	c.mu.Lock()
	c.frames = append(c.frames, append([]byte(nil), b.Bytes()...))
	c.mu.Unlock()
	b.Release()
	if c.onSend != nil {
		c.onSend()
	}
	return true
}

func (c *client) Close(cl frames.Close) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed = &cl
	}
}

func (c *client) Accept(p *frames.Peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.frames) == 0 {
		c.w.tb.Error("accepted before hello was sent")
	}
	c.peer = p
}

// answer is what a client got.
type answer struct {
	OK      bool           `json:"ok"`
	Payload jsontext.Value `json:"payload"`
	Error   *struct {
		Code         string         `json:"code"`
		Message      string         `json:"message"`
		Details      jsontext.Value `json:"details"`
		Retryable    bool           `json:"retryable"`
		RetryAfterMs int64          `json:"retryAfterMs"`
	} `json:"error"`
	raw   string
	close *frames.Close
	c     *client
}

func (a answer) code() string {
	if a.Error == nil {
		return ""
	}
	var d struct {
		Code string `json:"code"`
	}
	if len(a.Error.Details) > 0 {
		if err := json.Unmarshal(a.Error.Details, &d); err != nil {
			return err.Error()
		}
	}
	return d.Code
}

func (a answer) message() string {
	if a.Error == nil {
		return ""
	}
	return a.Error.Message
}

// params returns connect's params of a client.
func params(id, mode string, change ...func(*frames.ConnectParams)) *frames.ConnectParams {
	p := &frames.ConnectParams{MinProtocol: 4, MaxProtocol: 4, Role: "operator",
		Client: frames.ConnectClient{ID: id, Version: "1", Platform: "linux", Mode: mode}}
	for _, f := range change {
		f(p)
	}
	return p
}

func scopes(list ...string) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { p.Scopes = list }
}

func token(s string) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { authOf(p).Token = s }
}

func password(s string) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { authOf(p).Password = s }
}

func deviceToken(s string) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { authOf(p).DeviceToken = s }
}

func role(s string) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) { p.Role = s }
}

func authOf(p *frames.ConnectParams) *frames.ConnectAuth {
	if p.Auth == nil {
		p.Auth = &frames.ConnectAuth{}
	}
	return p.Auth
}

// device is a client's key.
type device struct {
	id  string
	key ed25519.PrivateKey
}

func newDevice(seed byte) *device {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), ed25519.SeedSize)))
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return &device{id: hex.EncodeToString(sum[:]), key: key}
}

func (d *device) public() string {
	return base64.RawURLEncoding.EncodeToString(d.key.Public().(ed25519.PublicKey))
}

// sign adds the proof, as the last change: it covers all others.
func (d *device) sign(change ...func(*frames.ConnectDevice)) func(*frames.ConnectParams) {
	return func(p *frames.ConnectParams) {
		dev := &frames.ConnectDevice{ID: d.id, PublicKey: d.public(), SignedAt: time.Now().UnixMilli(), Nonce: "nonce-1"}
		p.Device = dev
		secret := ""
		if p.Auth != nil {
			for _, s := range []string{p.Auth.BootstrapToken, p.Auth.DeviceToken, p.Auth.Token} {
				if s != "" {
					secret = s
				}
			}
		}
		text := strings.Join([]string{"v3", d.id, p.Client.ID, p.Client.Mode, p.Role, strings.Join(p.Scopes, ","),
			strconv.FormatInt(dev.SignedAt, 10), secret, dev.Nonce, strings.ToLower(p.Client.Platform), strings.ToLower(p.Client.DeviceFamily)}, "|")
		dev.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(d.key, []byte(text)))
		for _, f := range change {
			f(dev)
		}
	}
}
