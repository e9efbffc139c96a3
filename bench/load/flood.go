package load

import (
	"context"
	"fmt"
	"io"
)

// FloodConfig is a flood: more than the gateway can take, for a while.
type FloodConfig struct {
	// Factor times the capacity is offered. Default 10.
	Factor float64 `json:"factor"`
	// CapacityPerSecond, if not 0, is taken as it is; otherwise a closed loop of
	// CapacityMs (default 5000) measures it.
	CapacityPerSecond float64 `json:"capacityPerSecond,omitzero"`
	CapacityMs        int     `json:"capacityMs"`
	// MaxRSSMiB, if not 0, is the memory that the server must stay below.
	MaxRSSMiB float64 `json:"maxRssMib,omitzero"`
}

// DefaultFlood returns the usual FloodConfig.
func DefaultFlood() FloodConfig { return FloodConfig{Factor: 10, CapacityMs: 5000} }

// Validate names the field that cannot work.
func (f FloodConfig) Validate() error {
	switch {
	case f.Factor < 0.1 || f.Factor > 1000:
		return fmt.Errorf("bench flood: factor is %g, must be 0.1 to 1000", f.Factor)
	case f.CapacityPerSecond < 0:
		return fmt.Errorf("bench flood: capacity is %g a second, must not be negative", f.CapacityPerSecond)
	case f.CapacityPerSecond == 0 && (f.CapacityMs < 100 || f.CapacityMs > 600_000):
		return fmt.Errorf("bench flood: capacity is measured for %d ms, must be 100 to 600000", f.CapacityMs)
	case f.MaxRSSMiB < 0:
		return fmt.Errorf("bench flood: max RSS is %g MiB, must not be negative", f.MaxRSSMiB)
	}
	return nil
}

// RunFlood measures the capacity, offers Factor times as much in the open loop, and
// judges: every request that was sent is answered or refused, none is lost or cut off,
// no connection ends, memory stays in its budget. Result.Flood.Broken lists what did
// not hold.
func RunFlood(ctx context.Context, cfg Config, f FloodConfig, progress io.Writer) (*Result, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	capacity := f.CapacityPerSecond
	if capacity == 0 {
		c := cfg
		c.RatePerSecond, c.Count, c.DurationMs = 0, 0, f.CapacityMs
		c.Idle, c.SlowReaders, c.ProbesPerSecond = 0, 0, 0
		fmt.Fprintln(progress, "capacity, closed loop:")
		res, err := Run(ctx, c, progress)
		if err != nil {
			return nil, err
		}
		if capacity = res.PerSecond; capacity == 0 {
			return nil, fmt.Errorf("bench flood: the gateway answered nothing while its capacity was measured; failures: %v", res.Failures)
		}
	}
	cfg.RatePerSecond = min(capacity*f.Factor, maxRate)
	fmt.Fprintf(progress, "flood, open loop, %.0f a second offered (%.1f times %.0f):\n", cfg.RatePerSecond, cfg.RatePerSecond/capacity, capacity)
	res, err := Run(ctx, cfg, progress)
	if err != nil {
		return nil, err
	}
	res.Flood = judge(res, f)
	res.Flood.CapacityPerSecond, res.Flood.Factor, res.Flood.OfferedPerSecond = capacity, cfg.RatePerSecond/capacity, cfg.RatePerSecond
	return res, nil
}

func judge(res *Result, f FloodConfig) *Flood {
	out := &Flood{}
	broken := func(format string, args ...any) { out.Broken = append(out.Broken, fmt.Sprintf(format, args...)) }
	t := res.Total
	if t.Lost > 0 {
		broken("%d requests were not answered, nor refused, in %.0f s", t.Lost, res.Seconds)
	}
	if t.CutOff > 0 {
		broken("%d requests were in flight when their connection ended", t.CutOff)
	}
	if t.Failed > 0 {
		broken("%d requests failed with an error other than UNAVAILABLE", t.Failed)
	}
	if t.Unexpected > 0 || t.Malformed > 0 {
		broken("%d answers nobody asked for, %d messages that are no frames", t.Unexpected, t.Malformed)
	}
	if len(res.Closes) > 0 {
		broken("connections ended: %v", res.Closes)
	}
	if t.OK == 0 {
		broken("nothing was answered with a result: a gateway under flood must go on working")
	}
	if f.MaxRSSMiB > 0 {
		switch {
		case res.Server == nil:
			broken("memory was to be checked, but there is no --pid")
		case mib(res.Server.RSSMax) > f.MaxRSSMiB:
			broken("RSS reached %.1f MiB, the budget is %g", mib(res.Server.RSSMax), f.MaxRSSMiB)
		}
	}
	if res.Server != nil && res.Server.Error != "" {
		broken("%s", res.Server.Error)
	}
	return out
}
