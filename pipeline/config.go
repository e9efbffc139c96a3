package pipeline

import (
	"fmt"
	"time"
)

// Config bounds the engine. Zero values are replaced by Default's.
type Config struct {
	Workers      int             `json:"workers" doc:"workers a stage; 0 = one for each CPU, at least 2" min:"0" max:"256" reload:"restart"`
	QueueFrames  int             `json:"queueFrames" doc:"envelopes that wait before one worker of a stage; at the bound decode refuses with UNAVAILABLE and inner stages push back" min:"1" max:"65536" reload:"restart"`
	WaitingBytes int64           `json:"waitingBytes" doc:"bytes of frames whose requests wait for long (agent.wait, approvals, deliveries); more are refused" unit:"bytes" min:"65536" reload:"restart"`
	QueueBytes   int64           `json:"queueBytes" doc:"bytes of frames that wait before a stage" unit:"bytes" min:"65536" reload:"restart"`
	TimeoutsMs   StageTimeoutsMs `json:"timeoutsMs" doc:"time that one stage may take for one envelope"`
	DrainMs      int             `json:"drainMs" doc:"how long a stop waits for work in flight" unit:"ms" min:"0" max:"600000"`
}

// StageTimeoutsMs holds each stage's timeout in milliseconds. A long agent turn does
// not count against dispatch: it runs parked, within agent.turnTimeoutMs.
type StageTimeoutsMs struct {
	Decode   int `json:"decode" doc:"decode's timeout" unit:"ms" min:"1"`
	Dedupe   int `json:"dedupe" doc:"dedupe's timeout" unit:"ms" min:"1"`
	Schedule int `json:"schedule" doc:"schedule's timeout" unit:"ms" min:"1"`
	Defend   int `json:"defend" doc:"defend's timeout; above defend.timeoutMs, which decides what an unjudged action becomes" unit:"ms" min:"1"`
	Dispatch int `json:"dispatch" doc:"dispatch's timeout for a handler that answers at once" unit:"ms" min:"1"`
	Adapter  int `json:"adapter" doc:"adapter's timeout for handing over a delivery" unit:"ms" min:"1"`
	Persist  int `json:"persist" doc:"persist's timeout for taking an envelope into a batch" unit:"ms" min:"1"`
}

// Default returns the embedded defaults: the real gateway's 50 MiB of waiting requests
// (wire.md 3.8), and 512 of them a worker (one commit can release 256 answers at once,
// whose clients then all ask again), and defend.timeoutMs with room to spare.
func Default() Config {
	return Config{
		QueueFrames:  512,
		QueueBytes:   50 << 20,
		WaitingBytes: 32 << 20,
		TimeoutsMs:   StageTimeoutsMs{Decode: 2000, Dedupe: 1000, Schedule: 1000, Defend: 3000, Dispatch: 10_000, Adapter: 5000, Persist: 5000},
		DrainMs:      25_000,
	}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.Workers < 0:
		return fmt.Errorf("workers: %d is negative", c.Workers)
	case c.QueueFrames < 1:
		return fmt.Errorf("queueFrames: %d; at least 1", c.QueueFrames)
	case c.QueueBytes < 65536:
		return fmt.Errorf("queueBytes: %d; at least 65536", c.QueueBytes)
	case c.WaitingBytes < 65536:
		return fmt.Errorf("waitingBytes: %d; at least 65536", c.WaitingBytes)
	case c.DrainMs < 0:
		return fmt.Errorf("drainMs: %d is negative", c.DrainMs)
	}
	for name, ms := range c.TimeoutsMs.byStage() {
		if ms < 1 {
			return fmt.Errorf("timeoutsMs.%s: %d; at least 1", name, ms)
		}
	}
	return nil
}

func (t StageTimeoutsMs) byStage() map[string]int {
	return map[string]int{"decode": t.Decode, "dedupe": t.Dedupe, "schedule": t.Schedule,
		"defend": t.Defend, "dispatch": t.Dispatch, "adapter": t.Adapter, "persist": t.Persist}
}

// defaultTimeout serves stages whose name is not one of the seven (tests).
const defaultTimeout = 10 * time.Second

func (t StageTimeoutsMs) of(stage string) time.Duration {
	if ms := t.byStage()[stage]; ms > 0 {
		return time.Duration(ms) * time.Millisecond
	}
	return defaultTimeout
}
