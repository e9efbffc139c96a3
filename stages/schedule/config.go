package schedule

import (
	"fmt"
	"runtime"
	"slices"
)

// Mode says what a new message does while its session's turn is running
// (openclaw.md 3.2).
type Mode string

// The modes. Steer adds the message to the running turn, if that can still take it,
// and is otherwise Followup; Collect joins messages that wait; Interrupt ends the
// running turn and drops what waits.
const (
	Steer     Mode = "steer"
	Followup  Mode = "followup"
	Collect   Mode = "collect"
	Interrupt Mode = "interrupt"
)

// Drop policies at the cap of a lane.
const (
	DropSummarize = "summarize" // the oldest goes; the turn that runs next is told about it
	DropOld       = "old"       // the oldest goes
	DropNew       = "new"       // the new one is refused
)

// Config bounds the lanes.
type Config struct {
	QueueMode       Mode   `json:"queueMode" doc:"what a message does while its session's turn is running" enum:"steer,followup,collect,interrupt"`
	QueueCap        int    `json:"queueCap" doc:"turns that wait in one session's lane" min:"1" max:"1000"`
	QueueDrop       string `json:"queueDrop" doc:"at the cap: drop the oldest and tell the next turn (summarize), drop the oldest (old), refuse the new one (new)" enum:"summarize,old,new"`
	DebounceMs      int    `json:"debounceMs" doc:"in mode collect, how long the last message must be old before the joined turn starts" unit:"ms" min:"0" max:"60000"`
	MaxConcurrent   int    `json:"maxConcurrent" doc:"agent turns that run at the same time; 0 = max(8, 4 for each CPU)" min:"0" max:"4096"`
	MaxPerAgent     int    `json:"maxPerAgent" doc:"of these, how many one agent may have; 0 = no own bound" min:"0" max:"4096"`
	MaxLanes        int    `json:"maxLanes" doc:"sessions that may have running or waiting turns at the same time" min:"1"`
	GroupActivation string `json:"groupActivation" doc:"in group chats, answer every message (always) or only those that mention the assistant (mention)" enum:"mention,always"`
}

// Default returns the real gateway's numbers (openclaw.md 3.2, wire.md 3.11).
func Default() Config {
	return Config{QueueMode: Steer, QueueCap: 20, QueueDrop: DropSummarize, DebounceMs: 500,
		MaxLanes: 10_000, GroupActivation: "mention"}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case !c.QueueMode.valid():
		return fmt.Errorf("queueMode: %q; one of steer, followup, collect, interrupt", c.QueueMode)
	case c.QueueCap < 1:
		return fmt.Errorf("queueCap: %d; at least 1", c.QueueCap)
	case !slices.Contains([]string{DropSummarize, DropOld, DropNew}, c.QueueDrop):
		return fmt.Errorf("queueDrop: %q; one of summarize, old, new", c.QueueDrop)
	case c.DebounceMs < 0 || c.MaxConcurrent < 0 || c.MaxPerAgent < 0:
		return fmt.Errorf("debounceMs, maxConcurrent and maxPerAgent must not be negative")
	case c.MaxLanes < 1:
		return fmt.Errorf("maxLanes: %d; at least 1", c.MaxLanes)
	case c.GroupActivation != "mention" && c.GroupActivation != "always":
		return fmt.Errorf("groupActivation: %q; mention or always", c.GroupActivation)
	}
	return nil
}

func (m Mode) valid() bool {
	return slices.Contains([]Mode{Steer, Followup, Collect, Interrupt}, m)
}

// concurrent is the bound of the main lane.
func (c Config) concurrent() int {
	if c.MaxConcurrent > 0 {
		return c.MaxConcurrent
	}
	return max(8, 4*runtime.NumCPU())
}
