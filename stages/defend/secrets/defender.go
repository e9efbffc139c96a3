package secrets

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"sluice/pipeline"
	"sluice/stages/defend"
)

// Defender looks for secrets in actions. Text that leaves is held to Config.Outbound,
// all other to Config.Inbound. A defender cannot change text: for redact whoever sends
// it calls Outbound on what leaves.
type Defender struct {
	cfg     atomic.Pointer[Config]
	scanner atomic.Pointer[Scanner]
	// Stats are the counters.
	Stats Stats
}

// Stats are the defender's counters.
type Stats struct {
	// Found counts secrets by whether they left, and whether they are sure.
	OutboundSure, OutboundGuess, Inbound atomic.Uint64
	Redacted                             atomic.Uint64 // texts that were changed
}

var (
	_ defend.Defender = (*Defender)(nil)
	_ defend.Quick    = (*Defender)(nil)
)

// New returns the defender; literals are the gateway's own secrets (NewScanner).
func New(cfg Config, literals ...[]byte) (*Defender, error) {
	d := &Defender{}
	if err := d.Reload(cfg); err != nil {
		return nil, err
	}
	return d, d.SetLiterals(literals...)
}

// Reload makes cfg valid from the next text on; on an error the one in force stays.
func (d *Defender) Reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg.OutboundMethods = slices.Clone(cfg.OutboundMethods)
	d.cfg.Store(&cfg)
	return nil
}

// SetLiterals replaces the values that are looked for beside the known shapes.
func (d *Defender) SetLiterals(literals ...[]byte) error {
	s, err := NewScanner(literals...)
	if err != nil {
		return err
	}
	d.scanner.Store(s)
	return nil
}

// Scanner is the scanner in force.
func (d *Defender) Scanner() *Scanner { return d.scanner.Load() }

// Redact returns text with the secrets in it hidden: what logs, events and the ledger use.
func (d *Defender) Redact(text []byte) []byte { return d.Scanner().Redact(nil, text) }

// Name implements defend.Defender.
func (d *Defender) Name() string { return "secrets" }

// QuickBytes implements defend.Quick: 64 KiB take some 200 us.
func (d *Defender) QuickBytes() int { return 64 << 10 }

// kindBits marks the kinds that were found; the last is for literals.
type kindBits [2]uint64

func (b *kindBits) set(k uint16) bool {
	word, bit := &b[k/64], uint64(1)<<(k%64)
	seen := *word&bit != 0
	*word |= bit
	return seen
}

// Assess implements defend.Defender.
func (d *Defender) Assess(ctx context.Context, a *defend.Action, f *defend.Findings) error {
	cfg, s := d.cfg.Load(), d.scanner.Load()
	leaves := slices.Contains(cfg.OutboundMethods, a.Source)
	var seen kindBits
	var buf [16]Match
	for _, list := range [...][][]byte{a.Prompts, a.Commands, a.URLs, a.Files} {
		for _, text := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			for _, m := range s.Find(buf[:0], text) {
				d.judge(cfg, m, leaves, seen.set(m.kind), f)
			}
		}
	}
	return nil
}

func (d *Defender) judge(cfg *Config, m Match, leaves, again bool, f *defend.Findings) {
	policy := cfg.Inbound
	switch {
	case leaves && m.Sure:
		policy = cfg.Outbound
		d.Stats.OutboundSure.Add(1)
	case leaves:
		policy = cfg.OutboundGuess
		d.Stats.OutboundGuess.Add(1)
	default:
		d.Stats.Inbound.Add(1)
		if !m.Sure {
			return // a prompt may name a value "token"; that is no finding
		}
	}
	switch policy {
	case Block:
		f.Raise(pipeline.Block)
	case Review:
		f.Raise(pipeline.Review)
	}
	if again {
		return
	}
	tag := "secret_in_text"
	if leaves {
		tag = "secret_leaves"
	}
	f.Note(tag, "the text holds "+m.Name())
	f.Mark(m.Start, m.End)
}

// Verdict is what becomes of a text that leaves.
type Verdict struct {
	Action pipeline.Action
	// Text is what may leave when Action is allow: the text, or a copy without secrets.
	Text []byte
	// Found are the kinds that were found, each once, as Match.ID.
	Found []string
}

// Outbound judges text that leaves: replies, messages, speech. With allow and redact the
// text to send is in the verdict.
func (d *Defender) Outbound(text []byte) Verdict {
	cfg, s := d.cfg.Load(), d.scanner.Load()
	var buf [16]Match
	found := s.Find(buf[:0], text)
	v := Verdict{Text: text}
	if len(found) == 0 {
		return v
	}
	var hide []Match
	for _, m := range found {
		if !slices.Contains(v.Found, m.ID()) {
			v.Found = append(v.Found, m.ID())
		}
		policy := cfg.OutboundGuess
		if m.Sure {
			policy = cfg.Outbound
			d.Stats.OutboundSure.Add(1)
		} else {
			d.Stats.OutboundGuess.Add(1)
		}
		switch policy {
		case Block:
			v.Action = pipeline.Block
		case Review:
			v.Action = max(v.Action, pipeline.Review)
		case Redact:
			hide = append(hide, m)
		}
	}
	if len(hide) > 0 {
		d.Stats.Redacted.Add(1)
		v.Text = replace(text, hide)
	}
	return v
}

func replace(text []byte, hide []Match) []byte {
	out := make([]byte, 0, len(text))
	at := 0
	for _, m := range hide {
		out = append(append(out, text[at:m.Start]...), Redacted...)
		at = m.End
	}
	return append(out, text[at:]...)
}

// String tells what a verdict found, for logs: kinds, never text.
func (v Verdict) String() string { return fmt.Sprintf("%s %v", v.Action, v.Found) }
