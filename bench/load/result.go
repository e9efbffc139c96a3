package load

import (
	"time"

	"sluice/bench/measure"
)

// Result is everything one run measured; it is what --json writes and what the report
// reads.
type Result struct {
	Version  int       `json:"version"` // of this form: 1
	Name     string    `json:"name"`
	Started  time.Time `json:"started"`
	Loop     string    `json:"loop"` // "closed" or "open"
	Settings Config    `json:"settings"`
	Host     Host      `json:"host"`
	// Gateway is server.version of hello-ok.
	Gateway string `json:"gateway"`
	// Seconds from the first counted request to the last answer that was waited for.
	Seconds   float64        `json:"seconds"`
	Total     Tally          `json:"total"`
	PerSecond float64        `json:"perSecond"` // answers, refusals included
	Methods   []MethodResult `json:"methods,omitempty"`
	Failures  []Failure      `json:"failures,omitempty"`
	Closes    []Failure      `json:"closes,omitempty"` // connections that ended during the run
	Server    *Server        `json:"server,omitzero"`
	Generator Generator      `json:"generator"`
	Hello     *Hello         `json:"hello,omitzero"`
	Idle      *Idle          `json:"idle,omitzero"`
	Slow      *Slow          `json:"slow,omitzero"`
	Flood     *Flood         `json:"flood,omitzero"`
	Series    []Point        `json:"series,omitempty"`
	Warnings  []string       `json:"warnings,omitempty"`
}

// Host says where it was measured.
type Host struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	Go   string `json:"go"`
}

// Tally counts requests. Sent = OK + Refused + Failed + Lost + CutOff.
type Tally struct {
	Sent    uint64 `json:"sent"`
	OK      uint64 `json:"ok"`
	Refused uint64 `json:"refused"` // code UNAVAILABLE: the gateway said that it is busy
	Failed  uint64 `json:"failed"`  // any other error
	Lost    uint64 `json:"lost"`    // not answered within DrainMs of silence, although the connection lived
	CutOff  uint64 `json:"cutOff"`  // in flight when their connection ended
	// Unsent requests were due in the open loop, but the server took no more bytes.
	Unsent uint64 `json:"unsent,omitzero"`
	// Unexpected answers had no request; Malformed messages were no frames.
	Unexpected uint64 `json:"unexpected,omitzero"`
	Malformed  uint64 `json:"malformed,omitzero"`
	Accepted   uint64 `json:"accepted,omitzero"` // first answers of two-phase methods
	Events     uint64 `json:"events,omitzero"`

	Latency measure.Latency `json:"latency"`
}

// Answered is every request that got a final answer.
func (t Tally) Answered() uint64 { return t.OK + t.Refused + t.Failed }

func (t *Tally) add(o Tally) {
	t.Sent += o.Sent
	t.OK += o.OK
	t.Refused += o.Refused
	t.Failed += o.Failed
	t.Lost += o.Lost
	t.CutOff += o.CutOff
}

// MethodResult is one method's share.
type MethodResult struct {
	Method string `json:"method"`
	Tally
}

// Failure is one error code (or close code) with its first text.
type Failure struct {
	Code  string `json:"code"`
	Text  string `json:"text,omitzero"`
	Count uint64 `json:"count"`
}

// Server is the process behind --pid. Bytes are resident memory.
type Server struct {
	PID          int     `json:"pid"`
	RSSStart     int64   `json:"rssStart"`
	RSSEnd       int64   `json:"rssEnd"`
	RSSMax       int64   `json:"rssMax"`
	ThreadsEnd   int     `json:"threadsEnd"`
	FDsStart     int     `json:"fdsStart"`
	FDsEnd       int     `json:"fdsEnd"`
	UserSeconds  float64 `json:"userSeconds"`
	SysSeconds   float64 `json:"sysSeconds"`
	CPUPerCallUs float64 `json:"cpuPerCallUs"` // user+sys over answered requests
	Cores        float64 `json:"cores"`        // user+sys over wall time
	// GrowthMiBPerHour is the slope of the memory over the run's last two thirds.
	GrowthMiBPerHour float64 `json:"growthMiBPerHour"`
	Error            string  `json:"error,omitzero"` // the process could not be read to the end
}

// Generator is what the load cost on this side.
type Generator struct {
	CPUPerCallUs float64 `json:"cpuPerCallUs"`
	Cores        float64 `json:"cores"`
}

// Hello is the latency from connect to hello-ok of fresh connections beside the load.
type Hello struct {
	Latency  measure.Latency `json:"latency"`
	Failures []Failure       `json:"failures,omitempty"`
	Skipped  uint64          `json:"skipped,omitzero"` // too many probes were under way
}

// Idle is the memory of connections that only exist.
type Idle struct {
	Connections        int             `json:"connections"`
	Open               measure.Latency `json:"open"` // connect to hello-ok
	RSSBefore          int64           `json:"rssBefore"`
	RSSAfter           int64           `json:"rssAfter"`
	BytesPerConnection float64         `json:"bytesPerConnection"`
	Dropped            int             `json:"dropped"` // ended by the server before the end
}

// Slow is what became of the slow readers.
type Slow struct {
	Readers int       `json:"readers"`
	Bytes   uint64    `json:"bytes"`
	Closes  []Failure `json:"closes,omitempty"`
}

// Flood is the verdict of a flood.
type Flood struct {
	CapacityPerSecond float64  `json:"capacityPerSecond"`
	Factor            float64  `json:"factor"`
	OfferedPerSecond  float64  `json:"offeredPerSecond"`
	Broken            []string `json:"broken,omitempty"` // what the gateway did not hold
}

// Point is the run's state over one step of time.
type Point struct {
	T         float64 `json:"t"` // seconds since the measurement began, at the step's end
	PerSecond float64 `json:"perSecond"`
	P50       float64 `json:"p50Ms"`
	P99       float64 `json:"p99Ms"`
	Refused   uint64  `json:"refused,omitzero"`
	Failed    uint64  `json:"failed,omitzero"`
	InFlight  uint64  `json:"inFlight"`
	RSS       int64   `json:"rss,omitzero"`
	Cores     float64 `json:"cores,omitzero"`
}
