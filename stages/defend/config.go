package defend

import "fmt"

// What becomes of an action whose verdict is review.
const (
	// ReviewApprove parks it until an operator allows or denies it, or its time ends.
	ReviewApprove = "approve"
	// ReviewAllow lets it pass and tells the operators, as the first runtime did.
	ReviewAllow = "allow"
	// ReviewRefuse refuses it without asking anybody.
	ReviewRefuse = "refuse"
)

// Which decisions become security.decision events.
const (
	EventsAboveAllow = "above-allow"
	EventsAll        = "all"
)

// Config is the stage's configuration. The weights and patterns belong to the defenders.
type Config struct {
	AuditOnly       bool             `json:"auditOnly" doc:"let everything pass and record what would have been blocked" reload:"hot"`
	Review          string           `json:"review" doc:"what becomes of actions that should be reviewed: approve parks them until an operator decides (defend.approval), allow lets them pass with an event, refuse stops them" enum:"approve,allow,refuse" reload:"hot"`
	Events          string           `json:"events" doc:"which decisions are announced to operators as security.decision events" enum:"above-allow,all" reload:"hot"`
	ReviewThreshold int              `json:"reviewThreshold" doc:"risk from which an action is reviewed" min:"1" max:"100" reload:"hot"`
	BlockThreshold  int              `json:"blockThreshold" doc:"risk from which an action is blocked; above reviewThreshold" min:"2" max:"100" reload:"hot"`
	TimeoutMs       int              `json:"timeoutMs" doc:"time for judging one action, counted from its arrival at the stage; after it the verdict is review with risk 60. A verdict waits as long again for its evidence to be written. pipeline.timeoutsMs.defend should not be less" unit:"ms" min:"100" max:"60000" reload:"hot"`
	Concurrency     int              `json:"concurrency" doc:"actions that are judged, or whose evidence is written, off the stage's workers at the same time" min:"1" max:"256" reload:"restart"`
	Queue           int              `json:"queue" doc:"actions that wait for one of these; at the bound a request gets UNAVAILABLE" min:"1" max:"65536" reload:"restart"`
	Quarantine      QuarantineConfig `json:"quarantine" doc:"the evidence of blocked actions"`
}

// QuarantineConfig is where and how much evidence is kept.
type QuarantineConfig struct {
	Enabled       bool   `json:"enabled" doc:"write one file for each blocked action" reload:"restart"`
	Dir           string `json:"dir" doc:"folder of the files; empty means quarantine in the state folder" reload:"restart"`
	MaxFiles      int    `json:"maxFiles" doc:"files that are kept; the oldest is removed with a warning for a new one" min:"1" max:"1000000" reload:"hot"`
	MaxBytes      int64  `json:"maxBytes" doc:"bytes of all files together; the oldest are removed with a warning for a new one" unit:"bytes" min:"65536" reload:"hot"`
	MaxEntryBytes int    `json:"maxEntryBytes" doc:"bytes of one request that are kept; a larger one is cut and its SHA-256 noted" unit:"bytes" min:"1024" max:"16777216" reload:"hot"`
}

// Default returns the first runtime's values (first-runtime.md section 8). The
// quarantine folder depends on the state folder: cmd sets Dir.
func Default() Config {
	return Config{
		Review: ReviewApprove, Events: EventsAboveAllow,
		ReviewThreshold: 35, BlockThreshold: 65,
		TimeoutMs: 2500, Concurrency: 8, Queue: 256,
		Quarantine: QuarantineConfig{Enabled: true, MaxFiles: 10_000, MaxBytes: 256 << 20, MaxEntryBytes: 256 << 10},
	}
}

// Thresholds are the risks from which an action is reviewed and blocked.
func (c Config) Thresholds() Thresholds { return Thresholds{c.ReviewThreshold, c.BlockThreshold} }

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.Review != ReviewApprove && c.Review != ReviewAllow && c.Review != ReviewRefuse:
		return fmt.Errorf("defend.review: %q; approve, allow or refuse", c.Review)
	case c.Events != EventsAboveAllow && c.Events != EventsAll:
		return fmt.Errorf("defend.events: %q is neither above-allow nor all", c.Events)
	case c.ReviewThreshold < 1 || c.ReviewThreshold > 100:
		return fmt.Errorf("defend.reviewThreshold: %d; 1 to 100", c.ReviewThreshold)
	case c.BlockThreshold <= c.ReviewThreshold || c.BlockThreshold > 100:
		return fmt.Errorf("defend.blockThreshold: %d; above reviewThreshold (%d), at most 100", c.BlockThreshold, c.ReviewThreshold)
	case c.TimeoutMs < 100 || c.TimeoutMs > 60_000:
		return fmt.Errorf("defend.timeoutMs: %d; 100 to 60000", c.TimeoutMs)
	case c.Concurrency < 1 || c.Concurrency > 256:
		return fmt.Errorf("defend.concurrency: %d; 1 to 256", c.Concurrency)
	case c.Queue < 1 || c.Queue > 65536:
		return fmt.Errorf("defend.queue: %d; 1 to 65536", c.Queue)
	}
	return c.Quarantine.validate()
}

func (c QuarantineConfig) validate() error {
	switch {
	case c.MaxFiles < 1 || c.MaxFiles > 1_000_000:
		return fmt.Errorf("defend.quarantine.maxFiles: %d; 1 to 1000000", c.MaxFiles)
	case c.MaxBytes < 65536:
		return fmt.Errorf("defend.quarantine.maxBytes: %d; at least 65536", c.MaxBytes)
	case c.MaxEntryBytes < 1024 || c.MaxEntryBytes > 16<<20:
		return fmt.Errorf("defend.quarantine.maxEntryBytes: %d; 1024 to 16777216", c.MaxEntryBytes)
	case int64(c.MaxEntryBytes)*4 > c.MaxBytes:
		return fmt.Errorf("defend.quarantine.maxEntryBytes: %d; at most a quarter of maxBytes (%d)", c.MaxEntryBytes, c.MaxBytes)
	}
	return nil
}
