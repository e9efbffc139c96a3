package decode

import "fmt"

// Config bounds what one client may ask for.
type Config struct {
	ControlPlaneWrites   int `json:"controlPlaneWrites" doc:"control-plane writes (config.patch, update.run, …) a method, device and address may make in a window" min:"1"`
	ControlPlaneWindowMs int `json:"controlPlaneWindowMs" doc:"that window" unit:"ms" min:"1000"`
	MaxBudgetEntries     int `json:"maxBudgetEntries" doc:"callers whose control-plane writes are counted at the same time" min:"16"`
	MaxUnauthorizedCalls int `json:"maxUnauthorizedCalls" doc:"calls of the other role's methods in a row before the connection is closed" min:"1"`
	MaxStruckConnections int `json:"maxStruckConnections" doc:"connections whose calls of the other role's methods are counted at the same time; at the bound the one that made its last longest ago begins anew" min:"16"`
}

// Default returns the real gateway's limits (wire.md 3.6 and 3.8).
func Default() Config {
	return Config{ControlPlaneWrites: 30, ControlPlaneWindowMs: 60_000, MaxBudgetEntries: 1024, MaxUnauthorizedCalls: 10, MaxStruckConnections: 4096}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.ControlPlaneWrites < 1:
		return fmt.Errorf("controlPlaneWrites: %d; at least 1", c.ControlPlaneWrites)
	case c.ControlPlaneWindowMs < 1000:
		return fmt.Errorf("controlPlaneWindowMs: %d; at least 1000", c.ControlPlaneWindowMs)
	case c.MaxBudgetEntries < 16:
		return fmt.Errorf("maxBudgetEntries: %d; at least 16", c.MaxBudgetEntries)
	case c.MaxUnauthorizedCalls < 1:
		return fmt.Errorf("maxUnauthorizedCalls: %d; at least 1", c.MaxUnauthorizedCalls)
	case c.MaxStruckConnections < 16:
		return fmt.Errorf("maxStruckConnections: %d; at least 16", c.MaxStruckConnections)
	}
	return nil
}
