package ws

import (
	"fmt"
	"net/netip"
	"strings"

	"sluice/frames"
)

// Config bounds the WebSocket edge. Its limits are the real gateway's (wire.md 3.1,
// 3.3, 3.7 and 3.8) where that has one.
type Config struct {
	HandshakeTimeoutMs      int      `json:"handshakeTimeoutMs" doc:"time from the upgrade to a granted connect; then close 1000" unit:"ms" min:"100" max:"600000" reload:"hot"`
	MaxPreAuthFrameBytes    int      `json:"maxPreAuthFrameBytes" doc:"largest frame before hello; larger closes 1009" unit:"bytes" min:"1024" max:"16777216" reload:"hot"`
	MaxFrameBytes           int      `json:"maxFrameBytes" doc:"largest frame after hello (policy.maxPayload); larger closes 1009" unit:"bytes" min:"1024" max:"268435456" reload:"hot"`
	MaxBufferedBytes        int      `json:"maxBufferedBytes" doc:"bytes that may wait for one client (policy.maxBufferedBytes); over it events marked dropIfSlow are skipped, anything else closes 1008 slow consumer" unit:"bytes" min:"65536" max:"1073741824" reload:"hot"`
	PingIntervalMs          int      `json:"pingIntervalMs" doc:"pause between WebSocket pings to an authenticated client" unit:"ms" min:"100" max:"600000" reload:"hot"`
	PongTimeoutMs           int      `json:"pongTimeoutMs" doc:"time for the pong; then the connection is cut" unit:"ms" min:"100" max:"600000" reload:"hot"`
	CloseGraceMs            int      `json:"closeGraceMs" doc:"time that a closing connection has to take what is queued and the close reason" unit:"ms" min:"1" max:"60000" reload:"hot"`
	WriteTimeoutMs          int      `json:"writeTimeoutMs" doc:"time for one write of at most 256 KiB; then the connection is cut" unit:"ms" min:"100" max:"600000" reload:"hot"`
	FrameTimeoutMs          int      `json:"frameTimeoutMs" doc:"time that a message may take to arrive, beyond what minFrameBytesPerSec allows for its size; then close 1008" unit:"ms" min:"100" max:"600000" reload:"hot"`
	MinFrameBytesPerSec     int      `json:"minFrameBytesPerSec" doc:"slowest rate at which a large message may arrive" unit:"bytes" min:"1" max:"1073741824" reload:"hot"`
	TickIntervalMs          int      `json:"tickIntervalMs" doc:"pause between tick events (policy.tickIntervalMs)" unit:"ms" min:"100" max:"600000" reload:"hot"`
	SweepIntervalMs         int      `json:"sweepIntervalMs" doc:"how often deadlines are checked: the precision of every time above" unit:"ms" min:"5" max:"1000" reload:"restart"`
	MaxUnauthenticatedPerIP int      `json:"maxUnauthenticatedPerIP" doc:"sockets before hello from one address; more get HTTP 503" min:"1" max:"65536" reload:"hot"`
	MaxConnections          int      `json:"maxConnections" doc:"sockets in all; more get HTTP 503" min:"1" max:"1000000" reload:"hot"`
	MaxHandshakeFrames      int      `json:"maxPendingHandshakeFrames" doc:"frames that wait while connect is in flight; one more closes 1008" min:"1" max:"1024" reload:"hot"`
	TrustedProxies          []string `json:"trustedProxies" doc:"addresses or CIDR blocks whose X-Forwarded-For is believed; forwarding headers from anyone else get HTTP 403" reload:"hot"`
}

// Default returns the embedded defaults.
func Default() Config {
	return Config{
		HandshakeTimeoutMs:      15_000,
		MaxPreAuthFrameBytes:    frames.MaxPreAuthFrameBytes,
		MaxFrameBytes:           frames.MaxFrameBytes,
		MaxBufferedBytes:        frames.MaxBufferedBytes,
		PingIntervalMs:          25_000,
		PongTimeoutMs:           25_000,
		CloseGraceMs:            1000,
		WriteTimeoutMs:          25_000,
		FrameTimeoutMs:          30_000,
		MinFrameBytesPerSec:     32 << 10,
		TickIntervalMs:          30_000,
		SweepIntervalMs:         250,
		MaxUnauthenticatedPerIP: 32,
		MaxConnections:          20_000,
		MaxHandshakeFrames:      15,
		TrustedProxies:          []string{},
	}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	for _, f := range []struct {
		name         string
		v, low, high int
	}{
		{"handshakeTimeoutMs", c.HandshakeTimeoutMs, 100, 600_000},
		{"maxPreAuthFrameBytes", c.MaxPreAuthFrameBytes, 1024, 16 << 20},
		{"maxFrameBytes", c.MaxFrameBytes, 1024, 256 << 20},
		{"maxBufferedBytes", c.MaxBufferedBytes, 65536, 1 << 30},
		{"pingIntervalMs", c.PingIntervalMs, 100, 600_000},
		{"pongTimeoutMs", c.PongTimeoutMs, 100, 600_000},
		{"closeGraceMs", c.CloseGraceMs, 1, 60_000},
		{"writeTimeoutMs", c.WriteTimeoutMs, 100, 600_000},
		{"frameTimeoutMs", c.FrameTimeoutMs, 100, 600_000},
		{"minFrameBytesPerSec", c.MinFrameBytesPerSec, 1, 1 << 30},
		{"tickIntervalMs", c.TickIntervalMs, 100, 600_000},
		{"sweepIntervalMs", c.SweepIntervalMs, 5, 1000},
		{"maxUnauthenticatedPerIP", c.MaxUnauthenticatedPerIP, 1, 65536},
		{"maxConnections", c.MaxConnections, 1, 1_000_000},
		{"maxPendingHandshakeFrames", c.MaxHandshakeFrames, 1, 1024},
	} {
		if f.v < f.low || f.v > f.high {
			return fmt.Errorf("%s: %d is not between %d and %d", f.name, f.v, f.low, f.high)
		}
	}
	if c.MaxFrameBytes < c.MaxPreAuthFrameBytes {
		return fmt.Errorf("maxFrameBytes: %d is below maxPreAuthFrameBytes %d: a client could send less after hello than before", c.MaxFrameBytes, c.MaxPreAuthFrameBytes)
	}
	_, err := parseProxies(c.TrustedProxies)
	return err
}

// parseProxies reads addresses and CIDR blocks.
func parseProxies(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		s = strings.TrimSpace(s)
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("trustedProxies: %q is neither an address nor a CIDR block such as 10.0.0.0/8", s)
		}
		a = a.Unmap()
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out, nil
}

// settings is a Config made ready for use; it is swapped as a whole.
type settings struct {
	Config
	proxies []netip.Prefix
}
