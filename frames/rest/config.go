package rest

import "fmt"

// Config bounds the HTTP edge.
type Config struct {
	ControlUI           string `json:"controlUi" doc:"folder of a Control UI to serve at / (an installed openclaw's dist/control-ui); empty serves none" reload:"restart"`
	MetricsAuth         bool   `json:"metricsAuth" doc:"also /metrics needs the gateway's secret, as /api/diagnostics/prometheus always does" reload:"restart"`
	MaxHeaderBytes      int    `json:"maxHeaderBytes" doc:"largest request header; larger gets 431" unit:"bytes" min:"1024" max:"1048576" reload:"restart"`
	ReadHeaderTimeoutMs int    `json:"readHeaderTimeoutMs" doc:"time for a request's header to arrive" unit:"ms" min:"100" max:"600000" reload:"restart"`
	ReadTimeoutMs       int    `json:"readTimeoutMs" doc:"time for a whole request to arrive" unit:"ms" min:"100" max:"600000" reload:"restart"`
	WriteTimeoutMs      int    `json:"writeTimeoutMs" doc:"time for an answer, from the end of the request's header" unit:"ms" min:"100" max:"3600000" reload:"restart"`
	IdleTimeoutMs       int    `json:"idleTimeoutMs" doc:"how long a connection is kept for its next request" unit:"ms" min:"100" max:"600000" reload:"restart"`
	MaxConnections      int    `json:"maxHttpConnections" doc:"connections that are not (yet) WebSockets; more wait to be accepted" min:"1" max:"65536" reload:"restart"`
}

// Default returns the embedded defaults: Node's 16 KiB for headers.
func Default() Config {
	return Config{
		MaxHeaderBytes:      16 << 10,
		ReadHeaderTimeoutMs: 10_000,
		ReadTimeoutMs:       60_000,
		WriteTimeoutMs:      120_000,
		IdleTimeoutMs:       15_000,
		MaxConnections:      4096,
	}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	for _, f := range []struct {
		name         string
		v, low, high int
	}{
		{"maxHeaderBytes", c.MaxHeaderBytes, 1024, 1 << 20},
		{"readHeaderTimeoutMs", c.ReadHeaderTimeoutMs, 100, 600_000},
		{"readTimeoutMs", c.ReadTimeoutMs, 100, 600_000},
		{"writeTimeoutMs", c.WriteTimeoutMs, 100, 3_600_000},
		{"idleTimeoutMs", c.IdleTimeoutMs, 100, 600_000},
		{"maxHttpConnections", c.MaxConnections, 1, 65536},
	} {
		if f.v < f.low || f.v > f.high {
			return fmt.Errorf("%s: %d is not between %d and %d", f.name, f.v, f.low, f.high)
		}
	}
	return nil
}
