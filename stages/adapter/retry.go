package adapter

import (
	"fmt"
	"time"
)

// RetryConfig bounds how a delivery is tried again.
type RetryConfig struct {
	Attempts  int     `json:"attempts" doc:"tries of one message, the first included" min:"1" max:"20" reload:"restart"`
	InitialMs int     `json:"initialMs" doc:"wait before the second try" unit:"ms" min:"10" max:"600000" reload:"restart"`
	Factor    float64 `json:"factor" doc:"by what each further wait is longer" min:"1.1" max:"10" reload:"restart"`
	MaxMs     int     `json:"maxMs" doc:"longest wait; a longer Retry-After is respected within totalMs" unit:"ms" min:"10" max:"600000" reload:"restart"`
	Jitter    float64 `json:"jitter" doc:"part of each wait that is random, so that many senders do not come back at once" min:"0" max:"1" reload:"restart"`
	TotalMs   int     `json:"totalMs" doc:"time for a delivery from its acceptance to its receipt, waits included" unit:"ms" min:"100" max:"3600000" reload:"restart"`
	AttemptMs int     `json:"attemptMs" doc:"time for one try" unit:"ms" min:"100" max:"600000" reload:"restart"`
}

func (c RetryConfig) validate() error {
	switch {
	case c.Attempts < 1 || c.Attempts > 20:
		return fmt.Errorf("adapter.retry.attempts: %d; 1 to 20", c.Attempts)
	case c.InitialMs < 10 || c.InitialMs > 600_000:
		return fmt.Errorf("adapter.retry.initialMs: %d; 10 to 600000", c.InitialMs)
	case !(c.Factor >= 1.1 && c.Factor <= 10):
		return fmt.Errorf("adapter.retry.factor: %v; 1.1 to 10", c.Factor)
	case c.MaxMs < c.InitialMs || c.MaxMs > 600_000:
		return fmt.Errorf("adapter.retry.maxMs: %d; initialMs (%d) to 600000", c.MaxMs, c.InitialMs)
	case !(c.Jitter >= 0 && c.Jitter <= 1):
		return fmt.Errorf("adapter.retry.jitter: %v; 0 to 1", c.Jitter)
	case c.TotalMs < 100 || c.TotalMs > 3_600_000:
		return fmt.Errorf("adapter.retry.totalMs: %d; 100 to 3600000", c.TotalMs)
	case c.AttemptMs < 100 || c.AttemptMs > 600_000:
		return fmt.Errorf("adapter.retry.attemptMs: %d; 100 to 600000", c.AttemptMs)
	}
	return nil
}

// Delay returns the wait after the attempt-th try (1 is the first): initial, then factor
// times longer each, at most max. random is in [0,1): the jitter takes that share of its
// part of the wait away.
func (c RetryConfig) Delay(attempt int, random float64) time.Duration {
	ms := float64(c.InitialMs)
	for i := 1; i < attempt && ms < float64(c.MaxMs); i++ {
		ms *= c.Factor
	}
	ms = min(ms, float64(c.MaxMs))
	ms -= ms * c.Jitter * random
	return time.Duration(ms * float64(time.Millisecond))
}
