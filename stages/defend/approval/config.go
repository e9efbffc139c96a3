package approval

import "fmt"

// Config bounds the broker.
type Config struct {
	AllowSelf       bool  `json:"allowSelf" doc:"let the connection or device that asked approve its own request; false needs a second one. It may deny its own in any case. true suits a household whose one owner has one client" reload:"hot"`
	ExecTimeoutMs   int64 `json:"execTimeoutMs" doc:"how long a command waits for an operator when its request does not say; then it is denied" unit:"ms" min:"1000" max:"86400000" reload:"hot"`
	PluginTimeoutMs int64 `json:"pluginTimeoutMs" doc:"the same for a plugin's action" unit:"ms" min:"1000" max:"600000" reload:"hot"`
	ReviewTimeoutMs int64 `json:"reviewTimeoutMs" doc:"how long a request that the defender wants reviewed is parked; then it is refused. Its session's lane waits as long" unit:"ms" min:"1000" max:"86400000" reload:"hot"`
	MaxTimeoutMs    int64 `json:"maxTimeoutMs" doc:"longest wait that a request may ask for; longer ones are cut. dispatch.longTimeoutMs should not be less" unit:"ms" min:"1000" max:"86400000" reload:"hot"`
	GraceMs         int64 `json:"graceMs" doc:"how long a decision can still be asked for by exec.approval.get, waitDecision and a repeated resolve" unit:"ms" min:"0" max:"600000" reload:"hot"`
	MaxPending      int   `json:"maxPending" doc:"approvals that may wait at the same time; more are refused with UNAVAILABLE. What hooks and channels ask for takes half of them at most" min:"1" max:"65536" reload:"hot"`
	MaxPendingBytes int64 `json:"maxPendingBytes" doc:"bytes of all of them together" unit:"bytes" min:"65536" reload:"hot"`
	MaxHistory      int   `json:"maxHistory" doc:"decided approvals that are kept for approval.history; the oldest goes for a new one" min:"1" max:"100000" reload:"hot"`
	MaxHistoryBytes int64 `json:"maxHistoryBytes" doc:"bytes of all of them together" unit:"bytes" min:"65536" reload:"hot"`
	MaxGrants       int   `json:"maxGrants" doc:"standing grants of allow-always, revoked ones included; at the bound a dead one goes first, and with none allow-always is refused" min:"0" max:"10000" reload:"hot"`
	GrantDays       int   `json:"grantDays" doc:"days after which a standing grant ends when the operator does not say; 0 is until it is revoked" unit:"days" min:"0" max:"3650" reload:"hot"`
	WriteTimeoutMs  int64 `json:"writeTimeoutMs" doc:"longest wait for the disk to keep one change" unit:"ms" min:"100" max:"60000" reload:"hot"`
}

// Default returns the real gateway's times: 30 minutes for commands, 2 for plugins (and
// for reviews, because a lane waits with them), 15 seconds of grace.
func Default() Config {
	return Config{
		AllowSelf: true, ExecTimeoutMs: 1_800_000, PluginTimeoutMs: 120_000, ReviewTimeoutMs: 120_000,
		MaxTimeoutMs: 1_800_000, GraceMs: 15_000, MaxPending: 256, MaxPendingBytes: 8 << 20,
		MaxHistory: 1000, MaxHistoryBytes: 8 << 20, MaxGrants: 500, WriteTimeoutMs: 5000,
	}
}

const dayMs = 86_400_000

// maxPluginTimeoutMs is the real gateway's bound for plugins.
const maxPluginTimeoutMs = 600_000

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	for _, f := range []struct {
		name       string
		value      int64
		least, top int64
	}{
		{"execTimeoutMs", c.ExecTimeoutMs, 1000, dayMs},
		{"pluginTimeoutMs", c.PluginTimeoutMs, 1000, maxPluginTimeoutMs},
		{"reviewTimeoutMs", c.ReviewTimeoutMs, 1000, dayMs},
		{"maxTimeoutMs", c.MaxTimeoutMs, 1000, dayMs},
		{"graceMs", c.GraceMs, 0, 600_000},
		{"maxPending", int64(c.MaxPending), 1, 65536},
		{"maxPendingBytes", c.MaxPendingBytes, 65536, 1 << 40},
		{"maxHistory", int64(c.MaxHistory), 1, 100_000},
		{"maxHistoryBytes", c.MaxHistoryBytes, 65536, 1 << 40},
		{"maxGrants", int64(c.MaxGrants), 0, 10_000},
		{"grantDays", int64(c.GrantDays), 0, 3650},
		{"writeTimeoutMs", c.WriteTimeoutMs, 100, 60_000},
	} {
		if f.value < f.least || f.value > f.top {
			return fmt.Errorf("defend.approval.%s: %d; %d to %d", f.name, f.value, f.least, f.top)
		}
	}
	return nil
}
