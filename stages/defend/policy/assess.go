package policy

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/defend"
)

// Assess implements defend.Defender.
func (p *Policy) Assess(_ context.Context, a *defend.Action, f *defend.Findings) error {
	force := p.force.Load()
	now := p.deps.Now()
	tools := p.tools(force, a, f)
	heaviest := weight{} // one action goes by one channel, however many it names
	for _, c := range a.Channels {
		if w := force.channelRisk[fold(string(c[:min(len(c), maxKey)]))]; w.risk > heaviest.risk {
			heaviest = w
		}
	}
	if heaviest.risk > 0 {
		f.Weight(heaviest.risk, "channel_risk_bonus", heaviest.reason)
	}
	if a.Administrative() && !a.Admin {
		f.Floor(pipeline.Block, "policy_change", "it would change what is allowed: only an operator with operator.admin may")
	}
	p.taint(force, a, tools, now, f)
	if force.cfg.Loop.Enabled && (len(tools) > 0 || len(a.Commands) > 0) {
		p.loop(force, a, f)
	}
	if force.cfg.Rate.PerMinute > 0 {
		p.rate(force, a, now, f)
	}
	return nil
}

// maxTools bounds the tools of one action that are looked at one by one; an action that
// names more is reviewed.
const maxTools = 64

// tools applies what is said about tools and returns their names.
func (p *Policy) tools(force *inForce, a *defend.Action, f *defend.Findings) []string {
	if len(a.Tools) == 0 && asksFor[a.Source] == "" {
		return nil
	}
	model := ""
	if p.deps.Model != nil && len(force.tools.byProvider) > 0 {
		model = p.deps.Model(a)
	}
	if len(a.Tools) > maxTools {
		f.Floor(pipeline.Review, "tool_policy", "it names more tools than can be looked at")
	}
	names := make([]string, 0, min(len(a.Tools), maxTools)+1)
	if name := asksFor[a.Source]; name != "" {
		names = append(names, name)
		p.permit(force, name, model, f)
	}
	heaviest := weight{}
	for _, raw := range a.Tools[:min(len(a.Tools), maxTools)] {
		raw = raw[:min(len(raw), maxKey)]
		name := toolName(string(raw))
		names = append(names, name)
		p.permit(force, name, model, f)
		w, ok := force.toolRisk[fold(string(raw))]
		if !ok {
			w = force.toolRisk[name]
		}
		if w.risk > heaviest.risk {
			heaviest = w
		}
	}
	if heaviest.risk > 0 {
		f.Weight(heaviest.risk, "tool_risk_bonus", heaviest.reason)
	}
	return names
}

// asksFor are methods that are a tool's call whatever their params name: an agent whose
// commands are denied must not get one approved.
var asksFor = map[string]string{"exec.approval.request": "exec"}

// permit applies what is said about one tool.
func (p *Policy) permit(force *inForce, name, model string, f *defend.Findings) {
	if why := force.tools.why(name, model); why != "" {
		p.Stats.Denied.Add(1)
		f.Floor(pipeline.Block, "tool_policy_deny", "the tool may not be called: "+why)
	}
	if l := force.toolActions[name]; l.action > pipeline.Allow {
		f.Floor(l.action, "tool_policy", l.reason)
	}
}

// taint applies the taint rule.
func (p *Policy) taint(force *inForce, a *defend.Action, tools []string, now time.Time, f *defend.Findings) {
	c := &force.cfg.Taint
	if !c.Enabled || !p.privileged(force, a, tools) {
		return
	}
	session := a.SessionKey
	if session == "" && !a.Administrative() { // who names no session works for the main one
		session = mainSession
	}
	origin, ok := p.taints.of(bounded(session), now, c.age())
	if !ok {
		return
	}
	p.Stats.Tainted.Add(1)
	f.Floor(pipeline.Review, "tainted_turn", "content of foreign origin ("+origin+") came into this turn, and this is privileged")
}

// mainSession is where the words of whoever names no session go.
const mainSession = "agent:" + frames.DefaultAgent + ":main"

func (c *TaintConfig) age() time.Duration { return time.Duration(c.MaxAgeMs) * time.Millisecond }

func (p *Policy) privileged(force *inForce, a *defend.Action, tools []string) bool {
	if len(a.Commands) > 0 || a.Administrative() || force.methods[a.Source] || len(a.Tools) > maxTools {
		return true
	}
	for _, t := range tools {
		if force.privileged.has(t) {
			return true
		}
	}
	return false
}

// loop counts a call in its session.
func (p *Policy) loop(force *inForce, a *defend.Action, f *defend.Findings) {
	c := &force.cfg.Loop
	hash := p.hash(a)
	who := a.SessionKey
	if who == "" { // calls of no session are its sender's: one must not use up another's
		who = "sender\x00" + a.Sender
	}
	p.mu.Lock()
	n := p.loops.at(bounded(who)).add(hash, c.Block)
	p.Stats.LoopSessions.Store(int64(len(p.loops.m)))
	p.mu.Unlock()
	switch {
	case n >= c.Block:
		p.Stats.Loops.Add(1)
		f.Floor(pipeline.Block, "tool_loop", "the session makes the same calls again and again")
	case n >= c.Warn:
		p.Stats.Loops.Add(1)
		f.Floor(pipeline.Review, "tool_loop", "the session makes the same calls again and again")
	}
}

// hash is of what makes two calls the same (first-runtime.md 6.7). Lengths keep texts
// apart.
func (p *Policy) hash(a *defend.Action) uint64 {
	var h maphash.Hash
	h.SetSeed(p.seed)
	var size [8]byte
	for _, list := range [...][][]byte{a.Tools, a.Commands, a.Prompts, a.URLs, a.Files} {
		binary.LittleEndian.PutUint64(size[:], uint64(len(list)))
		h.Write(size[:])
		for _, text := range list {
			binary.LittleEndian.PutUint64(size[:], uint64(len(text)))
			h.Write(size[:])
			h.Write(text)
		}
	}
	return h.Sum64()
}

func (p *Policy) rate(force *inForce, a *defend.Action, now time.Time, f *defend.Findings) {
	c := &force.cfg.Rate
	sender := a.SessionKey
	if p.deps.Sender != nil {
		sender = p.deps.Sender(a)
	}
	p.mu.Lock()
	ok := p.senders.at(bounded(sender)).take(now, c.PerMinute, c.Burst)
	p.Stats.Senders.Store(int64(len(p.senders.m)))
	p.mu.Unlock()
	if !ok {
		p.Stats.Limited.Add(1)
		f.Floor(actions[c.Action], "sender_rate", "the sender asks for more than the policy allows in this time")
	}
}
