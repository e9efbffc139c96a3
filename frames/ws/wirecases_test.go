package ws_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	gws "github.com/gobwas/ws"

	"sluice/frames/framestest"
)

// TestWireCases runs the shared table of RFC 6455 cases against an accepted connection.
func TestWireCases(t *testing.T) {
	cfg := fast()
	cfg.MaxFrameBytes = 65536
	e := mustServe(t, cfg, accepting())
	for _, tc := range framestest.WireCases(cfg.MaxFrameBytes) {
		t.Run(tc.Name, func(t *testing.T) {
			p := e.mustDialAccepted(t)
			go func() { // the server may end before the last byte
				step := len(tc.Bytes)
				if tc.Trickle {
					step = 1
				}
				for part := range slices.Chunk(tc.Bytes, step) {
					if _, err := p.Write(part); err != nil {
						return
					}
				}
				if len(tc.Close) == 0 {
					_, _ = p.Write(frame(0x89, "still open"))
				}
			}()
			p.wantCase(tc)
		})
	}
}

// wantCase reads what the server makes of a case: echoes, pongs, and its end.
func (p *peer) wantCase(tc framestest.WireCase) {
	p.t.Helper()
	var messages, pongs [][]byte
	for {
		op, b := p.mustRead()
		switch {
		case op == gws.OpClose:
			code := uint16(1005)
			if len(b) >= 2 {
				code = binary.BigEndian.Uint16(b)
			}
			if !slices.Contains(tc.Close, code) {
				p.t.Errorf("close %d, want one of %v", code, tc.Close)
			}
			p.wantEnd()
		case op == gws.OpPong && string(b) == "still open":
		case op == gws.OpPong:
			pongs = append(pongs, b)
			continue
		default:
			messages = append(messages, b)
			continue
		}
		break
	}
	if !slices.EqualFunc(messages, tc.Messages, bytes.Equal) {
		p.t.Errorf("messages %.200q, want %.200q", messages, tc.Messages)
	}
	if !slices.EqualFunc(pongs, tc.Pongs, bytes.Equal) {
		p.t.Errorf("pongs %q, want %q", pongs, tc.Pongs)
	}
}
