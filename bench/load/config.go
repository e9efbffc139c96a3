package load

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"time"

	"sluice/frames/client"
)

// Config is one run. Start from Default.
type Config struct {
	// Name labels the run in reports. Default: the URL.
	Name string `json:"name"`
	// URL of the gateway.
	URL string `json:"url"`
	// Token and Password are shared secrets; DeviceFile holds a device identity, made
	// if it is missing. All optional.
	Token      string `json:"-"`
	Password   string `json:"-"`
	DeviceFile string `json:"deviceFile,omitzero"`
	// AllowRemote permits a target that is not on this machine. Default false.
	AllowRemote bool `json:"allowRemote,omitzero"`
	// MinProtocol and MaxProtocol are offered in the handshake. Default 4 and 4.
	MinProtocol int `json:"minProtocol"`
	MaxProtocol int `json:"maxProtocol"`

	// Connections carry load; 0 makes none (idle holders alone). Default 16.
	Connections int `json:"connections"`
	// InFlight requests on each connection in the closed loop. Default 8.
	InFlight int `json:"inFlight"`
	// RatePerSecond over all connections turns the open loop on. Default 0: closed.
	RatePerSecond float64 `json:"ratePerSecond,omitzero"`
	// MaxOutstanding bounds the open loop's unanswered requests on a connection; at the
	// bound it waits, and the wait counts as latency. Default 16 384.
	MaxOutstanding int `json:"maxOutstanding"`
	// PaceMs is the open loop's step: arrivals of one step start together. Default 1.
	PaceMs int `json:"paceMs"`
	// DurationMs of the measurement. Default 10 000. Count, if not 0, ends it earlier,
	// after that many requests over all connections.
	DurationMs int `json:"durationMs"`
	Count      int `json:"count,omitzero"`
	// WarmupMs runs the load without counting it. Default 1000.
	WarmupMs int `json:"warmupMs"`
	// DrainMs is how long the gateway may be silent after the last request before what is
	// in flight counts as lost. While answers come the wait goes on, up to DrainMs and
	// DurationMs together. Default 10 000.
	DrainMs int `json:"drainMs"`

	// Mix is "method=weight,method=weight". Default "health=1".
	Mix string `json:"mix"`
	// Params replaces a method's params template; see Templates.
	Params map[string]string `json:"params,omitzero"`
	// Sessions are created before the run if a template names {{session}}. Default 0: as
	// many as connections. KeepSessions leaves them behind.
	Sessions     int  `json:"sessions,omitzero"`
	KeepSessions bool `json:"keepSessions,omitzero"`
	// Agent owns the sessions. Default "main".
	Agent string `json:"agent"`

	// Idle connections are opened, authenticated and held. IdleSettleMs is waited before
	// the server's memory is read again. Defaults 0 and 3000.
	Idle         int `json:"idle,omitzero"`
	IdleSettleMs int `json:"idleSettleMs"`
	// SlowReaders subscribe to the run's sessions and read SlowBytesPerSecond each.
	// Defaults 0 and 1024.
	SlowReaders        int `json:"slowReaders,omitzero"`
	SlowBytesPerSecond int `json:"slowBytesPerSecond"`
	// ProbesPerSecond are fresh connections up to hello-ok, beside the load. Default 0.
	ProbesPerSecond float64 `json:"probesPerSecond,omitzero"`

	// PID of the server, for memory and processor time; 0 leaves them out.
	PID int `json:"pid,omitzero"`
	// SampleMs is the time between looks at the process. Default 250.
	SampleMs int `json:"sampleMs"`
	// DialParallel handshakes run at once; upstream admits 32 unauthenticated sockets an
	// address. Default 8.
	DialParallel int `json:"dialParallel"`
	// ValidateEvery: each connection checks every so manieth answer as JSON. Default 1024.
	ValidateEvery int `json:"validateEvery"`
}

// The hard bounds of a run, so that a slip of the finger does not take the machine down.
const (
	maxConnections = 20_000
	maxInFlight    = 4096
	maxOutstanding = 1 << 16
	maxRate        = 5e6
	maxHours       = 48
)

// Default returns the usual Config; URL is missing.
func Default() Config {
	return Config{MinProtocol: 4, MaxProtocol: 4, Connections: 16, InFlight: 8, MaxOutstanding: 16_384, PaceMs: 1,
		DurationMs: 10_000, WarmupMs: 1000, DrainMs: 10_000, Mix: "health=1", Agent: "main", IdleSettleMs: 3000,
		SlowBytesPerSecond: 1024, SampleMs: 250, DialParallel: 8, ValidateEvery: 1024}
}

// Validate names the first field that cannot work, and its bounds.
func (c Config) Validate() error {
	for _, f := range []struct {
		name           string
		v, least, most int
	}{
		{"connections", c.Connections, 0, maxConnections}, {"in flight", c.InFlight, 1, maxInFlight},
		{"max outstanding", c.MaxOutstanding, 1, maxOutstanding}, {"pace", c.PaceMs, 1, 1000},
		{"duration", c.DurationMs, 1, maxHours * 3_600_000}, {"count", c.Count, 0, math.MaxInt32}, {"warm-up", c.WarmupMs, 0, 600_000},
		{"drain", c.DrainMs, 1, 600_000}, {"sessions", c.Sessions, 0, 10_000}, {"idle", c.Idle, 0, maxConnections},
		{"idle settle", c.IdleSettleMs, 0, 600_000}, {"slow readers", c.SlowReaders, 0, 1000},
		{"slow bytes a second", c.SlowBytesPerSecond, 10, 1 << 30}, {"sample", c.SampleMs, 10, 60_000},
		{"dial parallel", c.DialParallel, 1, 256}, {"validate every", c.ValidateEvery, 1, 1 << 30},
	} {
		if f.v < f.least || f.v > f.most {
			return fmt.Errorf("bench load: %s is %d, must be %d to %d", f.name, f.v, f.least, f.most)
		}
	}
	if c.RatePerSecond < 0 || c.RatePerSecond > maxRate {
		return fmt.Errorf("bench load: rate is %g a second, must be 0 (closed loop) to %g", c.RatePerSecond, float64(maxRate))
	}
	if c.ProbesPerSecond < 0 || c.ProbesPerSecond > 1000 {
		return fmt.Errorf("bench load: %g probes a second, must be 0 to 1000", c.ProbesPerSecond)
	}
	if _, err := parseMix(c); err != nil {
		return err
	}
	return c.checkTarget()
}

// checkTarget refuses a gateway elsewhere unless that is asked for: a load generator
// pointed at somebody else's machine by a typing error is an attack.
func (c Config) checkTarget() error {
	u, err := url.ParseRequestURI(c.URL)
	if err != nil {
		return fmt.Errorf("bench load: url %q: %w; write ws://127.0.0.1:port", c.URL, err)
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); c.AllowRemote || host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("bench load: %s is not this machine; a load generator only goes there with --allow-remote", host)
}

// options are the client options of the load's connections.
func (c Config) options() (client.Options, error) {
	o := client.Default()
	o.URL, o.Auth.Token, o.Auth.Password = c.URL, c.Token, c.Password
	o.MinProtocol, o.MaxProtocol = c.MinProtocol, c.MaxProtocol
	if c.DeviceFile != "" {
		id, err := client.LoadIdentity(c.DeviceFile)
		if err != nil {
			return o, err
		}
		o.Identity = id
		o.Client.ID, o.Client.Mode = "cli", "cli" // gateway-client/backend skips pairing
	}
	return o, o.Validate()
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }
