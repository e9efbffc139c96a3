// Package rules is the first runtime's defender: regular expressions, words and weights,
// to the letter (first-runtime.md 6.2). It is what this build defends with and is known
// to be easy to evade: docs and first-runtime.md 6.4 list how.
//
// It differs from the first runtime only where that judged less: it looks at every text
// of an action instead of the first, and white space and letter case fold as in Unicode.
// A rule counts once for an action however many texts it matches, so that one text gives
// the first runtime's score.
//
// Host integrity, attestation, EDR, reputation, the runtime tool policy and the loop
// guard of section 6 are not rules over texts; they are not part of this package.
package rules

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"unicode"

	"sluice/pipeline"
	"sluice/stages/defend"
)

// Defender implements defend.Defender. It is safe for concurrent use.
type Defender struct {
	set atomic.Pointer[set]
}

var (
	_ defend.Defender = (*Defender)(nil)
	_ defend.Quick    = (*Defender)(nil)
)

// New compiles cfg. The error names the key and entry that is wrong.
func New(cfg Config) (*Defender, error) {
	s, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	d := &Defender{}
	d.set.Store(s)
	return d, nil
}

// Reload makes cfg valid for the next action; on an error the rules in force stay.
func (d *Defender) Reload(cfg Config) error {
	s, err := compile(cfg)
	if err != nil {
		return err
	}
	d.set.Store(s)
	return nil
}

// Name implements defend.Defender.
func (d *Defender) Name() string { return "rules" }

// quickBytes: the worst text of this size, one that passes every prefilter, takes about
// 1.5 ms (BenchmarkWorst).
const quickBytes = 16 << 10

// QuickBytes implements defend.Quick.
func (d *Defender) QuickBytes() int { return quickBytes }

// Assess implements defend.Defender.
func (d *Defender) Assess(ctx context.Context, a *defend.Action, f *defend.Findings) error {
	s := d.set.Load()
	b := buffers.Get().(*buffer)
	defer b.free()
	if err := s.prompts(ctx, b, a.Prompts, f); err != nil {
		return err
	}
	if err := s.commands(ctx, b, a.Commands, f); err != nil {
		return err
	}
	s.context(b, a, f)
	return nil
}

// The first runtime's weights (first-runtime.md 6.2).
const (
	weightInjection    = 18
	weightExfiltration = 14
	weightBypass       = 14
	weightOversized    = 8
	oversizedBytes     = 32_000
	weightSafety       = 15
	weightSafetySecret = 40
	weightBlocked      = 80
	weightSudo         = 18
	weightRemotePipe   = 22
	weightNotAllowed   = 20
	weightLeak         = 30
)

// Words that are looked for in folded text.
var (
	systemPrompt  = []byte("system prompt")
	developer     = []byte("developer instructions")
	withoutAsking = []byte("without asking")
	doNotAsk      = []byte("do not ask for approval")
	sudo          = []byte("sudo ")
	curl          = []byte("curl ")
	wget          = []byte("wget ")
	pipe          = []byte("|")
)

// seen are the rules that matched in any text of one kind.
type seen struct {
	patterns uint64 // by pattern.bit
	words    uint16
}

const (
	sawExfiltration = 1 << iota
	sawBypass
	sawOversized
	sawSudo
	sawCurlPipe
	sawWgetPipe
	sawNotAllowed
)

// prompts is the prompt guard and the safety layer on prompts.
func (s *set) prompts(ctx context.Context, b *buffer, texts [][]byte, f *defend.Findings) error {
	if len(texts) == 0 {
		return nil
	}
	var saw seen
	for _, text := range texts {
		b.fold(text)
		if err := saw.match(ctx, s.promptPatterns, text, b.folded); err != nil {
			return err
		}
		if bytes.Contains(b.folded, systemPrompt) || bytes.Contains(b.folded, developer) {
			saw.words |= sawExfiltration
		}
		if bytes.Contains(b.folded, withoutAsking) || bytes.Contains(b.folded, doNotAsk) {
			saw.words |= sawBypass
		}
		if len(text) > oversizedBytes {
			saw.words |= sawOversized
		}
	}
	for _, p := range s.injection {
		if saw.has(p) {
			f.Hit(weightInjection, "prompt_injection", p.reason)
		}
	}
	if saw.words&sawExfiltration != 0 {
		f.Hit(weightExfiltration, "prompt_exfiltration", "the prompt asks for the system prompt or developer instructions")
	}
	if saw.words&sawBypass != 0 {
		f.Hit(weightBypass, "approval_bypass", "the prompt asks to act without approval")
	}
	if saw.words&sawOversized != 0 {
		f.Hit(weightOversized, "oversized_payload", "the prompt is longer than 32000 bytes")
	}
	s.safety(saw, f, "prompt")
	return nil
}

// safety is the safety layer, which looks at prompts and again at commands.
func (s *set) safety(saw seen, f *defend.Findings, what string) {
	for _, p := range s.safetyReview {
		if saw.has(p) {
			f.Risk(weightSafety)
			f.Floor(pipeline.Review, "safety_layer_review", "safety layer on the "+what+": "+p.reason)
		}
	}
	for _, p := range s.safetyBlock {
		if saw.has(p) {
			f.Risk(weightSafetySecret)
			f.Floor(pipeline.Block, "safety_layer_block", "safety layer on the "+what+": "+p.reason)
		}
	}
}

// commands is the safety layer on commands and the command guard.
func (s *set) commands(ctx context.Context, b *buffer, texts [][]byte, f *defend.Findings) error {
	if len(texts) == 0 {
		return nil
	}
	var saw seen
	for _, text := range texts {
		b.fold(text)
		if err := saw.match(ctx, s.commandPatterns, text, b.folded); err != nil {
			return err
		}
		saw.command(b.folded)
		if !s.allowed(text) {
			saw.words |= sawNotAllowed
		}
	}
	s.safety(saw, f, "command")
	for _, p := range s.blocked {
		if saw.has(p) {
			f.Hit(weightBlocked, "blocked_command_pattern", p.reason)
		}
	}
	if saw.words&sawSudo != 0 {
		f.Hit(weightSudo, "privilege_escalation", "the command uses sudo")
	}
	if saw.words&sawCurlPipe != 0 {
		f.Hit(weightRemotePipe, "remote_pipe_exec", "the command pipes what curl downloads")
	}
	if saw.words&sawWgetPipe != 0 {
		f.Hit(weightRemotePipe, "remote_pipe_exec", "the command pipes what wget downloads")
	}
	if saw.words&sawNotAllowed != 0 {
		f.Hit(weightNotAllowed, "not_in_allowlist", "the command starts with no allowed prefix")
	}
	return nil
}

func (w *seen) command(folded []byte) {
	if bytes.Contains(folded, sudo) {
		w.words |= sawSudo
	}
	if !bytes.Contains(folded, pipe) {
		return
	}
	if bytes.Contains(folded, curl) {
		w.words |= sawCurlPipe
	}
	if bytes.Contains(folded, wget) {
		w.words |= sawWgetPipe
	}
}

// allowed: an empty list switches the check off, as in the first runtime.
func (s *set) allowed(text []byte) bool {
	if len(s.prefixes) == 0 {
		return true
	}
	text = bytes.TrimLeftFunc(text, unicode.IsSpace)
	for _, p := range s.prefixes {
		if bytes.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// context is what tool, channel and an earlier scanner add. Of several tools or channels
// the heaviest counts: naming a harmless one beside it must not help.
func (s *set) context(b *buffer, a *defend.Action, f *defend.Findings) {
	if w := heaviest(b, a.Tools, s.toolBonus); w.weight > 0 {
		f.Hit(w.weight, "tool_risk_bonus", w.reason)
	}
	if p := strictest(b, a.Tools, s.toolPolicies); p.reason != "" {
		f.Floor(p.action, "tool_policy", p.reason)
	}
	if w := heaviest(b, a.Channels, s.channelBonus); w.weight > 0 {
		f.Hit(w.weight, "channel_risk_bonus", w.reason)
	}
	if a.Leaks > 0 {
		f.Risk(weightLeak)
		f.Floor(s.leakAction, "leak_detection", "a scanner reported leaked secrets")
	}
}

// bonus and policy are what is known about a tool or channel.
type bonus struct {
	weight int
	reason string
}

type policy struct {
	action pipeline.Action
	reason string
}

func heaviest(b *buffer, names [][]byte, known map[string]bonus) (most bonus) {
	for _, n := range names {
		b.fold(bytes.TrimSpace(n))
		if w := known[string(b.folded)]; w.weight > most.weight {
			most = w
		}
	}
	return most
}

func strictest(b *buffer, names [][]byte, known map[string]policy) (most policy) {
	for _, n := range names {
		b.fold(bytes.TrimSpace(n))
		if p, ok := known[string(b.folded)]; ok && (most.reason == "" || p.action > most.action) {
			most = p
		}
	}
	return most
}

// buffer is reusable memory for one assessment.
type buffer struct{ folded []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// maxPooled bounds what a pooled buffer keeps.
const maxPooled = 256 << 10

func (b *buffer) free() {
	if cap(b.folded) <= maxPooled {
		buffers.Put(b)
	}
}

// fold makes b.folded the text with its letters folded as (?i) folds them: ASCII to
// lower case, and the two other letters that fold to ASCII, U+212A to k and U+017F to s.
func (b *buffer) fold(text []byte) {
	if cap(b.folded) < len(text) {
		b.folded = make([]byte, len(text))
	}
	out := b.folded[:len(text)]
	n := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c < 0x80:
			// 0x20 for A to Z without a branch, which mixed case would mispredict.
			c |= byte((uint16(c-'A')-26)>>8) & 0x20
		case c == 0xE2 && i+2 < len(text) && text[i+1] == 0x84 && text[i+2] == 0xAA:
			c = 'k'
			i += 2
		case c == 0xC5 && i+1 < len(text) && text[i+1] == 0xBF:
			c = 's'
			i++
		}
		out[n] = c
		n++
	}
	b.folded = out[:n]
}
