package badinput_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"sluice/frames/framestest"
)

// TestRandomBytes throws random bytes at the gateway from several clients at once, each
// at another depth: at its HTTP, at its frames, at its JSON, at its methods. It must
// stay alive, answer a good client meanwhile, and hold nothing afterwards.
func TestRandomBytes(t *testing.T) {
	t.Parallel()
	long := 5 * time.Second
	if testing.Short() {
		long = time.Second
	}
	m := startModel(t)
	g := start(t, m.settings().and(settings{"decode.controlPlaneWrites": 1_000_000, "gateway.ws.maxUnauthenticatedPerIP": 10_000}))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	methods := readProtocol(t).native(t, g)
	good := g.operator(t)
	end := time.Now().Add(long)
	var wg sync.WaitGroup
	var thrown [4]int
	for i, throw := range []func(*rand.Rand) error{g.throwHTTP, g.throwFrames, g.throwJSON, func(r *rand.Rand) error { return g.throwCalls(r, methods) }} {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := 0; time.Now().Before(end); n++ {
				thrown[i]++
				if err := throw(r); err != nil {
					t.Errorf("seed %d, thrower %d, round %d: %v", seed, i, n, err)
					return
				}
			}
		})
	}
	rounds := 0
	for ; time.Now().Before(end); rounds++ {
		_ = good.SetDeadline(time.Now().Add(patience))
		good.mustHealth()
	}
	wg.Wait()
	_ = good.SetDeadline(time.Now().Add(patience))
	t.Logf("%d health calls were answered while %v rounds were thrown", rounds, thrown)
	good.bye()
}

// session opens a socket for a thrower; failing to get one is no fault of the gateway's
// as long as it still listens.
func (g *gateway) session() (net.Conn, error) {
	c, err := net.DialTimeout("tcp", g.addr, patience)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(2 * time.Second))
}

// throwHTTP sends something like a request.
func (g *gateway) throwHTTP(r *rand.Rand) error {
	c, err := g.session()
	if err != nil {
		return err
	}
	defer c.Close()
	b := []byte(upgradeRequest("/"))
	switch r.IntN(3) {
	case 0:
		b = random(r, r.IntN(4000))
	case 1:
		spoil(r, b)
	}
	_, _ = c.Write(b)
	_, _ = c.Write(random(r, r.IntN(200)))
	return hangUp(c)
}

// throwFrames sends random frames, or random bytes, before and after a hello.
func (g *gateway) throwFrames(r *rand.Rand) error {
	c, err := g.session()
	if err != nil {
		return err
	}
	defer c.Close()
	_, _ = io.WriteString(c, upgradeRequest("/"))
	for range 1 + r.IntN(20) {
		f := framestest.ClientFrame(byte(r.IntN(256)), random(r, r.IntN(300)))
		if r.IntN(4) == 0 {
			spoil(r, f)
		}
		if _, err := c.Write(f); err != nil {
			break
		}
	}
	return hangUp(c)
}

// throwJSON connects and sends frames that were good before some of their bytes changed.
func (g *gateway) throwJSON(r *rand.Rand) error {
	return g.thrown(r, func() []byte {
		b := []byte(requestFrame("x", "chat.history", `{"sessionKey":"agent:main:main","limit":5,"messageId":"a\u00e9\ud83d\ude00","offset":1e2}`))
		for range 1 + r.IntN(8) {
			spoil(r, b)
		}
		return bytes.ToValidUTF8(b, []byte("?"))
	})
}

// throwCalls connects and calls native methods with random params.
func (g *gateway) throwCalls(r *rand.Rand, methods []string) error {
	return g.thrown(r, func() []byte {
		return []byte(requestFrame(fmt.Sprint(r.IntN(10)), methods[r.IntN(len(methods))], randomJSON(r, 3)))
	})
}

// thrown sends messages on a connected socket; the gateway must still answer at its end.
func (g *gateway) thrown(r *rand.Rand, message func() []byte) error {
	c, err := g.session()
	if err != nil {
		return err
	}
	defer c.Close()
	connect := backend(allScopes...).encode(nil)
	b := append([]byte(upgradeRequest("/")), clientText(requestFrame("c", "connect", connect))...)
	for range 1 + r.IntN(50) {
		b = append(b, clientText(string(message()))...)
	}
	b = append(b, framestest.ClientFrame(framestest.Fin|framestest.OpPing, []byte("the end of it"))...)
	if _, err := c.Write(b); err != nil {
		return nil // it closed meanwhile: eleven calls of another role's methods
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var got []byte
	buf := make([]byte, 64<<10)
	for !bytes.Contains(got, []byte("the end of it")) {
		n, err := c.Read(buf)
		got = append(got[max(0, len(got)-64):], buf[:n]...)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("no pong: %w; the last bytes: %q", err, got)
		}
	}
	return hangUp(c)
}

// hangUp leaves without a word.
func hangUp(c net.Conn) error { _ = c.Close(); return nil }

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// spoil changes one byte, mostly to one that means something.
func spoil(r *rand.Rand, b []byte) {
	const sharp = "\"\\{}[]:,0123456789eE+-. \n\t\x00u/"
	if len(b) == 0 {
		return
	}
	if i := r.IntN(len(b)); r.IntN(2) == 0 {
		b[i] = sharp[r.IntN(len(sharp))]
	} else {
		b[i] = byte(r.Uint32())
	}
}

// randomJSON is JSON with the names that params have.
func randomJSON(r *rand.Rand, depth int) string {
	names := []string{"key", "sessionKey", "agentId", "message", "idempotencyKey", "limit", "runId", "text", "mode", "label", "raw", "to", "deviceId", "role", "requestId", "\\u0000", ""}
	switch k := r.IntN(8); {
	case depth > 0 && k < 4:
		out := "{"
		for i := range r.IntN(5) {
			if i > 0 {
				out += ","
			}
			out += `"` + names[r.IntN(len(names))] + `":` + randomJSON(r, depth-1)
		}
		return out + "}"
	case depth > 0 && k == 4:
		return "[" + randomJSON(r, depth-1) + "]"
	case k == 5:
		return []string{"null", "true", "false", "0", "-1", "1e9", "1e-9", "12345678901234567890"}[r.IntN(8)]
	}
	return []string{`"main"`, `"agent:main:x"`, `"../x"`, `""`, `"\ud800"`, `"é"`, `"now"`, `"operator"`, `"{}"`}[r.IntN(9)]
}
