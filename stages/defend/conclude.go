package defend

import (
	"bytes"
	"fmt"
	"strings"

	"sluice/frames"
	"sluice/pipeline"
)

// conclude makes d, a verdict above allow, the verdict on e: it counts, keeps the
// evidence, tells the operators, and returns the error that ends e, or nil when e may go
// on, or that an operator must be asked. It waits for the disk, so above allow it runs on
// no worker and on no slot.
func (s *Stage) conclude(cfg *Config, e *pipeline.Envelope, a *Action, d *pipeline.Decision) (err error, ask bool) {
	if a.Origin.Foreign() {
		e.Foreign = a.Origin.String()
	}
	if d.Action == pipeline.Allow { // a large action that is harmless
		s.pass(cfg, e, a, d)
		return nil, false
	}
	blocked := d.Action == pipeline.Block
	passes := cfg.AuditOnly || !blocked && (cfg.Review == ReviewAllow || asking[a.Source])
	if blocked && cfg.AuditOnly {
		s.stats.WouldBlock.Add(1)
		s.deps.Log.Warn("audit only: this would have been blocked", "source", a.Source, "id", s.id(a),
			"risk", d.Risk, "tags", d.Tags)
		d = audited(d)
		blocked = false
	}
	e.Decision = d
	s.stats.count(d)
	proof := s.evidence(cfg, e, a, d, blocked, passes)
	s.announce(e, a, d)
	switch {
	case blocked:
		return s.refuse(e, refusal(CodeBlocked, "blocked by the defender: "+topReason(d)+s.entryNote(proof), d, proof)), false
	case passes:
		s.enter(e, a.SessionKey)
		return nil, false
	case cfg.Review == ReviewApprove && s.deps.Approve != nil:
		s.stats.Asked.Add(1)
		return nil, true
	}
	return s.refuse(e, refusal(CodeReview, "the defender asks for a review: "+topReason(d)+s.entryNote(proof)+
		"; defend.review is \"refuse\": set it to \"approve\" to have operators asked", d, proof)), false
}

// pass lets an allowed action go on.
func (s *Stage) pass(cfg *Config, e *pipeline.Envelope, a *Action, d *pipeline.Decision) {
	e.Decision = d
	s.stats.count(d)
	if a.Origin.Foreign() {
		e.Foreign = a.Origin.String()
	}
	if cfg.Events == EventsAll {
		s.announce(e, a, d)
	}
	s.enter(e, a.SessionKey)
}

// enter notes that foreign content has come into a session.
func (s *Stage) enter(e *pipeline.Envelope, session string) {
	if e.Foreign == "" || session == "" || s.deps.Provenance == nil {
		return
	}
	if err := s.deps.Provenance.Taint(session, e.Foreign); err != nil {
		s.deps.Log.Warn("foreign content in a session could not be noted apart: privileged tools are reviewed in every session", "err", err)
	}
}

// Foreign is Work that says where its messages come from; empty is the owner.
type Foreign interface {
	Foreign() string
}

// turn notes where a turn that begins comes from.
func (s *Stage) turn(e *pipeline.Envelope) {
	if s.deps.Provenance == nil {
		return
	}
	if w, ok := e.Work.(Foreign); ok {
		e.Foreign = w.Foreign()
	}
	if e.Foreign == "" {
		s.deps.Provenance.BeginTurn(e.SessionKey)
		return
	}
	s.enter(e, e.SessionKey)
}

// entryNote names the ledger's entry in an error's text: the real CLI shows nothing else.
func (s *Stage) entryNote(p proof) string {
	switch {
	case p.entry != 0:
		return fmt.Sprintf(" (ledger entry %d)", p.entry)
	case s.deps.Journal != nil:
		return " (its ledger entry could not be written)"
	}
	return ""
}

// content is all that was judged, for the ledger.
func (a *Action) content() []byte {
	if a.Administrative() {
		return nil // configuration, with the secrets of others in it
	}
	if len(a.text) > 0 {
		return a.text
	}
	return a.Raw
}

// audited is what becomes of a block in audit-only mode (first-runtime.md 6.3).
func audited(d *pipeline.Decision) *pipeline.Decision {
	return &pipeline.Decision{Action: pipeline.Review, Risk: d.Risk, Defenders: d.Defenders,
		Reasons: append(append([]string(nil), d.Reasons...), "audit only: would have been blocked"),
		Tags:    append(append([]string(nil), d.Tags...), "audit_only")}
}

// newAsk words the question to the operators: what is shown is everything that means
// something in what goes on.
func newAsk(e *pipeline.Envelope, a *Action, d *pipeline.Decision) Ask {
	ask := Ask{Title: a.Source, Content: a.Raw, SessionKey: a.SessionKey, Decision: d, By: e.Peer}
	if len(a.Raw) == 0 {
		ask.Content, ask.RunID = a.text, a.id
	} else {
		ask.RunID = readHints(a.Raw).runID
	}
	switch {
	case a.textless: // judged too late: the operator sees the params themselves
		return ask
	case len(a.Commands) == 1 && !a.more && len(a.Prompts)+len(a.URLs)+len(a.Files) == 0:
		ask.Command, ask.Argv = string(a.Commands[0]), a.Argv[0]
		return ask
	}
	ask.Text = a.shown()
	if a.more && len(a.Commands)+len(a.Tools) > 0 { // where it runs, and with what, may change what it does
		ask.Text = strings.TrimPrefix(ask.Text+"\nrequest: "+string(a.Raw), "\n")
	}
	return ask
}

// shown is the action for people: a line each for short texts, by kind.
func (a *Action) shown() string {
	var b strings.Builder
	for _, l := range []struct {
		name string
		list [][]byte
	}{{"tool", a.Tools}, {"channel", a.Channels}, {"command", a.Commands}, {"url", a.URLs}, {"file", a.Files}, {"prompt", a.Prompts}} {
		var list []byte // the lines of a list stand behind it
		for _, text := range l.list {
			if len(list) > len(text) && bytes.Contains(list, text) {
				continue
			}
			list = text
			fmt.Fprintf(&b, "%s: %s\n", l.name, text)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
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
	// Ledger is the file in the quarantine folder, Entry the line of the ledger; empty
	// and 0 when none could be written.
	Ledger string `json:"ledger,omitempty"`
	Entry  uint64 `json:"ledgerEntry,omitzero"`
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

func refusal(code, message string, d *pipeline.Decision, p proof) *frames.Error {
	return &frames.Error{Code: frames.CodeForbidden, Message: message,
		Details: Refusal{Code: code, Decision: NewWireDecision(d), Ledger: p.file, Entry: p.entry}}
}
