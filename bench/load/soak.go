package load

import "fmt"

// SoakConfig is what a long run must hold.
type SoakConfig struct {
	// MaxGrowthMiBPerHour of the server's memory, fitted over the last two thirds of the
	// run. Default 4.
	MaxGrowthMiBPerHour float64 `json:"maxGrowthMibPerHour"`
	// MaxFDGrowth is how many more descriptors may be open at the end. Default 16.
	MaxFDGrowth int `json:"maxFdGrowth"`
}

// DefaultSoak returns the usual SoakConfig.
func DefaultSoak() SoakConfig { return SoakConfig{MaxGrowthMiBPerHour: 4, MaxFDGrowth: 16} }

// Validate names the field that cannot work.
func (s SoakConfig) Validate() error {
	if s.MaxGrowthMiBPerHour < 0 || s.MaxFDGrowth < 0 {
		return fmt.Errorf("bench soak: bounds must not be negative: %g MiB an hour, %d descriptors", s.MaxGrowthMiBPerHour, s.MaxFDGrowth)
	}
	return nil
}

// Judge lists what a result of a long run did not hold.
func (s SoakConfig) Judge(r *Result) (broken []string) {
	add := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	t := r.Total
	if t.Failed+t.Lost+t.CutOff+t.Unexpected+t.Malformed > 0 {
		add("%d failed, %d lost, %d cut off, %d unexpected, %d malformed", t.Failed, t.Lost, t.CutOff, t.Unexpected, t.Malformed)
	}
	if len(r.Closes) > 0 {
		add("connections ended: %v", r.Closes)
	}
	if r.Idle != nil && r.Idle.Dropped > 0 {
		add("%d idle connections were dropped", r.Idle.Dropped)
	}
	srv := r.Server
	switch {
	case srv == nil:
		add("no --pid was given, so memory was not watched")
	case srv.Error != "":
		add("%s", srv.Error)
	default:
		if srv.GrowthMiBPerHour > s.MaxGrowthMiBPerHour {
			add("memory grows by %.1f MiB an hour, %g is allowed", srv.GrowthMiBPerHour, s.MaxGrowthMiBPerHour)
		}
		if d := srv.FDsEnd - srv.FDsStart; srv.FDsStart >= 0 && d > s.MaxFDGrowth {
			add("%d more descriptors are open than at the start, %d are allowed", d, s.MaxFDGrowth)
		}
	}
	return broken
}
