package framestest_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sluice/frames/framestest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPairCarriesBytesBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := framestest.Pair(4)
		go func() {
			client.Write([]byte("longer than the buffer"))
			client.Close()
		}()
		got, err := io.ReadAll(server)
		if err != nil || string(got) != "longer than the buffer" {
			t.Fatalf("read %q, %v", got, err)
		}
		if _, err := server.Write([]byte("x")); err == nil {
			t.Error("write to a closed peer succeeded")
		}
		server.Close()
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after Close: %v", err)
		}
	})
}

func TestPairDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := framestest.Pair(1)
		defer client.Close()
		defer server.Close()
		start := time.Now()
		server.SetReadDeadline(start.Add(3 * time.Second))
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("read waited %v", waited)
		}
		client.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := client.Write([]byte("ab")); n != 1 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %d, %v", n, err)
		}
		server.SetReadDeadline(time.Time{})
		if n, err := server.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Errorf("read after the deadline was taken back: %d, %v", n, err)
		}
	})
}

func TestWireCasesAreNamedApart(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range framestest.WireCases(64 << 10) {
		if seen[c.Name] || len(c.Bytes) == 0 {
			t.Errorf("case %q is empty or twice in the table", c.Name)
		}
		seen[c.Name] = true
	}
}

func TestClientFrameUnmasks(t *testing.T) {
	f := framestest.ClientFrame(framestest.Fin|framestest.OpText, []byte("abcdef"))
	if f[0] != 0x81 || f[1] != 0x86 {
		t.Fatalf("head % x", f[:2])
	}
	mask, body := f[2:6], bytes.Clone(f[6:])
	for i := range body {
		body[i] ^= mask[i&3]
	}
	if string(body) != "abcdef" {
		t.Errorf("payload %q", body)
	}
}

func TestCapturesCanBeRead(t *testing.T) {
	all := framestest.Captures(t)
	broken := false
	for _, r := range all["errors.jsonl"] {
		broken = broken || r.Dir == framestest.DirToServer && string(r.Raw()) == "{bad json"
	}
	if len(all) < 10 || !broken {
		t.Errorf("%d captures, broken frame seen: %v", len(all), broken)
	}
}
