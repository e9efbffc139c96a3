package ws

import (
	"net/http"
	"strings"
	"testing"
)

func TestConfigValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("Default: %v", err)
	}
	for field, spoil := range map[string]func(*Config){
		"handshakeTimeoutMs":        func(c *Config) { c.HandshakeTimeoutMs = 0 },
		"maxPreAuthFrameBytes":      func(c *Config) { c.MaxPreAuthFrameBytes = 1 },
		"maxFrameBytes":             func(c *Config) { c.MaxFrameBytes = 2048 },
		"maxBufferedBytes":          func(c *Config) { c.MaxBufferedBytes = 1 << 40 },
		"closeGraceMs":              func(c *Config) { c.CloseGraceMs = 0 },
		"sweepIntervalMs":           func(c *Config) { c.SweepIntervalMs = 5000 },
		"maxUnauthenticatedPerIP":   func(c *Config) { c.MaxUnauthenticatedPerIP = 0 },
		"maxPendingHandshakeFrames": func(c *Config) { c.MaxHandshakeFrames = -1 },
		"trustedProxies":            func(c *Config) { c.TrustedProxies = []string{"10.0.0.0/8", "proxy.local"} },
	} {
		c := Default()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestAttribute(t *testing.T) {
	for _, tc := range []struct {
		name, remote string
		proxies      []string
		header       map[string]string
		want         Ingress
		ok           bool
	}{
		{"loopback", "127.0.0.1:5", nil, nil, Ingress{"127.0.0.1", true, true}, true},
		{"loopback v6", "[::1]:5", nil, nil, Ingress{"::1", true, true}, true},
		{"mapped loopback", "[::ffff:127.0.0.9]:5", nil, nil, Ingress{"127.0.0.9", true, true}, true},
		{"remote", "192.0.2.1:5", nil, nil, Ingress{"192.0.2.1", false, false}, true},
		{"remote with a zone", "[fe80::1%eth0]:5", nil, nil, Ingress{"fe80::1", false, false}, true},
		{"loopback that forwards", "127.0.0.1:5", nil, map[string]string{"X-Forwarded-Host": "a"}, Ingress{"127.0.0.1", true, false}, false},
		{"loopback that is a proxy without headers", "127.0.0.1:5", []string{"127.0.0.1"}, nil, Ingress{"127.0.0.1", true, true}, true},
		{"remote proxy without headers", "10.0.0.1:5", []string{"10.0.0.0/8"}, nil, Ingress{"10.0.0.1", false, false}, false},
		{"proxy", "10.0.0.1:5", []string{"10.0.0.0/8"}, map[string]string{"X-Forwarded-For": "9.9.9.9, 192.0.2.7:4711, 10.9.9.9"}, Ingress{"192.0.2.7", false, false}, true},
		{"proxy, v6 client", "10.0.0.1:5", []string{"10.0.0.1"}, map[string]string{"X-Forwarded-For": "[2001:db8::1]:99"}, Ingress{"2001:db8::1", false, false}, true},
		{"proxy that names loopback", "10.0.0.1:5", []string{"10.0.0.1"}, map[string]string{"X-Forwarded-For": "127.0.0.1"}, Ingress{"10.0.0.1", false, false}, false},
	} {
		r := &http.Request{RemoteAddr: tc.remote, Header: http.Header{}}
		for k, v := range tc.header {
			r.Header.Set(k, v)
		}
		proxies, err := parseProxies(tc.proxies)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := attribute(r, proxies); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %+v %v, want %+v %v", tc.name, got, ok, tc.want, tc.ok)
		}
	}
}
