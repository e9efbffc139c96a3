package defend

import (
	"sluice/frames"
	"sluice/pipeline"
)

// conclude makes d the verdict on e: it counts, tells the operators, keeps the evidence,
// and returns the error that ends e, or nil when e may go on.
func (s *Stage) conclude(cfg *Config, e *pipeline.Envelope, a *Action, d *pipeline.Decision) error {
	blocked := d.Action == pipeline.Block
	if blocked && cfg.AuditOnly {
		s.stats.WouldBlock.Add(1)
		s.deps.Log.Warn("audit only: this would have been blocked", "source", a.Source, "id", a.RequestID(),
			"risk", d.Risk, "tags", d.Tags)
		d = audited(d)
		blocked = false
	}
	e.Decision = d
	s.stats.count(d)
	if d.Action != pipeline.Allow || cfg.Events == EventsAll {
		s.announce(e, a, d)
	}
	switch {
	case blocked:
		return s.refuse(e, s.blocked(a, d))
	case d.Action == pipeline.Review && cfg.Review == ReviewRefuse && !cfg.AuditOnly:
		return s.refuse(e, unapproved(d))
	}
	return nil
}

// audited is what becomes of a block in audit-only mode (first-runtime.md 6.3).
func audited(d *pipeline.Decision) *pipeline.Decision {
	return &pipeline.Decision{Action: pipeline.Review, Risk: d.Risk,
		Reasons: append(append([]string(nil), d.Reasons...), "audit only: would have been blocked"),
		Tags:    append(append([]string(nil), d.Tags...), "audit_only")}
}

// refuse returns err for e. A turn's request was answered long ago, so whoever waits for
// the turn is told through its Work.
func (s *Stage) refuse(e *pipeline.Envelope, err *frames.Error) error {
	if e.Work != nil {
		e.Work.Drop(err)
	}
	return err
}

// Details codes of the errors of this stage.
const (
	CodeBlocked = "DEFENDER_BLOCKED"
	CodeReview  = "DEFENDER_REVIEW"
)

// Refusal is the details of an error of this stage.
type Refusal struct {
	Code     string       `json:"code"`
	Decision WireDecision `json:"decision"`
	// Ledger is the file in the quarantine folder; empty when none could be written.
	Ledger string `json:"ledger,omitempty"`
}

// WireDecision is a decision in the details of an error.
type WireDecision struct {
	Action    string   `json:"action"`
	RiskScore int      `json:"riskScore"`
	Reasons   []string `json:"reasons"`
	Tags      []string `json:"tags"`
}

// NewWireDecision encodes d.
func NewWireDecision(d *pipeline.Decision) WireDecision {
	return WireDecision{Action: d.Action.String(), RiskScore: d.Risk, Reasons: orEmpty(d.Reasons), Tags: orEmpty(d.Tags)}
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func topReason(d *pipeline.Decision) string {
	if len(d.Reasons) == 0 {
		return "its risk"
	}
	return d.Reasons[0]
}

// blocked writes the evidence of a blocked action and words its error. The block stands
// also when the evidence cannot be written: that is health's and the log's to say.
func (s *Stage) blocked(a *Action, d *pipeline.Decision) *frames.Error {
	file := ""
	if s.ledger.on() {
		var err error
		if file, err = s.ledger.write(a, d); err != nil {
			s.deps.Log.Error("quarantine file not written; the action stays blocked", "source", a.Source,
				"id", a.RequestID(), "err", err)
		}
	}
	return &frames.Error{Code: frames.CodeForbidden, Message: "blocked by the defender: " + topReason(d),
		Details: Refusal{Code: CodeBlocked, Decision: NewWireDecision(d), Ledger: file}}
}

// unapproved words the refusal of a reviewed action while approvals do not exist yet.
func unapproved(d *pipeline.Decision) *frames.Error {
	return &frames.Error{Code: frames.CodeForbidden,
		Message: "the defender asks for review: " + topReason(d) + "; an operator must approve this. " +
			"This build cannot ask for approval: set defend.review to \"allow\", or defend.auditOnly to true, to let such requests pass",
		Details: Refusal{Code: CodeReview, Decision: NewWireDecision(d)}}
}
