package connect

import "fmt"

// Config bounds the handshake. The defaults are the real gateway's (wire.md 3.4, 3.8).
type Config struct {
	FailureDelayMs    int64 `json:"failureDelayMs" doc:"delay of the answer to a first failed authentication from this machine; it doubles with each further one" unit:"ms" min:"0"`
	FailureDelayMaxMs int64 `json:"failureDelayMaxMs" doc:"longest such delay; below the 15 s that a client waits for its answer" unit:"ms" min:"0" max:"14000"`
	MaxFailures       int   `json:"maxFailures" doc:"failed authentications of one address and credential class within failureWindowMs that lock it out" min:"1"`
	FailureWindowMs   int64 `json:"failureWindowMs" doc:"how long a failed authentication counts" unit:"ms" min:"1000"`
	LockoutMs         int64 `json:"lockoutMs" doc:"how long a lockout lasts" unit:"ms" min:"1000"`
	LimiterEntries    int   `json:"limiterEntries" doc:"addresses whose failures are remembered; when all of them are locked out, unknown ones are refused too" min:"16"`
	MaxDelayed        int   `json:"maxDelayed" doc:"answers that may be delayed at the same time; more are sent at once" min:"1"`
	AttachmentBytes   int64 `json:"attachmentBytes" doc:"policy.attachments.maxBytes: size of a chat attachment that clients may send" unit:"bytes" min:"1"`
	ImageBytes        int64 `json:"imageBytes" doc:"policy.attachments.maxImageBytes" unit:"bytes" min:"1"`
}

// Default returns the embedded defaults.
func Default() Config {
	return Config{
		FailureDelayMs: 250, FailureDelayMaxMs: 5000,
		MaxFailures: 10, FailureWindowMs: 60_000, LockoutMs: 300_000, LimiterEntries: 10_000,
		MaxDelayed:      256,
		AttachmentBytes: 19_464_192, ImageBytes: 6_291_456,
	}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	for _, f := range []struct {
		name     string
		got, low int64
	}{
		{"failureDelayMs", c.FailureDelayMs, 0},
		{"failureDelayMaxMs", c.FailureDelayMaxMs, c.FailureDelayMs},
		{"maxFailures", int64(c.MaxFailures), 1},
		{"failureWindowMs", c.FailureWindowMs, 1000},
		{"lockoutMs", c.LockoutMs, 1000},
		{"limiterEntries", int64(c.LimiterEntries), 16},
		{"maxDelayed", int64(c.MaxDelayed), 1},
		{"attachmentBytes", c.AttachmentBytes, 1},
		{"imageBytes", c.ImageBytes, 1},
	} {
		if f.got < f.low {
			return fmt.Errorf("%s: %d; at least %d", f.name, f.got, f.low)
		}
	}
	if c.FailureDelayMaxMs > 14_000 {
		return fmt.Errorf("failureDelayMaxMs: %d; at most 14000, as clients give up after 15 s", c.FailureDelayMaxMs)
	}
	return nil
}

// Policy is what hello promises about the edge: cmd takes it from the edge's own
// configuration, so that the promise and the behaviour have one owner.
type Policy struct {
	TickIntervalMs   int64 // how often tick events are sent
	MaxPayloadBytes  int64 // largest frame that is read
	MaxBufferedBytes int64 // bytes that may wait for one client
}
