package limit

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/frames/client"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustServe(tb testing.TB, cfg Config) string {
	tb.Helper()
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return "ws://" + ln.Addr().String()
}

func options(url string) client.Options {
	o := client.Default()
	o.URL = url
	return o
}

func TestAnswers(t *testing.T) {
	cfg := Default()
	cfg.PingIntervalMs = 1 // pings between all frames
	c, err := client.Dial(t.Context(), options(mustServe(t, cfg)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for method, want := range map[string][]byte{"health": healthJSON, "system-presence": presenceJSON, "chat.inject": okJSON} {
		got, err := c.Call(t.Context(), method, map[string]string{"message": strings.Repeat("x", 5000)})
		if err != nil || string(got) != string(want) || !jsontext.Value(want).IsValid() {
			t.Errorf("%s = %.80s, %v", method, got, err)
		}
	}
}

func TestBounds(t *testing.T) {
	cfg := Default()
	cfg.MaxFrameBytes, cfg.MaxConnections = 1024, 1
	url := mustServe(t, cfg)
	c, err := client.Dial(t.Context(), options(url))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := client.Dial(t.Context(), options(url)); err == nil {
		t.Error("a second connection was let in")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := c.Call(ctx, "x", strings.Repeat("x", 2000)); err == nil || ctx.Err() != nil {
		t.Errorf("a long frame was answered: %v", err)
	}
	if (Config{}).Validate() == nil {
		t.Error("an empty config is valid")
	}
}

// FuzzConn feeds raw bytes past the upgrade: no panic, no large allocation.
func FuzzConn(f *testing.F) {
	f.Add([]byte("\x81\x85\x00\x00\x00\x00hello"))
	f.Add(append([]byte("\x81\x9f\x00\x00\x00\x00"), `{"type":"req","id":"1","method":"health"}`[:31]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := conn{nc: sink{}, br: bufio.NewReader(bytes.NewReader(b)), max: 4096}
		for c.one() == nil {
		}
		if cap(c.in) > 8192 {
			t.Fatalf("buffer of %d bytes", cap(c.in))
		}
	})
}

// sink is a net.Conn that swallows writes.
type sink struct{ net.Conn }

func (sink) Write(p []byte) (int, error) { return len(p), nil }
