// Package prompt judges text that an assistant will read: does it try to override
// instructions, to pull out the system prompt or a secret, to talk the model out of its
// rules, or does it address the agent from inside foreign content?
//
// Score normalises the text, opens what is encoded in it, and takes the most suspicious
// window under a linear model with embedded weights (see model and docs/models/prompt.md).
// It allocates nothing and takes time linear in the text. A Scorer is for one goroutine;
// the Defender keeps a pool of them.
package prompt

//go:generate go run ./train -dir . -data ../../../../shared/defender/train_prompts.jsonl -tables
//go:generate go run ./train -dir . -data ../../../../shared/defender/train_prompts.jsonl -card ../../../docs/models/prompt.md

import (
	"math"
	"math/bits"

	"sluice/stages/defend/prompt/model"
	"sluice/stages/defend/prompt/phrases"
)

// Origin is where a text came from. The same sentence is a task when the owner writes it
// and an injection in what a tool returned.
type Origin uint8

const (
	// Unknown leaves the score as the model gives it.
	Unknown Origin = iota
	// Owner is the authenticated operator of the assistant.
	Owner
	// Sender is a person who is not the owner: a channel message.
	Sender
	// Tool is what a tool or command returned.
	Tool
	// Web is a page, a document, an attachment or a search result.
	Web
)

// ParseOrigin returns the origin with this name; what is not known is Unknown.
func ParseOrigin(name string) Origin {
	switch name {
	case "owner", "operator":
		return Owner
	case "sender", "channel", "user":
		return Sender
	case "tool", "tool_result":
		return Tool
	case "web", "document", "attachment", "email":
		return Web
	}
	return Unknown
}

// Scores from which a text should be reviewed and blocked: what 1 % and 0.1 % of everyday
// texts of sources that the model had not seen reached.
const (
	Review = 35
	Block  = 65
)

// Tags are the findings in a text, as bits.
type Tags uint16

// The findings, in the order in which they are named.
const (
	Override Tags = 1 << iota
	Extraction
	Persona
	Exfiltration
	Concealment
	Addressed
	Encoded
	Disguised
	Similar
	Foreign
	Owned
	tagsEnd
)

var names = [...]struct{ tag, reason string }{
	{"instruction_override", "asks to set earlier instructions or rules aside"},
	{"prompt_extraction", "asks for the system prompt, hidden instructions or a secret"},
	{"persona_jailbreak", "gives the assistant a persona or mode without its rules"},
	{"exfiltration", "asks to send credentials or private data somewhere"},
	{"concealment", "asks to act without the user's knowledge"},
	{"agent_addressed", "content speaks to the assistant that reads it"},
	{"encoded_text", "the suspicious text was encoded"},
	{"disguised_text", "the suspicious text was written backwards or in a shifted alphabet"},
	{"injection_model", "reads like known prompt attacks"},
	{"foreign_origin", "comes from outside: instructions in it are not the owner's"},
	{"owner_origin", "comes from the owner: the score is lowered"},
}

// Each calls f with the tag and the reason of every finding in t.
func (t Tags) Each(f func(tag, reason string)) {
	for i := range names {
		if t&(1<<i) != 0 {
			f(names[i].tag, names[i].reason)
		}
	}
}

// Span is a part of the text, in bytes.
type Span struct{ Start, End int }

// Result is the verdict on one text. It is overwritten by Score.
type Result struct {
	// Score is 0 to 100: Review and Block are the thresholds it was calibrated for.
	Score float64
	// Logit is the model's figure before origin and calibration.
	Logit float64
	// Tags are empty below half of Review.
	Tags Tags
	// Span is the window that made the score; for encoded text, where that begins.
	Span Span
	// Tokens is the number of words that were read, in the text and in its views.
	Tokens int
}

// Scorer scores texts. Make it with New; use it from one goroutine at a time.
type Scorer struct {
	m           *model.Machine
	slope, zero float64
}

// New returns a Scorer over the embedded model. The error is that of a build with tables
// that do not fit the code.
func New() (*Scorer, error) {
	m, err := model.New()
	if err != nil {
		return nil, err
	}
	low, high := m.Thresholds()
	// A logistic curve through (low, Review) and (high, Block).
	a, b := logit(Review/100.), logit(Block/100.)
	s := &Scorer{m: m, slope: (b - a) / math.Max(high-low, 0.1)}
	s.zero = low - a/s.slope
	return s, nil
}

func logit(p float64) float64 { return math.Log(p / (1 - p)) }

// How far an origin moves the score, in steps from Review to Block. They are judgement:
// the training texts have no origins.
const (
	ownerStep  = -0.75
	senderStep = 0.1
	toolStep   = 0.35
)

// Score judges text and writes the verdict to dst. Text may be anything, also no UTF-8.
func (s *Scorer) Score(dst *Result, text []byte, origin Origin) {
	*dst = Result{}
	s.m.Read(text)
	best := s.m.Score()
	dst.Tokens = s.m.Tokens()
	if dst.Tokens == 0 {
		return
	}
	dst.Logit = best.Logit
	z := (best.Logit - s.zero) * s.slope
	step := logit(Block/100.) - logit(Review/100.)
	switch origin {
	case Owner:
		z += ownerStep * step
	case Sender:
		z += senderStep * step
	case Tool, Web:
		z += toolStep * step
	}
	dst.Score = 100 / (1 + math.Exp(-z))
	if dst.Tokens <= tooShort && bits.OnesCount64(best.Concepts) < tooShort {
		dst.Score = min(dst.Score, shortScore)
	}
	if dst.Score < Review/2 {
		return
	}
	dst.Span.Start, dst.Span.End, _ = s.m.Span(best)
	dst.Span.End = wordEnd(text, dst.Span.End)
	dst.Tags = tagsOf(best)
	switch origin {
	case Owner:
		dst.Tags |= Owned
	case Tool, Web, Sender:
		dst.Tags |= Foreign
	}
}

// A word or two say nothing by themselves, whatever the model has seen them in: "system",
// "yes please". Two that are both slots of an attack phrase may, as in 忽略指令.
const (
	tooShort   = 2
	shortScore = Review - 10
)

// maxWordEnd bounds the look for the end of a span's last word.
const maxWordEnd = 64

func wordEnd(text []byte, i int) int {
	for limit := min(len(text), i+maxWordEnd); i < limit && text[i] > ' '; i++ {
	}
	return min(i, len(text))
}

// tagsOf names what the window is about by the concepts in it.
func tagsOf(b model.Best) (t Tags) {
	any := func(cs ...phrases.Concept) bool {
		for _, c := range cs {
			if b.Has(c) {
				return true
			}
		}
		return false
	}
	if b.Has(phrases.Ignore) && any(phrases.Instr, phrases.Rules, phrases.Prior, phrases.Prompt) ||
		b.Has(phrases.Not) && any(phrases.Obey) && any(phrases.Instr, phrases.Rules) {
		t |= Override
	}
	if any(phrases.Reveal, phrases.Output, phrases.Verbatim) &&
		(b.Has(phrases.System) && any(phrases.Prompt, phrases.Instr) || b.Has(phrases.SecretAdj) || b.Has(phrases.Prompt) || b.Has(phrases.Cred)) {
		t |= Extraction
	}
	if b.Has(phrases.Unrestr) || b.Has(phrases.Role) && any(phrases.Without, phrases.Not, phrases.Now) ||
		b.Has(phrases.Mode) && any(phrases.Now, phrases.You, phrases.AI) {
		t |= Persona
	}
	if b.Has(phrases.Send) && any(phrases.Cred, phrases.Link, phrases.SecretAdj) {
		t |= Exfiltration
	}
	if b.Has(phrases.Inform) && any(phrases.Not, phrases.Without) {
		t |= Concealment
	}
	if b.Has(phrases.AI) && any(phrases.Must, phrases.Obey, phrases.Instr) {
		t |= Addressed
	}
	if b.Views&model.ViewsDecoded != 0 {
		t |= Encoded
	}
	if b.Views&model.ViewsTurned != 0 {
		t |= Disguised
	}
	if t == 0 {
		t = Similar
	}
	return t
}
