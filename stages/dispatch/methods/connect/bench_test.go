package connect

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"crypto/ed25519"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage/auth"

	"github.com/go-json-experiment/json"
)

// benchWorld has a hello of the real size: all methods of the protocol.
func benchWorld(b *testing.B) *world {
	return newWorld(b, func(d *Deps) {
		d.Methods = func() (names []string) {
			for _, m := range frames.Methods() {
				if m.Advertised {
					names = append(names, m.Name)
				}
			}
			return names
		}
		d.Connected = func(*frames.Peer) {}
	})
}

// benchClient is a connection that counts.
type benchClient struct {
	client
	bytes int
	done  chan struct{}
}

func (c *benchClient) Send(b frames.Buffer) bool {
	c.bytes = len(b.Bytes())
	b.Release()
	return true
}
func (c *benchClient) Accept(p *frames.Peer)     { c.client.peer = p }
func (c *benchClient) Settle(*pipeline.Envelope) { c.done <- struct{}{} }

func benchConnect(b *testing.B, w *world, p *frames.ConnectParams) {
	b.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		b.Fatal(err)
	}
	frame := frames.AppendRequest(nil, "1", "connect", raw)
	c := &benchClient{client: client{w: w, id: "conn-1", hs: local()}, done: make(chan struct{}, 1)}
	one := func() {
		c.client.peer = nil
		lease := bufpool.Get(len(frame))
		lease.B = append(lease.B[:0], frame...)
		e := pipeline.NewEnvelope(pipeline.SourceWire, lease)
		e.Client = c
		e.OnSettle(c)
		if err := w.pipe.Submit(e); err != nil {
			b.Fatal(err)
		}
		<-c.done
		if c.client.peer == nil {
			b.Fatal("refused")
		}
	}
	one()
	b.ReportAllocs()
	for b.Loop() {
		one()
	}
	b.ReportMetric(float64(c.bytes), "hello-B")
}

// BenchmarkConnectShared is what each call of the CLI costs with the shared secret and
// no device, from frame to hello.
func BenchmarkConnectShared(b *testing.B) {
	w := benchWorld(b)
	benchConnect(b, w, params("gateway-client", "backend", scopes("operator.admin", "operator.read"), token(testSecret)))
}

// BenchmarkConnectDevice adds the proof and the paired device's record; nothing is
// written. Most of it is Ed25519.
func BenchmarkConnectDevice(b *testing.B) {
	w := benchWorld(b)
	d := newDevice(0)
	p := cliParams(d, "operator.admin", "operator.read")
	if a := w.connect(local(), p); !a.OK {
		b.Fatal(a.raw)
	}
	benchConnect(b, w, p)
}

// BenchmarkVerifyOnly is the part of BenchmarkConnectDevice that no gateway can save.
func BenchmarkVerifyOnly(b *testing.B) {
	d := newDevice(0)
	p := cliParams(d, "operator.admin", "operator.read")
	key, _ := base64.RawURLEncoding.DecodeString(p.Device.PublicKey)
	sig, _ := base64.RawURLEncoding.DecodeString(p.Device.Signature)
	proof := auth.Proof{DeviceID: d.id, ClientID: "cli", ClientMode: "cli", Role: "operator", Scopes: p.Scopes,
		SignedAtMs: p.Device.SignedAt, Nonce: "nonce-1", Token: testSecret, Platform: "linux"}
	text := proof.Payload("v3")
	if !strings.Contains(string(text), strconv.FormatInt(p.Device.SignedAt, 10)) {
		b.Fatal("payload")
	}
	for b.Loop() {
		if !ed25519.Verify(key, text, sig) {
			b.Fatal("invalid")
		}
	}
}
